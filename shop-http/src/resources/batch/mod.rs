//! `POST /v1/purchases:batch`: accepts many purchases and refunds, with one result for each.
//!
//! The whole body is read and split into lines by `lines`, before any purchase is read. Then
//! follows one chunk of lines after the other:
//!
//! 1. [`BatchReader`] reads and authorizes the lines.
//! 2. The service publishes the purchases of the chunk together.
//! 3. [`BatchResults`] writes one result per line, and leaves a gap for the result of each refund.
//!
//! The refunds of all chunks follow, because the purchase of a refund may be in a later chunk. They
//! are published together, and the batch waits once for the decisions of the store about them.
//! [`BatchResults`] then fills the gaps.
//!
//! An invalid, denied or failed purchase results in an error, and does not prevent the others.

mod lines;

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Extensions, HeaderMap, header};
use axum::response::{IntoResponse, Response};
use shop_api::{NDJSON, write_acknowledged};
use shop_core::{NewPurchase, UserId};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::Instant;

use crate::auth::{Action, Audited, Caller};
use crate::header_names::IDEMPOTENCY_KEY;
use crate::permits::Permit;
use crate::pipeline::browsers::ForeignOrigin;
use crate::request::body::BodyLimits;
use crate::request::write_request::WriteRequest;
use crate::request::{self, Query};
use crate::response::error::FailedCall;
use crate::response::{HttpError, HttpResult, Location};
use crate::service::purchases::{BatchRefund, BatchResult, PermittedPurchases};
use crate::service::{PurchaseService, ServiceKind};

/// The number of lines whose purchases are published together. Other requests are served between
/// two chunks.
const CHUNK_LINES: usize = 1_000;
/// The units of the pool of writes that a batch acquires, so that single purchases find room beside
/// batches.
const WRITE_UNITS: usize = 8;
/// The size in bytes above which it takes milliseconds to read a body, during which other requests
/// of the same worker would wait.
const LARGE_BODY_BYTES: usize = 1 << 20;
/// The typical size in bytes of a result.
const RESULT_BYTES: usize = 288;
/// The maximum number of characters in the text of an error, once the response is larger than
/// usual.
const SHORT_DETAIL_CHARS: usize = 64;

/// Handles `POST /v1/purchases:batch`: accepts many purchases and refunds.
pub(crate) async fn post(purchases: Arc<PurchaseService>, request: WriteRequest) -> HttpResult {
    let permit = request.permit()?;
    let limits = BodyLimits::new(
        purchases.options.max_batch_bytes,
        &purchases.options,
        &request.state,
    );
    let (parts, body) = request.into_request().into_parts();
    let headers = &parts.headers;
    let caller = Caller::from_extensions(&parts.extensions);
    let is_ndjson = match check_head(&purchases, &caller, headers) {
        Ok(is_ndjson) => is_ndjson,
        Err(error) => {
            request::body::discard_rest(headers, body).await;
            return Err(error);
        }
    };

    let mut body_permit = permit.empty_body_permit();
    let options = &purchases.options;
    let text = request::body::read_up_to(headers, body, limits, |bytes| {
        body_permit.extend_for_write(bytes)
    })
    .await?;
    permit.acquire_write(WRITE_UNITS)?;
    Query::refuse(&parts.uri)?;

    let max_purchases = permit
        .max_batch_purchases()
        .min(options.max_batch_purchases);
    let lines = run_blocking(text.len(), || {
        lines::split_body(&text, is_ndjson, max_purchases)
    })?;
    permit.count_batch(lines.len())?;
    let result_bytes = lines.len() * RESULT_BYTES;
    body_permit.extend_for_write(result_bytes)?;

    let context = request::context::request_context(headers);
    let shows_positions = purchases.shows_positions(&caller);
    // A chunk that begins after the deadline is not published, so that the response is in time.
    let deadline = Instant::now() + options.publish_timeout;
    let mut results = BatchResults::new(is_ndjson, shows_positions, result_bytes);
    let mut reader = BatchReader::default();
    let mut refunds = Vec::new();
    for chunk in lines.chunks(CHUNK_LINES) {
        let content = run_blocking(text.len(), || {
            reader.read_chunk(chunk, &purchases, &caller, &parts.extensions)
        });
        refunds.extend(content.refunds);
        let purchase_results = purchases
            .buy_many(content.purchases, context.clone(), deadline)
            .await;
        results.add_chunk(chunk, content.line_kinds, purchase_results)?;
    }
    let refund_results = purchases.refund_many(refunds, context, deadline).await;
    results.fill_gaps(refund_results)?;

    reader.audit(&caller, lines.len());
    Ok(results.respond(body_permit))
}

