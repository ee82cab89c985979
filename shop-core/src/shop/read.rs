//! Finds, waits for, lists and sums purchases.
//!
//! [`UserPurchases`] is the selection with which a program lists purchases. A service that gets a
//! [`Selector`] and a request, with the cursor of a client, calls [`Shop::page`] and its siblings.

use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{Shop, UserPurchases};
use crate::ingest::IngestMonitor;
#[cfg(doc)]
use crate::ports::PurchaseQuery;
use crate::ports::{
    Bucket, Lookup, Page, PageRequest, Polls, REFUND_TIMEOUT, RefundState, Selector, Summary,
    TotalsRequest, may_be_unstored,
};
use crate::{Error, ErrorKind, Invalid, Purchase, PurchaseId, Result, UserId, UserName};

/// The minimum time for each look-up of a wait, even if the wait ends earlier.
const MIN_LOOK_UP_TIME: Duration = Duration::from_millis(250);

impl Shop {
    /// Returns the entry of the store under this id. The entry is as durable as an acknowledged
    /// insert.
    ///
    /// # Errors
    /// The errors of [`PurchaseQuery::look_up`].
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn look_up(&self, id: &PurchaseId) -> Result<Lookup> {
        self.ports.query.look_up(id).await
    }

    /// Returns the entry of the store under this id, and waits for the entry if it may be on its way
    /// to the store.
    ///
    /// Waits for at most [`REFUND_TIMEOUT`]. A purchase may be on its way if this shop acknowledged
    /// it recently. It also may be if its id is a UUIDv7 of the last 30 s: another process may have
    /// acknowledged it.
    ///
    /// # Errors
    /// - The first error of [`PurchaseQuery::look_up`]
    /// - [`DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded) if the store does not respond in
    ///   this time
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn look_up_acknowledged(&self, id: &PurchaseId) -> Result<Lookup> {
        let mut polls = Polls::until(Instant::now() + REFUND_TIMEOUT);
        loop {
            let next_batch = self.next_batch();
            let look_up = self.ports.query.look_up(id);
            let lookup = timeout(polls.time_left().max(MIN_LOOK_UP_TIME), look_up)
                .await
                .map_err(|_elapsed| {
                    let message = "the store did not respond in time";
                    Error::new(ErrorKind::DeadlineExceeded, message)
                })??;
            let may_arrive = matches!(lookup, Lookup::Missing)
                && may_be_unstored(&*self.ports.publisher, id, self.ports.clock.now());
            if !may_arrive {
                return Ok(lookup);
            }

            // One look-up at a time needs no minimum pause.
            let has_time_left = polls.pause_unless(Duration::ZERO, next_batch).await;
            if !has_time_left {
                return Ok(lookup);
            }
        }
    }

    /// Returns a future that completes when the ingest of this process has handled the next batch.
    ///
    /// A batch that is handled between this call and the first poll counts, too. The future never
    /// completes if no ingest runs in this process.
    pub fn next_batch(&self) -> impl Future<Output = ()> + Send + use<> {
        let next_batch = self.ports.ingest.as_ref().map(IngestMonitor::next_batch);
        async move {
            match next_batch {
                Some(next_batch) => next_batch.await,
                None => pending().await,
            }
        }
    }

    /// Returns the purchase or refund with this id, or `None` if it is not stored.
    ///
    /// # Errors
    /// Returns the errors of [`PurchaseQuery::look_up`], and [`Invalid`](crate::ErrorKind::Invalid) for
    /// text that is not an id.
    pub async fn get(
        &self,
        id: impl TryInto<PurchaseId, Error: Into<Invalid>>,
    ) -> Result<Option<Purchase>> {
        let id = id.try_into().map_err(Into::<Invalid>::into)?;
        Ok(self.look_up(&id).await?.stored())
    }

