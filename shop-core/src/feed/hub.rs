//! The hub: the subscribers of one reader of the log, and what was delivered to them.
//!
//! The reader calls [`deliver`](Hub::deliver) and [`advance`](Hub::advance). Each subscriber owns the receiving half of
//! a bounded channel. The hub never waits for a subscriber: one whose channel is full loses its sender, so that its
//! subscription ends after the deliveries that are already in the channel.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use super::FeedOptions;
use super::cursor::{FeedPosition, next_offset};
use super::lookup::LoggedPurchase;
use crate::Purchase;
use crate::lock::lock;
use crate::log::Offsets;
use crate::ports::Selector;

/// A visible purchase on its way to one subscriber.
pub(super) struct Delivery {
    pub(super) logged: Arc<LoggedPurchase>,
    /// The offsets before which every purchase was delivered earlier than this one.
    pub(super) delivered_before: Arc<Offsets>,
}

/// The subscribers of one reader of the log.
#[derive(Debug)]
pub(super) struct Hub {
    /// The digest of the log that the reader follows.
    pub(super) log_digest: u32,
    /// The capacity of each subscriber's channel.
    channel_capacity: usize,
    /// The maximum number of recent purchases.
    max_recent: usize,
    state: Mutex<HubState>,
}

#[derive(Debug, Default)]
struct HubState {
    /// The offsets before which every purchase was delivered or skipped.
    delivered_offsets: Arc<Offsets>,
    /// The last delivered purchases of all selectors, for subscriptions that resume.
    recent: VecDeque<Arc<LoggedPurchase>>,
    /// The offsets from which on `recent` is complete.
    recent_from: Offsets,
    subscribers: HashMap<Selector, Vec<mpsc::Sender<Delivery>>>,
    /// Whether the reader has ended or is about to end. A closed hub accepts no subscriber.
    is_closed: bool,
}

/// A subscriber's half of its registration with the hub, and the state of the hub at that moment.
pub(super) struct Registration {
    pub(super) hub: Arc<Hub>,
    pub(super) deliveries: mpsc::Receiver<Delivery>,
    /// The offsets before which the hub delivers nothing to this subscriber.
    pub(super) delivered_offsets: Offsets,
    /// The recent purchases that the subscriber selects.
    pub(super) recent: Vec<Arc<LoggedPurchase>>,
    recent_from: Offsets,
}

impl Registration {
    /// Returns whether `recent` contains every selected purchase from `position` up to the delivered offsets.
    pub(super) fn is_recent(&self, position: &FeedPosition) -> bool {
        self.delivered_offsets.iter().all(|(partition, delivered)| {
            let recent_from = next_offset(&self.recent_from, *partition);
            (recent_from..=*delivered).contains(&next_offset(&position.offsets, *partition))
        })
    }
}

/// Returns every selector that matches `purchase`.
fn matching_selectors(purchase: &Purchase) -> Vec<Selector> {
    let user_id = &purchase.user_id;
    let mut selectors = vec![
        Selector::All,
        Selector::User(user_id.clone()),
        Selector::Name(purchase.user_name.clone()),
    ];
    if let Some(reference) = &purchase.details.reference {
        selectors.push(Selector::Reference(reference.clone(), None));
        selectors.push(Selector::Reference(
            reference.clone(),
            Some(user_id.clone()),
        ));
    }
    selectors
}

impl Hub {
    /// Creates a hub without subscribers for a log that is read from `start` on.
    pub(super) fn new(log_digest: u32, start: Offsets, options: &FeedOptions) -> Self {
        let state = HubState {
            delivered_offsets: Arc::new(start.clone()),
            recent_from: start,
            ..HubState::default()
        };
        Self {
            log_digest,
            channel_capacity: options.queue.max(1),
            max_recent: options.kept_records,
            state: Mutex::new(state),
        }
    }

    /// Registers a subscriber to the purchases of `selector`. Returns `None` if the hub is closed.
    pub(super) fn register(self: &Arc<Self>, selector: &Selector) -> Option<Registration> {
        let mut state = lock(&self.state);
        if state.is_closed {
            return None;
        }

        let (sender, deliveries) = mpsc::channel(self.channel_capacity);
        state
            .subscribers
            .entry(selector.clone())
            .or_default()
            .push(sender);

        let recent = state
            .recent
            .iter()
            .filter(|logged| selector.matches(&logged.purchase));
        Some(Registration {
            hub: Arc::clone(self),
            deliveries,
            delivered_offsets: (*state.delivered_offsets).clone(),
            recent: recent.cloned().collect(),
            recent_from: state.recent_from.clone(),
        })
    }

