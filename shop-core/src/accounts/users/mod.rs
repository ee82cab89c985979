//! Users, and the ports of the store that owns them: [`EntityStore`], [`UserOrders`] and
//! [`UserErase`].
//!
//! The store publishes an event `user_created` for each user, from which other services learn of
//! users.

mod user;

use std::fmt::Debug;

use async_trait::async_trait;
#[cfg(feature = "api")]
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::accounts::entity::EntityStore;
use crate::accounts::orders::OrderNumber;

pub use user::{Email, NewUser, PersonName, User, UserNumber};

/// The maximum number of orders that are listed per user.
pub const MAX_LISTED_ORDERS: usize = 1_000;

/// A store of users that also lists their orders. Every type that implements both ports implements
/// this trait.
pub trait UserStore: EntityStore<User> + UserOrders {}

impl<S: EntityStore<User> + UserOrders + ?Sized> UserStore for S {}

/// Lists the orders of users.
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - `orders_of` lists each applied order event once (`users::order_events_are_applied_once`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait UserOrders: Debug + Send + Sync + 'static {
    /// Returns the numbers of the known orders of this user in ascending order, at most
    /// [`MAX_LISTED_ORDERS`], or `None` if there is no such user.
    ///
    /// # Errors
    /// The errors of [`EntityStore::get`].
    async fn orders_of(&self, id: UserNumber) -> Result<Option<Vec<OrderNumber>>>;
}

/// The response body of `/v1` that lists the known orders of a user.
#[cfg(feature = "api")]
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserOrdersBody {
    /// The user's number.
    pub user_id: UserNumber,
    /// The numbers of the orders in ascending order.
    pub orders: Vec<OrderNumber>,
}

/// Erases users.
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - `erase_user` erases the address, the name, the idempotency key and the pending event of the
///   user, and returns whether there was such a user (`erase_users::an_erased_user_is_unknown`).
/// - The number stays taken (`erase_users::the_number_of_an_erased_user_is_not_reused`), and the
///   address and the key are free again (`erase_users::the_address_of_an_erased_user_is_free`).
/// - Other users do not change (`erase_users::other_users_stay`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait UserErase: Debug + Send + Sync + 'static {
    /// Erases the user with this number, durably. Returns `false` if there is no such user.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) and other transient errors. Repeating the
    /// call is safe.
    ///
    /// # Cancel safety
    /// Dropping the future erases the user completely, or does nothing.
    async fn erase_user(&self, id: UserNumber) -> Result<bool>;
}
