//! Publishes the events of an outbox.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Weak};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Backlog, Outbox, OutboxEntry};
use crate::error::catch_panic;
use crate::log::LogWriter;
use crate::ports::sink::group_by_key;
use crate::{Error, ErrorKind, Result, options, with_failpoints};

options! {
    /// Options of a [`Relay`]. The defaults suit nearly all deployments.
    #[derive(Debug, Clone)]
    pub struct RelayOptions {
        /// The maximum number of entries per round (default 500).
        pub batch_size: usize = 500,
        /// How often the outbox is polled for entries without a notification, such as those of a process that has ended
        /// (default 1 s). Entries of this process are published at once.
        pub poll_interval: Duration = Duration::from_secs(1),
        /// The first pause after an error (default 50 ms). Each further pause is twice as long.
        pub initial_backoff: Duration = Duration::from_millis(50),
        /// The maximum pause after an error (default 2 s), plus up to 100 % jitter.
        pub max_backoff: Duration = Duration::from_secs(2),
        /// How long a shutdown continues to publish pending entries (default 5 s). An append that has begun by then is
        /// completed. Other entries stay in the outbox.
        pub drain_timeout: Duration = Duration::from_secs(5),
    }
}

impl RelayOptions {
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
    /// The number of events that the log has acknowledged.
    pub published: u64,
    /// The error of the last round, if it failed. The relay retries.
    pub last_error: Option<Error>,
}

/// Publishes events from an outbox to a log.
///
/// ```
/// use std::sync::Arc;
///
/// use shop_core::entity::EntityStore;
/// use shop_core::memory::{InMemoryLog, InMemoryUsers};
/// use shop_core::outbox::{Relay, RelayOptions};
/// use shop_core::users::NewUser;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // A store of users writes each user with its event.
/// let (users, log) = (InMemoryUsers::new(), InMemoryLog::default());
/// users.insert(&NewUser::new("sign-up-7".parse()?, "ada@example.com".parse()?, "Ada".parse()?)).await?;
///
/// let relay = Relay::new(Arc::new(users), Arc::new(log), RelayOptions::default());
/// let monitor = relay.monitor();
/// // A service passes its shutdown signal. What is pending at a shutdown is still published.
/// relay.run(std::future::ready(())).await;
/// assert_eq!(monitor.status().published, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Relay {
    outbox: Arc<dyn Outbox>,
    log: Arc<dyn LogWriter>,
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
    /// The current status.
    #[must_use]
    pub fn status(&self) -> RelayStatus {
        self.status.borrow().clone()
    }

    /// The number and age of pending entries.
    ///
    /// # Errors
    /// As [`Outbox::backlog`], and [`Closed`](ErrorKind::Closed) when the outbox was dropped.
    pub async fn backlog(&self) -> Result<Backlog> {
        let gone = || Error::new(ErrorKind::Closed, "the outbox was closed");
        self.outbox.upgrade().ok_or_else(gone)?.backlog().await
    }
}

impl Relay {
    /// A relay from `outbox` to `log`. It does nothing until [`run`](Self::run) is called.
    #[must_use]
    pub fn new(outbox: Arc<dyn Outbox>, log: Arc<dyn LogWriter>, options: RelayOptions) -> Self {
        Self {
            outbox,
            log,
            options,
            status: watch::Sender::new(RelayStatus::default()),
        }
    }

    /// A handle to this relay's status.
    #[must_use]
    pub fn monitor(&self) -> RelayMonitor {
        RelayMonitor {
            outbox: Arc::downgrade(&self.outbox),
            status: self.status.subscribe(),
        }
    }

