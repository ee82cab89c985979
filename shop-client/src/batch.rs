//! Sends many purchases in one request.
//!
//! A batch is one call with one or more attempts. Each attempt sends the purchases whose result is
//! not known yet, one per line, and the service responds with one line per purchase. The results of
//! all attempts are collected in the [`PurchaseBatch`]:
//!
//! 1. [`PurchaseBatch::begin_attempt`] writes the body of the request
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
use crate::transport::{RequestBody, json};
use crate::{
    Error, ErrorKind, NewPurchase, Outcome, PublishedPurchase, RequestContext, Result, ShopClient,
};

/// The purchases of a batch, and their results so far.
#[derive(Debug)]
pub(crate) struct PurchaseBatch {
    pub(crate) purchases: Vec<NewPurchase>,
    progress: Mutex<BatchProgress>,
}

#[derive(Debug)]
struct BatchProgress {
    /// The results of the purchases, in their order. `None` is the result of a purchase that the
    /// next attempt sends.
    results: Vec<Option<Result<PublishedPurchase>>>,
    /// The number of requests.
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

    /// Counts a request, which after a rejected token is the second one of an attempt, and returns
    /// its body: the purchases without a result.
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) if a purchase cannot be written as JSON.
    pub(crate) fn begin_attempt(&self) -> Result<Vec<u8>> {
        let mut progress = self.progress();
        progress.attempts += 1;

        let mut body = Vec::with_capacity(self.purchases.len() * 160);
        for (purchase, result) in self.purchases.iter().zip(&progress.results) {
            if result.is_none() {
                body.extend(json(purchase)?);
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
        let results: Option<Vec<(BatchResultBody, &[u8])>> = response
            .body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| Some((serde_json::from_slice(line).ok()?, line)))
            .collect();

        let mut progress = self.progress();
        let attempts = progress.attempts;
        let sent: Vec<_> = self
            .purchases
            .iter()
            .zip(&mut progress.results)
            .filter(|(_, stored_result)| stored_result.is_none())
            .collect();
        // The service numbers its results from 0 on.
        let results = results.filter(|results| {
            let numbers = results.iter().map(|(result, _)| result.line);
            numbers.eq(0..sent.len())
        });
        let Some(results) = results else {
            let message = "the response is not one of this service: check the address";
            return Err(response.unreadable_error(message));
        };

        let mut retryable_error = None;
        for ((purchase, stored_result), (result, line)) in sent.into_iter().zip(results) {
            match convert_result(purchase, result, line, attempts) {
                Err(error) if error.is_retryable() => retryable_error = Some(error),
                final_result => *stored_result = Some(final_result),
            }
        }
        retryable_error.map_or(Ok(response), Err)
    }

    /// Takes the results out of the batch, in the order of the purchases. A purchase without a
    /// result fails with `error`, the error of the call.
    fn take_results(&self, error: Option<Error>) -> Vec<Result<PublishedPurchase>> {
        let error =
            error.unwrap_or_else(|| client_error(ErrorKind::Internal, "a result is missing"));
        let results = std::mem::take(&mut self.progress().results);
        results
            .into_iter()
            .map(|result| result.unwrap_or_else(|| Err(error.clone())))
            .collect()
    }
}

/// Converts the `result` of `purchase`, which must have a key, after this number of `attempts`.
///
/// `line` is the text of the result. It is also a problem, unless the purchase is acknowledged or
/// pending.
///
/// # Errors
/// - The error in the result, unless the purchase is acknowledged or pending
/// - [`Unsupported`](ErrorKind::Unsupported) if the result is about another purchase
fn convert_result(
    purchase: &NewPurchase,
    result: BatchResultBody,
    line: &[u8],
    attempts: u32,
) -> Result<PublishedPurchase> {
    let is_recorded = matches!(
        result.status,
        BatchStatus::Acknowledged | BatchStatus::Pending
    );
    if is_recorded && let Some(receipt) = result.receipt {
        let time = result.timestamp.unwrap_or_else(|| SystemClock.now());
        let purchase = purchase
            .clone()
            .with_timestamp(time)
            .into_purchase(time, || SystemClock.fresh_id());
        if receipt.id != purchase.id {
            let message = "the response contains another purchase";
            return Err(
                client_error(ErrorKind::Unsupported, message).with_outcome(Outcome::Unknown)
            );
        }
        let mut published = PublishedPurchase::new(purchase, receipt).with_attempts(attempts);
        published.replayed = result.replayed;
        published.pending = result.status == BatchStatus::Pending;
        return Ok(published);
    }

    let kind = result
        .problem_type
        .as_deref()
        .and_then(error_kind)
        .unwrap_or(ErrorKind::Internal);
    let mut error = Response::new(status_of_kind(kind), line.to_vec())
        .refusal_error("")
        .with_attempts(attempts);
    if result.status == BatchStatus::Rejected {
        error = error.with_outcome(Outcome::NotApplied);
    }
    Err(error)
}

/// Returns the status of the response if a single purchase fails with an error of `kind`.
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
    /// Sends all purchases, which must have keys, in one request, and returns one result for each,
    /// in their order.
    ///
    /// If the service refuses the request as too large, the purchases are sent in two halves. A
    /// single purchase is sent as a buy. `context` is the context of the purchases, if they have
    /// one.
    pub(crate) async fn send_batch(
        &self,
        purchases: Vec<NewPurchase>,
        context: Option<&RequestContext>,
    ) -> Vec<Result<PublishedPurchase>> {
        // This is a stack: the first half of a part is on top, so that the results are in the order
        // of the purchases.
        let mut remaining_parts = vec![purchases];
        let mut results = Vec::new();
        while let Some(part) = remaining_parts.pop() {
            if part.len() < 2 {
                results.extend(publish_new_each(self, &part, context).await);
                continue;
            }

            let batch = PurchaseBatch::new(part);
            let sent = RequestBody::Batch(Arc::clone(&batch));
            let call = self
                .transport
                .post("buy_many", "v1/purchases:batch", sent)
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
