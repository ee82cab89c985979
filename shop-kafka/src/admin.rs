//! Administrative access to the log: scan it, list dead letters, and resolve them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use shop_core::Result;
use shop_core::log::{
    Batch, DeadLetter, DeadLetterFilter, DeadLetterState, LogAdmin, LogFaults, LogRecord, LogTail,
    Offsets, Partition, RecordType, Resolution,
};

use crate::KafkaLog;
use crate::scan::{ScanRange, scan};
use crate::standalone::{committed, members};

/// Resolving a dead letter writes a marker; the record itself stays in the topic until its retention removes it. See
/// [`KafkaDeadLetters`](crate::KafkaDeadLetters). The first listing reads the dead-letter topic and keeps an index of it
/// in memory, because a marker may be anywhere behind its dead letter; later ones read what was added, and their page.
#[async_trait]
impl LogAdmin for KafkaLog {
    async fn scan(&self) -> Result<BoxStream<'static, Result<Batch>>> {
        Ok(self.scan_range(ScanRange::All).await?.batches)
    }

    async fn tail(&self, start: &Offsets) -> Result<LogTail> {
        self.scan_range(ScanRange::Tail(start.clone())).await
    }

    async fn positions(&self, group: &str) -> Result<Offsets> {
        self.shared.topic.ready().await?;
        self.shared.request(group, committed).await
    }

    async fn members(&self, group: &str) -> Result<Vec<String>> {
        self.shared.request(group, members).await
    }

    async fn find(&self, index: u32, offset: u64) -> Result<Option<(Partition, LogRecord)>> {
        let batch = self
            .scan_range(ScanRange::At(index, offset))
            .await?
            .batches
            .try_next()
            .await?;
        Ok(batch.and_then(
            |Batch {
                 partition, records, ..
             }| {
                records
                    .into_iter()
                    .find(|record| record.offset == offset)
                    .map(|record| (partition, record))
            },
        ))
    }

    fn first_offset(&self) -> u64 {
        0
    }

    fn faults(&self) -> LogFaults {
        self.shared.faults()
    }

    /// The topic's `retention.ms`, as read within the last 15 s.
    fn retention(&self) -> Option<Duration> {
        self.shared.topic.known()?.settings.retention
    }

    async fn scan_dead_letters(&self) -> Result<BoxStream<'static, Result<DeadLetterState>>> {
        Self::dead_letters(self).scan().await
    }

    async fn dead_letters(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<DeadLetter>> {
        Self::dead_letters(self)
            .select(|index| index.page(filter, limit))
            .await
    }

    async fn resolve(
        &self,
        dead_letters: &[DeadLetter],
        record_type: RecordType,
        resolution: Resolution,
    ) -> Result<u64> {
        resolution.check(dead_letters)?;
        Self::dead_letters(self)
            .resolve(dead_letters, record_type, resolution)
            .await
    }
}

impl KafkaLog {
    /// Reads the records of `range`, once the topic is ready. The generation of the result is the
    /// id of the topic, which changes if the topic is created again.
    async fn scan_range(&self, range: ScanRange) -> Result<LogTail> {
        let shared = &self.shared;
        shared.topic.ready().await?;
        let cluster = shared.monitor.cluster()?;
        let topic = Arc::clone(&shared.topic.name);
        let ((spans, unstable), batches) = scan(shared, &topic, range).await?;
        let tail_cluster = Arc::clone(&cluster);
        let tail_topic = Arc::clone(&topic);
        let batches = batches.map_ok(move |(index, records)| {
            Batch::new(
                Partition::new(Arc::clone(&cluster), Arc::clone(&topic), index, 0),
                records,
            )
        });
        let mut tail = LogTail::new(tail_cluster, tail_topic, spans, batches.boxed());
        tail.unstable = unstable;
        tail.is_sparse = true;
        tail.generation = shared.health.topic_id(&shared.topic.name);
        Ok(tail)
    }
}
