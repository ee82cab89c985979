//! `POST /v1/purchases:batch`: accepts many purchases, with one result each.

mod lines;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Extensions, HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use shop_core::UserId;
use shop_core::api::{NDJSON, write_acknowledged};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::Instant;

use crate::auth::{Action, Audited, Caller};
use crate::header_names::IDEMPOTENCY_KEY;
use crate::permits::{Permit, RequestPermit};
use crate::request::{self, Query};
use crate::response::error::FailedCall;
use crate::response::validation_error::Location;
use crate::response::{HttpError, HttpResult};
use crate::server::browsers::ForeignOrigin;
use crate::service::purchases::{BatchPurchase, BatchResult};
use crate::service::{PurchaseService, ServiceKind};

use lines::BatchLine;

/// The number of purchases that are published together. Other requests are served in between.
const CHUNK: usize = 1_000;
/// The units of the pool of writes that a batch takes: single purchases have room beside batches.
const WRITES: usize = 8;
/// A body above this size takes milliseconds to read: other requests of its worker would wait.
const LARGE_BODY: usize = 1 << 20;
/// The typical size of a result.
const RESULT_BYTES: usize = 288;
/// The maximum number of characters in a detail of a response that is larger than usual.
const SHORT_DETAIL: usize = 64;

pub(crate) async fn post(
    State(purchases): State<Arc<PurchaseService>>,
    request: Request,
) -> HttpResult {
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    let caller = Caller::of(&parts.extensions);
    let is_ndjson = match check(&purchases, &caller, headers) {
        Ok(is_ndjson) => is_ndjson,
        Err(failure) => {
            request::body::read_on(headers, body).await;
            return Err(failure);
        }
    };
    let permit = RequestPermit::of(&parts.extensions)?;
    let mut body_permit = permit.empty_body_permit();
    let options = &purchases.options;
    let limit = options.max_batch_bytes;
    let body = request::body::read_up_to(headers, body, limit, options, |bytes| {
        body_permit.extend_for_write(bytes)
    })
    .await?;
    permit.acquire_write(WRITES)?;
    Query::refuse(&parts.uri)?;
    let max_purchases = permit
        .max_batch_purchases()
        .min(options.max_batch_purchases);
    let lines = aside(body.len(), || {
        if is_ndjson {
            lines::of_ndjson(&body, max_purchases)
        } else {
            lines::of_array(&body, max_purchases)
        }
    })?;
    permit.count_batch(lines.len())?;
    body_permit.extend_for_write(lines.len() * RESULT_BYTES)?;

    let context = request::context::request_context(headers);
    let shows_positions = purchases.shows_positions(&caller);
    // Later chunks are not begun, so that the response is in time.
    let deadline = Instant::now() + options.publish_timeout;
    let mut results = Results::new(is_ndjson, lines.len());
    let mut users = BatchUsers::default();
    for chunk in lines.chunks(CHUNK) {
        let (new, failures) = aside(body.len(), || {
            read(&purchases, &caller, &parts.extensions, chunk, &mut users)
        });
        let mut bought = purchases.buy_many(new, context.as_deref(), deadline).await;
        if !shows_positions {
            for bought in bought.iter_mut().flatten() {
                bought.receipt.position = None;
            }
        }
        let mut bought = bought.into_iter();
        let mut failures = failures.into_iter().peekable();
        for (line, _) in chunk {
            let result = match failures.next_if(|(failed, _)| failed == line) {
                Some((_, failure)) => Some(Err(failure)),
                None => bought.next(),
            };
            results.add(*line, result)?;
        }
    }
    caller.audit(Audited {
        action: "buy_batch",
        user: users
            .only
            .filter(|_| !users.are_several)
            .as_ref()
            .map(UserId::to_string),
        is_allowed: users.denied == 0,
        batch: Some((lines.len(), users.denied)),
        ..Audited::default()
    });
    Ok(results.respond(body_permit))
}

/// The result of `work`, which reads a body of this size. Other tasks of the worker continue
/// elsewhere if it is large.
fn aside<T>(size: usize, work: impl FnOnce() -> T) -> T {
    if size > LARGE_BODY && Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread {
        tokio::task::block_in_place(work)
    } else {
        work()
    }
}

