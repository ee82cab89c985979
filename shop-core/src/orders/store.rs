//! The port of the store that owns orders.

use std::fmt::Debug;

use async_trait::async_trait;

use super::{NewOrder, Order, OrderNumber};
use crate::Result;

/// Where orders are placed and found. Users are known to it by their events.
///
/// Every call ends by itself in a time that the implementation bounds.
///
/// # Behavior
/// Each line names the function of the conformance kit that holds an implementation to it.
///
/// - An order of a user of whom nobody has told is refused, until somebody has
///   (`orders::users_are_known_by_their_events`); hearing of a user again changes nothing
///   (`orders::user_events_are_idempotent`).
/// - Orders are numbered from 1 without gaps, whatever was refused in between (`orders::numbers_have_no_gaps`), and also
///   when many are placed at a time (`orders::racing_orders_leave_no_gap`).
/// - What was placed is found, as given (`orders::a_placed_order_is_found`).
/// - The same key with the same content is answered with the first order, and tells nothing
///   (`orders::a_key_makes_an_order_repeatable`); with other content the key is taken (`orders::a_key_is_of_one_order`).
/// - With the order, in one atomic write, goes its event into the outbox (`orders::each_order_has_one_event`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait OrderStore: Debug + Send + Sync + 'static {
    /// Places an order, unless its user is unknown or its key is taken.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) and the like. The error's [`outcome`](crate::Error::outcome)
    /// says whether the order may be placed all the same; placing it again with the same key is harmless.
    ///
    /// # Cancel safety
    /// Dropping the future places the order and tells of it, or neither.
    async fn place(&self, new: &NewOrder) -> Result<Placement>;

    /// The order with this number, if there is one.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) and the like.
    async fn order(&self, id: OrderNumber) -> Result<Option<Order>>;

    /// Whether an order can be placed now. Writes nothing.
    ///
    /// # Errors
    /// Why not.
    async fn check_orders(&self) -> Result<()>;
}

/// What became of an order that was to be placed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Placement {
    /// It is placed now, durably, and its event will be published.
    Placed(Order),
    /// It was placed before with this key, and the same content.
    AlreadyPlaced(Order),
    /// No event of this user has been received yet.
    UnknownUser,
    /// The key was used for another order.
    KeyTaken,
}
