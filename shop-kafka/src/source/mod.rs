//! [`KafkaSource`]: consumes the log as a member of a consumer group.
//!
//! | thread | task |
//! |---|---|
//! | `shop-kafka-read` | polls the consumer, builds batches, and blocks during a revocation |
//! | of the runtime's blocking pool | commits, one call after the other, also while the reader thread blocks |
//!
//! The threads and the callers share a [`member::Member`]. Events are delivered through its [`queue::EventQueue`].

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
use crate::shared::Shared;
use member::Member;
use reader::Reader;

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
/// let (source, dead_letters) = (Arc::new(log.source("purchase-group")?), Arc::new(log.dead_letters()));
/// let ingest = Ingest::new(source, store, dead_letters, IngestOptions::default());
/// ingest.run(std::future::pending()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct KafkaSource {
    member: Arc<Member>,
    /// Held during a commit, also when its caller has given up: an older position must not follow a newer one.
    committing: Arc<Mutex<()>>,
    /// Cancelled at the end of the reader thread, which has then left the group.
    reader_ended: CancellationToken,
}

impl KafkaSource {
    pub(crate) fn start(log: &Arc<Shared>, group: &str) -> Result<Self> {
        let member = Arc::new(Member::new(Arc::clone(log), group));
        // Created here, so invalid options are an error of `start`.
        let consumer = Member::create_consumer(&member)?;
        let reader = Reader::new(Arc::clone(&member));
        let reader_ended = start_thread("shop-kafka-read", move || reader.run(consumer))?;
        Ok(Self {
            member,
            committing: Arc::default(),
            reader_ended,
        })
    }
}

/// How long a commit is retried that fails because the group is rebalancing.
const REBALANCE_PATIENCE: Duration = Duration::from_secs(3);
const REBALANCE_RETRY: Duration = Duration::from_millis(100);

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
        let started = Instant::now();
        let outcomes = async {
            loop {
                let turn = Arc::clone(&self.committing).lock_owned().await;
                let member = Arc::clone(&self.member);
                let positions = positions.to_vec();
                let commit = move || {
                    let _turn = turn;
                    member.commit(&positions)
                };
                let committed = blocking("commit", commit).await;
                // Whenever a member joins or leaves, commits fail for a moment. That is no failure.
                let is_rebalancing = committed.as_ref().is_err_and(is_rebalancing);
                if !is_rebalancing || started.elapsed() >= REBALANCE_PATIENCE {
                    return committed;
                }
                sleep(REBALANCE_RETRY).await;
            }
        };
        // librdkafka waits for a missing coordinator for up to the session timeout.
        let limit = self.member.log.options.session_timeout + Duration::from_secs(1);
        tokio::time::timeout(limit, outcomes)
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
