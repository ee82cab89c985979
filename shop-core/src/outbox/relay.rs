//! Publishes what lies in an outbox.

use std::collections::HashSet;
use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures_util::future::join_all;
use tokio::sync::watch;

use super::{Backlog, Outbox, OutboxEntry};
use crate::ports::RecordSink;
use crate::{Error, ErrorKind, Result};

/// How a [`Relay`] works. The defaults are right for nearly everybody.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RelayOptions {
    /// The most entries that are read, and published, at a time, 500 unless chosen.
    pub batch: usize,
    /// How often it looks for what other processes have written, and left when they ended: every second unless chosen.
    /// What this process writes it learns of at once.
    pub poll_interval: Duration,
    /// The first pause after an error, 50 ms unless chosen; each further one is twice as long.
    pub retry_min: Duration,
    /// The longest pause after an error, 2 s unless chosen, and up to as much again at random.
    pub retry_max: Duration,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self {
            batch: 500,
            poll_interval: Duration::from_secs(1),
            retry_min: Duration::from_millis(50),
            retry_max: Duration::from_secs(2),
        }
    }
}

impl RelayOptions {
    fn backoff(&self) -> ExponentialBackoff {
        ExponentialBuilder::new()
            .with_jitter()
            .with_min_delay(self.retry_min)
            .with_max_delay(self.retry_max)
            .without_max_times()
            .build()
    }
}

/// What a relay has done, and what it waits for.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RelayStatus {
    /// The events that the log has acknowledged.
    pub published: u64,
    /// Why it makes no progress, if it makes none: it is tried again and again.
    pub trouble: Option<Error>,
}

/// Carries events from an outbox into a log.
#[derive(Debug)]
pub struct Relay {
    outbox: Arc<dyn Outbox>,
    log: Arc<dyn RecordSink>,
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
    pub fn new(outbox: Arc<dyn Outbox>, log: Arc<dyn RecordSink>, options: RelayOptions) -> Self {
        Self { outbox, log, options, status: watch::Sender::new(RelayStatus::default()) }
    }

    /// A view of this relay's state.
    #[must_use]
    pub fn monitor(&self) -> RelayMonitor {
        RelayMonitor { outbox: Arc::downgrade(&self.outbox), status: self.status.subscribe() }
    }

    /// Publishes until `shutdown` completes: then what is there is published once more, and the rest stays in the outbox.
    ///
    /// # Cancel safety
    /// Dropping the future may publish again what was on its way.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        tokio::pin!(shutdown);
        let mut pauses = self.options.backoff();
        loop {
            let pause = match self.round().await {
                Ok(published) => {
                    pauses = self.options.backoff();
                    if published == 0 { self.options.poll_interval } else { Duration::ZERO }
                }
                Err(error) => {
                    self.trouble(error);
                    pauses.next().unwrap_or(self.options.retry_max)
                }
            };
            let failed = self.status.borrow().trouble.is_some();
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                () = self.outbox.changed(), if !failed => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        // What was written meanwhile need not wait for the next start; if it does not work now, it waits.
        if let Err(error) = self.round().await {
            self.trouble(error);
        }
    }

    /// Publishes what lies in the outbox, once through; answers how many events that were.
    async fn round(&self) -> Result<usize> {
        let pending = self.outbox.pending(self.options.batch.max(1)).await?;
        let wave = first_of_each_key(pending);
        let publish = |entry: OutboxEntry| async move { (entry.id, self.log.append(entry.record).await) };
        let (mut published, mut failed) = (Vec::new(), None);
        for (id, appended) in join_all(wave.into_iter().map(publish)).await {
            match appended {
                Ok(()) => published.push(id),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if !published.is_empty() {
            self.outbox.forget(&published).await?;
        }
        self.status.send_modify(|status| status.published += published.len() as u64);
        failed.map_or(Ok(()), Err)?;
        self.status.send_if_modified(|status| status.trouble.take().is_some());
        Ok(published.len())
    }

    fn trouble(&self, error: Error) {
        let is_new = self.status.borrow().trouble.is_none();
        if is_new {
            tracing::warn!(error = %error.chain(), "events cannot be published, they wait in the outbox");
        }
        self.status.send_modify(|status| status.trouble = Some(error));
    }
}

/// The next one comes when this one is durable, or else a failure could turn their order round.
fn first_of_each_key(pending: Vec<OutboxEntry>) -> Vec<OutboxEntry> {
    let mut keys = HashSet::new();
    let mut is_first = |entry: &OutboxEntry| match &entry.record.key {
        Some(key) => keys.insert(key.clone()),
        None => true,
    };
    pending.into_iter().filter(|entry| is_first(entry)).collect()
}
