//! Publishes what lies in an outbox.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::future::{Future, pending};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Backlog, Outbox, OutboxEntry};
use crate::log::LogWriter;
use crate::{Error, ErrorKind, Result};

/// How a [`Relay`] works. The defaults are right for nearly everybody.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RelayOptions {
    /// The most entries that are read, and published, at a time, 500 unless chosen.
    pub batch_size: usize,
    /// How often it looks for what other processes have written, and left when they ended: every second unless chosen.
    /// What this process writes it learns of at once.
    pub poll_interval: Duration,
    /// The first pause after an error, 50 ms unless chosen; each further one is twice as long.
    pub initial_backoff: Duration,
    /// The longest pause after an error, 2 s unless chosen, and up to as much again at random.
    pub max_backoff: Duration,
    /// How long a shutdown goes on with what is pending, 5 s unless chosen. An append that has begun by then is waited
    /// for, no other one begins; the rest stays in the outbox.
    pub drain_timeout: Duration,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self {
            batch_size: 500,
            poll_interval: Duration::from_secs(1),
            initial_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(2),
            drain_timeout: Duration::from_secs(5),
        }
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

/// What a relay has done, and what it waits for.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RelayStatus {
    /// How many events the log has acknowledged.
    pub published: u64,
    /// Why it makes no progress, if it makes none: it is tried again and again.
    pub last_error: Option<Error>,
}

/// Carries events from an outbox into a log.
#[derive(Debug)]
pub struct Relay {
    outbox: Arc<dyn Outbox>,
    log: Arc<dyn LogWriter>,
    options: RelayOptions,
    status: watch::Sender<RelayStatus>,
}

/// A view of a relay that outlives it.
#[derive(Debug, Clone)]
pub struct RelayMonitor {
    outbox: Weak<dyn Outbox>,
    status: watch::Receiver<RelayStatus>,
}

impl RelayMonitor {
    /// How the relay is.
    #[must_use]
    pub fn status(&self) -> RelayStatus {
        self.status.borrow().clone()
    }

    /// How much waits to be published.
    ///
    /// # Errors
    /// As [`Outbox::backlog`], and [`Closed`](ErrorKind::Closed) when the outbox is gone.
    pub async fn backlog(&self) -> Result<Backlog> {
        let gone = || Error::new(ErrorKind::Closed, "the outbox was closed");
        self.outbox.upgrade().ok_or_else(gone)?.backlog().await
    }
}

impl Relay {
    /// A relay from `outbox` into `log`. It does nothing until it is [run](Self::run).
    #[must_use]
    pub fn new(outbox: Arc<dyn Outbox>, log: Arc<dyn LogWriter>, options: RelayOptions) -> Self {
        Self { outbox, log, options, status: watch::Sender::new(RelayStatus::default()) }
    }

    /// A view of this relay's state.
    #[must_use]
    pub fn monitor(&self) -> RelayMonitor {
        RelayMonitor { outbox: Arc::downgrade(&self.outbox), status: self.status.subscribe() }
    }

