//! The reader of the log: passes each record to the subscriptions that select it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, timeout_at};
use tokio_util::sync::CancellationToken;

use super::FeedOptions;
use super::cursor::digest;
use crate::log::{Batch, LogAdmin, Offsets, TailStart};
use crate::ports::Selector;
use crate::record::decode;
use crate::{Error, ErrorKind, Purchase, Result};

/// How long the start waits for the newest records.
const START_TIMEOUT: Duration = Duration::from_secs(5);
/// How often it checks whether there are subscriptions.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// After this time the log is opened again: a tail does not have partitions that were added since.
const REOPEN_INTERVAL: Duration = Duration::from_secs(300);

/// A purchase in the log.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) partition: u32,
    pub(super) offset: u64,
    pub(super) purchase: Purchase,
}

impl Entry {
    /// The purchases in `batch`. Records that are none become dead letters.
    pub(super) fn all_of(batch: &Batch) -> impl Iterator<Item = Self> {
        let Batch { partition, records } = batch;
        records.iter().filter_map(move |record| {
            let purchase = decode(record, partition).ok()?.without_context();
            Some(Self { partition: partition.index, offset: record.offset, purchase })
        })
    }
}

/// An entry, and what was read of the other partitions before it.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) entry: Arc<Entry>,
    pub(super) read: Arc<Offsets>,
}

/// A reader of the log, which ends soon after the last subscription.
#[derive(Debug)]
pub(super) struct Hub {
    log: u32,
    queue: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The next offset of each partition.
    read: Arc<Offsets>,
    /// The newest entries, and the offsets from which they are complete.
    recent: VecDeque<Arc<Entry>>,
    recent_from: Offsets,
    subscriptions: HashMap<Selector, Vec<mpsc::Sender<Delivery>>>,
    has_ended: bool,
}

/// A new subscription.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) hub: Arc<Hub>,
    pub(super) deliveries: mpsc::Receiver<Delivery>,
    /// What was read before, with the entries that are kept and selected.
    pub(super) read: Offsets,
    pub(super) recent: Vec<Arc<Entry>>,
    pub(super) recent_from: Offsets,
}

impl Hub {
    /// Opens `log`, with a first subscription of `selector`. Returns when the newest records are read.
    pub(super) async fn start(
        log: &Arc<dyn LogAdmin>,
        options: &FeedOptions,
        closed: CancellationToken,
        selector: &Selector,
    ) -> Result<Registered> {
        let mut tail = log.tail(&TailStart::Newest(options.lookback)).await?;
        let state = State {
            read: Arc::new(tail.start.clone()),
            recent: VecDeque::new(),
            recent_from: tail.start.clone(),
            subscriptions: HashMap::new(),
            has_ended: false,
        };
        let (digest, queue) = (digest(&tail.cluster, &tail.topic), options.queue.max(1));
        let hub = Arc::new(Self { log: digest, queue, state: Mutex::new(state) });
        let deadline = Instant::now() + START_TIMEOUT;
        let is_behind = |end: &Offsets| {
            let read = Arc::clone(&hub.state().read);
            end.iter().any(|(partition, end)| read.get(partition).is_some_and(|read| read < end))
        };
        while is_behind(&tail.end) {
            let batch = timeout_at(deadline, tail.batches.try_next()).await;
            // Transactions and compaction leave offsets without a record: the last ones may never come.
            let Ok(batch) = batch else { break };
            let ended = || Error::new(ErrorKind::Unavailable, "the log cannot be followed");
            hub.pass_on(&batch?.ok_or_else(ended)?, options.kept_records);
        }
        let ended = || Error::new(ErrorKind::Internal, "a new reader of the log has ended");
        // Before it runs: it ends without subscriptions.
        let registered = hub.register(selector).ok_or_else(ended)?;
        tokio::spawn(hub.run(Arc::clone(log), tail.batches, options.kept_records, closed));
        Ok(registered)
    }

    /// A digest of the log.
    pub(super) const fn topic(&self) -> u32 {
        self.log
    }