/// Checks the head of a request before its body is read. Returns true if the body is NDJSON, and
/// false if it is a JSON array.
///
/// # Errors
/// - 403 on management, if the caller is no operator
/// - 422 for an idempotency key of the whole batch
/// - 415 for another media type
fn check_head(
    purchases: &PurchaseService,
    caller: &Caller,
    headers: &HeaderMap,
) -> HttpResult<bool> {
    if purchases.kind == ServiceKind::Management {
        // Management writes to the store without the log, which only operators may do.
        purchases.policy.check(caller, &Action::Operate)?;
    }
    if headers.contains_key(IDEMPOTENCY_KEY) {
        return Err(Location::Header("Idempotency-Key")
            .invalid("is for one purchase: give each purchase of a batch its own `key`")
            .into());
    }
    request::body::is_ndjson(headers)
}

/// Runs `work`, which reads a body of `body_bytes`, and returns its result.
///
/// If the body is large, another thread runs the other tasks of this worker in the meantime.
fn run_blocking<T>(body_bytes: usize, work: impl FnOnce() -> T) -> T {
    // `block_in_place` would panic in a runtime with one thread.
    if body_bytes > LARGE_BODY_BYTES
        && Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread
    {
        return tokio::task::block_in_place(work);
    }
    work()
}

/// A line of NDJSON, or an element of an array, which should be a purchase.
struct BatchLine<'a> {
    /// The index of the line or the element, from 0. Blank lines count.
    index: usize,
    text: &'a [u8],
}

/// The content of a line that the caller may publish.
enum BatchLineContent {
    Purchase(NewPurchase),
    Refund(BatchRefund),
}

/// The kind of a line, which is known once the line was read.
enum BatchLineKind {
    Purchase,
    Refund,
    /// The line is not valid, or the caller may not publish it.
    Refused(HttpError),
}

/// The content of the lines of a chunk.
struct ChunkContent {
    /// The kind of each line.
    line_kinds: Vec<BatchLineKind>,
    /// The purchases, in the order of their lines.
    purchases: Vec<NewPurchase>,
    /// The refunds, in the order of their lines.
    refunds: Vec<BatchRefund>,
}

/// Reads and authorizes the lines of a batch, and collects the facts about them for the audit log.
#[derive(Default)]
struct BatchReader {
    /// The user of the first valid purchase.
    first_user: Option<UserId>,
    has_several_users: bool,
    /// The number of purchases and refunds that the policy denied.
    denied_count: usize,
}