    /// Returns the delivered offsets, if the owner of `deliveries` received everything before them.
    ///
    /// Returns `None` if the channel still contains a delivery, or was closed because its owner was too slow.
    pub(super) fn offsets_if_caught_up(
        &self,
        deliveries: &mpsc::Receiver<Delivery>,
    ) -> Option<Arc<Offsets>> {
        // The lock keeps the reader from delivering between the check and the clone.
        let state = lock(&self.state);
        if !deliveries.is_empty() || deliveries.is_closed() {
            return None;
        }
        Some(Arc::clone(&state.delivered_offsets))
    }

    /// Returns whether a subscriber selects `purchase`.
    pub(super) fn is_selected(&self, purchase: &Purchase) -> bool {
        lock(&self.state).is_selected(purchase)
    }

    /// Delivers `purchases`, which are consecutive in one partition, to the subscribers that select them.
    ///
    /// Stops at a purchase that was not looked up, because no subscriber selected it, if a subscriber that does
    /// registered since. Returns the purchases from that one on, which the caller looks up first.
    pub(super) fn deliver(
        &self,
        mut purchases: Vec<Arc<LoggedPurchase>>,
    ) -> Vec<Arc<LoggedPurchase>> {
        let mut state = lock(&self.state);

        let deliverable_count = purchases
            .iter()
            .take_while(|logged| logged.is_looked_up() || !state.is_selected(&logged.purchase))
            .count();
        let undelivered = purchases.split_off(deliverable_count);

        for logged in &purchases {
            state.send_to_subscribers(logged);
        }
        if let Some(last) = purchases.last() {
            Arc::make_mut(&mut state.delivered_offsets).insert(last.partition, last.offset + 1);
        }
        state.keep_recent(purchases, self.max_recent);
        undelivered
    }

    /// Moves the delivered offsets forward to `offsets`, before which no purchase is left to deliver.
    ///
    /// A partition that the hub did not know yet starts at its offset.
    pub(super) fn advance(&self, offsets: impl Iterator<Item = (u32, u64)>) {
        let mut state = lock(&self.state);
        for (partition, offset) in offsets {
            state.recent_from.entry(partition).or_insert(offset);

            // `make_mut` copies the offsets while a delivery refers to them, so it is called for a change only.
            let delivered_offset = state.delivered_offsets.get(&partition);
            if delivered_offset.is_none_or(|delivered| *delivered < offset) {
                Arc::make_mut(&mut state.delivered_offsets).insert(partition, offset);
            }
        }
    }

    /// Closes the hub if no subscriber is left. Returns whether the hub is closed.
    pub(super) fn close_if_unused(&self) -> bool {
        let mut state = lock(&self.state);
        state.subscribers.retain(|_selector, senders| {
            senders.retain(|sender| !sender.is_closed());
            !senders.is_empty()
        });
        state.is_closed = state.subscribers.is_empty();
        state.is_closed
    }

    /// Closes the hub, and ends every subscription after the deliveries that are in its channel.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.is_closed = true;
        state.subscribers.clear();
    }
}

impl HubState {
    /// Returns whether a subscriber selects `purchase`.
    fn is_selected(&self, purchase: &Purchase) -> bool {
        matching_selectors(purchase)
            .iter()
            .any(|selector| self.subscribers.contains_key(selector))
    }

    /// Sends a visible purchase to the subscribers that select it, and removes those whose channel is full or closed.
    fn send_to_subscribers(&mut self, logged: &Arc<LoggedPurchase>) {
        if logged.visible().is_none() {
            return;
        }
        for selector in matching_selectors(&logged.purchase) {
            let Some(senders) = self.subscribers.get_mut(&selector) else {
                continue;
            };
            senders.retain(|sender| {
                let delivery = Delivery {
                    logged: Arc::clone(logged),
                    delivered_before: Arc::clone(&self.delivered_offsets),
                };
                sender.try_send(delivery).is_ok()
            });
        }
    }

    /// Adds `purchases` to the recent ones, and drops the oldest beyond `max_recent`.
    fn keep_recent(&mut self, purchases: Vec<Arc<LoggedPurchase>>, max_recent: usize) {
        self.recent.extend(purchases);
        let excess_count = self.recent.len().saturating_sub(max_recent);
        for oldest in self.recent.drain(..excess_count) {
            self.recent_from.insert(oldest.partition, oldest.offset + 1);
        }
    }
}
