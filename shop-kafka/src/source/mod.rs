//! The reading end of the log: a member of a consumer group.
//!
//! | thread | what it does |
//! |---|---|
//! | `shop-kafka-read` | polls the consumer, sorts records into batches, and stands still in a rebalance |
//! | `shop-kafka-commit` | commits, one call after the other, whatever the other thread does |
//!
//! What they and the callers share is [`member::Member`]; what is handed over lies in its [`inbox::EventQueue`].

mod member;
mod pending;
mod queue;
mod reader;
mod rebalance;
mod rejoin_backoff;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use async_trait::async_trait;
use shop_core::log::{CommitOffset, CommitOutcome, ControlEvent, Lag, LogSource, SourceEvent};
use shop_core::{ErrorKind, Result};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::error::{closed, kafka_error};
use crate::log::Shared;
use crate::thread;
use member::Member;
use reader::Reader;

/// Reads a [`KafkaLog`](crate::KafkaLog) as a member of a group, until it is closed or dropped.
#[derive(Debug)]
pub struct KafkaSource {
    member: Arc<Member>,
    commits: SyncSender<Commit>,
    /// The end of the thread that reads, which has left the group by then.
    ending: CancellationToken,
}

/// Positions to be committed, and who waits for that.
#[derive(Debug)]
struct Commit {
    positions: Vec<CommitOffset>,
    answer: oneshot::Sender<Result<Vec<CommitOutcome>>>,
}

/// The most commits that may wait. A pipeline has one at a time.
const COMMITS: usize = 16;

impl KafkaSource {
    pub(crate) fn start(log: &Arc<Shared>, group: &str) -> Result<Self> {
        let member = Arc::new(Member::new(Arc::clone(log), group));
        // Made now, so that whoever starts is told of options that librdkafka does not take.
        let consumer = Member::make_consumer(&member)?;
        let (commits, waiting) = sync_channel(COMMITS);
        let committing = Arc::clone(&member);
        drop(thread::start("shop-kafka-commit", move || serve_commits(&committing, &waiting))?);
        let (reader, closing) = (Reader::new(Arc::clone(&member)), Arc::clone(&member));
        let ending = thread::start("shop-kafka-read", move || {
            // Even if the thread panics, nobody waits for it for ever.
            let _closed_at_the_end = Closing(closing);
            reader.run(consumer);
        })?;
        Ok(Self { member, commits, ending })
    }

    /// How long a commit may take: librdkafka waits as long as a session for a group without a coordinator.
    fn commit_deadline(&self) -> Duration {
        self.member.log.options.session_timeout + Duration::from_secs(1)
    }
}

/// Closes the source when it is dropped.
struct Closing(Arc<Member>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.inbox.close();
    }
}

/// Ends with the source.
fn serve_commits(member: &Member, waiting: &Receiver<Commit>) {
    while let Ok(Commit { positions, answer }) = waiting.recv() {
        // Whoever has given up commits again, perhaps further: an old position must not come after that.
        if !answer.is_closed() {
            let _given_up_meanwhile = answer.send(member.commit(&positions));
        }
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.member.inbox.close();
    }
}

#[async_trait]
impl LogSource for KafkaSource {
    async fn next(&self) -> Result<SourceEvent> {
        self.member.inbox.next().await
    }

    async fn next_control(&self) -> Result<ControlEvent> {
        self.member.inbox.next_control().await
    }

    async fn commit(&self, positions: &[CommitOffset]) -> Result<Vec<CommitOutcome>> {
        if positions.is_empty() {
            return Ok(Vec::new());
        }
        if self.member.inbox.is_closed() {
            return Err(closed("source"));
        }
        let (answer, answered) = oneshot::channel();
        let commit = Commit { positions: positions.to_vec(), answer };
        self.commits.try_send(commit).map_err(|error| match error {
            TrySendError::Full(_) => kafka_error(ErrorKind::Overloaded, "too many commits wait already"),
            TrySendError::Disconnected(_) => closed("source"),
        })?;
        match tokio::time::timeout(self.commit_deadline(), answered).await {
            Ok(Ok(outcomes)) => outcomes,
            Ok(Err(_)) => Err(closed("source")),
            Err(_elapsed) => Err(kafka_error(ErrorKind::Unavailable, "the brokers did not answer a commit")),
        }
    }

    async fn lag(&self) -> Result<Lag> {
        Ok(self.member.lag())
    }

    async fn check(&self) -> Result<()> {
        if self.member.inbox.is_closed() {
            return Err(closed("source"));
        }
        self.member.log.monitor.check(&self.member.log.topic).await
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        self.member.inbox.close();
        tokio::time::timeout(deadline, self.ending.cancelled()).await.map_err(|_elapsed| {
            kafka_error(ErrorKind::DeadlineExceeded, "the group was not told in time that this member leaves")
        })
    }
}
