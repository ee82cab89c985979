//! Publishes batches of purchases: enqueues all, then waits for all delivery reports.

use shop_core::log::RecordPosition;
use shop_core::ports::Receipt;
use shop_core::record::encode;
use shop_core::{ErrorKind, Outcome, Purchase, Result};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::error::kafka_error;
use crate::producer::{ReportedPosition, no_position};
use crate::shared::KafkaLogInner;

/// Room for batches in the producer's queue: half of it. The other half is left to single purchases.
#[derive(Debug)]
pub(crate) struct BatchRoom {
    records: Semaphore,
    /// The maximum number of records that are enqueued together.
    chunk: usize,
}

impl BatchRoom {
    /// Room in a queue of this capacity.
    pub(crate) fn new(queue_capacity: usize) -> Self {
        let records = (queue_capacity / 2).clamp(1, Semaphore::MAX_PERMITS);
        // So few that two batches are in the queue at once.
        Self {
            records: Semaphore::new(records),
            chunk: records.div_ceil(2),
        }
    }

    /// Publishes all purchases. Waits for room in the queue for at most the time of a publish.
    pub(crate) async fn publish(
        &self,
        log: &KafkaLogInner,
        purchases: &[Purchase],
    ) -> Vec<Result<Receipt>> {
        let deadline = Instant::now() + log.options.publish_timeout;
        let mut receipts = Vec::with_capacity(purchases.len());
        for chunk in purchases.chunks(self.chunk) {
            let size = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            let room = tokio::time::timeout_at(deadline, self.records.acquire_many(size)).await;
            if room.is_ok() {
                publish_chunk(log, chunk, deadline, &mut receipts).await;
            } else {
                let full = "other batches have filled the producer's queue";
                receipts.extend(
                    chunk
                        .iter()
                        .map(|_| Err(kafka_error(ErrorKind::Overloaded, full))),
                );
            }
        }
        receipts
    }
}

async fn publish_chunk(
    log: &KafkaLogInner,
    chunk: &[Purchase],
    deadline: Instant,
    receipts: &mut Vec<Result<Receipt>>,
) {
    let enqueue = |index: usize| log.enqueue(&encode(&chunk[index])?);
    let mut reported = log
        .producer
        .publish_all(chunk.len(), deadline, enqueue)
        .await
        .into_iter();
    let durability = log.durability();
    for (index, purchase) in chunk.iter().enumerate() {
        let position = match reported.next() {
            Some(Ok(Some(position))) => Ok(position),
            Some(Err(error)) => Err(error),
            // It is not certain that the record was written.
            _ if is_followed(
                purchase,
                chunk.iter().skip(index + 1).zip(reported.as_slice()),
            ) =>
            {
                Err(no_position())
            }
            _ => publish_again(log, purchase).await,
        };
        receipts.push(
            position.map(|position| Receipt::new(purchase.id, durability).with_position(position)),
        );
    }
}

/// Whether a later purchase of the same user may be in the log. Published again, `purchase` would follow it there.
fn is_followed<'a>(
    purchase: &Purchase,
    later: impl IntoIterator<Item = (&'a Purchase, &'a ReportedPosition)>,
) -> bool {
    later
        .into_iter()
        .any(|(later, reported)| later.user_id == purchase.user_id && !matches!(reported, Ok(None)))
}

/// Publishes a record whose position no broker has reported, see
/// [`deliver`](crate::producer::ProducerHandle::deliver).
async fn publish_again(log: &KafkaLogInner, purchase: &Purchase) -> Result<RecordPosition> {
    let published = async { log.append(&encode(purchase)?).await };
    published
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
        let (without_position, rejected) = (Ok(None), Err(no_position()));
        let is_followed = |later: [(&str, &ReportedPosition); 2]| {
            let [first, second] = later.map(|(user, _)| purchase(user));
            let [(_, of_first), (_, of_second)] = later;
            is_followed(&purchase("u1"), [(&first, of_first), (&second, of_second)])
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