    /// Publishes until `shutdown` completes: then what is there is published once more, as far as
    /// [`drain`](RelayOptions::drain) allows, and the rest stays in the outbox.
    ///
    /// # Cancel safety
    /// Dropping the future may publish again what was on its way.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let (asked, over) = (CancellationToken::new(), CancellationToken::new());
        let leave = async {
            shutdown.await;
            asked.cancel();
            tokio::time::sleep(self.options.drain_timeout).await;
            over.cancel();
            pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = leave => {}
            () = self.relay(&asked, &over) => {}
        }
    }

    /// Publishes until it is `asked` to leave, and then until all was looked at once more or it is `over`.
    async fn relay(&self, asked: &CancellationToken, over: &CancellationToken) {
        let (mut pauses, mut published) = (self.options.backoff(), Published::default());
        let mut is_woken = true;
        loop {
            let round = self.round(&mut published, over).await;
            let has_failed = round.is_err();
            let pause = match round {
                Ok(count) => {
                    pauses = self.options.backoff();
                    if count == 0 { self.options.poll_interval } else { Duration::ZERO }
                }
                Err(error) => {
                    self.failed(error);
                    pauses.next().unwrap_or(self.options.max_backoff)
                }
            };
            let changed = AssertUnwindSafe(async { self.outbox.wait_for_entries().await }).catch_unwind();
            tokio::select! {
                biased;
                () = asked.cancelled() => break,
                woken = changed, if is_woken && !has_failed => {
                    if woken.is_err() {
                        tracing::error!("the outbox has panicked as it was waited for: it is polled from now on");
                        is_woken = false;
                    }
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
        // What was written meanwhile need not wait for the next start; if it does not work now, it waits.
        if !over.is_cancelled()
            && let Err(error) = self.round(&mut published, over).await
        {
            self.failed(error);
        }
    }

    /// Publishes what lies in the outbox, once through; answers how many events that were. A port that panics has
    /// failed, not the relay.
    async fn round(&self, published: &mut Published, over: &CancellationToken) -> Result<usize> {
        let round = AssertUnwindSafe(self.try_round(published, over)).catch_unwind().await;
        round.unwrap_or_else(|panic| Err(panicked(&*panic)))
    }

    async fn try_round(&self, published: &mut Published, over: &CancellationToken) -> Result<usize> {
        let pending = self.outbox.pending(self.options.batch_size.max(1)).await?;
        let groups = by_key(published.take_out(pending));
        let (mut count, mut failed) = (0, None);
        for (entries, error) in join_all(groups.into_iter().map(|group| self.publish(group, over))).await {
            count += entries.len();
            published.0.extend(entries.into_iter().map(|entry| (entry.id, entry)));
            failed = failed.or(error);
        }
        self.status.send_modify(|status| status.published += count as u64);
        if !published.0.is_empty() {
            let ids: Vec<i64> = published.0.keys().copied().collect();
            self.outbox.delete(&ids).await?;
        }
        match failed {
            // Others may follow at once.
            Some(error) if count > 0 => self.failed(error),
            Some(error) => return Err(error),
            None => drop(self.status.send_if_modified(|status| status.last_error.take().is_some())),
        }
        Ok(count)
    }

    /// Publishes events of one key, each when the one before is durable, up to the first that fails, or until it is
    /// `over`. Answers those that were published.
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
            // Caught here: what others have published in the same round counts.
            let append = async { self.log.append(entry.record.clone()).await };
            let append = AssertUnwindSafe(append).catch_unwind().await;
            match append.unwrap_or_else(|panic| Err(panicked(&*panic))) {
                Ok(()) => published.push(entry),
                Err(error) => return (published, Some(error)),
            }
        }
        (published, None)
    }

    fn failed(&self, error: Error) {
        let is_new = self.status.borrow().last_error.is_none();
        if is_new {
            tracing::warn!(error = %error.chain(), "events cannot be published, they wait in the outbox");
        }
        self.status.send_modify(|status| status.last_error = Some(error));
    }
}

/// The entries that the log has acknowledged and the outbox still shows: to be forgotten, not published again. There are
/// never more than a batch has.
///
/// An entry is known by all that it says, not by its id alone: an outbox that breaks its promise and uses an id again
/// must not lose the later event.
#[derive(Debug, Default)]
struct Published(BTreeMap<i64, OutboxEntry>);

impl Published {
    /// Those of `pending` that are still to be published.
    fn take_out(&mut self, pending: Vec<OutboxEntry>) -> Vec<OutboxEntry> {
        let mut known = std::mem::take(&mut self.0);
        let mut new = Vec::with_capacity(pending.len());
        for entry in pending {
            match known.remove_entry(&entry.id) {
                Some((id, published)) if published == entry => drop(self.0.insert(id, published)),
                _ => new.push(entry),
            }
        }
        new
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    Error::from_panic(panic).with_origin("relay")
}

/// The entries of each key, in their order; one that has no key stands alone.
fn by_key(pending: Vec<OutboxEntry>) -> Vec<Vec<OutboxEntry>> {
    let mut groups: Vec<Vec<OutboxEntry>> = Vec::new();
    let mut places: HashMap<Bytes, usize> = HashMap::new();
    for entry in pending {
        let place = entry.record.key.clone().map(|key| *places.entry(key).or_insert(groups.len()));
        match place.and_then(|place| groups.get_mut(place)) {
            Some(group) => group.push(entry),
            None => groups.push(vec![entry]),
        }
    }
    groups
}
