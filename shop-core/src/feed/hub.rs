//! The hub: the subscribers of one reader of the log, and the purchases that were delivered to
//! them.
//!
//! The reader calls [`deliver`](Hub::deliver) and [`advance`](Hub::advance). Each subscriber owns
//! the receiving half of a bounded channel. The hub never waits for a subscriber. If the channel of a
//! subscriber is full, the hub drops its sender, and the subscription ends after the deliveries that
//! are already in the channel.

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
    pub(super) logged_purchase: Arc<LoggedPurchase>,
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
    /// The maximum weight of the purchases that are kept for subscriptions that resume.
    max_recent: usize,
    state: Mutex<HubState>,
}

/// The state of a hub, under its lock.
#[derive(Debug, Default)]
struct HubState {
    /// The offset of each partition before which every purchase was sent to the subscribers that
    /// select it, or never becomes visible.
    delivered_offsets: Arc<Offsets>,
    /// The last purchases before the delivered offsets, of all selectors, for subscriptions that
    /// resume.
    recent: VecDeque<Arc<LoggedPurchase>>,
    /// The sum of the weights of the recent purchases.
    recent_weight: usize,
    /// The first offset of each partition whose purchases are all in `recent`. Older purchases were
    /// dropped from there.
    recent_complete_from: Offsets,
    subscribers: HashMap<Selector, Vec<mpsc::Sender<Delivery>>>,
    /// Whether the reader ended or is about to end. A closed hub accepts no subscriber.
    is_closed: bool,
}

/// A subscriber's half of its registration with the hub, and a snapshot of the hub at that moment.
///
/// The snapshot and the channel fit together without a gap: the hub had passed every purchase
/// before `delivered` at the registration, and sends every visible, selected purchase from there on
/// to `deliveries`.
pub(super) struct Registration {
    pub(super) hub: Arc<Hub>,
    pub(super) deliveries: mpsc::Receiver<Delivery>,
    /// The log of the hub, and its delivered offsets at the registration.
    pub(super) delivered: FeedPosition,
    /// The hub's recent purchases that the subscriber selects.
    pub(super) recent: Vec<Arc<LoggedPurchase>>,
    /// The first offset of each partition whose selected purchases are all in `recent`.
    recent_complete_from: Offsets,
}

