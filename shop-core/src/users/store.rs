//! The port of the store that owns users.

use std::fmt::Debug;

use async_trait::async_trait;

use super::{NewUser, User, UserNumber};
use crate::Result;
use crate::orders::OrderNumber;

/// The maximum number of a user's orders that are listed.
pub const MAX_LISTED_ORDERS: usize = 1_000;

/// Where users are registered and found.
///
/// Every call ends by itself in a time that the implementation bounds.
///
/// # Behavior
/// Each line names the function of the conformance kit that holds an implementation to it.
///
/// - Users are numbered from 1 without gaps, whatever was refused in between
///   (`users::numbers_have_no_gaps`), and also when many register at a time (`users::racing_users_leave_no_gap`).
/// - Who was registered is found, as given (`users::a_registered_user_is_found`).
/// - Of many who register one address at a time one is registered, and it is taken for all others
///   (`users::an_email_is_taken_once`); the case of the domain makes no difference (`users::a_domain_has_no_case`).
/// - The same key with the same content is answered with the first user, and tells nothing
///   (`users::a_key_makes_a_user_repeatable`); with other content the key is taken (`users::a_key_is_of_one_user`).
/// - With the user, in one atomic write, goes its event into the outbox: no user without, none with two
///   (`users::each_user_has_one_event`).
/// - `orders_of` has what was applied of the events of orders, each once (`users::orders_are_known_once`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait UserStore: Debug + Send + Sync + 'static {
    /// Registers a user, unless the address or the key is taken.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) and the like. The error's [`outcome`](crate::Error::outcome)
    /// says whether the user may be registered all the same; registering again with the same key is harmless.
    ///
    /// # Cancel safety
    /// Dropping the future registers the user and tells of it, or neither.
    async fn register(&self, new: &NewUser) -> Result<Registration>;

    /// The user with this number, if there is one.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) and the like.
    async fn user(&self, id: UserNumber) -> Result<Option<User>>;

    /// The numbers of the orders that this user is known to have placed, the first [`MAX_LISTED_ORDERS`] in their order. `None` when
    /// there is no such user.
    ///
    /// # Errors
    /// As [`user`](Self::user).
    async fn orders_of(&self, id: UserNumber) -> Result<Option<Vec<OrderNumber>>>;

    /// Whether a user can be registered now. Writes nothing.
    ///
    /// # Errors
    /// Why not.
    async fn check_users(&self) -> Result<()>;
}

/// What became of a user who was to be registered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Registration {
    /// The user is registered now, durably, and its event will be published.
    Registered(User),
    /// The user was registered before with this key, and the same content.
    AlreadyRegistered(User),
    /// Somebody else has the address.
    EmailTaken,
    /// The key was used for another user.
    KeyTaken,
}
