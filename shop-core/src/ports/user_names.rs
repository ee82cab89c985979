//! The port that finds the names of the users in a store.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::Result;

/// Finds the names of the users whose purchases a store contains.
///
/// A store that needs to read only one entry of an index of names for each step offers this port in
/// its [`StoreInfo`](super::StoreInfo).
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - `next_name` leads through the names of all users in the order of their bytes
///   (`query::names_are_ordered_by_their_bytes`).
#[async_trait]
pub trait UserNames: Debug + Send + Sync {
    /// Returns the first stored user name that is equal to or greater than `from` in the order of
    /// bytes.
    ///
    /// Repeated calls, each after the last name, lead through the names of all users.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the store cannot be reached.
    async fn next_name(&self, from: &str) -> Result<Option<String>>;
}
