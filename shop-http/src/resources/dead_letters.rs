//! `/v1/dead-letters`: lists, shows, replays and discards dead letters, and parks stuck records.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use shop_core::api::{DeadLettersBody, ResolvedBody, ResolvedStatus, StuckBody};
use shop_core::json::RawScalar;
use shop_core::log::{ReasonKind, RecordPosition, Resolution, ResolveOptions};
use shop_core::ports::Lookup;
use shop_core::{Invalid, Result};

use crate::auth::{Action, Audited, Caller};
use crate::request::fields::Body;
use crate::request::{self, PathText, Query};
use crate::response::validation_error::{Location, MemberError};
use crate::response::{HttpError, HttpResult, Subject};
use crate::service::dead_letters::{ResolveOutcome, ResolveOutcomes};
use crate::service::{Service, within};

/// The maximum number of positions in a request.
const MAX_POSITIONS: usize = 1_000;
/// The maximum number of characters of a reason.
const MAX_REASON: usize = 200;

/// `GET /v1/dead-letters`.
pub(crate) async fn list(
    State(service): State<Arc<Service>>,
    caller: Caller,
    uri: Uri,
) -> HttpResult {
    service.policy.check(&caller, &Action::Observe)?;
    let topics: Vec<_> = service.dead_letters.topics().collect();
    let (filter, _no_wait) = Query::read_from(&uri, Query::DEAD_LETTERS, |query| {
        Some(query.dead_letters(&topics))
    })?;
    let (items, next) = query(&service, service.dead_letters.page(&filter)).await?;
    let stuck = service
        .ingest_statuses()
        .filter_map(|status| status.stuck)
        .map(StuckBody::from);
    Ok(Json(DeadLettersBody::new(items, next, stuck.collect())).into_response())
}

/// `GET /v1/dead-letters/{position}`.
pub(crate) async fn get(
    State(service): State<Arc<Service>>,
    caller: Caller,
    path: PathText,
    uri: Uri,
) -> HttpResult {
    service.policy.check(&caller, &Action::Observe)?;
    Query::refuse(&uri)?;
    let position = path
        .0
        .unwrap_or_default()
        .parse::<RecordPosition>()
        .map_err(|error| {
            Location::Path("position").invalid(format!("is not valid: {}", error.reason()))
        })?;
    let mut found = query(&service, service.dead_letters.get(&position))
        .await?
        .ok_or(HttpError::UNKNOWN_DEAD_LETTER)?;
    if let (Some(purchases), Some(purchase)) = (&service.purchases, &found.purchase)
        && found.reason == ReasonKind::Conflict.as_str()
    {
        // While the store is unavailable, the dead letter is shown without it.
        found.stored = purchases
            .look_up(&purchase.id)
            .await
            .ok()
            .and_then(Lookup::stored)
            .map(Box::new);
    }
    Ok(Json(found).into_response())
}

/// `POST /v1/dead-letters:replay`.
pub(crate) async fn replay(State(service): State<Arc<Service>>, request: Request) -> HttpResult {
    resolve(&service, Resolution::Replayed, "replay", request).await
}

/// `POST /v1/dead-letters:discard`.
pub(crate) async fn discard(State(service): State<Arc<Service>>, request: Request) -> HttpResult {
    resolve(&service, Resolution::Dropped, "discard", request).await
}

/// `POST /v1/dead-letters:park`.
pub(crate) async fn park(State(service): State<Arc<Service>>, request: Request) -> HttpResult {
    let (caller, asked) = begin(&service, "park", request).await?;
    let stuck: BTreeSet<_> = service
        .ingest_statuses()
        .filter_map(|status| status.stuck)
        .map(|stuck| RecordPosition::new(stuck.topic, stuck.partition, stuck.offset))
        .filter(|position| asked.known.contains(position))
        .collect();
    let reason = asked.reason.as_deref().unwrap_or_default();
    let parked = query(
        &service,
        service.dead_letters.park(stuck, reason, asked.dry_run),
    )
    .await?;
    let other = "no ingest of this process is stuck at it".to_owned();
    Ok(asked.answered(&caller, &parked, |_| {
        (ResolvedStatus::Refused, Some(other.clone()))
    }))
}