impl BatchReader {
    /// Reads the lines of `chunk`, and checks for each that `caller` may publish its purchase or
    /// refund.
    ///
    /// A line that is refused does not fail the chunk: its error is kept in the kind of the line.
    fn read_chunk(
        &mut self,
        chunk: &[BatchLine<'_>],
        purchases: &PurchaseService,
        caller: &Caller,
        extensions: &Extensions,
    ) -> ChunkContent {
        let mut chunk_content = ChunkContent {
            line_kinds: Vec::with_capacity(chunk.len()),
            purchases: Vec::with_capacity(chunk.len()),
            refunds: Vec::new(),
        };
        for line in chunk {
            let line_kind =
                match self.read_and_authorize_line(line.text, purchases, caller, extensions) {
                    Ok(BatchLineContent::Purchase(purchase)) => {
                        chunk_content.purchases.push(purchase);
                        BatchLineKind::Purchase
                    }
                    Ok(BatchLineContent::Refund(refund)) => {
                        chunk_content.refunds.push(refund);
                        BatchLineKind::Refund
                    }
                    Err(error) => BatchLineKind::Refused(error),
                };
            chunk_content.line_kinds.push(line_kind);
        }
        chunk_content
    }

    /// Reads the purchase or the refund in `text`, and checks that `caller` may publish it.
    ///
    /// # Errors
    /// - 400 or 422 if the purchase or the refund is not valid
    /// - 403 if the policy denies it, or if it is a refund by a page of another origin
    fn read_and_authorize_line(
        &mut self,
        text: &[u8],
        purchases: &PurchaseService,
        caller: &Caller,
        extensions: &Extensions,
    ) -> HttpResult<BatchLineContent> {
        let purchase = request::purchase::read_line(text, purchases)?;
        let user = &purchase.user_id;
        let first_user = self.first_user.get_or_insert_with(|| user.clone());
        self.has_several_users |= first_user != user;

        let is_refund = purchase.details.of.is_some();
        if !is_refund {
            self.authorize(&Action::Buy(user), purchases, caller)?;
            return Ok(BatchLineContent::Purchase(purchase));
        }
        ForeignOrigin::refuse(extensions)?;
        let action = Action::Refund(user);
        self.authorize(&action, purchases, caller)?;
        let permitted = permitted_purchases(&action, purchases, caller);
        Ok(BatchLineContent::Refund(BatchRefund {
            refund: purchase,
            permitted,
        }))
    }

    /// Checks that `caller` may perform `action`. Counts a denial for the audit log.
    ///
    /// # Errors
    /// 403 if the policy denies the action.
    fn authorize(
        &mut self,
        action: &Action<'_>,
        purchases: &PurchaseService,
        caller: &Caller,
    ) -> HttpResult<()> {
        // On management, the whole batch was authorized before its body was read.
        if purchases.kind == ServiceKind::Management {
            return Ok(());
        }
        purchases
            .policy
            .decide(caller, action)
            .inspect_err(|_denial| self.denied_count += 1)
    }

    /// Records a batch of `line_count` lines for the audit log. The record contains the user if all
    /// purchases are of one user.
    fn audit(self, caller: &Caller, line_count: usize) {
        let sole_user = self.first_user.filter(|_user| !self.has_several_users);
        caller.audit(Audited {
            action: "buy_batch",
            user: sole_user.as_ref().map(UserId::to_string),
            is_allowed: self.denied_count == 0,
            purchases: Some(line_count),
            denied: Some(self.denied_count),
            ..Audited::default()
        });
    }
}

/// Returns the purchases that `caller` may refund by `action`, which the policy allows.
fn permitted_purchases(
    action: &Action<'_>,
    purchases: &PurchaseService,
    caller: &Caller,
) -> PermittedPurchases {
    // A user who may refund only own purchases must not learn which others exist.
    let is_limited_to_caller = purchases.kind == ServiceKind::Facing
        && action.is_limited_to(&caller.principal)
        && !purchases.policy.allows(caller, &Action::ReadErased);
    if is_limited_to_caller {
        PermittedPurchases::KnownAndOwn
    } else {
        PermittedPurchases::Any
    }
}

/// The place of a result that is missing in the body of [`BatchResults`].
struct ResultGap {
    /// The offset in the body.
    offset: usize,
    /// The index of the line.
    line: usize,
}

/// The results of a batch: the body of the response, which is written chunk by chunk.
struct BatchResults {
    /// Whether the body consists of one result per line, and is not a JSON array.
    is_ndjson: bool,
    /// Whether the body contains neither a result nor a gap for a result.
    is_empty: bool,
    /// The places in `body` at which the results of refunds are missing, in their order.
    gaps: Vec<ResultGap>,
    /// Whether the caller may see the positions of the purchases in the log.
    shows_positions: bool,
    body: Vec<u8>,
    /// The number of bytes for which the batch holds a permit.
    permitted_bytes: usize,
    /// The failed call of the first purchase that was not recorded, for the log.
    cause: Option<Arc<FailedCall>>,
}

impl BatchResults {
    /// Creates the body of a response, without results. The batch holds a permit for
    /// `permitted_bytes`.
    fn new(is_ndjson: bool, shows_positions: bool, permitted_bytes: usize) -> Self {
        let mut body = Vec::with_capacity(permitted_bytes);
        if !is_ndjson {
            body.push(b'[');
        }
        Self {
            is_ndjson,
            is_empty: true,
            gaps: Vec::new(),
            shows_positions,
            body,
            permitted_bytes,
            cause: None,
        }
    }

