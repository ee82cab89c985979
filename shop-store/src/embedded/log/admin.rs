//! The log as its operators see it.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use shop_core::Result;
use shop_core::log::{Batch, DeadLetter, DeadLetterState, LogAdmin, RecordType, Resolution};

use super::{EmbeddedLog, resolution, scan};

/// A replay is one transaction: whatever happens, a letter is either pending or replayed. A discarded letter is deleted
/// with all its bytes; that it was resolved is remembered as long as the log has its record. A letter that is pending no
/// more is passed over.
#[async_trait]
impl LogAdmin for EmbeddedLog {
    /// No position is kept, which would keep records from being deleted.
    async fn scan(&self) -> Result<BoxStream<'static, Result<Batch>>> {
        scan::records(&self.shared).await
    }

    /// AUTOINCREMENT counts from 1.
    fn first_offset(&self) -> u64 {
        1
    }

    async fn scan_dead_letters(&self) -> Result<BoxStream<'static, Result<DeadLetterState>>> {
        scan::dead_letters(&self.shared).await
    }

    async fn replay(&self, letters: &[DeadLetter], of: RecordType) -> Result<u64> {
        self.resolve(letters, of, Resolution::Replayed).await
    }

    async fn discard(&self, letters: &[DeadLetter], of: RecordType) -> Result<u64> {
        self.resolve(letters, of, Resolution::Dropped).await
    }
}

impl EmbeddedLog {
    async fn resolve(&self, letters: &[DeadLetter], of: RecordType, resolution: Resolution) -> Result<u64> {
        let (clock, letters) = (Arc::clone(&self.shared.options.clock), letters.to_vec());
        let writer = &self.shared.writer;
        writer
            .write(move |connection| {
                resolution::resolve_all(connection, &letters, of, resolution, clock.now())
            })
            .await
    }
}
