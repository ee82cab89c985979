//! Administrative access to the log: scan it, list dead letters, and resolve them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use shop_core::Result;
use shop_core::log::{
    Batch, DeadLetter, DeadLetterState, LogAdmin, LogRecord, Partition, RecordType, Resolution,
};

use super::{EmbeddedLog, resolution, rows, scan};

/// A replay is one transaction: a dead letter is always either pending or replayed. A discard deletes the dead letter.
/// Its resolution is kept as long as the log has the record. Dead letters that are no longer pending are skipped.
#[async_trait]
impl LogAdmin for EmbeddedLog {
    /// Uses no group position, so it does not delay the deletion of records.
    async fn scan(&self) -> Result<BoxStream<'static, Result<Batch>>> {
        scan::records(&self.shared).await
    }

    async fn find(&self, index: u32, offset: u64) -> Result<Option<(Partition, LogRecord)>> {
        if index != 0 {
            return Ok(None);
        }
        let read = self.shared.readers.read(move |connection| rows::read(connection, offset, 1, 1)).await?;
        let partition =
            Partition::new(Arc::clone(&self.shared.cluster), Arc::clone(&self.shared.topic), 0, 0);
        Ok(read.into_iter().find(|record| record.offset == offset).map(|record| (partition, record)))
    }

    /// AUTOINCREMENT starts at 1.
    fn first_offset(&self) -> u64 {
        1
    }

    /// Records that a group has not read are never deleted.
    fn retention(&self) -> Option<Duration> {
        None
    }

    async fn scan_dead_letters(&self) -> Result<BoxStream<'static, Result<DeadLetterState>>> {
        scan::dead_letters(&self.shared).await
    }

    async fn replay(&self, dead_letters: &[DeadLetter], record_type: RecordType) -> Result<u64> {
        DeadLetter::check_replayable(dead_letters)?;
        self.resolve(dead_letters, record_type, Resolution::Replayed).await
    }

    async fn discard(&self, dead_letters: &[DeadLetter], record_type: RecordType) -> Result<u64> {
        self.resolve(dead_letters, record_type, Resolution::Dropped).await
    }
}

impl EmbeddedLog {
    async fn resolve(
        &self,
        dead_letters: &[DeadLetter],
        record_type: RecordType,
        resolution: Resolution,
    ) -> Result<u64> {
        let (clock, dead_letters) = (Arc::clone(&self.shared.options.clock), dead_letters.to_vec());
        let writer = &self.shared.writer;
        writer
            .write(move |connection| {
                resolution::resolve_all(connection, &dead_letters, record_type, resolution, clock.now())
            })
            .await
    }
}
