//! Places an order of a user whose event may be on its way.

use std::time::Duration;

use shop_core::ports::Polls;
use shop_core::{Result, with_failpoints};
use tokio::time::Instant;

use super::{NewOrder, Order};
use crate::entity::{EntityStore, Insertion};

/// Places the order `new_order`. While its user is unknown, tries again for at most
/// `max_wait_for_user`, because the event that registers the user may be on its way.
///
/// Returns the outcome of the last attempt, which is `Refused` if the user is still unknown.
///
/// # Errors
/// The errors of [`EntityStore::insert`].
///
/// # Cancel safety
/// If the future is dropped, the order may have been placed. The same call can be repeated.
pub(crate) async fn place_order(
    store: &dyn EntityStore<Order>,
    new_order: &NewOrder,
    max_wait_for_user: Duration,
) -> Result<Insertion<Order>> {
    let mut polls = Polls::until(Instant::now() + max_wait_for_user);
    loop {
        let insertion = with_failpoints("row", store.insert(new_order)).await?;
        if insertion != Insertion::Refused {
            return Ok(insertion);
        }

        let may_try_again = polls.pause().await;
        if !may_try_again {
            return Ok(insertion);
        }
    }
}