    /// Adds one result per line of `chunk`: the error of a line that was refused, a gap for the
    /// result of a refund, or else the next one of `purchase_results`.
    ///
    /// `line_kinds` contains the kind of each line of `chunk`.
    ///
    /// # Errors
    /// 500 if a result is missing or cannot be written, which is a defect.
    fn add_chunk(
        &mut self,
        chunk: &[BatchLine<'_>],
        line_kinds: Vec<BatchLineKind>,
        purchase_results: Vec<BatchResult>,
    ) -> HttpResult<()> {
        let mut purchase_results = purchase_results.into_iter();
        for (line, line_kind) in chunk.iter().zip(line_kinds) {
            if !self.is_ndjson && !self.is_empty {
                self.body.push(b',');
            }
            self.is_empty = false;

            match line_kind {
                BatchLineKind::Purchase => {
                    let result = purchase_results.next().ok_or(HttpError::PANICKED)?;
                    self.write_result(line.index, result)?;
                }
                BatchLineKind::Refund => self.gaps.push(ResultGap {
                    offset: self.body.len(),
                    line: line.index,
                }),
                BatchLineKind::Refused(error) => self.write_error(line.index, &error)?,
            }

            if self.is_ndjson {
                self.body.push(b'\n');
            }
        }
        Ok(())
    }

    /// Writes the results of the refunds into the gaps that were left for them.
    ///
    /// # Errors
    /// 500 if a result is missing or cannot be written, which is a defect.
    fn fill_gaps(&mut self, refund_results: Vec<BatchResult>) -> HttpResult<()> {
        let gaps = std::mem::take(&mut self.gaps);
        if gaps.len() != refund_results.len() {
            return Err(HttpError::PANICKED);
        }
        if gaps.is_empty() {
            return Ok(());
        }

        let body_with_gaps = std::mem::take(&mut self.body);
        self.body.reserve(self.permitted_bytes);
        let mut copied_bytes = 0;
        for (gap, result) in gaps.into_iter().zip(refund_results) {
            self.body
                .extend_from_slice(&body_with_gaps[copied_bytes..gap.offset]);
            copied_bytes = gap.offset;
            self.write_result(gap.line, result)?;
        }
        self.body.extend_from_slice(&body_with_gaps[copied_bytes..]);
        Ok(())
    }

    /// Writes the `result` of the line with the index `line`.
    fn write_result(&mut self, line: usize, result: BatchResult) -> HttpResult<()> {
        match result {
            Ok(mut published) => {
                if !self.shows_positions {
                    published.receipt.position = None;
                }
                write_acknowledged(line, &published, &mut self.body);
                Ok(())
            }
            Err(error) => self.write_error(line, &error),
        }
    }

    /// Writes the `error` of the line with the index `line`. The text is shortened if the response is
    /// larger than its permit. Keeps the first failed call for the log.
    fn write_error(&mut self, line: usize, error: &HttpError) -> HttpResult<()> {
        if self.cause.is_none() {
            self.cause = error.cause();
        }

        let mut result = error.to_batch_result(line);
        // No permit counts the bytes from here on, so there should be few.
        if self.body.len() > self.permitted_bytes {
            result.errors.clear();
            result.detail = result
                .detail
                .map(|detail| detail.chars().take(SHORT_DETAIL_CHARS).collect());
        }
        serde_json::to_writer(&mut self.body, &result).map_err(|_defect| HttpError::PANICKED)
    }

    /// Returns the response, which keeps `body_permit` until it is sent.
    fn respond(mut self, body_permit: Permit) -> Response {
        let mut media_type = NDJSON;
        if !self.is_ndjson {
            self.body.push(b']');
            media_type = "application/json";
        }

        let body = Arc::new(body_permit).attach_to(self.body.into());
        let content_type = (header::CONTENT_TYPE, media_type);
        let mut response = ([content_type], Body::from(body)).into_response();
        if let Some(cause) = self.cause {
            response.extensions_mut().insert(cause);
        }
        response
    }
}
