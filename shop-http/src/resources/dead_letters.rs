//! `/v1/dead-letters`: lists, shows, replays and discards dead letters, and parks stuck records.
//!
//! A client names dead letters by their positions in the log. Replaying, discarding and parking
//! share one body, a [`ResolveRequest`], and respond with one outcome per position, also for a text
//! that is no position. Each of these requests is recorded for the audit log before it is executed,
//! unless it is a dry run.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use shop_api::{DeadLetterBody, DeadLettersBody, ResolvedBody, ResolvedStatus, StuckBody};
use shop_core::json::RawScalar;
use shop_core::log::{ReasonKind, RecordPosition, Resolution, ResolveOptions};
use shop_core::{Invalid, Result};

use crate::auth::{Action, Audited, Caller};
use crate::request::fields::Body;
use crate::request::path::path_parameter;
use crate::request::write_request::WriteRequest;
use crate::request::{self, Query};
use crate::response::{HttpError, HttpResult, Location, MemberError, Subject};
use crate::service::dead_letters::{ResolveOutcome, ResolveOutcomes};
use crate::service::{Service, within};

/// The maximum number of positions in a request.
const MAX_POSITIONS: usize = 1_000;
/// The maximum number of characters of a reason.
const MAX_REASON_CHARS: usize = 200;

/// Handles `GET /v1/dead-letters`: lists a page of the pending dead letters, and all records on
/// which an ingest of this process is stuck.
///
/// # Errors
/// - 403 if the caller may not observe
/// - 422 for invalid parameters
/// - the errors of [`call_within_request_timeout`]
pub(crate) async fn list(service: Arc<Service>, head: Parts) -> HttpResult {
    let caller = Caller::from_extensions(&head.extensions);
    service.policy.check(&caller, &Action::Observe)?;
    let topics: Vec<_> = service.dead_letters.topics().collect();
    let (page, _no_wait) = Query::read_from(&head.uri, Query::DEAD_LETTERS, |query| {
        Some(query.dead_letter_page(&topics))
    })?;

    let (items, next) =
        call_within_request_timeout(&service, service.dead_letters.page(&page)).await?;
    let stuck = service
        .ingest_statuses()
        .filter_map(|status| status.stuck)
        .map(StuckBody::from)
        .collect();
    Ok(Json(DeadLettersBody::new(items, next, stuck)).into_response())
}

/// Handles `GET /v1/dead-letters/{position}`: shows a pending dead letter with its record.
///
/// A purchase that conflicts with a stored one is shown beside the stored purchase.
///
/// # Errors
/// - 403 if the caller may not observe
/// - 422 for an invalid position, or for any parameter
/// - 404 if no dead letter is pending at the position
/// - the errors of [`call_within_request_timeout`]
pub(crate) async fn get(service: Arc<Service>, head: Parts) -> HttpResult {
    let caller = Caller::from_extensions(&head.extensions);
    service.policy.check(&caller, &Action::Observe)?;
    Query::refuse(&head.uri)?;
    // A missing parameter becomes an empty text, which is no position either.
    let position_text = path_parameter(&head).unwrap_or_default();
    let position: RecordPosition = position_text.parse().map_err(|error: Invalid| {
        Location::Path("position").invalid(format!("is not valid: {}", error.reason()))
    })?;

    let mut dead_letter =
        call_within_request_timeout(&service, service.dead_letters.get(&position))
            .await?
            .ok_or(HttpError::UNKNOWN_DEAD_LETTER)?;
    if dead_letter.reason == ReasonKind::Conflict.as_str() {
        add_stored_purchase(&mut dead_letter, &service).await;
    }
    Ok(Json(dead_letter).into_response())
}

/// Adds the stored purchase with the same id to `dead_letter`. While the store is unavailable, nothing
/// is added.
async fn add_stored_purchase(dead_letter: &mut DeadLetterBody, service: &Service) {
    if let Some(purchases) = &service.purchases
        && let Some(purchase) = &dead_letter.purchase
        && let Ok(lookup) = purchases.look_up(&purchase.id).await
    {
        dead_letter.stored = lookup.stored().map(Box::new);
    }
}

/// Handles `POST /v1/dead-letters:replay`: publishes the records of dead letters again.
///
/// # Errors
/// The errors of [`resolve`].
pub(crate) async fn replay(service: Arc<Service>, request: WriteRequest) -> HttpResult {
    resolve(&service, Resolution::Replayed, "replay", request).await
}

