//! How far the ingest of a log is.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep_until, timeout};

use super::{LogAdmin, Offsets};
use crate::{Error, ErrorKind, Result};

/// The positions that the ingest of a log has committed. Implemented by [`GroupPositions`], and by a client of the service
/// that runs ingest.
#[async_trait]
pub trait IngestPositions: Debug + Send + Sync + 'static {
    /// The next offset of each partition that has a position.
    ///
    /// # Errors
    /// As [`LogAdmin::positions`].
    async fn positions(&self) -> Result<Offsets>;
}

/// The positions of a group, as the log reports them.
#[derive(Debug)]
pub struct GroupPositions {
    /// The log.
    pub log: Arc<dyn LogAdmin>,
    /// The group.
    pub group: Box<str>,
}

#[async_trait]
impl IngestPositions for GroupPositions {
    async fn positions(&self) -> Result<Offsets> {
        self.log.positions(&self.group).await
    }
}

/// The pauses between requests while the positions do not change.
const MIN_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_millis(250);
/// The timeout of a request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The positions whenever the stream is polled. It pauses while they stay as `before`, or are unknown.
pub(crate) fn follow_positions(
    positions: &Arc<dyn IngestPositions>,
    before: Offsets,
) -> BoxStream<'static, Offsets> {
    let state = (
        Arc::clone(positions),
        before,
        Instant::now(),
        Duration::ZERO,
    );
    let requests = stream::unfold(
        state,
        |(positions, before, mut last, mut pause)| async move {
            loop {
                if last.elapsed() < pause {
                    sleep_until(last + pause).await;
                }
                let late = |_elapsed| {
                    Err(Error::new(
                        ErrorKind::Unavailable,
                        "they were not reported in time",
                    ))
                };
                let now = timeout(TIMEOUT, positions.positions())
                    .await
                    .unwrap_or_else(late);
                last = Instant::now();
                pause = (pause * 2).clamp(MIN_PAUSE, MAX_PAUSE);
                match now {
                    Ok(now) if now == before => {
                        return Some((now, (positions, before, last, pause)));
                    }
                    Ok(now) => return Some((now.clone(), (positions, now, last, Duration::ZERO))),
                    Err(error) => {
                        tracing::debug!(error = %error.chain(), "the positions of ingest are unknown");
                    }
                }
            }
        },
    );
    requests.boxed()
}
