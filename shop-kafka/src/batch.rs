//! Publishes batches of purchases: enqueues all, then waits for all delivery reports.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use shop_core::log::RecordPosition;
use shop_core::ports::Receipt;
use shop_core::record::encode;
use shop_core::{ErrorKind, Outcome, Purchase, Result};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::client::lock;
use crate::error::kafka_error;
use crate::log::Shared;
use crate::producer::{Delivered, no_position};
use crate::sink::durability;

/// Room for batches in the producer's queue: half of it. The other half is left to single purchases.
#[derive(Debug)]
pub(crate) struct BatchRoom {
    records: Semaphore,
    /// The maximum number of records that are enqueued together.
    chunk: usize,
}

/// The pause before a record is offered to a full queue again.
const FULL_QUEUE_RETRY: Duration = Duration::from_millis(1);

impl BatchRoom {
    /// Room in a queue of this capacity.
    pub(crate) fn new(queue_capacity: usize) -> Self {
        let records = (queue_capacity / 2).clamp(1, Semaphore::MAX_PERMITS);
        // So few that two batches are in the queue at once.
        Self { records: Semaphore::new(records), chunk: records.div_ceil(2) }
    }

    /// Publishes all purchases. Waits for room in the queue for at most the time of a publish.
    pub(crate) async fn publish(&self, log: &Shared, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        let deadline = Instant::now() + log.options.publish_timeout;
        let mut receipts = Vec::with_capacity(purchases.len());
        for chunk in purchases.chunks(self.chunk) {
            let size = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            let room = tokio::time::timeout_at(deadline, self.records.acquire_many(size)).await;
            if room.is_ok() {
                publish_chunk(log, chunk, deadline, &mut receipts).await;
            } else {
                let full = "other batches have filled the producer's queue";
                receipts.extend(chunk.iter().map(|_| Err(kafka_error(ErrorKind::Overloaded, full))));
            }
        }
        receipts
    }
}

async fn publish_chunk(
    log: &Shared,
    chunk: &[Purchase],
    deadline: Instant,
    receipts: &mut Vec<Result<Receipt>>,
) {
    let reports = Reports::new(chunk.len());
    let mut refused = Vec::new();
    for (index, purchase) in chunk.iter().enumerate() {
        if let Err(error) = enqueue(log, purchase, &reports, index, deadline).await {
            refused.push((index, error));
        }
    }
    let mut refused = refused.into_iter().peekable();
    let durability = durability(log);
    let mut delivered = reports.all().await.into_iter();
    for (index, purchase) in chunk.iter().enumerate() {
        let reported = delivered.next().flatten();
        let position = match refused.next_if(|(refused, _)| *refused == index) {
            Some((_, error)) => Err(error),
            None => match log.producer.outcome(reported) {
                Ok(Some((partition, offset))) => {
                    Ok(RecordPosition::new(Arc::clone(&log.topic.name), partition, offset))
                }
                // It is not certain that the record was written.
                Ok(None) if is_followed(purchase, chunk.iter().skip(index + 1).zip(delivered.as_slice())) => {
                    Err(no_position())
                }
                Ok(None) => publish_again(log, purchase).await,
                Err(error) => Err(error),
            },
        };
        receipts.push(position.map(|position| Receipt::new(purchase.id, durability).with_position(position)));
    }
}

/// Adds a record to the queue. Waits while the queue is full.
async fn enqueue(
    log: &Shared,
    purchase: &Purchase,
    reports: &Arc<Reports>,
    index: usize,
    deadline: Instant,
) -> Result<()> {
    let record = encode(purchase)?;
    loop {
        let slot = BatchSlot::new(reports, index);
        match log.enqueue_in_batch(&record, slot) {
            Err(error) if error.kind() == ErrorKind::Overloaded && Instant::now() < deadline => {
                tokio::time::sleep(FULL_QUEUE_RETRY).await;
            }
            enqueued => return enqueued,
        }
    }
}

