//! The positions up to which ingest processed a log, which the live feed
//! ([`PurchaseFeed`](crate::feed::PurchaseFeed)) follows.
//!
//! The feed shows a purchase only after ingest stores it. A feed in another process than ingest
//! cannot see that directly, so it asks for the committed positions again and again:
//! [`follow_positions`] turns the requests into a stream.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep_until, timeout};

use super::{Log, Offsets};
use crate::{Error, ErrorKind, Result};

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
    /// See [`Log::positions`].
    async fn positions(&self) -> Result<Offsets>;
}

/// The positions of the consumer group of ingest, which the log itself reports.
#[derive(Debug)]
pub struct GroupPositions {
    /// The log that is asked for the positions.
    pub log: Arc<dyn Log>,
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

/// Returns an endless stream of the positions of ingest. Each item is the answer to one request to
/// `positions`.
///
/// Requests are made only while the stream is polled. After an answer that differs from the last one,
/// the next request follows at once. After an equal answer or a failure, the stream pauses for 50 ms,
/// and longer each time, up to 250 ms. `known_positions` count as the answer before the first one.
///
/// The stream does not fail: a request that fails or takes longer than 10 s is logged and repeated.
pub(crate) fn follow_positions(
    positions: &Arc<dyn IngestPositions>,
    known_positions: Offsets,
) -> BoxStream<'static, Offsets> {
    let poll = PositionPoll {
        positions: Arc::clone(positions),
        last_answer: known_positions,
        last_request_at: Instant::now(),
        pause: Duration::ZERO,
    };
    stream::unfold(poll, PositionPoll::next_answer).boxed()
}

/// The state of [`follow_positions`] between two requests.
struct PositionPoll {
    positions: Arc<dyn IngestPositions>,
    /// The answer to the last request that succeeded. Before the first one, the positions that the
    /// caller of [`follow_positions`] passed.
    last_answer: Offsets,
    /// When the last request ended. Before the first one, when the stream was created.
    last_request_at: Instant,
    /// The pause before the next request, from `last_request_at` on.
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
            if self.last_request_at.elapsed() < self.pause {
                sleep_until(self.last_request_at + self.pause).await;
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
            self.last_request_at = Instant::now();

            // An unchanged answer and an error leave this longer pause.
            self.pause = (self.pause * 2).clamp(MIN_PAUSE, MAX_PAUSE);
            match answer {
                Ok(current_positions) => {
                    if current_positions != self.last_answer {
                        self.last_answer.clone_from(&current_positions);
                        self.pause = Duration::ZERO;
                    }
                    return Some((current_positions, self));
                }
                Err(error) => {
                    tracing::debug!(error = %error.chain(), "the positions of ingest are unknown");
                }
            }
        }
    }
}
