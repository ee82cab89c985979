//! The port that erases users.

use std::fmt::Debug;

use async_trait::async_trait;

use super::UserNumber;
use crate::Result;

/// Erases users.
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - `erase_user` erases the address, the name, the idempotency key and the pending event of the user, and returns
///   whether there was such a user (`erase_users::an_erased_user_is_unknown`).
/// - The number stays taken (`erase_users::the_number_of_an_erased_user_stays_taken`), and the address and the key are
///   free again (`erase_users::the_address_of_an_erased_user_is_free`).
/// - Other users do not change (`erase_users::other_users_stay`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait UserErase: Debug + Send + Sync + 'static {
    /// Erases the user with this number, durably. Returns false if there is none.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) and other transient errors. Calling it again is safe.
    ///
    /// # Cancel safety
    /// Dropping the future erases the user or not.
    async fn erase_user(&self, id: UserNumber) -> Result<bool>;
}
