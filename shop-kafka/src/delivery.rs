//! The report about a record, which reaches the task that published the record in a
//! [`DeliverySlot`].
//!
//! ```text
//! task ─── record and slot ──▶ librdkafka ──▶ broker
//!   ▲                              │
//!   └─── slot ◀──── report ────────┘  on the thread that polls the producer
//! ```
//!
//! Each record has a slot of its own, and the task and librdkafka hold one reference each to it. So
//! a report cannot complete the delivery of another record, and the slot of a task that no longer
//! waits is freed by the report.

use std::future::poll_fn;
use std::sync::{Arc, OnceLock};
use std::task::Poll;

use futures_util::task::AtomicWaker;
use rdkafka::Message as _;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, DeliveryResult};
use rdkafka::producer::ProducerContext;
use shop_core::Timestamp;

use crate::client::Context;

/// The place of the report about one record, for which at most one task waits.
#[derive(Debug, Default)]
pub(crate) struct DeliverySlot {
    report: OnceLock<DeliveryReport>,
    waiting_task: AtomicWaker,
}

/// The report of librdkafka about one record.
pub(crate) type DeliveryReport = Result<DeliveredRecord, Box<UndeliveredRecord>>;

/// The position of a delivered record. librdkafka reports an unknown partition or offset as a
/// negative number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeliveredRecord {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// A record that was not delivered, or whose delivery no broker confirmed.
#[derive(Debug, Clone)]
pub(crate) struct UndeliveredRecord {
    pub(crate) error: KafkaError,
    /// The partition of the record, or a negative number if none was chosen yet.
    pub(crate) partition: i32,
    /// The size of the key and of the value together.
    pub(crate) bytes: usize,
    /// The time that librdkafka gave the record when it was enqueued.
    pub(crate) time: Option<Timestamp>,
}

impl DeliverySlot {
    /// Stores the report, and wakes the task that waits for it.
    fn complete(&self, report: DeliveryReport) {
        // librdkafka reports each record once, so the slot is empty, and `set` succeeds.
        let _is_first_report = self.report.set(report).is_ok();
        self.waiting_task.wake();
    }

    /// Waits for the report. Only one task may wait at a time.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: the next call returns the report.
    pub(crate) async fn wait(&self) -> &DeliveryReport {
        poll_fn(|context| {
            if let Some(report) = self.report.get() {
                return Poll::Ready(report);
            }
            self.waiting_task.register(context.waker());
            // The report may have arrived after the first check and before the registration.
            match self.report.get() {
                Some(report) => Poll::Ready(report),
                None => Poll::Pending,
            }
        })
        .await
    }
}

/// Hands each report to the [`DeliverySlot`] that was enqueued with the record.
impl ProducerContext for Context {
    type DeliveryOpaque = Arc<DeliverySlot>;

    fn delivery(&self, result: &DeliveryResult<'_>, slot: Arc<DeliverySlot>) {
        slot.complete(match result {
            Ok(record) => Ok(DeliveredRecord {
                partition: record.partition(),
                offset: record.offset(),
            }),
            Err((error, record)) => Err(Box::new(UndeliveredRecord {
                error: error.clone(),
                partition: record.partition(),
                bytes: record.payload_len() + record.key_len(),
                time: record_time(record),
            })),
        });
    }
}

/// Returns the time of a record, or `None` if librdkafka reports no time or one out of range.
fn record_time(record: &BorrowedMessage<'_>) -> Option<Timestamp> {
    Timestamp::from_millis(record.timestamp().to_millis()?).ok()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const DELIVERED: DeliveredRecord = DeliveredRecord {
        partition: 1,
        offset: 7,
    };

    #[tokio::test]
    async fn a_report_arrives_before_or_after_its_task_waits() {
        let slot = DeliverySlot::default();
        slot.complete(Ok(DELIVERED));
        assert_eq!(slot.wait().await.as_ref().ok(), Some(&DELIVERED));

        let slot = Arc::new(DeliverySlot::default());
        let task_slot = Arc::clone(&slot);
        let task = tokio::spawn(async move { task_slot.wait().await.as_ref().ok().copied() });
        tokio::task::yield_now().await;
        slot.complete(Ok(DELIVERED));
        assert_eq!(task.await.unwrap(), Some(DELIVERED));
    }

    #[test]
    fn a_task_that_no_longer_waits_leaves_its_slot_to_the_report() {
        let slot = Arc::new(DeliverySlot::default());
        let task_slot = Arc::clone(&slot);
        let waiting = async move { task_slot.wait().await.is_ok() };
        assert_eq!(waiting.now_or_never(), None);

        slot.complete(Ok(DELIVERED));
        assert_eq!(Arc::strong_count(&slot), 1);
    }
}
