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
use crate::standalone::{group_members, group_positions};

/// To resolve a dead letter, a marker is written. The dead letter itself stays in the topic until
/// the retention of the topic deletes it, see [`KafkaDeadLetters`](crate::KafkaDeadLetters).
///
/// The first listing reads the whole dead-letter topic and keeps an index of the topic in memory,
/// because a marker may be anywhere behind its dead letter. Later listings read the records that
/// were added since, and the dead letters of their page.
#[async_trait]
impl LogAdmin for KafkaLog {
    async fn scan(&self) -> Result<BoxStream<'static, Result<Batch>>> {
        Ok(self.scan_range(ScanRange::All).await?.batches)
    }

    async fn tail(&self, start: &Offsets) -> Result<LogTail> {
        self.scan_range(ScanRange::Tail(start.clone())).await
    }

    async fn positions(&self, group: &str) -> Result<Offsets> {
        self.shared.topic.wait_until_ready().await?;
        self.shared.request_for_group(group, group_positions).await
    }

    async fn members(&self, group: &str) -> Result<Vec<String>> {
        self.shared.request_for_group(group, group_members).await
    }

    async fn find(&self, index: u32, offset: u64) -> Result<Option<(Partition, LogRecord)>> {
        let range = ScanRange::At(index, offset);
        let Some(batch) = self.scan_range(range).await?.batches.try_next().await? else {
            return Ok(None);
        };
        let mut records = batch.records.into_iter();
        let record = records.find(|record| record.offset == offset);
        Ok(record.map(|record| (batch.partition, record)))
    }

    fn first_offset(&self) -> u64 {
        0
    }

    fn faults(&self) -> LogFaults {
        self.shared.faults()
    }

    /// Returns the setting `retention.ms` of the topic, as it was last read. Returns `None` if it
    /// is unlimited or cannot be read.
    fn retention(&self) -> Option<Duration> {
        self.shared.topic.description()?.settings.retention
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
            .select(|index| index.select_page(filter, limit))
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
    /// Waits until the topic is ready, and starts to read the records of `range`.
    ///
    /// The generation of the result is the id of the topic, which changes if the topic is created
    /// again.
    ///
    /// # Errors
    /// - the reason why the topic cannot be used
    /// - [`Unavailable`](shop_core::ErrorKind::Unavailable) if the id of the cluster is unknown
    /// - the error of the scan
    async fn scan_range(&self, range: ScanRange) -> Result<LogTail> {
        let shared = &self.shared;
        shared.topic.wait_until_ready().await?;
        let cluster = shared.monitor.cluster()?;
        let topic = Arc::clone(&shared.topic.name);
        let started_scan = scan(shared, &topic, range).await?;

        let tail_cluster = Arc::clone(&cluster);
        let tail_topic = Arc::clone(&topic);
        let batches = started_scan.batches.map_ok(move |(index, records)| {
            Batch::new(
                Partition::new(Arc::clone(&cluster), Arc::clone(&topic), index, 0),
                records,
            )
        });
        let ranges = started_scan.ranges;
        let mut tail = LogTail::new(tail_cluster, tail_topic, ranges, batches.boxed());
        tail.unstable = started_scan.unstable;
        tail.is_sparse = true;
        tail.generation = shared.health.topic_id(&shared.topic.name);
        Ok(tail)
    }
}