/// Whether a later purchase of the same user may be in the log. Published again, `purchase` would follow it there.
fn is_followed<'a>(
    purchase: &Purchase,
    later: impl IntoIterator<Item = (&'a Purchase, &'a Option<Delivered>)>,
) -> bool {
    let may_be_written = |delivered: &Option<Delivered>| !matches!(delivered, Some(Ok(None)));
    later.into_iter().any(|(later, delivered)| later.user_id == purchase.user_id && may_be_written(delivered))
}

/// Publishes a record whose position no broker has reported, see
/// [`delivered`](crate::producer::PendingDelivery::delivered).
async fn publish_again(log: &Shared, purchase: &Purchase) -> Result<RecordPosition> {
    let record = encode(purchase)?;
    let enqueue = || log.enqueue(&record);
    let published = match enqueue() {
        Ok(delivery) => delivery.delivered(&log.producer, enqueue).await,
        Err(error) => Err(error),
    };
    published.map_err(|error| error.with_outcome(Outcome::Unknown))
}

/// The delivery reports of a batch.
#[derive(Debug)]
pub(crate) struct Reports {
    state: Mutex<State>,
    /// Notified when no report is missing.
    complete: Notify,
}

#[derive(Debug)]
struct State {
    delivered: Vec<Option<Delivered>>,
    /// The number of records that are in the queue.
    pending: usize,
}

impl Reports {
    fn new(records: usize) -> Arc<Self> {
        let delivered = std::iter::repeat_with(|| None).take(records).collect();
        let state = Mutex::new(State { delivered, pending: 0 });
        Arc::new(Self { state, complete: Notify::new() })
    }

    /// Waits for all reports. A record whose report was lost has `None`.
    async fn all(&self) -> Vec<Option<Delivered>> {
        loop {
            let complete = self.complete.notified();
            {
                let mut state = lock(&self.state);
                if state.pending == 0 {
                    return std::mem::take(&mut state.delivered);
                }
            }
            complete.await;
        }
    }
}

/// The place of one record's delivery report. Dropping it without a report counts as one that was lost.
#[derive(Debug)]
pub(crate) struct BatchSlot {
    reports: Arc<Reports>,
    index: usize,
}

impl BatchSlot {
    fn new(reports: &Arc<Reports>, index: usize) -> Self {
        lock(&reports.state).pending += 1;
        Self { reports: Arc::clone(reports), index }
    }

    /// Sets the report.
    pub(crate) fn report(self, delivered: Delivered) {
        if let Some(slot) = lock(&self.reports.state).delivered.get_mut(self.index) {
            *slot = Some(delivered);
        }
    }
}

impl Drop for BatchSlot {
    fn drop(&mut self) {
        let mut state = lock(&self.reports.state);
        state.pending -= 1;
        if state.pending == 0 {
            self.reports.complete.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::error::{KafkaError, RDKafkaErrorCode};
    use shop_core::{Clock as _, PurchaseId, SystemClock};

    use super::*;

    fn purchase(user: &str) -> Purchase {
        let id = PurchaseId::from_uuid(SystemClock.fresh_id());
        let (user, name, price) = (user.parse().unwrap(), "ada".parse().unwrap(), "1".parse().unwrap());
        Purchase::new(id, user, name, price, SystemClock.now())
    }

    #[test]
    fn a_purchase_is_not_published_again_behind_later_ones_of_its_user() {
        let rejected = KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut);
        let (written, without_position) = (Some(Ok(Some((0, 1)))), Some(Ok(None)));
        let is_followed = |later: [(&str, &Option<Delivered>); 2]| {
            let [first, second] = later.map(|(user, _)| purchase(user));
            let [(_, of_first), (_, of_second)] = later;
            is_followed(&purchase("u1"), [(&first, of_first), (&second, of_second)])
        };
        assert!(is_followed([("u2", &without_position), ("u1", &written)]));
        assert!(is_followed([("u1", &Some(Err(rejected))), ("u2", &written)]), "it may be in the log");
        assert!(
            !is_followed([("u1", &without_position), ("u2", &written)]),
            "both are published again, in order"
        );
    }
}