/// Handles `POST /v1/dead-letters:discard`: discards dead letters.
///
/// # Errors
/// The errors of [`resolve`].
pub(crate) async fn discard(service: Arc<Service>, request: WriteRequest) -> HttpResult {
    resolve(&service, Resolution::Dropped, "discard", request).await
}

/// Handles `POST /v1/dead-letters:park`: dead-letters records on which ingests of this process are
/// stuck, so that the ingests continue.
///
/// # Errors
/// - the errors of [`receive_request`]
/// - the errors of [`call_within_request_timeout`]
pub(crate) async fn park(service: Arc<Service>, request: WriteRequest) -> HttpResult {
    let resolve_request = receive_request(&service, "park", request).await?;
    let requested_stuck_positions: BTreeSet<_> = service
        .ingest_statuses()
        .filter_map(|status| status.stuck)
        .map(|stuck| RecordPosition::new(stuck.topic, stuck.partition, stuck.offset))
        .filter(|position| resolve_request.valid_positions.contains(position))
        .collect();

    // Only a dry run may have no reason, and does not use it.
    let reason = resolve_request.reason.as_deref().unwrap_or_default();
    let parking = service.dead_letters.park(
        requested_stuck_positions,
        reason,
        resolve_request.is_dry_run,
    );
    let outcomes = write_within_request_timeout(&service, parking).await?;
    Ok(resolve_request.respond(&outcomes, |_invalid| {
        let detail = "no ingest of this process is stuck at it";
        (ResolvedStatus::Refused, Some(detail.to_owned()))
    }))
}

/// Resolves the dead letters at the positions in `request`. `action` is the name of the request in
/// the audit log.
///
/// # Errors
/// - the errors of [`receive_request`]
/// - the errors of [`call_within_request_timeout`]
async fn resolve(
    service: &Service,
    resolution: Resolution,
    action: &'static str,
    request: WriteRequest,
) -> HttpResult {
    let resolve_request = receive_request(service, action, request).await?;

    let options = ResolveOptions::new(resolution).dry_run(resolve_request.is_dry_run);
    // The dry run of a replay forecasts what ingest would do, which depends on the store.
    let is_forecast = resolve_request.is_dry_run && resolution == Resolution::Replayed;
    let forecast_timeout = is_forecast.then_some(service.options.query_timeout);
    let resolving = service.dead_letters.resolve(
        resolve_request.valid_positions.clone(),
        options,
        forecast_timeout,
    );
    let outcomes = write_within_request_timeout(service, resolving).await?;

    Ok(resolve_request.respond(&outcomes, |invalid| {
        let detail = invalid.map_or("there is no pending dead letter".to_owned(), |invalid| {
            invalid.to_string()
        });
        (ResolvedStatus::Unknown, Some(detail))
    }))
}

/// Authorizes and reads a request to resolve dead letters. Records the request for the audit log
/// under the name `action`, unless it is a dry run. Only `park` needs a reason.
///
/// # Errors
/// - 403 if the caller may not observe or, without a dry run, may not operate
/// - 422 for any parameter, or for invalid members
/// - the errors of [`read`](request::body::read)
async fn receive_request(
    service: &Service,
    action: &'static str,
    mut request: WriteRequest,
) -> HttpResult<ResolveRequest> {
    let caller = request.caller();
    service.policy.check_as(&caller, &Action::Observe, action)?;
    Query::refuse(request.uri())?;
    let body = request::body::read(&mut request, &service.options).await?;

    let needs_reason = action == "park";
    let resolve_request = ResolveRequest::parse(caller, &body, needs_reason)?;
    if resolve_request.is_dry_run {
        return Ok(resolve_request);
    }

    service
        .policy
        .check_as(&resolve_request.caller, &Action::Operate, action)?;
    let positions: Vec<_> = resolve_request
        .valid_positions
        .iter()
        .map(ToString::to_string)
        .collect();
    // The request is recorded before it is executed, because it completes even if its client
    // disconnects.
    resolve_request.caller.audit(Audited {
        action,
        is_allowed: true,
        positions: Some(positions.join(" ")),
        reason: resolve_request.reason.clone(),
        ..Audited::default()
    });
    Ok(resolve_request)
}

/// A request to replay or discard dead letters, or to park stuck records.
struct ResolveRequest {
    caller: Caller,
    /// The positions as the client sent them.
    positions: Vec<String>,
    /// The positions that are valid.
    valid_positions: BTreeSet<RecordPosition>,
    is_dry_run: bool,
    /// Why the records are resolved, for the audit log.
    reason: Option<String>,
}

