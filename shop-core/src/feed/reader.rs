//! The reader of the log: passes each purchase to the subscriptions once ingest has passed it and it is looked up.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use tokio::time::{Instant, interval};

use super::Shared;
use super::cursor::digest;
use super::hub::{Hub, Registered};
use super::waiting::{Entry, Waiting};
use crate::log::{Batch, Offsets, follow_positions};
use crate::ports::Selector;
use crate::{Error, ErrorKind, Result};

/// How often it checks whether there are subscriptions.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// After this time the log is opened again: a tail does not have partitions that were added since. Where the positions
/// of ingest name one, that is at once.
const REOPEN_INTERVAL: Duration = Duration::from_secs(30);
/// The minimum number of records of a partition that are kept until ingest passes them.
const MIN_HELD: usize = 64;

/// Follows the log from the positions of ingest on, until soon after the last subscription.
pub(super) struct Reader {
    shared: Arc<Shared>,
    hub: Arc<Hub>,
    batches: BoxStream<'static, Result<Batch>>,
    /// The offsets behind what was read.
    read: Offsets,
    /// The positions of ingest, as far as they are known.
    positions: Offsets,
    waiting: Waiting,
    /// Partitions of which no more is kept. They are read again later, so that they do not hold up the others.
    full: BTreeSet<u32>,
    /// The positions, each time that they are needed.
    requests: BoxStream<'static, Offsets>,
}

impl Reader {
    /// Opens the log, with a first subscription of `selector`.
    pub(super) async fn start(shared: &Arc<Shared>, selector: &Selector) -> Result<Registered> {
        // Records behind the positions are still to become visible.
        let positions = shared.positions.positions().await?;
        let tail = shared.log.tail(&positions).await?;
        let hub = Arc::new(Hub::new(digest(&tail), tail.start.clone(), &shared.options));
        let ended = || Error::new(ErrorKind::Internal, "a new reader of the log has ended");
        // Before it runs: it ends without subscriptions.
        let registered = hub.register(selector).ok_or_else(ended)?;
        let reader = Self {
            shared: Arc::clone(shared),
            hub,
            batches: tail.batches,
            read: tail.start,
            requests: follow_positions(&shared.positions, positions.clone()),
            positions,
            waiting: Waiting::new(shared),
            full: BTreeSet::new(),
        };
        tokio::spawn(reader.run());
        Ok(registered)
    }

    async fn run(mut self) {
        if let Err(error) = self.follow().await {
            tracing::warn!(error = %error.chain(), "the log is no longer followed, subscriptions end");
        }
        self.hub.end();
    }

    async fn follow(&mut self) -> Result<()> {
        let closed = self.shared.closed.clone();
        let mut checks = interval(CHECK_INTERVAL);
        let mut opened = Instant::now();
        let mut has_new = false;
        loop {
            tokio::select! {
                () = closed.cancelled() => return Ok(()),
                batch = self.batches.try_next() => match batch? {
                    Some(batch) => self.keep(&batch),
                    None => return Ok(()),
                },
                Some(entries) = self.waiting.next() => self.waiting.put_back(self.hub.pass_on(entries)),
                Some(positions) = self.requests.next(), if self.is_ahead() => {
                    has_new |= positions.keys().any(|partition| !self.read.contains_key(partition));
                    for (partition, position) in positions {
                        let known = self.positions.entry(partition).or_default();
                        *known = position.max(*known);
                    }
                }
                _ = checks.tick() => if self.hub.ends_unused() {
                    return Ok(());
                },
            }
            let room = self.limit() / 2;
            let has_room = |index: &u32| self.waiting.count_of(*index) <= room;
            let reopen_after = if has_new {
                CHECK_INTERVAL
            } else {
                REOPEN_INTERVAL
            };
            if self.full.iter().any(has_room) || opened.elapsed() >= reopen_after {
                opened = Instant::now();
                has_new = false;
                self.reopen().await?;
            }
            self.proceed();
        }
    }

    /// The number of records of a partition that are kept.
    fn limit(&self) -> usize {
        (self.shared.options.held_records / self.read.len().max(1)).max(MIN_HELD)
    }

    /// Keeps the purchases of `batch` until ingest has passed them.
    fn keep(&mut self, batch: &Batch) {
        let partition = batch.partition.index;
        let Some(last) = batch
            .records
            .last()
            .filter(|_| !self.full.contains(&partition))
        else {
            return;
        };
        for entry in Entry::all_of(batch) {
            self.waiting.push(Arc::new(entry));
        }
        self.read.insert(partition, last.offset + 1);
        if self.waiting.count_of(partition) >= self.limit() {
            self.full.insert(partition);
        }
    }

    /// Whether it has read what ingest has not passed, as far as is known.
    fn is_ahead(&self) -> bool {
        self.read
            .iter()
            .any(|(partition, read)| self.position(*partition) < *read)
    }

    fn position(&self, partition: u32) -> u64 {
        self.positions.get(&partition).copied().unwrap_or_default()
    }

    /// Starts what can be started, and notes what is passed.
    fn proceed(&mut self) {
        let hub = &self.hub;
        self.waiting
            .start(&self.positions, |entry| hub.selects(entry));
        hub.advance(self.read.iter().map(|(partition, read)| {
            let first = self.waiting.first(*partition).unwrap_or(u64::MAX);
            (*partition, self.position(*partition).min(*read).min(first))
        }));
    }

    /// Reads the log again from behind what was read.
    async fn reopen(&mut self) -> Result<()> {
        let tail = self.shared.log.tail(&self.read).await?;
        let is_behind = |(partition, read)| tail.start.get(partition) != Some(read);
        if digest(&tail) != self.hub.log || self.read.iter().any(is_behind) {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "records that were not read are gone",
            ));
        }
        let room = self.limit() / 2;
        self.full
            .retain(|index| self.waiting.count_of(*index) > room);
        self.read = tail.start;
        self.batches = tail.batches;
        Ok(())
    }
}