    /// Publishes until `shutdown` completes. Then publishes the pending entries once more, for at most
    /// [`drain_timeout`](RelayOptions::drain_timeout); the rest stays in the outbox.
    ///
    /// # Cancel safety
    /// Dropping the future may publish events in flight again.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let asked = CancellationToken::new();
        let over = CancellationToken::new();
        let leave = async {
            shutdown.await;
            asked.cancel();
            sleep(self.options.drain_timeout).await;
            over.cancel();
            pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = leave => {}
            () = self.relay(&asked, &over) => {}
        }
    }

    /// Publishes until `asked` to stop, and then the pending entries once more, until it is `over`.
    async fn relay(&self, asked: &CancellationToken, over: &CancellationToken) {
        let mut pauses = self.options.backoff();
        let mut published = UndeletedEntries::default();
        let mut is_woken = true;
        loop {
            let round = catch_panic(ORIGIN, self.round(&mut published, over)).await;
            let has_failed = round.is_err();
            let pause = match round {
                Ok(count) => {
                    pauses = self.options.backoff();
                    if count == 0 {
                        self.options.poll_interval
                    } else {
                        Duration::ZERO
                    }
                }
                Err(error) => {
                    self.failed(error);
                    pauses.next().unwrap_or(self.options.max_backoff)
                }
            };
            let changed = catch_panic(ORIGIN, async {
                self.outbox.wait_for_entries().await;
                Ok(())
            });
            tokio::select! {
                biased;
                () = asked.cancelled() => break,
                woken = changed, if is_woken && !has_failed => {
                    if woken.is_err() {
                        tracing::error!("waiting for outbox entries panicked, polling from now on");
                        is_woken = false;
                    }
                }
                () = sleep(pause) => {}
            }
        }
        // Entries written meanwhile are published now rather than at the next start. If that fails, they stay pending.
        if !over.is_cancelled()
            && let Err(error) = catch_panic(ORIGIN, self.round(&mut published, over)).await
        {
            self.failed(error);
        }
    }

    /// Publishes all entries of the outbox once. Returns the number of published events.
    async fn round(
        &self,
        published: &mut UndeletedEntries,
        over: &CancellationToken,
    ) -> Result<usize> {
        let pending = self.outbox.pending(self.options.batch_size.max(1)).await?;
        let known = std::mem::take(published);
        let (again, new): (Vec<_>, Vec<_>) = pending
            .into_iter()
            .partition(|entry| known.get(&entry.id) == Some(entry));
        published.extend(again.into_iter().map(|entry| (entry.id, entry)));
        // Entries without a key are independent.
        let groups = group_by_key(new, |entry| entry.record.key.clone());
        let mut count = 0;
        let mut failed = None;
        for (entries, error) in
            join_all(groups.into_iter().map(|group| self.publish(group, over))).await
        {
            count += entries.len();
            published.extend(entries.into_iter().map(|entry| (entry.id, entry)));
            failed = failed.or(error);
        }
        self.status
            .send_modify(|status| status.published += count as u64);
        if !published.is_empty() {
            let ids: Vec<i64> = published.keys().copied().collect();
            with_failpoints("delete", self.outbox.delete(&ids)).await?;
        }
        match failed {
            // More entries may be pending.
            Some(error) if count > 0 => self.failed(error),
            Some(error) => return Err(error),
            None => drop(
                self.status
                    .send_if_modified(|status| status.last_error.take().is_some()),
            ),
        }
        Ok(count)
    }

    /// Publishes the events of one key in order, until the first that fails or until it is `over`. Returns those that
    /// were published.
    async fn publish(
        &self,
        group: Vec<OutboxEntry>,
        over: &CancellationToken,
    ) -> (Vec<OutboxEntry>, Option<Error>) {
        let mut published = Vec::with_capacity(group.len());
        for entry in group {
            if over.is_cancelled() {
                break;
            }
            // Caught here, so events of other keys in the same round still count as published.
            let append =
                async { with_failpoints("append", self.log.append(entry.record.clone())).await };
            match catch_panic(ORIGIN, append).await {
                Ok(()) => published.push(entry),
                Err(error) => return (published, Some(error)),
            }
        }
        (published, None)
    }

    fn failed(&self, error: Error) {
        let is_new = self.status.borrow().last_error.is_none();
        if is_new {
            tracing::warn!(error = %error.chain(), "publish failed, retrying");
        }
        self.status
            .send_modify(|status| status.last_error = Some(error));
    }
}

/// Entries that were acknowledged by the log but are still in the outbox. They are deleted, not published again. Their
/// number is bounded by the batch size.
///
/// Entries are compared by content, not by id alone: if an outbox wrongly reuses an id, the later event is not lost.
type UndeletedEntries = BTreeMap<i64, OutboxEntry>;

/// The origin of an error that is the panic of a port.
const ORIGIN: &str = "relay";
