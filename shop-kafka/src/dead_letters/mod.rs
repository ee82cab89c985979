//! Dead letters in a separate topic.

pub(crate) mod codec;
pub(crate) mod index;

use std::sync::Arc;

use async_trait::async_trait;
use shop_core::log::{DeadLetter, DeadLetters, LogRecord, Partition, RecordId};
use shop_core::{Result, Retry};
use tokio::time::Instant;

use crate::log::Shared;
use crate::producer::{OutgoingRecord, PendingDelivery};
use crate::topic::Topic;

/// Stores the dead letters of a [`KafkaLog`](crate::KafkaLog) in the topic `<topic>.dlq`.
///
/// A dead letter has the key, value and headers of its record, unchanged, followed by these text headers in this
/// order: `dead-letter-cluster`, `dead-letter-topic`, `dead-letter-partition`, `dead-letter-offset`,
/// `dead-letter-time` (milliseconds since 1970), `dead-letter-reason`, `dead-letter-detail`,
/// `dead-letter-attempts`, `dead-letter-version`. A repeated `put` writes a duplicate, which readers recognize by
/// cluster, topic, partition, offset and time.
///
/// A resolved dead letter stays in the topic and is no longer listed as pending. Its marker is a record without key
/// and with an empty value, with the headers `dead-letter-settled` (`replayed` or `dropped`), `dead-letter-record`
/// (topic, partition and offset, joined by dashes), `dead-letter-place` (the record id) and, if it is known,
/// `dead-letter-purchase` (the id of the purchase or event). A marker resolves all dead letters of its record, also one
/// that is put again after it; of a gap, those before it.
///
/// They are listed and replayed by the log's [`LogAdmin`](shop_core::log::LogAdmin):
///
/// ```no_run
/// use shop_core::log::{Log, LogAdminExt};
/// use shop_kafka::KafkaLog;
///
/// # async fn example(log: KafkaLog) -> shop_core::Result<()> {
/// for letter in log.admin().pending_dead_letters().await? {
///     println!("offset {}: {}", letter.record.offset, letter.reason.detail());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct KafkaDeadLetters {
    pub(crate) log: Arc<Shared>,
    pub(crate) topic: Arc<Topic>,
}

#[async_trait]
impl DeadLetters for KafkaDeadLetters {
    async fn put(&self, dead_letters: &[DeadLetter]) -> Result<()> {
        let ready = self.topic.ready(self.log.options.publish_timeout).await;
        // The error is about the topic, which an operator can fix, and not about these dead letters.
        ready.map_err(|error| error.with_retry(Retry::Safe))?;
        let enqueue = |index: usize| {
            let DeadLetter { record, .. } = &dead_letters[index];
            self.log.producer.enqueue(OutgoingRecord {
                topic: &self.topic.name,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: codec::headers(&dead_letters[index]),
            })
        };
        deliver(&self.log, dead_letters.len(), enqueue).await
    }

    /// By an index in memory: reads the topic once, then what was added.
    async fn contains(&self, record: &LogRecord, partition: &Partition) -> Result<bool> {
        let id = RecordId::new(record, partition);
        self.indexed(|index| index.contains(id)).await
    }

    async fn check(&self) -> Result<()> {
        self.log.monitor.check(&self.topic).await
    }
}

/// Publishes `count` records, which `enqueue` adds to the queue by their index. All must be acknowledged.
pub(crate) async fn deliver(
    log: &Shared,
    count: usize,
    enqueue: impl Fn(usize) -> Result<PendingDelivery> + Send + Sync,
) -> Result<()> {
    let deadline = Instant::now() + log.options.publish_timeout;
    let reported = log.producer.publish_all(count, deadline, &enqueue).await;
    for (index, reported) in reported.into_iter().enumerate() {
        if reported?.is_none() {
            enqueue(index)?.delivered(&log.producer, || enqueue(index)).await?;
        }
    }
    Ok(())
}
