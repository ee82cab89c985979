//! The port of the store that owns orders.

use std::fmt::Debug;

use async_trait::async_trait;

use super::{NewOrder, Order, OrderNumber};
use crate::Result;

/// Places and finds orders. Users are replicated from their events.
///
/// Every call completes within a time that the implementation bounds.
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - An order is refused until an event of its user was applied (`orders::user_events_are_applied_once`). Applying the
///   event again changes nothing (`orders::user_events_are_idempotent`).
/// - Orders are numbered from 1 without gaps, regardless of refused ones (`orders::numbers_have_no_gaps`) and of
///   concurrent calls (`orders::racing_orders_leave_no_gap`).
/// - A placed order is found, unchanged (`orders::a_placed_order_is_found`).
/// - The same key with the same content returns the first order and writes no event
///   (`orders::a_key_makes_placement_idempotent`). With other content the key is taken
///   (`orders::a_key_belongs_to_one_order`). Keys count per user, unless they are UUIDs of version 4 or 7
///   (`orders::keys_count_per_user`).
/// - An order and its event in the outbox are written atomically (`orders::each_order_has_one_event`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait OrderStore: Debug + Send + Sync + 'static {
    /// Places an order, unless its user is unknown or its key is taken.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) and other transient errors. The error's
    /// [`outcome`](crate::Error::outcome) states whether the order may have been placed. Retrying with the same key is
    /// safe.
    ///
    /// # Cancel safety
    /// Dropping the future places the order with its event, or neither.
    async fn place(&self, new: &NewOrder) -> Result<Placement>;

    /// The order with this number, if there is one.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) and other transient errors.
    async fn order(&self, id: OrderNumber) -> Result<Option<Order>>;

    /// Checks whether an order can be placed now. Writes nothing.
    ///
    /// # Errors
    /// The reason why not.
    async fn check_orders(&self) -> Result<()>;
}

/// The outcome of placing an order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Placement {
    /// Placed now, durably. Its event will be published.
    Placed(Order),
    /// Already placed with this key and the same content.
    AlreadyPlaced(Order),
    /// No event of this user has been received yet.
    UnknownUser,
    /// The key was used for another order.
    KeyTaken,
}
