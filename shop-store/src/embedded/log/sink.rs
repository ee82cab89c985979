//! [`EmbeddedSink`]: publishes purchases to the log.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use rusqlite::Connection;
use shop_core::log::{LogRecord, LogWriter, RecordPosition};
use shop_core::ports::{Durability, PurchaseSink, Receipt};
use shop_core::record::encode;
use shop_core::{Error, ErrorKind, Purchase, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::EmbeddedLog;
use super::publish::{PendingReceipt, Publish, PublishJob, append};
use super::shared::Shared;
use crate::embedded::writer::{Write, written};

/// Publishes purchases to an [`EmbeddedLog`], and stores them if it is a
/// [`storing_sink`](EmbeddedLog::storing_sink).
#[derive(Debug)]
pub struct EmbeddedSink {
    log: Arc<Shared>,
    /// The group whose records it stores, if it does.
    group: Option<Arc<str>>,
    /// Half of the queue. The other half is left to single purchases. Closed with the sink.
    batch_room: Arc<Semaphore>,
}

impl EmbeddedSink {
    pub(super) fn new(log: Arc<Shared>, group: Option<Arc<str>>) -> Self {
        let batch_room = Arc::new(Semaphore::new((log.options.queue_capacity / 2).max(1)));
        Self {
            log,
            group,
            batch_room,
        }
    }

    fn open(&self) -> Result<()> {
        if self.batch_room.is_closed() {
            return Err(
                Error::new(ErrorKind::Closed, "the sink is closed").with_origin("embedded log")
            );
        }
        Ok(())
    }

    /// The job that appends `purchase`, and stores it if this sink does.
    fn job(
        &self,
        purchase: &Purchase,
        room: Option<OwnedSemaphorePermit>,
    ) -> Result<(Box<PublishJob>, PendingReceipt)> {
        self.open()?;
        let mut record = encode(purchase)?;
        record.time = self.log.options.clock.now();
        Ok(Write::new(Publish {
            purchase: purchase.clone(),
            record,
            topic: Arc::clone(&self.log.topic),
            group: self.group.clone(),
            _room: room,
        }))
    }
}

#[async_trait]
impl PurchaseSink for EmbeddedSink {
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        let (job, pending) = self.job(purchase, None)?;
        self.log.writer.enqueue(job)?;
        written(pending).await?
    }

    async fn publish_many(&self, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        // All are enqueued before the first is awaited, in their order.
        let mut writes = Vec::with_capacity(purchases.len());
        for purchase in purchases {
            // Without room, the sink is closed.
            let room = Arc::clone(&self.batch_room).acquire_owned().await.ok();
            writes.push(match self.job(purchase, room) {
                Ok((job, pending)) => self
                    .log
                    .writer
                    .enqueue_when_free(job)
                    .await
                    .map(|()| pending),
                Err(error) => Err(error),
            });
        }
        stream::iter(writes)
            .then(|write| async move { written(write?).await? })
            .collect()
            .await
    }

    fn is_storing(&self) -> bool {
        self.group.is_some()
    }

    fn durability(&self) -> Durability {
        Durability::LocalDisk
    }

    async fn check(&self) -> Result<()> {
        self.open()?;
        self.log.writer.check().await
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        self.batch_room.close();
        // Writes are processed in order: when this one has completed or failed, so have all before it.
        let (job, last) = Write::new(|_: &Connection| Ok::<_, rusqlite::Error>(()));
        let drained = async {
            if self.log.writer.enqueue_when_free(job).await.is_ok() {
                drop(written(last).await);
            }
        };
        tokio::time::timeout(deadline, drained)
            .await
            .map_err(|_elapsed| {
                Error::new(
                    ErrorKind::DeadlineExceeded,
                    "some purchases were not written in time",
                )
                .with_origin("embedded log")
            })
    }
}

impl EmbeddedLog {
    /// Appends a record with the given key, value and headers. Offset and timestamp are assigned on append. Unlike
    /// [`EmbeddedSink`], it accepts any value, as other producers may write it.
    ///
    /// # Errors
    /// As [`PurchaseSink::publish`].
    pub async fn append(&self, mut record: LogRecord) -> Result<RecordPosition> {
        record.time = self.shared.options.clock.now();
        let append = move |connection: &Connection| Ok(append(connection, &[&record])?.start);
        let offset = self.shared.writer.write(append).await?;
        Ok(RecordPosition::new(
            Arc::clone(&self.shared.topic),
            0,
            offset,
        ))
    }
}

#[async_trait]
impl LogWriter for EmbeddedLog {
    async fn append(&self, record: LogRecord) -> Result<()> {
        Self::append(self, record).await.map(drop)
    }

    async fn check(&self) -> Result<()> {
        self.shared.writer.check().await
    }
}
