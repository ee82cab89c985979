//! Publishes the events of an outbox to a log.
//!
//! A [`Relay`] works in rounds. Each round reads the oldest pending entries, appends their events
//! to the log, and deletes the entries whose events the log acknowledged. Events of one key are
//! appended one after the other, and events of different keys concurrently. Between two rounds the
//! relay waits for a notification, for the poll interval, or, after an error, for a pause that
//! grows.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Weak};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures_util::future::join_all;
use shop_core::log::Log;
use shop_core::ports::group_by_key;
use shop_core::{Error, ErrorKind, Result, catch_panic, options, with_failpoints};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Backlog, Outbox, OutboxEntry};

options! {
    /// Options of a [`Relay`]. The defaults suit nearly all deployments.
    #[derive(Debug, Clone)]
    pub struct RelayOptions {
        /// The maximum number of entries per round (default 500).
        pub batch_size: usize = 500,
        /// How often the outbox is polled for entries without a notification, such as entries of a
        /// process that ended (default 1 s). Entries of this process are published at once.
        pub poll_interval: Duration = Duration::from_secs(1),
        /// The first pause after an error (default 50 ms). Each further pause is twice as long.
        pub initial_backoff: Duration = Duration::from_millis(50),
        /// The maximum pause after an error (default 2 s), plus up to 100 % jitter.
        pub max_backoff: Duration = Duration::from_secs(2),
        /// How long a shutdown continues to publish pending entries (default 5 s). An append that
        /// began by then is completed. Other entries stay in the outbox.
        pub drain_timeout: Duration = Duration::from_secs(5),
    }
}

impl RelayOptions {
    /// Returns the endless sequence of pauses between rounds that fail.
    fn backoff(&self) -> ExponentialBackoff {
        ExponentialBuilder::new()
            .with_jitter()
            .with_min_delay(self.initial_backoff)
            .with_max_delay(self.max_backoff)
            .without_max_times()
            .build()
    }
}

/// The status of a relay.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RelayStatus {
    /// The number of events that the log acknowledged.
    pub published: u64,
    /// The error of the last round, if it failed. The relay retries.
    pub last_error: Option<Error>,
}

/// Publishes events from an outbox to a log.
///
/// ```
/// use std::sync::Arc;
///
/// use shop_accounts::entity::EntityStore;
/// use shop_accounts::memory::InMemoryUsers;
/// use shop_accounts::outbox::{Relay, RelayOptions};
/// use shop_accounts::users::NewUser;
/// use shop_core::memory::InMemoryLog;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // A store of users writes each user with its event.
/// let (users, log) = (InMemoryUsers::new(), InMemoryLog::default());
/// users.insert(&NewUser::new("sign-up-7".parse()?, "ada@example.com".parse()?, "Ada".parse()?)).await?;
///
/// let relay = Relay::new(Arc::new(users), Arc::new(log), RelayOptions::default());
/// let monitor = relay.monitor();
/// // A service passes its shutdown signal. Entries that are pending at a shutdown are published.
/// relay.run(std::future::ready(())).await;
/// assert_eq!(monitor.status().published, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Relay {
    outbox: Arc<dyn Outbox>,
    log: Arc<dyn Log>,
    options: RelayOptions,
    status: watch::Sender<RelayStatus>,
}

/// A handle to the status of a relay, which outlives the relay.
#[derive(Debug, Clone)]
pub struct RelayMonitor {
    outbox: Weak<dyn Outbox>,
    status: watch::Receiver<RelayStatus>,
}

impl RelayMonitor {
    /// Returns the current status of the relay.
    #[must_use]
    pub fn status(&self) -> RelayStatus {
        self.status.borrow().clone()
    }

    /// Returns the number and age of the pending entries of the outbox.
    ///
    /// # Errors
    /// The errors of [`Outbox::backlog`], and [`Closed`](ErrorKind::Closed) when the outbox was
    /// dropped.
    pub async fn backlog(&self) -> Result<Backlog> {
        let Some(outbox) = self.outbox.upgrade() else {
            return Err(Error::new(ErrorKind::Closed, "the outbox was closed"));
        };
        outbox.backlog().await
    }
}