impl Registration {
    /// Returns whether `recent` contains every selected purchase between `position` and
    /// `delivered`.
    ///
    /// Returns `false` for a position ahead of `delivered`, too: only the log can tell whether such
    /// a position exists.
    pub(super) fn recent_covers(&self, position: &FeedPosition) -> bool {
        self.delivered.offsets.iter().all(|(partition, delivered)| {
            let complete_from = next_offset(&self.recent_complete_from, *partition);
            let resume_offset = next_offset(&position.offsets, *partition);
            (complete_from..=*delivered).contains(&resume_offset)
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
        // A subscriber follows a reference in the purchases of all users (`None`), or of one.
        for reference_user in [None, Some(user_id.clone())] {
            selectors.push(Selector::Reference(reference.clone(), reference_user));
        }
    }
    selectors
}

impl Hub {
    /// Creates a hub without subscribers. Its reader reads the log from the offsets `start` on.
    pub(super) fn new(log_digest: u32, start: Offsets, options: &FeedOptions) -> Self {
        let state = HubState {
            delivered_offsets: Arc::new(start.clone()),
            recent_complete_from: start,
            ..HubState::default()
        };
        Self {
            log_digest,
            // A channel without capacity would panic.
            channel_capacity: options.queue.max(1),
            max_recent: options.kept_records,
            state: Mutex::new(state),
        }
    }

    /// Registers a subscriber to the purchases of `selector`. Returns `None` if the hub is closed.
    pub(super) fn register(self: &Arc<Self>, selector: &Selector) -> Option<Registration> {
        // The lock is held to the end, so that no purchase is delivered between adding the sender
        // and the snapshot.
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

        let selected_purchases = state
            .recent
            .iter()
            .filter(|logged| selector.matches(&logged.purchase));
        Some(Registration {
            hub: Arc::clone(self),
            deliveries,
            delivered: FeedPosition {
                log_digest: self.log_digest,
                offsets: (*state.delivered_offsets).clone(),
            },
            recent: selected_purchases.cloned().collect(),
            recent_complete_from: state.recent_complete_from.clone(),
        })
    }

    /// Returns the delivered offsets, if the owner of `deliveries` received every delivery before
    /// them.
    ///
    /// Returns `None` if the channel still contains a delivery, or was closed because its owner was
    /// too slow.
    pub(super) fn offsets_if_caught_up(
        &self,
        deliveries: &mpsc::Receiver<Delivery>,
    ) -> Option<Arc<Offsets>> {
        // The lock keeps the reader from delivering between the check of the channel and the clone
        // of the offsets.
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

    /// Delivers `purchases`, which are consecutive in one partition, to the subscribers that select
    /// them. Also moves the delivered offset of the partition forward, and keeps the purchases as
    /// recent ones.
    ///
    /// The reader looks up only purchases that a subscriber selects. A subscriber that registered
    /// after the look-up may select a purchase that was not looked up. The delivery stops before
    /// such a purchase, to keep the order of the partition.
    ///
    /// Returns the purchases that were not delivered. The caller looks them up, and delivers them
    /// again.
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

        for logged_purchase in &purchases {
            state.send_to_subscribers(logged_purchase);
        }
        if let Some(last) = purchases.last() {
            Arc::make_mut(&mut state.delivered_offsets).insert(last.partition, last.offset + 1);
        }
        state.keep_recent(purchases, self.max_recent);
        undelivered
    }

    /// Moves the delivered offset of each partition in `offsets` forward to its new offset, and
    /// never back.
    ///
    /// The caller knows that every purchase before these offsets was delivered or is never visible.
    /// So the delivered offsets pass records that are not purchases. A partition that the hub does
    /// not know yet begins at its offset in `offsets`.
    pub(super) fn advance(&self, offsets: impl Iterator<Item = (u32, u64)>) {
        let mut state = lock(&self.state);
        for (partition, offset) in offsets {
            state
                .recent_complete_from
                .entry(partition)
                .or_insert(offset);

            // `make_mut` copies the offsets while a delivery refers to them, so it is called for a
            // change only.
            let delivered_offset = state.delivered_offsets.get(&partition);
            let moves_forward = delivered_offset.is_none_or(|delivered| *delivered < offset);
            if moves_forward {
                Arc::make_mut(&mut state.delivered_offsets).insert(partition, offset);
            }
        }
    }

    /// Removes the subscribers that dropped their receivers, and closes the hub if none is left.
    /// Returns whether the hub is closed.
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
        // A receiver whose sender is dropped still yields the deliveries in the channel, and then
        // ends.
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

    /// Sends `logged_purchase`, if it is visible, to the subscribers that select it.
    ///
    /// Removes a subscriber whose channel is full, because it reads too slowly, or closed, because
    /// it is gone.
    fn send_to_subscribers(&mut self, logged_purchase: &Arc<LoggedPurchase>) {
        if logged_purchase.visible_purchase().is_none() {
            return;
        }
        let weight = logged_purchase.weight();
        for selector in matching_selectors(&logged_purchase.purchase) {
            // This selector has no subscription.
            let Some(senders) = self.subscribers.get_mut(&selector) else {
                continue;
            };
            senders.retain(|sender| {
                let delivery = Delivery {
                    logged_purchase: Arc::clone(logged_purchase),
                    delivered_before: Arc::clone(&self.delivered_offsets),
                };
                // The weight of a large purchase counts for each purchase in the channel, so the
                // channel of large purchases is full earlier.
                let queued_count = sender.max_capacity() - sender.capacity();
                let has_room = queued_count * weight <= sender.max_capacity();
                has_room && sender.try_send(delivery).is_ok()
            });
        }
    }

    /// Adds `purchases` to the recent purchases, and drops the oldest recent purchases until the
    /// weight of the others is at most `max_recent`.
    fn keep_recent(&mut self, purchases: Vec<Arc<LoggedPurchase>>, max_recent: usize) {
        let added_weight: usize = purchases.iter().map(|purchase| purchase.weight()).sum();
        self.recent_weight += added_weight;
        self.recent.extend(purchases);
        while self.recent_weight > max_recent
            && let Some(oldest) = self.recent.pop_front()
        {
            self.recent_weight -= oldest.weight();
            self.recent_complete_from
                .insert(oldest.partition, oldest.offset + 1);
        }
    }
}
