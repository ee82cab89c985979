//! `/v1/dead-letters`: lists, shows, replays and discards dead letters.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use shop_core::Result;
use shop_core::log::{RecordPosition, Resolution, Resolved};

use crate::auth::{Action, Caller};
use crate::dialect::RequestDialect;
use crate::request::purchase::no_object;
use crate::request::{self, Strict};
use crate::resources::health::stuck_health;
use crate::response::failure::{Failure, Subject};
use crate::response::json::Json;
use crate::response::validation_error::{InvalidMember, Problem, unknown};
use crate::service::Service;
use crate::service::bounded::within;

/// The maximum number of positions in a request.
pub(crate) const MAX_POSITIONS: usize = 1_000;

/// The members of a request.
const MEMBERS: &[&str] = &["positions", "dry_run"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    positions: Vec<String>,
    #[serde(default)]
    dry_run: bool,
}

/// `GET /v1/dead-letters`.
pub(crate) async fn list(
    State(service): State<Arc<Service>>,
    RequestDialect(dialect): RequestDialect,
    caller: Caller,
    uri: Uri,
) -> Response {
    let page = async {
        service.policy.check(&caller, &Action::Operate)?;
        let mut asked = Strict::from_uri(&uri, Strict::DEAD_LETTERS)?;
        let filter = asked.dead_letters(&service.dead_letters.topics().collect::<Vec<_>>());
        let (_, filter) = asked.finish(filter)?;
        let (items, next) = query(&service, service.dead_letters.page(&filter)).await?;
        let stuck = service.ingests().filter_map(|ingest| ingest.status().stuck).map(stuck_health);
        let body = json!({"items": items, "next": next, "stuck": stuck.collect::<Vec<_>>()});
        Ok::<_, Failure>(Json(body).into_response())
    };
    page.await.unwrap_or_else(|failure| failure.respond(dialect))
}

/// `GET /v1/dead-letters/{position}`.
pub(crate) async fn get(
    State(service): State<Arc<Service>>,
    RequestDialect(dialect): RequestDialect,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Response {
    let found = async {
        service.policy.check(&caller, &Action::Operate)?;
        Strict::from_uri(&uri, &[])?.finish(Some(()))?;
        let text = path.map(|Path(text)| text).unwrap_or_default();
        let position = text.parse::<RecordPosition>();
        let position =
            position.map_err(|error| Failure::field("position", format!("is not valid: {error}")))?;
        let found = query(&service, service.dead_letters.get(&position)).await?;
        Ok::<_, Failure>(Json(found.ok_or(Failure::UnknownDeadLetter)?).into_response())
    };
    found.await.unwrap_or_else(|failure| failure.respond(dialect))
}

/// `POST /v1/dead-letters:replay`.
pub(crate) async fn replay(
    State(service): State<Arc<Service>>,
    RequestDialect(dialect): RequestDialect,
    request: Request,
) -> Response {
    let done = resolve(&service, Resolution::Replayed, request).await;
    done.unwrap_or_else(|failure| failure.respond(dialect))
}

/// `POST /v1/dead-letters:discard`.
pub(crate) async fn discard(
    State(service): State<Arc<Service>>,
    RequestDialect(dialect): RequestDialect,
    request: Request,
) -> Response {
    let done = resolve(&service, Resolution::Dropped, request).await;
    done.unwrap_or_else(|failure| failure.respond(dialect))
}

async fn resolve(service: &Service, resolution: Resolution, request: Request) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    service.policy.check(&Caller::of(&parts.extensions), &Action::Operate)?;
    Strict::from_uri(&parts.uri, &[])?.finish(Some(()))?;
    let body = request::body::read(&parts.headers, body, &service.options).await?;
    let Asked { positions, dry_run } = asked(&body)?;
    let known: BTreeSet<RecordPosition> = positions.iter().filter_map(|text| text.parse().ok()).collect();
    let found = query(service, service.dead_letters.resolve(known, resolution, dry_run)).await?;
    let done = if resolution == Resolution::Replayed { "replayed" } else { "discarded" };
    let result = |text: String| {
        let position = text.parse::<RecordPosition>();
        let (status, detail) = match position.map(|position| found.get(&position)) {
            Ok(Some(Resolved::Done)) => (done, None),
            Ok(Some(_)) => {
                ("refused", Some("is a gap: its records are gone, it can only be discarded".to_owned()))
            }
            Ok(None) => ("unknown", Some("there is no pending dead letter".to_owned())),
            Err(error) => ("unknown", Some(error.to_string())),
        };
        let mut result = json!({"position": text, "status": status});
        if let Some(detail) = detail {
            result["detail"] = detail.into();
        }
        result
    };
    let results: Vec<_> = positions.into_iter().map(result).collect();
    Ok(Json(json!({"dry_run": dry_run, "results": results})).into_response())
}

/// The members of a body, or all that is wrong with them.
fn asked(body: &[u8]) -> Result<Asked, Failure> {
    let wrong = |member: &str, problem, text: String| InvalidMember {
        member: member.to_owned().into(),
        problem,
        text,
        input: "null".to_owned(),
    };
    let most = format!("positions must be 1 to {MAX_POSITIONS} texts");
    match serde_json::from_slice::<Asked>(body) {
        Ok(asked) if (1..=MAX_POSITIONS).contains(&asked.positions.len()) => Ok(asked),
        Ok(_) => Err(Failure::Body(vec![wrong("positions", Problem::Value, most)])),
        Err(error) => {
            let members: Map<String, Value> =
                serde_json::from_slice(body).map_err(|error| no_object(body, &error))?;
            let mut all = Vec::new();
            match members.get("positions") {
                None => all.push(wrong("positions", Problem::Missing, String::new())),
                Some(Value::Array(positions)) if positions.iter().all(Value::is_string) => {}
                Some(_) => all.push(wrong("positions", Problem::Value, most)),
            }
            if members.get("dry_run").is_some_and(|dry_run| !dry_run.is_boolean()) {
                all.push(wrong("dry_run", Problem::Value, "dry_run must be true or false".to_owned()));
            }
            let others = members.keys().filter(|name| !MEMBERS.contains(&&***name));
            all.extend(others.map(|name| wrong(name, Problem::Unknown, unknown(name, MEMBERS))));
            // Otherwise a member is repeated.
            Err(if all.is_empty() { no_object(body, &error) } else { Failure::Body(all) })
        }
    }
}

/// The result of a call of a log, if it completes in time: that of the whole request, because each call reads all dead
/// letters and takes longer than a query of a store.
async fn query<T>(service: &Service, call: impl Future<Output = Result<T>> + Send) -> Result<T, Failure> {
    let done = within(service.options.request_timeout, call).await;
    done.map_err(|error| Failure::Query(error, Subject::DeadLetter))
}
