//! The log as its operators see it.

use std::sync::Arc;

use crate::error::kafka_error;
use async_trait::async_trait;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use shop_core::log::{Batch, DeadLetter, DeadLetterState, LogAdmin, Partition, RecordType, Resolution};
use shop_core::{ErrorKind, Result};

use crate::KafkaLog;
use crate::scan::scan;

/// A letter that was resolved is marked, and its bytes stay in the topic as long as that keeps them: see
/// [`KafkaDeadLetters`](crate::KafkaDeadLetters). Listing the letters reads their topic twice, and holds the ids of all
/// of them in memory: a letter is known to be resolved only at the topic's end.
#[async_trait]
impl LogAdmin for KafkaLog {
    async fn scan(&self) -> Result<BoxStream<'static, Result<Batch>>> {
        let shared = &self.shared;
        shared.topic.ready(shared.options.publish_timeout).await?;
        let nameless = || {
            let message = "the cluster has no id, which the ids of records are made from";
            kafka_error(ErrorKind::Unavailable, message)
        };
        let cluster = shared.monitor.cluster().ok_or_else(nameless)?;
        let topic = Arc::clone(&shared.topic.name);
        let batches = scan(shared, &shared.topic.name).await?.map_ok(move |found| {
            let partition = Partition::new(Arc::clone(&cluster), Arc::clone(&topic), found.partition, 0);
            Batch::new(partition, found.records)
        });
        Ok(batches.boxed())
    }

    fn first_offset(&self) -> u64 {
        0
    }

    async fn scan_dead_letters(&self) -> Result<BoxStream<'static, Result<DeadLetterState>>> {
        self.dead_letters().scan().await
    }

    async fn replay(&self, letters: &[DeadLetter], of: RecordType) -> Result<u64> {
        self.dead_letters().replay(letters, of).await
    }

    async fn discard(&self, letters: &[DeadLetter], of: RecordType) -> Result<u64> {
        self.dead_letters().mark_resolved(letters, of, Resolution::Dropped).await
    }
}