    /// Selects the purchases of the user with this id, to list or to sum them.
    ///
    /// Nothing is read yet. Text that is not a user id becomes the error of the call that reads the
    /// purchases.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> shop_core::Result<()> {
    /// # let shop = shop_core::Shop::in_memory();
    /// let spent = shop.user("u1").summary().await?;
    /// println!("{} purchases for {}", spent.count, spent.total_spent);
    /// # Ok(())
    /// # }
    /// ```
    pub fn user(&self, id: impl TryInto<UserId, Error: Into<Invalid>>) -> UserPurchases {
        UserPurchases::new(
            self,
            id.try_into()
                .map_err(Into::<Invalid>::into)
                .map(Selector::User),
        )
    }

    /// Selects the purchases of all users with this name, to list or to sum them.
    ///
    /// Nothing is read yet. Text that is not a user name becomes the error of the call that reads the
    /// purchases.
    pub fn user_with_name(
        &self,
        name: impl TryInto<UserName, Error: Into<Invalid>>,
    ) -> UserPurchases {
        UserPurchases::new(
            self,
            name.try_into()
                .map_err(Into::<Invalid>::into)
                .map(Selector::Name),
        )
    }

    /// Selects the purchases of all users, to list or to sum them.
    ///
    /// The public API of a service denies this selection, unless it is limited to a
    /// [reference](UserPurchases::with_reference). The management API lists all purchases with the
    /// scope `observe`.
    pub fn all_users(&self) -> UserPurchases {
        UserPurchases::new(self, Ok(Selector::All))
    }

    /// Waits until the purchase with this id is stored, for at most `limit`, and returns whether it
    /// is stored.
    ///
    /// To wait for a purchase and then list the purchases of its user, call
    /// [`UserPurchases::wait_for`].
    ///
    /// # Errors
    /// The errors of [`PurchaseQuery::wait_for`].
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn wait_until_stored(&self, id: &PurchaseId, limit: Duration) -> Result<bool> {
        self.ports.query.wait_for(id, limit).await
    }

    /// Returns the stored refund of `purchase`, or `None` if it was not refunded.
    ///
    /// # Errors
    /// The errors of [`look_up`](Self::look_up).
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn find_refund(&self, purchase: &Purchase) -> Result<Option<Purchase>> {
        // A refund of the whole price has the id of any refund of this purchase. Neither a refund
        // nor a purchase with a price of zero can be refunded.
        let whole_price = None;
        let Ok(expected_refund) = purchase.refund(whole_price, purchase.timestamp) else {
            return Ok(None);
        };

        let stored_refund = self.look_up(&expected_refund.id).await?.stored();
        // An operator may have imported another purchase under the id of the refund.
        Ok(stored_refund.filter(|stored| {
            stored.details.of == expected_refund.details.of
                && stored.user_id == expected_refund.user_id
        }))
    }

    /// Returns what the store has decided about `refund`, which was [pending].
    ///
    /// [pending]: crate::PublishedPurchase::pending
    ///
    /// # Errors
    /// The errors of [`look_up`](Self::look_up).
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn refund_state(&self, refund: &Purchase) -> Result<RefundState> {
        RefundState::look_up(&*self.ports.query, refund).await
    }

    /// Reads one page of the purchases of `selector`.
    ///
    /// # Errors
    /// The errors of [`PurchaseQuery::page`].
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page> {
        self.ports.query.page(selector, request).await
    }

    /// Reads the number of the purchases of `selector`, of all times, and the exact sum of their
    /// prices.
    ///
    /// # Errors
    /// The errors of [`PurchaseQuery::summary`].
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn summary(&self, selector: &Selector) -> Result<Summary> {
        self.ports.query.summary(selector).await
    }

    /// Reads the number and the exact sum of the purchases of `selector` for each period of
    /// `request`.
    ///
    /// # Errors
    /// The errors of [`PurchaseQuery::totals`].
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn totals(
        &self,
        selector: &Selector,
        request: &TotalsRequest,
    ) -> Result<Vec<Bucket>> {
        self.ports.query.totals(selector, request).await
    }
}
