//! What the live feed ([`PurchaseFeed`](crate::feed::PurchaseFeed)) follows: the tail of a log, and
//! the positions up to which ingest processed the log.
//!
//! A tail contains the records of a topic from given offsets on, including those that are appended
//! later. It belongs to no consumer group and commits nothing. [`LogAdmin::tail`] opens it. `verify`
//! uses a tail only to learn where each partition starts and ends.
//!
//! The feed shows a purchase only after ingest stores it. A feed in another process than ingest
//! cannot see that directly, so it asks for the committed positions again and again:
//! [`follow_positions`] turns the requests into a stream.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep_until, timeout};

use super::{Batch, LogAdmin};
use crate::{Error, ErrorKind, Result};

/// The offset of the next record to read, by partition.
pub type Offsets = BTreeMap<u32, u64>;

/// An endless stream of the records of a topic, from an offset of each partition on.
#[non_exhaustive]
pub struct LogTail {
    /// The id of the cluster or file that contains the topic.
    pub cluster: Arc<str>,
    /// The name of the topic.
    pub topic: Arc<str>,
    /// A text that is replaced whenever the log is restored from a backup: afterwards the same
    /// offsets may belong to other records. `None` for a log that was never restored.
    pub generation: Option<Arc<str>>,
    /// The offset at which each partition starts. It differs from the requested offset if the log
    /// does not contain that offset.
    pub start: Offsets,
    /// The end of each partition at the time of the call, as far as the partition can be read.
    pub end: Offsets,
    /// The number of offsets behind `end` that could not be read at the time of the call, by
    /// partition: other producers had not ended their transactions. Partitions without such offsets
    /// are absent.
    pub unstable: BTreeMap<u32, u64>,
    /// Whether an offset may be without a record although none was deleted, such as the offset of a
    /// transaction marker.
    pub is_sparse: bool,
    /// The batches of records, each of one partition and with epoch 0, as soon as they are in the
    /// log.
    pub batches: BoxStream<'static, Result<Batch>>,
}

impl LogTail {
    /// Creates a tail of the partitions of `topic`, which yields `batches`.
    ///
    /// `spans` contains each partition with two offsets: the one at which its records start, and
    /// the one at which the log ended at the time of the call.
    #[must_use]
    pub fn new(
        cluster: Arc<str>,
        topic: Arc<str>,
        spans: impl IntoIterator<Item = (u32, (u64, u64))>,
        batches: BoxStream<'static, Result<Batch>>,
    ) -> Self {
        let (start, end) = spans
            .into_iter()
            .map(|(partition, (start, end))| ((partition, start), (partition, end)))
            .unzip();
        Self {
            cluster,
            topic,
            generation: None,
            start,
            end,
            unstable: Offsets::new(),
            is_sparse: false,
            batches,
        }
    }

    /// Returns the offset at which a tail that was requested from `start` on begins in `partition`.
    ///
    /// `first` is the offset of the partition's first record, and `end` the offset of its next
    /// record. The tail begins at `first` if `start` does not contain the partition, or if its
    /// offset in `start` is not between `first` and `end`.
    #[must_use]
    pub fn start_offset(start: &Offsets, partition: u32, first: u64, end: u64) -> u64 {
        match start.get(&partition) {
            Some(offset) if (first..=end).contains(offset) => *offset,
            _ => first,
        }
    }
}

impl fmt::Debug for LogTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail")
            .field("topic", &self.topic)
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}

/// A source of the positions that the ingest of a log committed.
///
/// Two types implement this trait: [`GroupPositions`] asks the log, and a client of the service
/// that runs ingest asks the service.
#[async_trait]
pub trait IngestPositions: Debug + Send + Sync + 'static {
    /// Returns the offset of the next record of each partition in which ingest committed a
    /// position. A partition without a position is absent.
    ///
    /// # Errors
    /// See [`LogAdmin::positions`].
    async fn positions(&self) -> Result<Offsets>;
}

/// The positions of the consumer group of ingest, which the log itself reports.
#[derive(Debug)]
pub struct GroupPositions {
    /// The log that is asked for the positions.
    pub log: Arc<dyn LogAdmin>,
    /// The name of the consumer group.
    pub group: Box<str>,
}

#[async_trait]
impl IngestPositions for GroupPositions {
    async fn positions(&self) -> Result<Offsets> {
        self.log.positions(&self.group).await
    }
}

/// The pause after the first request that finds the positions unchanged. It doubles from request to
/// request up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause between two requests while the positions do not change.
const MAX_PAUSE: Duration = Duration::from_millis(250);
/// The time after which a request that was not answered is given up and repeated.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Returns an endless stream of the positions of ingest. Each item is the answer of one request to
/// `positions`.
///
/// A request is made only while the stream is polled. The first one follows at once. While the
/// answers equal the previous one (`previous` at first), or requests fail, the stream pauses before
/// the next request, for 50 ms up to 250 ms. After a changed answer, the next request follows
/// without a pause.
///
/// The stream does not fail: a request that fails or takes longer than 10 s is logged and repeated.
pub(crate) fn follow_positions(
    positions: &Arc<dyn IngestPositions>,
    previous: Offsets,
) -> BoxStream<'static, Offsets> {
    let poll = PositionPoll {
        positions: Arc::clone(positions),
        previous,
        last_request: Instant::now(),
        pause: Duration::ZERO,
    };
    stream::unfold(poll, PositionPoll::next_answer).boxed()
}

/// The state of [`follow_positions`] between two requests.
struct PositionPoll {
    positions: Arc<dyn IngestPositions>,
    /// The answer to the last request that succeeded. Before the first one, the positions that the
    /// caller of [`follow_positions`] passed.
    previous: Offsets,
    /// When the last request ended. Before the first one, when the stream was created.
    last_request: Instant,
    /// The pause before the next request, from `last_request` on.
    pause: Duration,
}

impl PositionPoll {
    /// Requests the positions until a request succeeds, and returns the answer with the state for
    /// the next call.
    ///
    /// Never returns `None`, so the stream is endless.
    async fn next_answer(mut self) -> Option<(Offsets, Self)> {
        loop {
            // A caller that polls later than at the end of the pause does not wait.
            if self.last_request.elapsed() < self.pause {
                sleep_until(self.last_request + self.pause).await;
            }

            // A request that is not answered in time counts as failed.
            let answer = timeout(TIMEOUT, self.positions.positions())
                .await
                .unwrap_or_else(|_elapsed| {
                    Err(Error::new(
                        ErrorKind::Unavailable,
                        "they were not reported in time",
                    ))
                });
            self.last_request = Instant::now();

            // The longer pause applies to unchanged answers and errors.
            self.pause = (self.pause * 2).clamp(MIN_PAUSE, MAX_PAUSE);
            match answer {
                Ok(current) => {
                    if current != self.previous {
                        self.previous.clone_from(&current);
                        self.pause = Duration::ZERO;
                    }
                    return Some((current, self));
                }
                Err(error) => {
                    tracing::debug!(error = %error.chain(), "the positions of ingest are unknown");
                }
            }
        }
    }
}
