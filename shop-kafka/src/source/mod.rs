//! [`KafkaSource`]: consumes the log as a member of a consumer group.
//!
//! | thread | task |
//! |---|---|
//! | `shop-kafka-read`, the reader thread | polls the consumer, builds batches, and blocks during a revocation |
//! | a thread of the runtime's blocking pool | commits, one call after the other, also while the reader thread blocks |
//!
//! The threads and the callers of [`KafkaSource`] share a [`member::Member`]. Its
//! [`queue::EventQueue`] transfers events from the reader thread to the callers.
//!
//! | module | responsibility |
//! |---|---|
//! | `reader`, `pending` | the reader thread, and the batches that it builds |
//! | `positions` | which records the log lost before and between the records that are read |
//! | `membership` | the requests to the brokers about partitions |
//! | `rebalance` | assignments and revocations |

mod member;
mod membership;
mod pending;
mod positions;
mod queue;
mod reader;
mod rebalance;

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

/// How long a commit is retried while it fails because the group is rebalancing.
const REBALANCE_PATIENCE: Duration = Duration::from_secs(3);
/// The pause between two attempts of such a commit.
const COMMIT_RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Consumes a [`KafkaLog`](crate::KafkaLog) as a member of a consumer group, until it is closed or
/// dropped.
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
/// let ingest = Ingest::new(source, store, Arc::new(log), IngestOptions::default());
/// ingest.run(std::future::pending()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct KafkaSource {
    member: Arc<Member>,
    /// Held during a commit, even if its caller drops the future. Commits that run at the same time
    /// could reach the brokers in another order, so that an older position replaces a newer one.
    commit_lock: Arc<Mutex<()>>,
    /// Cancelled when the reader thread ends. The thread leaves the group before.
    reader_ended: CancellationToken,
}

impl KafkaSource {
    /// Creates a source that reads `log` as a member of the consumer group `group`, and starts its
    /// reader thread.
    ///
    /// # Errors
    /// If librdkafka rejects the options, or if the system starts no thread.
    pub(crate) fn start(log: &Arc<KafkaLogInner>, group: &str) -> Result<Self> {
        let member = Arc::new(Member::new(Arc::clone(log), group));
        // The first consumer is created here and not on the reader thread, so that rejected options
        // are an error of `start`.
        let consumer = Member::create_consumer(&member)?;
        let reader = Reader::new(Arc::clone(&member));
        let reader_ended = start_thread("shop-kafka-read", move || reader.run(consumer))?;
        Ok(Self {
            member,
            commit_lock: Arc::default(),
            reader_ended,
        })
    }

    /// Commits `positions`, and retries for up to [`REBALANCE_PATIENCE`] while the group is
    /// rebalancing.
    ///
    /// Kafka rejects commits for a moment whenever a member joins or leaves the group.
    ///
    /// # Errors
    /// The error of the last attempt.
    async fn commit_with_retries(&self, positions: &[CommitOffset]) -> Result<Vec<CommitOutcome>> {
        let started = Instant::now();
        loop {
            // The guard moves to the blocking thread, which holds the lock until the commit ends,
            // even if this future is dropped.
            let commit_guard = Arc::clone(&self.commit_lock).lock_owned().await;
            let member = Arc::clone(&self.member);
            let positions = positions.to_vec();
            let result = blocking("commit", move || {
                let _commit_guard = commit_guard;
                member.commit(&positions)
            })
            .await;

            let failed_by_rebalance = result.as_ref().is_err_and(is_rebalancing);
            if !failed_by_rebalance || started.elapsed() >= REBALANCE_PATIENCE {
                return result;
            }
            sleep(COMMIT_RETRY_PAUSE).await;
        }
    }
}

impl Drop for KafkaSource {
    /// Closes the queue, upon which the reader thread leaves the group and ends. Does not wait for
    /// the thread.
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

        // Commits are sent to the coordinator, which is one of the brokers. While the group has no
        // coordinator, librdkafka waits for up to the session timeout.
        let timeout = self.member.log.options.session_timeout + Duration::from_secs(1);
        tokio::time::timeout(timeout, self.commit_with_retries(positions))
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
