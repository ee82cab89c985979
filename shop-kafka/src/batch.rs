//! Publishes batches of purchases.
//!
//! A batch is split into chunks. All purchases of a chunk are added to the producer's queue, and
//! then their delivery reports are awaited. [`BatchRoom`] limits how many purchases of batches are
//! in the queue at once.

use shop_core::log::RecordPosition;
use shop_core::ports::Receipt;
use shop_core::{ErrorKind, Outcome, Purchase, Result};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::error::kafka_error;
use crate::producer::{ReportedPosition, no_position_error};
use crate::shared::KafkaLogInner;

/// Limits how much of the producer's queue the batches of purchases fill: half of the queue. The
/// other half is left to single purchases.
#[derive(Debug)]
pub(crate) struct BatchRoom {
    /// A permit for each record that batches may keep in the queue.
    record_permits: Semaphore,
    /// The maximum number of records that one batch enqueues together.
    chunk_size: usize,
}

impl BatchRoom {
    /// Creates the limit for a producer's queue of `queue_capacity` records.
    pub(crate) fn new(queue_capacity: usize) -> Self {
        let record_count = (queue_capacity / 2).clamp(1, Semaphore::MAX_PERMITS);
        Self {
            record_permits: Semaphore::new(record_count),
            // Half of the permits, so that chunks of two batches can be in the queue at once.
            chunk_size: record_count.div_ceil(2),
        }
    }

    /// Publishes all purchases in chunks, and returns one result for each purchase, in the order of
    /// the purchases.
    ///
    /// Each chunk waits for room in the queue. All chunks together wait for at most the timeout of
    /// a publish.
    ///
    /// # Errors
    /// Each purchase gets its own result, which is [`Overloaded`](ErrorKind::Overloaded) if there
    /// is no room in time.
    pub(crate) async fn publish(
        &self,
        log: &KafkaLogInner,
        purchases: &[Purchase],
    ) -> Vec<Result<Receipt>> {
        let deadline = Instant::now() + log.options.publish_timeout;
        let mut receipts = Vec::with_capacity(purchases.len());
        for chunk in purchases.chunks(self.chunk_size) {
            let permit_count = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            let acquisition = self.record_permits.acquire_many(permit_count);
            let permits = tokio::time::timeout_at(deadline, acquisition).await;
            // The semaphore is never closed, so the only error is the timeout.
            if permits.is_ok() {
                publish_chunk(log, chunk, deadline, &mut receipts).await;
            } else {
                let message = "other batches have filled the producer's queue";
                for _ in chunk {
                    receipts.push(Err(kafka_error(ErrorKind::Overloaded, message)));
                }
            }
        }
        receipts
    }
}

/// Publishes the purchases of one chunk, and appends their results to `receipts`.
async fn publish_chunk(
    log: &KafkaLogInner,
    chunk: &[Purchase],
    deadline: Instant,
    receipts: &mut Vec<Result<Receipt>>,
) {
    // There is one report for each purchase of the chunk.
    let mut reports = log
        .producer
        .publish_all(chunk.len(), deadline, |index| {
            log.enqueue_purchase(&chunk[index])
        })
        .await
        .into_iter();

    let durability = log.durability();
    for (index, purchase) in chunk.iter().enumerate() {
        let position = match reports.next() {
            Some(Ok(Some(position))) => Ok(position),
            Some(Err(error)) => Err(error),
            // No broker reported the position, so it is not certain that the record was written.
            // The purchase is published again, unless it would then follow a later purchase of the
            // same user.
            Some(Ok(None)) | None => {
                let later_purchases = &chunk[index + 1..];
                if is_followed(purchase, later_purchases, reports.as_slice()) {
                    Err(no_position_error())
                } else {
                    publish_again(log, purchase).await
                }
            }
        };
        receipts.push(
            position.map(|position| Receipt::new(purchase.id, durability).with_position(position)),
        );
    }
}

/// Returns whether one of the `later_purchases` is of the same user as `purchase`, and may be in
/// the log already. `purchase` would follow it there if it were published again.
///
/// `later_purchases` are the purchases of the chunk after `purchase`, and `later_reports` contains
/// a report for each of them.
fn is_followed(
    purchase: &Purchase,
    later_purchases: &[Purchase],
    later_reports: &[ReportedPosition],
) -> bool {
    later_purchases
        .iter()
        .zip(later_reports)
        .any(|(later_purchase, report)| {
            // A purchase without a position is published again itself, after `purchase`.
            let has_no_position = matches!(report, Ok(None));
            later_purchase.user_id == purchase.user_id && !has_no_position
        })
}

/// Publishes a purchase again, because no broker reported its position. Returns the new position.
/// See
/// [`deliver`](crate::producer::ProducerHandle::deliver).
///
/// # Errors
/// The error of the publish, with the outcome `Unknown`: the first record may be in the log.
async fn publish_again(log: &KafkaLogInner, purchase: &Purchase) -> Result<RecordPosition> {
    log.append_purchase(purchase)
        .await
        .map_err(|error| error.with_outcome(Outcome::Unknown))
}

#[cfg(test)]
mod tests {
    use shop_core::{Clock as _, PurchaseId, SystemClock};

    use super::*;

    fn purchase(user: &str) -> Purchase {
        let id = PurchaseId::from_uuid(SystemClock.fresh_id());
        let (user, name, price) = (
            user.parse().unwrap(),
            "ada".parse().unwrap(),
            "1".parse().unwrap(),
        );
        Purchase::new(id, user, name, price, SystemClock.now())
    }

    #[test]
    fn a_purchase_is_not_retried_after_later_ones_of_its_user() {
        let written: ReportedPosition = Ok(Some(RecordPosition::new("topic", 0, 1)));
        let (without_position, rejected) = (Ok(None), Err(no_position_error()));
        let is_followed = |later: [(&str, &ReportedPosition); 2]| {
            let purchases = later.map(|(user, _)| purchase(user));
            let reports = later.map(|(_, report)| report.clone());
            is_followed(&purchase("u1"), &purchases, &reports)
        };
        assert!(is_followed([("u2", &without_position), ("u1", &written)]));
        assert!(
            is_followed([("u1", &rejected), ("u2", &written)]),
            "it may be in the log"
        );
        assert!(
            !is_followed([("u1", &without_position), ("u2", &written)]),
            "both are published again, in order"
        );
    }
}