    /// Registers a subscription of `selector`; `None` if the reader has ended.
    pub(super) fn register(self: &Arc<Self>, selector: &Selector) -> Option<Registered> {
        let mut state = self.state();
        if state.has_ended {
            return None;
        }
        let (sender, deliveries) = mpsc::channel(self.queue);
        state.subscriptions.entry(selector.clone()).or_default().push(sender);
        let recent = state.recent.iter().filter(|entry| selector.matches(&entry.purchase));
        Some(Registered {
            hub: Arc::clone(self),
            deliveries,
            read: (*state.read).clone(),
            recent: recent.cloned().collect(),
            recent_from: state.recent_from.clone(),
        })
    }

    /// What is read, unless `deliveries` has something to be read first.
    pub(super) fn read_unless_queued(&self, deliveries: &mpsc::Receiver<Delivery>) -> Option<Arc<Offsets>> {
        let state = self.state();
        deliveries.is_empty().then(|| Arc::clone(&state.read))
    }

    async fn run(
        self: Arc<Self>,
        log: Arc<dyn LogAdmin>,
        mut batches: BoxStream<'static, Result<Batch>>,
        kept: usize,
        closed: CancellationToken,
    ) {
        let mut checks = interval(CHECK_INTERVAL);
        let mut opened = Instant::now();
        loop {
            let result = tokio::select! {
                () = closed.cancelled() => break,
                batch = batches.try_next() => batch,
                _ = checks.tick() => {
                    if self.ends_unused() {
                        return;
                    }
                    if opened.elapsed() < REOPEN_INTERVAL {
                        continue;
                    }
                    opened = Instant::now();
                    match self.reopen(&*log).await {
                        Ok(again) => {
                            batches = again;
                            continue;
                        }
                        Err(error) => Err(error),
                    }
                }
            };
            match result {
                Ok(Some(batch)) => self.pass_on(&batch, kept),
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(error = %error.chain(), "the log is no longer followed, subscriptions end");
                    break;
                }
            }
        }
        self.end();
    }

    /// The records behind those that are read.
    async fn reopen(&self, log: &dyn LogAdmin) -> Result<BoxStream<'static, Result<Batch>>> {
        let read = Arc::clone(&self.state().read);
        let tail = log.tail(&TailStart::At((*read).clone())).await?;
        if read.iter().any(|(partition, read)| tail.start.get(partition) != Some(read)) {
            return Err(Error::new(ErrorKind::Unavailable, "records that were not read are gone"));
        }
        let mut state = self.state();
        let known = tail.start.iter().filter(|(partition, _)| !read.contains_key(partition));
        state.recent_from.extend(known);
        state.read = Arc::new(tail.start);
        Ok(tail.batches)
    }

    /// Passes the purchases of `batch` to the subscriptions that select them. One whose queue is full is ended.
    fn pass_on(&self, batch: &Batch, kept: usize) {
        let Some(last) = batch.records.last() else { return };
        let mut state = self.state();
        let State { read, recent, recent_from, subscriptions, .. } = &mut *state;
        for entry in Entry::all_of(batch).map(Arc::new) {
            let Purchase { user_id, user_name, .. } = &entry.purchase;
            for selector in
                [Selector::User(user_id.clone()), Selector::Name(user_name.clone()), Selector::All]
            {
                let Some(senders) = subscriptions.get_mut(&selector) else { continue };
                senders.retain(|sender| {
                    let delivery = Delivery { entry: Arc::clone(&entry), read: Arc::clone(read) };
                    sender.try_send(delivery).is_ok()
                });
                if senders.is_empty() {
                    subscriptions.remove(&selector);
                }
            }
            recent.push_back(entry);
            if recent.len() > kept
                && let Some(oldest) = recent.pop_front()
            {
                recent_from.insert(oldest.partition, oldest.offset + 1);
            }
        }
        Arc::make_mut(read).insert(batch.partition.index, last.offset + 1);
    }

    /// Ends the reader if it has no subscriptions.
    fn ends_unused(&self) -> bool {
        let mut state = self.state();
        state.subscriptions.retain(|_, senders| {
            senders.retain(|sender| !sender.is_closed());
            !senders.is_empty()
        });
        state.has_ended = state.subscriptions.is_empty();
        state.has_ended
    }

    fn end(&self) {
        let mut state = self.state();
        state.has_ended = true;
        state.subscriptions.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
