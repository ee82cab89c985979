//! Places an order of a user whose event may be on its way.

use std::time::Duration;

use shop_core::ports::Polls;
use shop_core::{Result, with_failpoints};
use tokio::time::Instant;

use super::{NewOrder, Order};
use crate::entity::{EntityStore, Insertion};

/// Places the order `new`. While its user is unknown, tries again for at most `user_wait`, because the
/// event that registers the user may be on its way.
///
/// # Errors
/// The errors of [`EntityStore::insert`].
///
/// # Cancel safety
/// If the future is dropped, the order may have been placed. The same call can be repeated.
pub(crate) async fn place_order(
    store: &dyn EntityStore<Order>,
    new: &NewOrder,
    user_wait: Duration,
) -> Result<Insertion<Order>> {
    let mut polls = Polls::until(Instant::now() + user_wait);
    loop {
        let placed = with_failpoints("row", store.insert(new)).await?;
        if placed != Insertion::Refused || !polls.pause().await {
            return Ok(placed);
        }
    }
}