/// Checks what is known before the body is read. Returns whether it is NDJSON.
fn check(purchases: &PurchaseService, caller: &Caller, headers: &HeaderMap) -> HttpResult<bool> {
    if purchases.kind == ServiceKind::Management {
        // Past the log.
        purchases.policy.check(caller, &Action::Operate)?;
    }
    if headers.contains_key(IDEMPOTENCY_KEY) {
        let text = "is for one purchase: give each purchase of a batch its own `key`";
        return Err(Location::Header("Idempotency-Key").invalid(text).into());
    }
    request::body::is_ndjson(headers)
}

/// The users of a batch, for the audit log.
#[derive(Default)]
struct BatchUsers {
    only: Option<UserId>,
    are_several: bool,
    denied: usize,
}

/// The purchases of `lines`, and the failures of the other lines, both in their order.
fn read(
    purchases: &PurchaseService,
    caller: &Caller,
    extensions: &Extensions,
    lines: &[BatchLine<'_>],
    users: &mut BatchUsers,
) -> (Vec<BatchPurchase>, Vec<(usize, HttpError)>) {
    let mut new = Vec::with_capacity(lines.len());
    let mut failures = Vec::new();
    for (line, text) in lines {
        let purchase = request::purchase::read_line(text, purchases);
        let allowed = purchase.and_then(|purchase| {
            let user = &purchase.new.user_id;
            users.are_several |= users.only.get_or_insert_with(|| user.clone()) != user;
            let is_refund = purchase.new.details.of.is_some();
            if is_refund {
                ForeignOrigin::refuse(extensions)?;
            }
            if purchases.kind == ServiceKind::Facing {
                let action = if is_refund {
                    Action::Refund(user)
                } else {
                    Action::Buy(user)
                };
                let decision = purchases.policy.decide(caller, &action);
                users.denied += usize::from(decision.is_err());
                decision?;
            }
            Ok(purchase)
        });
        match allowed {
            Ok(purchase) => new.push(purchase),
            Err(failure) => failures.push((*line, failure)),
        }
    }
    (new, failures)
}

/// The body of the response: an array, or one result per line.
struct Results {
    is_ndjson: bool,
    text: Vec<u8>,
    /// The number of bytes that are held for them.
    held: usize,
    /// The cause of the first purchase that was not recorded, for the log.
    cause: Option<Arc<FailedCall>>,
}

impl Results {
    fn new(is_ndjson: bool, count: usize) -> Self {
        let held = count * RESULT_BYTES;
        let mut text = Vec::with_capacity(held);
        if !is_ndjson {
            text.push(b'[');
        }
        Self {
            is_ndjson,
            text,
            held,
            cause: None,
        }
    }

    fn add(&mut self, line: usize, result: Option<BatchResult>) -> HttpResult<()> {
        if !self.is_ndjson && self.text.len() > 1 {
            self.text.push(b',');
        }
        match result {
            Some(Ok(published)) => write_acknowledged(line, &published, &mut self.text),
            Some(Err(failure)) => {
                self.cause = self.cause.take().or_else(|| failure.cause());
                let mut result = failure.to_batch_result(line);
                // Beyond what is held for the response, results are short.
                if self.text.len() > self.held {
                    result.errors.clear();
                    result.detail = result
                        .detail
                        .map(|detail| detail.chars().take(SHORT_DETAIL).collect());
                }
                serde_json::to_writer(&mut self.text, &result)
                    .map_err(|_defect| HttpError::PANICKED)?;
            }
            None => return Err(HttpError::PANICKED),
        }
        if self.is_ndjson {
            self.text.push(b'\n');
        }
        Ok(())
    }

    /// Returns the response, which keeps `body_permit` until it is sent.
    fn respond(mut self, body_permit: Permit) -> Response {
        if !self.is_ndjson {
            self.text.push(b']');
        }
        let media = if self.is_ndjson {
            NDJSON
        } else {
            "application/json"
        };
        let body = Arc::new(body_permit).attach_to(self.text.into());
        let media = [(header::CONTENT_TYPE, media)];
        let mut response = (StatusCode::OK, media, Body::from(body)).into_response();
        if let Some(cause) = self.cause {
            response.extensions_mut().insert(cause);
        }
        response
    }
}
