//! Dead letters, in a topic of their own.

pub(crate) mod codec;

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use shop_core::log::{DeadLetter, DeadLetters};
use shop_core::{ErrorKind, Result, Retry};

use crate::log::Shared;
use crate::producer::{OutgoingRecord, PendingDelivery, ProducerHandle};
use crate::topic::Topic;

/// Keeps the dead letters of a [`KafkaLog`](crate::KafkaLog) in the topic `<topic>.dlq`.
///
/// A letter is the record with its key and headers, byte for byte, followed by headers of its own, in this
/// order: `dead-letter-cluster`, `dead-letter-topic`, `dead-letter-partition`, `dead-letter-offset`,
/// `dead-letter-time` (milliseconds since 1970), `dead-letter-reason`, `dead-letter-detail`,
/// `dead-letter-attempts`, `dead-letter-version`; all are text. A letter that is put again is there twice; who
/// reads tells by cluster, topic, partition and offset.
///
/// A letter that was replayed or dropped stays in the topic, and is listed no more: a record without key and with an
/// empty value marks it, whose headers are `dead-letter-settled` (`replayed` or `dropped`), `dead-letter-record` (topic,
/// partition and offset, with dashes between), `dead-letter-place` and `dead-letter-purchase` (the ids of both). It
/// settles what stands before it: a letter that is put again behind it is kept again.
#[derive(Debug, Clone)]
pub struct KafkaDeadLetters {
    pub(crate) log: Arc<Shared>,
    pub(crate) topic: Arc<Topic>,
}

#[async_trait]
impl DeadLetters for KafkaDeadLetters {
    async fn put(&self, letters: &[DeadLetter]) -> Result<()> {
        let ready = self.topic.ready(self.log.options.publish_timeout).await;
        // It is about the topic, which an operator can mend, not about these letters.
        ready.map_err(|error| error.with_retry(Retry::Safe))?;
        let producing = &self.log.producing;
        let enqueue = |index: usize| {
            let letter = &letters[index];
            producing.enqueue(OutgoingRecord {
                topic: &self.topic.name,
                key: letter.record.key.as_deref(),
                value: letter.record.value.as_deref(),
                headers: codec::headers(letter),
            })
        };
        deliver(producing, letters.len(), enqueue).await
    }

    async fn check(&self) -> Result<()> {
        self.log.monitor.check(&self.topic).await
    }
}

/// Enqueues so many records, by their index, and waits until all of them are delivered.
pub(crate) async fn deliver(
    producing: &ProducerHandle,
    count: usize,
    enqueue: impl Fn(usize) -> Result<PendingDelivery> + Send,
) -> Result<()> {
    let mut on_their_way = VecDeque::<PendingDelivery>::with_capacity(count);
    for index in 0..count {
        let mut enqueued = enqueue(index);
        // More than the queue has room for: those before make room.
        while let Err(error) = &enqueued
            && error.kind() == ErrorKind::Overloaded
            && let Some(first) = on_their_way.pop_front()
        {
            first.delivered(producing).await?;
            enqueued = enqueue(index);
        }
        on_their_way.push_back(enqueued?);
    }
    for record in on_their_way {
        record.delivered(producing).await?;
    }
    Ok(())
}
