//! Sends many purchases in one request.
//!
//! A batch is one call with one or more attempts. Each attempt sends the purchases whose result is
//! not known yet, one per line, and the service responds with one line per purchase. The results of
//! all attempts are collected in the [`PurchaseBatch`]:
//!
//! 1. [`PurchaseBatch::next_request_body`] writes the body of a request
//! 2. [`PurchaseBatch::record_response`] records the results in the response
//! 3. [`PurchaseBatch::take_results`] returns all results, once the call ends

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reqwest::StatusCode;
use shop_api::problem::error_kind;
use shop_api::{BatchResultBody, BatchStatus};
use shop_core::ports::publish_new_each;
use shop_core::{Clock, SystemClock};

use crate::error::client_error;
use crate::response::Response;
use crate::transport::{RequestBody, json_body};
use crate::{
    Error, ErrorKind, NewPurchase, Outcome, PublishedPurchase, Receipt, RequestContext, Result,
    ShopClient,
};

/// The typical size of a purchase in the body of a request. It only determines the first size of
/// the buffer.
const TYPICAL_PURCHASE_BYTES: usize = 160;

/// The purchases of a batch, and their results so far.
#[derive(Debug)]
pub(crate) struct PurchaseBatch {
    pub(crate) purchases: Vec<NewPurchase>,
    progress: Mutex<BatchProgress>,
}

#[derive(Debug)]
struct BatchProgress {
    /// The results, in the order of the purchases. A purchase without a result is sent by the next
    /// attempt.
    results: Vec<Option<Result<PublishedPurchase>>>,
    /// The number of requests so far, including requests whose bearer token was rejected.
    attempts: u32,
}

impl PurchaseBatch {
    /// Creates a batch of `purchases`, all of which must have a key.
    fn new(purchases: Vec<NewPurchase>) -> Arc<Self> {
        let results = vec![None; purchases.len()];
        Arc::new(Self {
            purchases,
            progress: Mutex::new(BatchProgress {
                results,
                attempts: 0,
            }),
        })
    }

    fn progress(&self) -> MutexGuard<'_, BatchProgress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one to the number of attempts, and returns the body of the next request: the purchases
    /// without a result, as NDJSON (one JSON object per line).
    ///
    /// A request that is sent again with a new bearer token counts as an attempt, too.
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) if a purchase cannot be written as JSON.
    pub(crate) fn next_request_body(&self) -> Result<Vec<u8>> {
        let mut progress = self.progress();
        progress.attempts += 1;

        let mut body = Vec::with_capacity(self.purchases.len() * TYPICAL_PURCHASE_BYTES);
        for (purchase, result) in self.purchases.iter().zip(&progress.results) {
            if result.is_none() {
                body.extend(json_body(purchase)?);
                body.push(b'\n');
            }
        }
        Ok(body)
    }

    /// Records the results in the response to the current attempt.
    ///
    /// # Errors
    /// - The error of a purchase that failed with a retryable error: the next attempt sends the
    ///   purchase again
    /// - [`Unsupported`](ErrorKind::Unsupported) if the response does not contain exactly one
    ///   result for each purchase of the attempt
    pub(crate) fn record_response(&self, response: Response) -> Result<Response> {
        // The body is parsed before the lock is taken.
        let parsed_results = parse_results(&response.body);
        let mut progress = self.progress();
        let attempts = progress.attempts;
        let sent_purchases: Vec<_> = self
            .purchases
            .iter()
            .zip(&mut progress.results)
            .filter(|(_purchase, result_slot)| result_slot.is_none())
            .collect();
        let complete_results = parsed_results.filter(|results| {
            // The service numbers the results of each request from 0 on.
            let line_numbers = results.iter().map(|(result, _json)| result.line);
            line_numbers.eq(0..sent_purchases.len())
        });
        let Some(results) = complete_results else {
            let message = "the response is not one of this service: check the address";
            return Err(response.unreadable_error(message));
        };

        let mut retryable_error = None;
        for ((purchase, result_slot), (result, result_json)) in
            sent_purchases.into_iter().zip(results)
        {
            match convert_result(purchase, result, result_json, attempts) {
                // The slot stays empty, so the next attempt sends the purchase again.
                Err(error) if error.is_retryable() => retryable_error = Some(error),
                final_result => *result_slot = Some(final_result),
            }
        }
        retryable_error.map_or(Ok(response), Err)
    }

    /// Takes the results out of the batch, in the order of the purchases. A purchase without a
    /// result fails with `call_error`, the error of the whole call.
    fn take_results(&self, call_error: Option<Error>) -> Vec<Result<PublishedPurchase>> {
        let missing_result_error =
            call_error.unwrap_or_else(|| client_error(ErrorKind::Internal, "a result is missing"));
        let results = std::mem::take(&mut self.progress().results);
        results
            .into_iter()
            .map(|result| result.unwrap_or_else(|| Err(missing_result_error.clone())))
            .collect()
    }
}

