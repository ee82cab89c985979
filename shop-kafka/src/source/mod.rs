//! [`KafkaSource`]: consumes the log as a member of a consumer group.
//!
//! | thread | task |
//! |---|---|
//! | `shop-kafka-read` | polls the consumer, builds batches, and blocks during a revocation |
//! | of the runtime's blocking pool | commits, one call after the other, also while the reader thread blocks |
//!
//! The threads and the callers share a [`member::Member`]. Events are delivered through its [`queue::EventQueue`].
//!
//! | module | responsibility |
//! |---|---|
//! | `reader`, `pending` | the reader thread, and the batches that it builds |
//! | `start`, `positions` | which records the log lost before and between the records that are read |
//! | `membership` | the requests to the brokers about partitions |
//! | `rebalance` | assignments and revocations |

mod member;
mod membership;
mod pending;
mod positions;
mod queue;
mod reader;
mod rebalance;
mod start;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use shop_core::log::{CommitOffset, CommitOutcome, ControlEvent, Lag, LogSource, SourceEvent};
use shop_core::{ErrorKind, Result};
use tokio::sync::Mutex;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::client::{blocking, start_thread};
use crate::error::{closed, is_rebalancing, kafka_error};
use crate::shared::KafkaLogInner;
use member::Member;
use reader::Reader;

/// The time for which a commit is retried that fails because the group is rebalancing.
const REBALANCE_PATIENCE: Duration = Duration::from_secs(3);
const REBALANCE_RETRY: Duration = Duration::from_millis(100);

/// Consumes a [`KafkaLog`](crate::KafkaLog) as a member of a consumer group, until it is closed or dropped.
///
/// [`Ingest`](shop_core::ingest::Ingest) is the usual caller:
///
/// ```no_run
/// use std::sync::Arc;
///
/// use shop_core::Purchase;
/// use shop_core::ingest::{Ingest, IngestOptions};
/// use shop_core::ports::RecordStore;
/// use shop_kafka::KafkaLog;
///
/// # async fn example(log: KafkaLog, store: Arc<dyn RecordStore<Purchase>>) -> shop_core::Result<()> {
/// let source = Arc::new(log.source("purchase-group")?);
/// let dead_letters = Arc::new(log.dead_letters());
/// let ingest = Ingest::new(source, store, dead_letters, IngestOptions::default());
/// ingest.run(std::future::pending()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct KafkaSource {
    member: Arc<Member>,
    /// Held during a commit, also when its caller has given up: an older position must not follow a newer one.
    commit_lock: Arc<Mutex<()>>,
    /// Cancelled at the end of the reader thread, which leaves the group first.
    reader_ended: CancellationToken,
}

impl KafkaSource {
    /// Starts the reader thread.
    ///
    /// # Errors
    /// If the options are invalid, or if the system starts no thread.
    pub(crate) fn start(log: &Arc<KafkaLogInner>, group: &str) -> Result<Self> {
        let member = Arc::new(Member::new(Arc::clone(log), group));
        // The first consumer is not created by the reader thread, so invalid options are an error of `start`.
        let consumer = Member::create_consumer(&member)?;
        let reader = Reader::new(Arc::clone(&member));
        let reader_ended = start_thread("shop-kafka-read", move || reader.run(consumer))?;
        Ok(Self {
            member,
            commit_lock: Arc::default(),
            reader_ended,
        })
    }

    /// Commits the positions, and retries for [`REBALANCE_PATIENCE`] while the group is rebalancing.
    ///
    /// Commits fail for a moment whenever a member joins or leaves the group.
    async fn commit_with_retries(&self, positions: &[CommitOffset]) -> Result<Vec<CommitOutcome>> {
        let started = Instant::now();
        loop {
            // A blocking thread holds the lock until the commit ends, even if this future is dropped.
            let guard = Arc::clone(&self.commit_lock).lock_owned().await;
            let member = Arc::clone(&self.member);
            let positions = positions.to_vec();
            let result = blocking("commit", move || {
                let _guard = guard;
                member.commit(&positions)
            })
            .await;

            let is_rebalancing = result.as_ref().is_err_and(is_rebalancing);
            if !is_rebalancing || started.elapsed() >= REBALANCE_PATIENCE {
                return result;
            }
            sleep(REBALANCE_RETRY).await;
        }
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.member.queue.close();
    }
}

#[async_trait]
impl LogSource for KafkaSource {
    async fn next(&self) -> Result<SourceEvent> {
        self.member.queue.next().await
    }

    async fn next_control(&self) -> Result<ControlEvent> {
        self.member.queue.next_control().await
    }

    async fn commit(&self, positions: &[CommitOffset]) -> Result<Vec<CommitOutcome>> {
        if positions.is_empty() {
            return Ok(Vec::new());
        }
        if self.member.queue.is_closed() {
            return Err(closed("source"));
        }

        // librdkafka waits for a missing coordinator for up to the session timeout.
        let limit = self.member.log.options.session_timeout + Duration::from_secs(1);
        tokio::time::timeout(limit, self.commit_with_retries(positions))
            .await
            .unwrap_or_else(|_elapsed| {
                Err(kafka_error(
                    ErrorKind::Unavailable,
                    "the brokers did not respond to a commit in time",
                ))
            })
    }

    async fn lag(&self) -> Result<Lag> {
        Ok(self.member.lag())
    }

    async fn check(&self) -> Result<()> {
        if self.member.queue.is_closed() {
            return Err(closed("source"));
        }
        self.member.log.monitor.check(&self.member.log.topic).await
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        self.member.queue.close();
        tokio::time::timeout(deadline, self.reader_ended.cancelled())
            .await
            .map_err(|_elapsed| {
                kafka_error(
                    ErrorKind::DeadlineExceeded,
                    "the member did not leave the group in time",
                )
            })
    }
}