impl ResolveRequest {
    /// Parses the `body` of a request by `caller`. A dry run never needs a reason.
    ///
    /// # Errors
    /// - 400 if the body is not a JSON object
    /// - 422 for invalid members
    fn parse(caller: Caller, body: &[u8], needs_reason: bool) -> HttpResult<Self> {
        let mut body = Body::parse(body, ["positions", "dry_run", "reason"])?;
        let positions = body.read("positions", read_positions);
        let is_dry_run: bool = body
            .read_optional("dry_run", |value| {
                let parsed = value.as_json().parse();
                parsed.map_err(|_invalid| MemberError::value("must be true or false"))
            })
            .unwrap_or_default();
        let reason = if needs_reason && !is_dry_run {
            body.read("reason", read_reason)
        } else {
            body.read_optional("reason", read_reason)
        };
        let positions = body.finish(positions)?;

        // A text that is no position gets an outcome of its own in the response.
        let valid_positions = positions
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect();
        Ok(Self {
            caller,
            positions,
            valid_positions,
            is_dry_run,
            reason,
        })
    }

    /// Returns the response with the outcome of each position, in the order of the request, and
    /// records the number of resolved dead letters for the audit log.
    ///
    /// `default_outcome` returns the outcome of a position that is missing from `outcomes`. Its
    /// argument is the error of a text that is not a position.
    fn respond(
        self,
        outcomes: &ResolveOutcomes,
        default_outcome: impl Fn(Option<Invalid>) -> ResolveOutcome,
    ) -> Response {
        let resolved_outcomes = outcomes
            .values()
            .filter(|(status, _reason)| *status != ResolvedStatus::Refused);
        self.caller.record_resolved(resolved_outcomes.count());

        let mut results = Vec::new();
        for text in self.positions {
            let (status, detail) = match text.parse() {
                Ok(position) => outcomes.get(&position).cloned().unwrap_or_else(|| {
                    let no_error = None;
                    default_outcome(no_error)
                }),
                Err(invalid) => default_outcome(Some(invalid)),
            };
            results.push(ResolvedBody::new(text, status, detail));
        }
        Json(json!({"dry_run": self.is_dry_run, "results": results})).into_response()
    }
}

/// Reads the texts of the positions in a request.
///
/// # Errors
/// The error of a value that is not an array of texts, or contains too few or too many.
fn read_positions(value: RawScalar<'_>) -> Result<Vec<String>, MemberError> {
    if let Ok(positions) = serde_json::from_str::<Vec<String>>(value.as_json())
        && (1..=MAX_POSITIONS).contains(&positions.len())
    {
        return Ok(positions);
    }
    Err(MemberError::value(format!(
        "must be 1 to {MAX_POSITIONS} texts"
    )))
}

/// Reads the reason of a request, without white space around it.
///
/// # Errors
/// The error of a value that is not one line of text, or is blank or too long.
fn read_reason(value: RawScalar<'_>) -> Result<String, MemberError> {
    // A value that is not text becomes an empty text, which is refused as well.
    let text = value.text().unwrap_or_default();
    let reason = text.trim();
    let is_short = text.chars().count() <= MAX_REASON_CHARS;
    if is_short && !reason.is_empty() && !text.chars().any(char::is_control) {
        return Ok(reason.to_owned());
    }
    Err(MemberError::value(format!(
        "must be one line of 1 to {MAX_REASON_CHARS} characters"
    )))
}

/// Runs `call`, which writes to the log of dead letters, and records its result for `/health`.
///
/// # Errors
/// The errors of [`call_within_request_timeout`].
async fn write_within_request_timeout<T: Send>(
    service: &Service,
    call: impl Future<Output = Result<T>> + Send,
) -> HttpResult<T> {
    let recorded = async { service.record_write("log", call.await) };
    call_within_request_timeout(service, recorded).await
}

/// Runs `call`, which reads the log of dead letters, and returns its result.
///
/// The call may take as long as the whole request. The shorter timeout of a query would not do,
/// because even a call for one dead letter reads all of them.
///
/// # Errors
/// The error of a failed query, if `call` fails, panics or takes too long.
async fn call_within_request_timeout<T>(
    service: &Service,
    call: impl Future<Output = Result<T>> + Send,
) -> HttpResult<T> {
    within(service.options.request_timeout, call)
        .await
        .map_err(|error| HttpError::failed_query(error, Subject::DEAD_LETTER))
}