/// Parses the lines of a response, each with its JSON. Returns `None` if a line cannot be parsed,
/// because the whole response is unreadable then.
fn parse_results(body: &[u8]) -> Option<Vec<(BatchResultBody, &[u8])>> {
    body.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| Some((serde_json::from_slice(line).ok()?, line)))
        .collect()
}

/// Converts the service's `result` for `purchase`, which must have a key. `attempts` is the number
/// of attempts so far, and `result_json` is the same result as JSON.
///
/// # Errors
/// - The error in the result, unless the purchase is acknowledged or pending
/// - [`Unsupported`](ErrorKind::Unsupported) if the receipt is about another purchase
fn convert_result(
    purchase: &NewPurchase,
    mut result: BatchResultBody,
    result_json: &[u8],
    attempts: u32,
) -> Result<PublishedPurchase> {
    let receipt = result.receipt.take();
    match (result.status, receipt) {
        (BatchStatus::Acknowledged | BatchStatus::Pending, Some(receipt)) => {
            published_purchase(purchase, &result, receipt, attempts)
        }
        // A recorded purchase without a receipt is an internal error.
        _ => Err(result_error(&result, result_json, attempts)),
    }
}

/// Returns the purchase that the service recorded. The service's `result` for `purchase` contains
/// `receipt`.
///
/// # Errors
/// [`Unsupported`](ErrorKind::Unsupported) if the receipt is about another purchase
fn published_purchase(
    purchase: &NewPurchase,
    result: &BatchResultBody,
    receipt: Receipt,
    attempts: u32,
) -> Result<PublishedPurchase> {
    // The result does not repeat the purchase, so the recorded purchase is derived here as the
    // service derives it: its id from its key, and its time from the result.
    let time = result.timestamp.unwrap_or_else(|| SystemClock.now());
    let unused_fresh_id = || SystemClock.fresh_id();
    let recorded_purchase = purchase
        .clone()
        .with_timestamp(time)
        .into_purchase(time, unused_fresh_id);
    if receipt.id != recorded_purchase.id {
        let message = "the response contains another purchase";
        return Err(client_error(ErrorKind::Unsupported, message).with_outcome(Outcome::Unknown));
    }

    let mut published = PublishedPurchase::new(recorded_purchase, receipt).with_attempts(attempts);
    published.replayed = result.replayed;
    published.pending = result.status == BatchStatus::Pending;
    Ok(published)
}

/// Returns the error of a purchase that the service did not record, from the service's `result`.
///
/// `result_json`, the same result as JSON, is also a problem document (RFC 9457), so it is read like
/// the error response to a single buy.
fn result_error(result: &BatchResultBody, result_json: &[u8], attempts: u32) -> Error {
    let kind = result
        .problem_type
        .as_deref()
        .and_then(error_kind)
        .unwrap_or(ErrorKind::Internal);
    // The hint is for 404 and 405, and `status_of_kind` returns neither.
    let unused_not_found_hint = "";
    let mut error = Response::new(status_of_kind(kind), result_json.to_vec())
        .refusal_error(unused_not_found_hint)
        .with_attempts(attempts);
    if result.status == BatchStatus::Rejected {
        error = error.with_outcome(Outcome::NotApplied);
    }
    error
}

/// Returns the status with which the service responds to a single buy that fails with `kind`.
const fn status_of_kind(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::Conflict | ErrorKind::Erased => StatusCode::CONFLICT,
        ErrorKind::Denied => StatusCode::FORBIDDEN,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::Corrupt | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl ShopClient {
    /// Sends all purchases in one request, and returns one result for each, in the order of the
    /// purchases. Every purchase must have a key.
    ///
    /// If the service refuses the request as too large, the purchases are sent in two halves. A
    /// single purchase is sent as a buy. `context` is the context of the purchases, if they have
    /// one.
    pub(crate) async fn send_batch(
        &self,
        purchases: Vec<NewPurchase>,
        context: Option<&RequestContext>,
    ) -> Vec<Result<PublishedPurchase>> {
        // This is a stack. The first half of a split part is on top, so that the results are in the
        // order of the purchases.
        let mut remaining_parts = vec![purchases];
        let mut results = Vec::new();
        while let Some(part) = remaining_parts.pop() {
            if part.len() < 2 {
                results.extend(publish_new_each(self, &part, context).await);
                continue;
            }

            let batch = PurchaseBatch::new(part);
            let request_body = RequestBody::Batch(Arc::clone(&batch));
            let call = self
                .transport
                .post("buy_many", "v1/purchases:batch", request_body)
                .with_large_response();
            let error = self.send(call, context).await.err();

            if error.as_ref().map(Error::kind) == Some(ErrorKind::TooLarge) {
                let (first, second) = batch.purchases.split_at(batch.purchases.len() / 2);
                remaining_parts.extend([second.to_vec(), first.to_vec()]);
            } else {
                results.extend(batch.take_results(error));
            }
        }
        results
    }
}
