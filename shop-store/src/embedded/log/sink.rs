//! [`EmbeddedSink`]: publishes purchases to the log, by jobs in the queue of the writer thread.
//!
//! A single purchase is one job. A batch of up to [`MAX_EACH`] purchases is one job for each, and a
//! larger batch is a [`PublishBatchJob`], which the writer commits in few large transactions.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use rusqlite::Connection;
use shop_core::log::{LogRecord, RecordPosition};
use shop_core::ports::{Durability, PurchaseSink, Receipt, SinkInfo};
use shop_core::record::encode;
use shop_core::{Error, ErrorKind, Purchase, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::EmbeddedLog;
use super::log::EmbeddedLogInner;
use super::publish::{PublishBatch, PublishBatchJob, PublishJob, PublishWork, append};
use super::rows::PARTITION;
use crate::embedded::engine::error::is_about_write;
use crate::embedded::engine::job::{WriteTask, wait_until_durable};

/// The number of purchases of a batch up to which each purchase is a write job of its own.
const MAX_EACH: usize = 1_000;

/// Publishes purchases to an [`EmbeddedLog`], and stores them if it is a
/// [`storing_sink`](EmbeddedLog::storing_sink).
#[derive(Debug)]
pub struct EmbeddedSink {
    log: Arc<EmbeddedLogInner>,
    /// The group whose position passes the stored purchases. `None` if this sink does not store
    /// purchases.
    group: Option<Arc<str>>,
    /// The permits for half of the writer's queue, which limit the purchases of batches in the
    /// queue. The other half is left to single purchases. The semaphore is closed with the sink.
    batch_permits: Arc<Semaphore>,
}

impl EmbeddedSink {
    /// Creates a sink of `log`, which also stores the purchases if `group` is given.
    pub(super) fn new(log: Arc<EmbeddedLogInner>, group: Option<Arc<str>>) -> Self {
        let permit_count = (log.options.queue_capacity / 2).max(1);
        Self {
            log,
            group,
            batch_permits: Arc::new(Semaphore::new(permit_count)),
        }
    }

    /// Checks that the sink is open.
    ///
    /// # Errors
    /// [`Closed`](ErrorKind::Closed) if the sink is closed.
    fn check_open(&self) -> Result<()> {
        if self.batch_permits.is_closed() {
            return Err(
                Error::new(ErrorKind::Closed, "the sink is closed").with_origin("embedded log")
            );
        }
        Ok(())
    }

    /// Creates the work that appends `purchase`, and stores it if this sink stores purchases.
    ///
    /// # Errors
    /// [`Closed`](ErrorKind::Closed) if the sink is closed; the error of encoding the purchase as a
    /// record.
    fn publish_work(
        &self,
        purchase: &Purchase,
        queue_permit: Option<OwnedSemaphorePermit>,
    ) -> Result<PublishWork> {
        self.check_open()?;
        let mut record = encode(purchase)?;
        record.time = self.log.options.clock.now();
        Ok(PublishWork {
            purchase: purchase.clone(),
            record,
            topic: Arc::clone(&self.log.topic),
            group: self.group.clone(),
            _queue_permit: queue_permit,
        })
    }

    /// Publishes each purchase by a job of its own. The writer commits the jobs in groups, together
    /// with other writes.
    ///
    /// Waits for room in the queue before each job. Returns the results in the order of
    /// `purchases`.
    async fn publish_each(&self, purchases: Vec<&Purchase>) -> Vec<Result<Receipt>> {
        // All jobs are enqueued, in their order, before the first result is awaited. So one
        // transaction can contain many of them.
        let mut pending_writes = Vec::with_capacity(purchases.len());
        for purchase in purchases {
            // No permit means that the semaphore is closed. Then `publish_work` returns the error
            // of a closed sink.
            let queue_permit = Arc::clone(&self.batch_permits).acquire_owned().await.ok();
            let pending_write = match self.publish_work(purchase, queue_permit) {
                Ok(work) => {
                    let (job, pending) = PublishJob::new(work);
                    let enqueued = self.log.writer.enqueue_when_free(job).await;
                    enqueued.map(|()| pending)
                }
                Err(error) => Err(error),
            };
            pending_writes.push(pending_write);
        }
        stream::iter(pending_writes)
            .then(|pending| async move { wait_until_durable(pending?).await? })
            .collect()
            .await
    }

    /// Publishes many purchases in few large transactions. Returns the results in the order of
    /// `purchases`.
    ///
    /// The purchases are sorted by user, because the purchases of a user are in the same pages of
    /// the file. If one purchase cannot be written, the others are published one by one, so that
    /// only this one fails.
    async fn publish_in_bulk(&self, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        // The sort is stable, so the purchases of a user stay in order: a refund follows its
        // purchase.
        let mut indexes_by_user: Vec<usize> = (0..purchases.len()).collect();
        indexes_by_user.sort_by_key(|index| &purchases[*index].user_id);

        let mut results = Vec::with_capacity(purchases.len());
        // The writer commits the job in parts, so the job needs no permits for its purchases.
        let works = indexes_by_user.iter().map(|index| {
            let no_permit = None;
            self.publish_work(&purchases[*index], no_permit)
        });
        match works.collect::<Result<Vec<PublishWork>>>() {
            Ok(works) => self.publish_works(works, &mut results).await,
            Err(error) if !is_about_write(&error) => results.resize(purchases.len(), Err(error)),
            // One purchase cannot be encoded, so all are published one by one below.
            Err(_about_one_purchase) => {}
        }

        // The purchases without a result are published one by one, so that a write that cannot be
        // applied fails alone.
        let mut unpublished = Vec::new();
        for index in &indexes_by_user[results.len()..] {
            unpublished.push(&purchases[*index]);
        }
        results.extend(self.publish_each(unpublished).await);

        let mut indexed_results: Vec<_> = indexes_by_user.into_iter().zip(results).collect();
        indexed_results.sort_by_key(|(index, _)| *index);
        indexed_results
            .into_iter()
            .map(|(_, result)| result)
            .collect()
    }

    /// Publishes `works` in their order, by one job after the other, and appends their results to
    /// `results`.
    ///
    /// Each job commits the first part of the works and returns the rest, with which the next job
    /// continues. If a work cannot be applied, this function returns without results for the rest, and
    /// the caller publishes the rest one by one. Any other error becomes the result of all remaining
    /// works.
    async fn publish_works(&self, mut works: Vec<PublishWork>, results: &mut Vec<Result<Receipt>>) {
        while !works.is_empty() {
            let remaining_count = works.len();
            let (job, pending) = PublishBatchJob::new(PublishBatch {
                purchases: works,
                receipts: Vec::new(),
            });
            let published = async {
                self.log.writer.enqueue_when_free(job).await?;
                wait_until_durable(pending).await
            };
            match published.await {
                Ok((receipts, uncommitted)) => {
                    results.extend(receipts);
                    works = uncommitted;
                }
                Err(error) if is_about_write(&error) => return,
                Err(error) => {
                    results.extend(std::iter::repeat_n(Err(error), remaining_count));
                    return;
                }
            }
        }
    }
}

#[async_trait]
impl PurchaseSink for EmbeddedSink {
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        // A single purchase needs no permit, and fails at once if the queue of the writer is full.
        let no_permit = None;
        let (job, pending) = PublishJob::new(self.publish_work(purchase, no_permit)?);
        self.log.writer.enqueue(job)?;
        wait_until_durable(pending).await?
    }

    async fn publish_many(&self, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        if purchases.len() > MAX_EACH {
            self.publish_in_bulk(purchases).await
        } else {
            self.publish_each(purchases.iter().collect()).await
        }
    }

    fn info(&self) -> SinkInfo {
        SinkInfo::new(Durability::LocalDisk)
            .with_storing(self.group.is_some())
            .with_faults(self.log.writer.faults())
    }

    async fn check(&self) -> Result<()> {
        self.check_open()?;
        self.log.writer.check().await
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        self.batch_permits.close();
        // The writer processes its queue in order. Once this empty write completes or fails, no
        // earlier write is pending.
        let (job, last_write) = WriteTask::new(|_: &Connection| Ok::<_, rusqlite::Error>(()));
        let drained = async {
            if self.log.writer.enqueue_when_free(job).await.is_ok() {
                // An error of the empty write says nothing about earlier writes.
                drop(wait_until_durable(last_write).await);
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
    /// Appends a record with the given key, value and headers, and returns its position.
    ///
    /// The log assigns the offset and the timestamp. Unlike an [`EmbeddedSink`], this method
    /// accepts any value, as other producers may write it.
    ///
    /// # Errors
    /// Returns the errors of [`PurchaseSink::publish`].
    pub async fn append(&self, mut record: LogRecord) -> Result<RecordPosition> {
        record.time = self.shared.options.clock.now();
        let append = move |connection: &Connection| Ok(append(connection, &[&record])?.start);
        let offset = self.shared.writer.write(append).await?;
        Ok(RecordPosition::new(
            Arc::clone(&self.shared.topic),
            PARTITION,
            offset,
        ))
    }
}
