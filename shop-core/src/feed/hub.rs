//! The state that the reader of the log and the subscriptions share.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::mpsc;

use super::FeedOptions;
use super::waiting::Entry;
use crate::Purchase;
use crate::lock::lock;
use crate::log::Offsets;
use crate::ports::Selector;

/// An entry, and what of all partitions was passed on before it, at least.
pub(super) type Delivery = (Arc<Entry>, Arc<Offsets>);

/// The subscriptions, and what was passed on to them.
#[derive(Debug)]
pub(super) struct Hub {
    /// A digest of the log.
    pub(super) log: u32,
    queue: usize,
    kept: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The offsets before which all is passed on.
    passed: Arc<Offsets>,
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
    /// What was passed on before, with the entries that are kept and selected.
    pub(super) passed: Offsets,
    pub(super) recent: Vec<Arc<Entry>>,
    pub(super) recent_from: Offsets,
}

fn selectors(purchase: &Purchase) -> Vec<Selector> {
    let user = || purchase.user_id.clone();
    let mut selectors = vec![
        Selector::User(user()),
        Selector::Name(purchase.user_name.clone()),
        Selector::All,
    ];
    if let Some(reference) = &purchase.details.reference {
        selectors
            .extend([None, Some(user())].map(|user| Selector::Reference(reference.clone(), user)));
    }
    selectors
}

impl Hub {
    /// A hub of the log with this digest, which is read from `start` on.
    pub(super) fn new(log: u32, start: Offsets, options: &FeedOptions) -> Self {
        let state = State {
            passed: Arc::new(start.clone()),
            recent_from: start,
            ..State::default()
        };
        Self {
            log,
            queue: options.queue.max(1),
            kept: options.kept_records,
            state: Mutex::new(state),
        }
    }

    /// Registers a subscription of `selector`; `None` if the reader has ended.
    pub(super) fn register(self: &Arc<Self>, selector: &Selector) -> Option<Registered> {
        let mut state = self.state();
        if state.has_ended {
            return None;
        }
        let (sender, deliveries) = mpsc::channel(self.queue);
        state
            .subscriptions
            .entry(selector.clone())
            .or_default()
            .push(sender);
        let recent = state
            .recent
            .iter()
            .filter(|entry| selector.matches(&entry.purchase));
        Some(Registered {
            hub: Arc::clone(self),
            deliveries,
            passed: (*state.passed).clone(),
            recent: recent.cloned().collect(),
            recent_from: state.recent_from.clone(),
        })
    }

    /// What is passed on, unless `deliveries` has something to be read first or has ended.
    pub(super) fn passed_unless_queued(
        &self,
        deliveries: &mpsc::Receiver<Delivery>,
    ) -> Option<Arc<Offsets>> {
        let state = self.state();
        (deliveries.is_empty() && !deliveries.is_closed()).then(|| Arc::clone(&state.passed))
    }

    /// Whether a subscription selects `entry`.
    pub(super) fn selects(&self, entry: &Entry) -> bool {
        let state = self.state();
        selectors(&entry.purchase)
            .iter()
            .any(|selector| state.subscriptions.contains_key(selector))
    }

    /// Passes `entries` of one partition to the subscriptions that select them. One whose queue is full is ended. Returns
    /// the entries from the first one on that must be looked up before: a subscription has come meanwhile.
    pub(super) fn pass_on(&self, entries: Vec<Arc<Entry>>) -> Vec<Arc<Entry>> {
        let mut state = self.state();
        let State {
            passed,
            recent,
            recent_from,
            subscriptions,
            ..
        } = &mut *state;
        let mut entries = entries.into_iter();
        let mut last = None;
        while let Some(entry) = entries.as_slice().first() {
            let selectors = selectors(&entry.purchase);
            if !entry.is_looked_up() && selectors.iter().any(|it| subscriptions.contains_key(it)) {
                break;
            }
            for selector in selectors.iter().filter(|_| entry.visible().is_some()) {
                let Some(senders) = subscriptions.get_mut(selector) else {
                    continue;
                };
                senders.retain(|sender| {
                    let delivery = (Arc::clone(entry), Arc::clone(passed));
                    sender.try_send(delivery).is_ok()
                });
            }
            last = Some((entry.partition, entry.offset + 1));
            recent.extend(entries.next());
            if recent.len() > self.kept
                && let Some(oldest) = recent.pop_front()
            {
                recent_from.insert(oldest.partition, oldest.offset + 1);
            }
        }
        if let Some((partition, next)) = last {
            Arc::make_mut(passed).insert(partition, next);
        }
        entries.collect()
    }

    /// Notes that nothing before `offsets` is left to be passed on. New partitions are known from then on.
    pub(super) fn advance(&self, offsets: impl Iterator<Item = (u32, u64)>) {
        let mut state = self.state();
        let State {
            passed,
            recent_from,
            ..
        } = &mut *state;
        for (partition, offset) in offsets {
            recent_from.entry(partition).or_insert(offset);
            if passed.get(&partition).is_none_or(|passed| *passed < offset) {
                Arc::make_mut(passed).insert(partition, offset);
            }
        }
    }

    /// Ends if there are no subscriptions. Returns whether it has ended.
    pub(super) fn ends_unused(&self) -> bool {
        let mut state = self.state();
        state.subscriptions.retain(|_, senders| {
            senders.retain(|sender| !sender.is_closed());
            !senders.is_empty()
        });
        state.has_ended = state.subscriptions.is_empty();
        state.has_ended
    }

    /// Ends all subscriptions.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.has_ended = true;
        state.subscriptions.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}
