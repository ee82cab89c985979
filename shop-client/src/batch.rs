//! Many purchases in one request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reqwest::StatusCode;
use shop_core::api::problem::error_kind;
use shop_core::api::{BatchResultBody, BatchStatus};
use shop_core::ports::publish_new_each;
use shop_core::{Clock, SystemClock};

use crate::client::generate_key;
use crate::error::client_error;
use crate::response::Response;
use crate::transport::{Sent, json};
use crate::{
    Error, ErrorKind, NewPurchase, Outcome, PublishedPurchase, RequestContext, Result, ShopClient,
};

/// The purchases of a batch, and what is known of them so far. An attempt sends those without a result.
#[derive(Debug)]
pub(crate) struct PurchaseBatch {
    pub(crate) purchases: Vec<NewPurchase>,
    state: Mutex<BatchProgress>,
}

#[derive(Debug)]
struct BatchProgress {
    results: Vec<Option<Result<PublishedPurchase>>>,
    /// The indices of the purchases that the current attempt sends.
    sent: Vec<usize>,
    attempts: u32,
}

impl PurchaseBatch {
    /// All purchases must have a key.
    fn new(purchases: Vec<NewPurchase>) -> Arc<Self> {
        let results = purchases.iter().map(|_| None).collect();
        Arc::new(Self {
            purchases,
            state: Mutex::new(BatchProgress {
                results,
                sent: Vec::new(),
                attempts: 0,
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, BatchProgress> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The body of the next attempt.
    pub(crate) fn body(&self) -> Result<Vec<u8>> {
        let mut state = self.state();
        state.attempts += 1;
        state.sent = (0..self.purchases.len())
            .filter(|index| state.results[*index].is_none())
            .collect();
        let mut body = Vec::with_capacity(state.sent.len() * 160);
        for index in &state.sent {
            body.extend(json(&self.purchases[*index])?);
            body.push(b'\n');
        }
        Ok(body)
    }

    /// Keeps the results in a response.
    ///
    /// # Errors
    /// When the outcome of a purchase is still unknown: the next attempt repeats it.
    pub(crate) fn judged(&self, answer: Response) -> Result<Response> {
        let results = answer
            .body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .enumerate()
            .map(|(index, line)| {
                let result: BatchResultBody = serde_json::from_slice(line).ok()?;
                (result.line == index).then_some((result, line))
            });
        let mut state = self.state();
        let sent = std::mem::take(&mut state.sent);
        let results: Option<Vec<_>> = results.collect();
        let Some(results) = results.filter(|results| results.len() == sent.len()) else {
            return Err(
                answer.unreadable("the response is not one of this service: check the address")
            );
        };
        let mut failed = None;
        for (index, (result, line)) in sent.into_iter().zip(results) {
            match published(&self.purchases[index], result, line, state.attempts) {
                Err(error) if error.is_retryable() => failed = Some(error),
                result => state.results[index] = Some(result),
            }
        }
        failed.map_or(Ok(answer), Err)
    }

    /// The results; `error` is that of purchases without one.
    fn take_results(&self, error: Option<&Error>) -> Vec<Result<PublishedPurchase>> {
        let missing = || {
            Err(error
                .cloned()
                .unwrap_or_else(|| client_error(ErrorKind::Internal, "a result is missing")))
        };
        let results = std::mem::take(&mut self.state().results);
        results
            .into_iter()
            .map(|result| result.unwrap_or_else(missing))
            .collect()
    }
}

/// The `result` of `purchase`, which has a key, after so many attempts. Its `line` is also a problem.
fn published(
    purchase: &NewPurchase,
    result: BatchResultBody,
    line: &[u8],
    attempts: u32,
) -> Result<PublishedPurchase> {
    if let (BatchStatus::Acknowledged, Some(receipt)) = (result.status, result.receipt) {
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
        published.pending = result.pending;
        return Ok(published);
    }
    let kind = result
        .problem_type
        .as_deref()
        .and_then(error_kind)
        .unwrap_or(ErrorKind::Internal);
    let error = Response::new(status_of(kind), line.to_vec())
        .refused("")
        .with_attempts(attempts);
    Err(if result.status == BatchStatus::Rejected {
        error.with_outcome(Outcome::NotApplied)
    } else {
        error
    })
}

/// The status that the error of a single purchase has.
const fn status_of(kind: ErrorKind) -> StatusCode {
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
    /// Sends all purchases in one request, and those whose outcome is unknown again. A service that refuses so many at
    /// once gets them in halves.
    pub(crate) async fn send_batch(
        &self,
        mut purchases: Vec<NewPurchase>,
        context: Option<&RequestContext>,
    ) -> Vec<Result<PublishedPurchase>> {
        for purchase in &mut purchases {
            purchase.key.get_or_insert_with(generate_key);
        }
        let mut left = vec![purchases];
        let mut results = Vec::new();
        while let Some(mut part) = left.pop() {
            if part.len() < 2 {
                results.extend(publish_new_each(self, &part, context).await);
                continue;
            }
            let batch = PurchaseBatch::new(part.clone());
            let sent = Sent::Batch(Arc::clone(&batch));
            let call = self
                .inner
                .transport
                .post("buy_many", "v1/purchases:batch", sent)
                .large();
            let sent = self.send(call, context).await;
            match sent.as_ref().map_err(Error::kind) {
                Err(ErrorKind::TooLarge) => {
                    let second = part.split_off(part.len() / 2);
                    left.extend([second, part]);
                }
                _ => results.extend(batch.take_results(sent.as_ref().err())),
            }
        }
        results
    }
}