impl Relay {
    /// Creates a relay from `outbox` to `log`. The relay does nothing until [`run`](Self::run) is
    /// called.
    #[must_use]
    pub fn new(outbox: Arc<dyn Outbox>, log: Arc<dyn Log>, options: RelayOptions) -> Self {
        Self {
            outbox,
            log,
            options,
            status: watch::Sender::default(),
        }
    }

    /// Returns a handle to the status of this relay.
    #[must_use]
    pub fn monitor(&self) -> RelayMonitor {
        RelayMonitor {
            outbox: Arc::downgrade(&self.outbox),
            status: self.status.subscribe(),
        }
    }

    /// Publishes events until `shutdown` completes.
    ///
    /// Then publishes the pending entries once more, for at most
    /// [`drain_timeout`](RelayOptions::drain_timeout). The other entries stay in the outbox.
    ///
    /// # Cancel safety
    /// Dropping the future loses no event. The events whose appends were in progress may be
    /// published again.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        // `stop_requested` ends the rounds and begins the drain. `drain_timed_out` ends the drain.
        let stop_requested = CancellationToken::new();
        let drain_timed_out = CancellationToken::new();
        let signal_shutdown = async {
            shutdown.await;
            stop_requested.cancel();
            sleep(self.options.drain_timeout).await;
            drain_timed_out.cancel();
            // This branch never completes, because the other branch must complete an append in
            // progress.
            pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = signal_shutdown => {}
            () = self.run_rounds(&stop_requested, &drain_timed_out) => {}
        }
    }

    /// Runs rounds until `stop_requested` is cancelled, and then one round more, which ends early
    /// when `drain_timed_out` is cancelled.
    ///
    /// A failed or panicking round is repeated after a pause.
    async fn run_rounds(
        &self,
        stop_requested: &CancellationToken,
        drain_timed_out: &CancellationToken,
    ) {
        let mut backoff = self.options.backoff();
        let mut undeleted = UndeletedEntries::default();
        // If waiting for notifications panics once, the relay only polls from then on.
        let mut uses_notifications = true;
        loop {
            let round_result =
                catch_panic(ORIGIN, self.publish_round(&mut undeleted, drain_timed_out)).await;
            let has_failed = round_result.is_err();
            let pause = self.pause_after_round(round_result, &mut backoff);
            let notification = catch_panic(ORIGIN, async {
                self.outbox.wait_for_entries().await;
                Ok(())
            });
            tokio::select! {
                biased;
                () = stop_requested.cancelled() => break,
                // After a failure, new entries must not cut the pause short: the log is probably
                // unavailable.
                wait_result = notification, if uses_notifications && !has_failed => {
                    if wait_result.is_err() {
                        tracing::error!("waiting for outbox entries panicked, polling from now on");
                        uses_notifications = false;
                    }
                }
                () = sleep(pause) => {}
            }
        }

        // This round is the drain. It publishes the entries that were written since the last round.
        // If it fails, they stay pending until the next start.
        if !drain_timed_out.is_cancelled()
            && let Err(error) =
                catch_panic(ORIGIN, self.publish_round(&mut undeleted, drain_timed_out)).await
        {
            self.record_failure(error);
        }
    }

    /// Returns the pause after a round with `round_result`, and records an error of the round.
    fn pause_after_round(
        &self,
        round_result: Result<usize>,
        backoff: &mut ExponentialBackoff,
    ) -> Duration {
        match round_result {
            Ok(published_count) => {
                *backoff = self.options.backoff();
                // After a round that published something, more entries may be pending, so the next
                // round begins at once.
                if published_count == 0 {
                    self.options.poll_interval
                } else {
                    Duration::ZERO
                }
            }
            Err(error) => {
                self.record_failure(error);
                backoff.next().unwrap_or(self.options.max_backoff)
            }
        }
    }

    /// Runs one round: publishes the oldest entries of the outbox, at most a batch, and deletes the
    /// published entries.
    ///
    /// `undeleted` contains the entries that an earlier round published, but failed to delete. This
    /// round deletes them, and does not publish them again. Afterwards, `undeleted` contains all
    /// entries that this round tried to delete. Entries whose publish fails stay in the outbox.
    ///
    /// Returns the number of events that were published.
    ///
    /// # Errors
    /// The error of reading or deleting entries, or the first error of the log if no event was
    /// published.
    async fn publish_round(
        &self,
        undeleted: &mut UndeletedEntries,
        drain_timed_out: &CancellationToken,
    ) -> Result<usize> {
        let pending_entries = self.outbox.pending(self.options.batch_size.max(1)).await?;

        // Keeps only the undeleted entries that are still pending, because another relay may have
        // deleted the others. Entries are the same if their contents are equal, not only their ids.
        let published_before = std::mem::take(undeleted);
        let (published_entries, new_entries): (Vec<_>, Vec<_>) = pending_entries
            .into_iter()
            .partition(|entry| published_before.get(&entry.id) == Some(entry));
        undeleted.extend(published_entries.into_iter().map(|entry| (entry.id, entry)));

        // One group for each key. Each entry without a key is a group of its own, because it is
        // independent of all others.
        let groups = group_by_key(new_entries, |entry| entry.record.key.clone());
        let results = join_all(
            groups
                .into_iter()
                .map(|group| self.publish_group(group, drain_timed_out)),
        )
        .await;
        let mut published_count = 0;
        let mut first_error = None;
        for (entries, error) in results {
            published_count += entries.len();
            undeleted.extend(entries.into_iter().map(|entry| (entry.id, entry)));
            first_error = first_error.or(error);
        }
        self.status
            .send_modify(|status| status.published += published_count as u64);

        if !undeleted.is_empty() {
            let ids: Vec<i64> = undeleted.keys().copied().collect();
            with_failpoints("delete", self.outbox.delete(&ids)).await?;
        }

        match first_error {
            // A round with some success returns no error, so that the next round begins without a
            // pause. More entries may be pending.
            Some(error) if published_count > 0 => self.record_failure(error),
            Some(error) => return Err(error),
            None => {
                // Notifies the receivers only if there was an error.
                self.status
                    .send_if_modified(|status| status.last_error.take().is_some());
            }
        }
        Ok(published_count)
    }

    /// Publishes the events of one key in order, until the first error or until `drain_timed_out`
    /// is cancelled.
    ///
    /// Returns the entries that were published, and the error if there was one.
    async fn publish_group(
        &self,
        group: Vec<OutboxEntry>,
        drain_timed_out: &CancellationToken,
    ) -> (Vec<OutboxEntry>, Option<Error>) {
        let mut published = Vec::with_capacity(group.len());
        for entry in group {
            if drain_timed_out.is_cancelled() {
                break;
            }

            // A panic of the log is caught here, so that the events of other keys in this round
            // still count as published.
            let append =
                async { with_failpoints("append", self.log.append(entry.record.clone())).await };
            match catch_panic(ORIGIN, append).await {
                Ok(()) => published.push(entry),
                Err(error) => return (published, Some(error)),
            }
        }
        (published, None)
    }

    /// Records the error of a round in the status. Only the first error after a success is logged.
    fn record_failure(&self, error: Error) {
        let is_first = self.status.borrow().last_error.is_none();
        if is_first {
            tracing::warn!(error = %error.chain(), "publish failed, retrying");
        }
        self.status
            .send_modify(|status| status.last_error = Some(error));
    }
}

/// The entries, by id, that are still in the outbox because their deletion failed, although the log
/// acknowledged their events. The next round deletes them, and does not publish them again. Their
/// number is bounded by the batch size.
///
/// Entries are compared by content, and not by id alone, so that no event is lost if an outbox
/// wrongly reuses an id.
type UndeletedEntries = BTreeMap<i64, OutboxEntry>;

/// The origin of an error that was made from a panic of the outbox or of the log.
const ORIGIN: &str = "relay";