/// Resolves the dead letters of a request. `action` is its name in the audit log.
async fn resolve(
    service: &Service,
    how: Resolution,
    action: &'static str,
    request: Request,
) -> HttpResult {
    let (caller, asked) = begin(service, action, request).await?;
    let options = ResolveOptions::new(how).dry_run(asked.dry_run);
    let is_forecast = asked.dry_run && how == Resolution::Replayed;
    let store = service.purchases.clone().filter(|_| is_forecast);
    let resolved = service
        .dead_letters
        .resolve(asked.known.clone(), options, store);
    let resolved = query(service, resolved).await?;
    Ok(asked.answered(&caller, &resolved, |invalid| {
        let detail = invalid.map_or("there is no pending dead letter".to_owned(), |invalid| {
            invalid.to_string()
        });
        (ResolvedStatus::Unknown, Some(detail))
    }))
}

/// What is asked for.
struct Asked {
    positions: Vec<String>,
    /// Those of them that are positions.
    known: BTreeSet<RecordPosition>,
    dry_run: bool,
    /// Why, for the audit log.
    reason: Option<String>,
}

impl Asked {
    /// The response with the outcome of each position: of those without one, `other`.
    fn answered(
        self,
        caller: &Caller,
        outcomes: &ResolveOutcomes,
        other: impl Fn(Option<Invalid>) -> ResolveOutcome,
    ) -> Response {
        let done = outcomes
            .values()
            .filter(|(status, _)| *status != ResolvedStatus::Refused);
        caller.note_resolved(done.count());
        let results: Vec<_> = self
            .positions
            .into_iter()
            .map(|text| {
                let (status, detail) = match text.parse() {
                    Ok(position) => outcomes
                        .get(&position)
                        .cloned()
                        .unwrap_or_else(|| other(None)),
                    Err(invalid) => other(Some(invalid)),
                };
                ResolvedBody::new(text, status, detail)
            })
            .collect();
        Json(json!({"dry_run": self.dry_run, "results": results})).into_response()
    }
}

/// Checks and reads a request, and notes it for the audit log.
async fn begin(
    service: &Service,
    action: &'static str,
    mut request: Request,
) -> HttpResult<(Caller, Asked)> {
    let caller = Caller::of(request.extensions());
    let may = |needed| service.policy.check_as(&caller, &needed, action);
    may(Action::Observe)?;
    Query::refuse(request.uri())?;
    let body = request::body::read(&mut request, &service.options).await?;
    let asked = asked(&body, action == "park")?;
    if !asked.dry_run {
        may(Action::Operate)?;
        let positions: Vec<_> = asked.known.iter().map(ToString::to_string).collect();
        // Before it begins, as it completes without its client.
        caller.audit(Audited {
            action,
            is_allowed: true,
            positions: Some(positions.join(" ")),
            reason: asked.reason.clone(),
            ..Audited::default()
        });
    }
    Ok((caller, asked))
}

/// The members of a body; a dry run needs no reason.
fn asked(body: &[u8], needs_reason: bool) -> HttpResult<Asked> {
    let mut body = Body::parse(body, ["positions", "dry_run", "reason"])?;
    let positions = body.read("positions", |value| {
        serde_json::from_str::<Vec<String>>(value.as_json())
            .ok()
            .filter(|positions| (1..=MAX_POSITIONS).contains(&positions.len()))
            .ok_or_else(|| MemberError::value(format!("must be 1 to {MAX_POSITIONS} texts")))
    });
    let dry_run = body.read_optional("dry_run", |value| {
        value
            .as_json()
            .parse()
            .map_err(|_no_bool| MemberError::value("must be true or false"))
    });
    let reason = if needs_reason && dry_run != Some(true) {
        body.read("reason", read_reason)
    } else {
        body.read_optional("reason", read_reason)
    };
    let positions = body.finish(positions)?;
    let known = positions
        .iter()
        .filter_map(|text| text.parse().ok())
        .collect();
    Ok(Asked {
        positions,
        known,
        dry_run: dry_run.unwrap_or_default(),
        reason,
    })
}

fn read_reason(value: RawScalar<'_>) -> Result<String, MemberError> {
    let text = value.text().unwrap_or_default();
    let reason = text.trim();
    let is_line = !text.chars().any(char::is_control) && text.chars().count() <= MAX_REASON;
    if is_line && !reason.is_empty() {
        Ok(reason.to_owned())
    } else {
        Err(MemberError::value(format!(
            "must be one line of 1 to {MAX_REASON} characters"
        )))
    }
}

/// The result of a call of a log, if it completes in time: that of the whole request, because each
/// call reads all dead letters and takes longer than a query of a store.
async fn query<T>(
    service: &Service,
    call: impl Future<Output = Result<T>> + Send,
) -> HttpResult<T> {
    within(service.options.request_timeout, call)
        .await
        .map_err(|error| HttpError::failed_query(error, Subject::DEAD_LETTER))
}
