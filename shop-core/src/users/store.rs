//! The port of the store that owns users.

use std::fmt::Debug;

use async_trait::async_trait;

use super::{NewUser, User, UserNumber};
use crate::Result;
use crate::orders::OrderNumber;

/// The maximum number of orders listed per user.
pub const MAX_LISTED_ORDERS: usize = 1_000;

/// Registers and finds users.
///
/// Every call completes within a time that the implementation bounds.
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - Users are numbered from 1 without gaps, regardless of refused ones (`users::numbers_have_no_gaps`) and of
///   concurrent calls (`users::racing_users_leave_no_gap`).
/// - A registered user is found, unchanged (`users::a_registered_user_is_found`).
/// - Of concurrent registrations with one address, one succeeds and the others find it taken
///   (`users::an_email_is_unique`). The domain is case-insensitive (`users::an_email_domain_is_case_insensitive`).
/// - The same key with the same content returns the first user and writes no event
///   (`users::a_key_makes_registration_idempotent`). With other content the key is taken
///   (`users::a_key_belongs_to_one_user`).
/// - A user and its event in the outbox are written atomically, one event per user (`users::each_user_has_one_event`).
/// - `orders_of` contains each applied order event once (`users::order_events_are_applied_once`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait UserStore: Debug + Send + Sync + 'static {
    /// Registers a user, unless the address or the key is taken.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) and other transient errors. The error's
    /// [`outcome`](crate::Error::outcome) states whether the user may have been registered. Retrying with the same key
    /// is safe.
    ///
    /// # Cancel safety
    /// Dropping the future registers the user with its event, or neither.
    async fn register(&self, new: &NewUser) -> Result<Registration>;

    /// The user with this number, if there is one.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) and other transient errors.
    async fn user(&self, id: UserNumber) -> Result<Option<User>>;

    /// The numbers of the known orders of this user in ascending order, at most [`MAX_LISTED_ORDERS`]. `None` when
    /// there is no such user.
    ///
    /// # Errors
    /// As [`user`](Self::user).
    async fn orders_of(&self, id: UserNumber) -> Result<Option<Vec<OrderNumber>>>;

    /// Checks whether a user can be registered now. Writes nothing.
    ///
    /// # Errors
    /// The reason why not.
    async fn check_users(&self) -> Result<()>;
}

/// The outcome of registering a user.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Registration {
    /// Registered now, durably. Its event will be published.
    Registered(User),
    /// Already registered with this key and the same content.
    AlreadyRegistered(User),
    /// Another user has the address.
    EmailTaken,
    /// The key was used for another user.
    KeyTaken,
}
