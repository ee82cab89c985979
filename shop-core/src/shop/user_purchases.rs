//! [`UserPurchases`]: a selection of purchases, and the functions that list, sum and follow it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, TryStreamExt, stream};

use super::Shop;
use crate::domain::Reference;
use crate::feed::{FeedCursor, FeedItem};
#[cfg(doc)]
use crate::ports::PurchaseQuery;
use crate::ports::{
    Bucket, Cursor, ListOrder, Page, PageLimit, PageRequest, Period, PurchaseEvents,
    PurchaseQueryExt, Receipt, Selector, Summary, TimeRange, TotalsRequest, UtcOffset,
};
use crate::{Error, ErrorKind, Invalid, Outcome, Purchase, PurchaseId, Result};

/// A selection of purchases, such as the purchases of one user, to read as a stream, in pages, as
/// sums, or as events.
///
/// The selection starts with [`Shop::user`](crate::Shop::user) or a similar function. Further
/// functions narrow or order it. Nothing is read until a reading function is called.
///
/// ```
/// use shop_core::{Shop, TryStreamExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> shop_core::Result<()> {
/// # let shop = Shop::in_memory();
/// let user = shop.user("u1");
/// println!("{:?}", user.summary().await?);
/// let mut purchases = user.oldest_first().purchases();
/// while let Some(purchase) = purchases.try_next().await? {
///     println!("{} {}", purchase.timestamp, purchase.price);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is read until a page, the purchases or the summary are"]
pub struct UserPurchases {
    shop: Shop,
    selector: Result<Selector, Invalid>,
    order: ListOrder,
    range: TimeRange,
    page_size: Option<PageLimit>,
    /// The id of the purchase that must be stored before a call reads.
    awaited_id: Option<PurchaseId>,
    /// The maximum time that a call waits for the purchase `awaited_id`.
    wait_timeout: Duration,
}

/// The default of [`UserPurchases::with_wait_timeout`].
const DEFAULT_WAIT: Duration = Duration::from_secs(10);

impl UserPurchases {
    /// Creates a selection of the purchases of `selector` from `shop`, with default settings.
    pub(super) fn new(shop: &Shop, selector: Result<Selector, Invalid>) -> Self {
        Self {
            // Reads need no context of a request.
            shop: shop.with_request(None),
            selector,
            order: ListOrder::NewestFirst,
            range: TimeRange::ALL,
            page_size: None,
            awaited_id: None,
            wait_timeout: DEFAULT_WAIT,
        }
    }

    /// Limits the selection to the purchases with this reference.
    ///
    /// These are purchases of the selected user, or of all users after
    /// [`all_users`](crate::Shop::all_users). A selection by user name cannot be combined with a
    /// reference.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> shop_core::Result<()> {
    /// # let shop = shop_core::Shop::in_memory();
    /// let paid = shop.all_users().with_reference("order-7").summary().await?;
    /// println!("{} for order 7", paid.total_spent);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// This function does not fail. Calls that read fail with [`Invalid`](ErrorKind::Invalid) if the
    /// reference is not valid, or if the selection is by user name.
    pub fn with_reference(
        mut self,
        reference: impl TryInto<Reference, Error: Into<Invalid>>,
    ) -> Self {
        self.selector = self.selector.and_then(|selector| {
            let user_id = match selector {
                Selector::User(user_id) => Some(user_id),
                // The new reference replaces the earlier one.
                Selector::Reference(_, user_id) => user_id,
                Selector::All => None,
                Selector::Name(_) => {
                    return Err(Invalid::malformed(
                        "the reference",
                        "cannot be combined with a user name",
                    ));
                }
            };
            let reference = reference.try_into().map_err(Into::<Invalid>::into)?;
            Ok(Selector::Reference(reference, user_id))
        });
        self
    }

    /// Lists the oldest purchases first.
    pub const fn oldest_first(mut self) -> Self {
        self.order = ListOrder::OldestFirst;
        self
    }

    /// Limits the selection to purchases whose time is in `range`.
    ///
    /// The range applies to pages, the stream of purchases, the summary and totals, but not to
    /// events.
    ///
    /// ```
    /// use shop_core::ports::TimeRange;
    ///
    /// # async fn example(shop: shop_core::Shop) -> shop_core::Result<()> {
    /// let year = TimeRange::new(Some("2026-01-01T00:00:00Z".parse()?), Some("2027-01-01T00:00:00Z".parse()?))?;
    /// let spent = shop.user("u1").with_range(year).summary().await?.total_spent;
    /// # Ok(())
    /// # }
    /// ```
    pub const fn with_range(mut self, range: TimeRange) -> Self {
        self.range = range;
        self
    }

    /// Sets the number of purchases on a page (default 50).
    ///
    /// [`purchases`](Self::purchases) requests this number of purchases at once. Its default is 50
    /// for the first request, and 1,000 for each further one.
    pub const fn with_page_size(mut self, size: PageLimit) -> Self {
        self.page_size = Some(size);
        self
    }

    /// Sets the purchase that the reading calls of this selection wait for: the purchase of
    /// `receipt`.
    ///
    /// Each reading call then waits until this purchase is stored, so its result includes the
    /// purchase.
    ///
    /// A purchase is accepted when it is in the log, and listed when it is in the store. A call
    /// waits for at most 10 s, or for the time of [`with_wait_timeout`](Self::with_wait_timeout).
    /// Other purchases may still be missing, even if they were accepted earlier.
    ///
    /// This function itself waits for nothing. Subscriptions to events ignore this setting.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use shop_core::{NewPurchase, Shop};
    ///
    /// # async fn example(shop: Shop, order: NewPurchase) -> shop_core::Result<()> {
    /// let bought = shop.buy(order).await?;
    /// let user = shop.user(bought.purchase.user_id.clone());
    /// assert!(user.clone().wait_for(&bought.receipt).summary().await?.count >= 1);
    ///
    /// let hurried = user.wait_for(&bought.receipt).with_wait_timeout(Duration::from_millis(200));
    /// println!("{:?}", hurried.summary().await);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// This function does not fail. Calls that read fail with
    /// [`DeadlineExceeded`](ErrorKind::DeadlineExceeded) if the purchase is not stored in time.
    pub const fn wait_for(mut self, receipt: &Receipt) -> Self {
        self.awaited_id = Some(receipt.id);
        self
    }

    /// Sets the maximum time to wait for the purchase of [`wait_for`](Self::wait_for) (default 10
    /// s).
    ///
    /// The order of the two calls does not matter.
    pub const fn with_wait_timeout(mut self, time: Duration) -> Self {
        self.wait_timeout = time;
        self
    }

    /// Reads the first page of the selected purchases.
    ///
    /// ```
    /// use shop_core::Shop;
    /// use shop_core::ports::PageLimit;
    ///
    /// # async fn example(shop: Shop) -> shop_core::Result<()> {
    /// let user = shop.user("u1").with_page_size(PageLimit::new(20)?);
    /// let mut page = user.page().await?;
    /// while let Some(next) = page.next {
    ///     page = user.page_at(next).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns the errors of [`PurchaseQuery::page`] and of [`wait_for`](Self::wait_for).
    pub async fn page(&self) -> Result<Page> {
        let selector = self.wait_for_awaited().await?;
        self.shop.page(selector, &self.first_page()).await
    }

    /// Reads the page at `cursor`, which is the [`next`](Page::next) of another page with the same
    /// order and range.
    ///
    /// # Errors
    /// Returns the errors of [`page`](Self::page), and [`Invalid`](ErrorKind::Invalid) for a cursor
    /// of another listing.
    pub async fn page_at(&self, cursor: Cursor) -> Result<Page> {
        let selector = self.wait_for_awaited().await?;
        let request = self.first_page().with_cursor(cursor);
        self.shop.page(selector, &request).await
    }

    /// Returns the request for the first page of the selection.
    fn first_page(&self) -> PageRequest {
        PageRequest::first(self.order, self.page_size.unwrap_or_default()).with_range(self.range)
    }

    /// Reads the number of the selected purchases and the exact sum of their prices.
    ///
    /// # Errors
    /// Returns the errors of [`PurchaseQuery::summary`] and of [`wait_for`](Self::wait_for).
    pub async fn summary(&self) -> Result<Summary> {
        let totals = self.totals(Period::Whole, UtcOffset::UTC).await?;
        // A selection without purchases has no bucket, and so the summary zero.
        Ok(totals
            .first()
            .map(|bucket| bucket.summary)
            .unwrap_or_default())
    }

    /// Reads the number and the exact sum of the selected purchases for each period, such as each
    /// month, in order.
    ///
    /// `zone` is the offset from UTC by which periods begin. Periods without purchases are left
    /// out. For a time zone with summer time, whose offset changes, add up the
    /// [`purchases`](Self::purchases) by their local date instead.
    ///
    /// ```
    /// use shop_core::Shop;
    /// use shop_core::ports::Period;
    ///
    /// # async fn example(shop: Shop) -> shop_core::Result<()> {
    /// for month in shop.user("u1").totals(Period::Month, "+01:00").await? {
    ///     println!("from {}: {}", month.from, month.summary.total_spent);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns the errors of [`PurchaseQuery::totals`] and of [`wait_for`](Self::wait_for).
    pub async fn totals(
        &self,
        per: Period,
        zone: impl TryInto<UtcOffset, Error: Into<Invalid>>,
    ) -> Result<Vec<Bucket>> {
        let request = TotalsRequest::new(self.range, per)
            .with_zone(zone.try_into().map_err(Into::<Invalid>::into)?);
        let selector = self.wait_for_awaited().await?;
        self.shop.totals(selector, &request).await
    }

    /// Returns a stream of all selected purchases, newest first unless
    /// [`oldest_first`](Self::oldest_first) is set.
    ///
    /// The stream requests pages while it is read, and buffers at most one page.
    ///
    /// ```
    /// use shop_core::{StreamExt, TryStreamExt};
    ///
    /// # async fn example(shop: shop_core::Shop) -> shop_core::Result<()> {
    /// let latest: Vec<_> = shop.user("u1").purchases().take(10).try_collect().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The stream ends after an error.
    pub fn purchases(&self) -> impl Stream<Item = Result<Purchase>> + Send + Unpin + use<> {
        let selection = self.clone();
        let begin_pages = async move {
            let selector = selection.wait_for_awaited().await?.clone();
            let first_request = selection.first_page();
            let further_page_size = selection.page_size.unwrap_or(PageLimit::MAX);
            let query = Arc::clone(&selection.shop.ports.query);
            Ok::<_, Error>(query.growing_pages(selector, first_request, further_page_size))
        };
        stream::once(begin_pages)
            .try_flatten()
            .map_ok(|page| stream::iter(page.items.into_iter().map(Ok)))
            .try_flatten()
            .boxed()
    }

    /// Follows the selected purchases: returns a stream that yields each purchase when it becomes
    /// visible.
    ///
    /// The stream begins now, or after the event whose cursor is `after`. It resumes by itself
    /// after failures that pass, and ends after an error. The range and the order of the selection
    /// have no effect. Purchases that were written into the store without the log are not yielded.
    ///
    /// A cursor is a position in the log, and moves only with the purchases of the selection. The
    /// cursor of a user who seldom buys may become older than the records that the log keeps. It is
    /// [`Expired`](ErrorKind::Expired) then: list the purchases without a range to find the missed
    /// ones.
    ///
    /// ```
    /// use shop_core::TryStreamExt;
    ///
    /// # async fn example(shop: shop_core::Shop, stored: Option<String>) -> shop_core::Result<()> {
    /// let after: Option<shop_core::feed::FeedCursor> = stored.as_deref().map(str::parse).transpose()?;
    /// let mut events = shop.user("u1").events(after).await?;
    /// while let Some(event) = events.try_next().await? {
    ///     println!("{}; store {} to continue behind it", event.purchase.price, event.cursor);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns the errors of [`PurchaseEvents::events`], and
    /// [`Unsupported`](ErrorKind::Unsupported) for a shop without
    /// [events](crate::Shop::with_events).
    pub async fn events(
        &self,
        after: Option<FeedCursor>,
    ) -> Result<impl Stream<Item = Result<FeedItem>> + Send + Unpin + use<>> {
        let (events, selector) = self.events_and_selector()?;
        events.events(selector, after).await
    }

    /// Returns the cursor at which [`events`](Self::events) would begin now.
    ///
    /// A program that lists all purchases after this call, and then follows the events from the
    /// returned cursor, misses no purchase in between. A program should store this cursor at its
    /// first start, so that it misses no purchase even if it ends before the first event.
    ///
    /// ```
    /// use shop_core::{ErrorKind, Shop, TryStreamExt};
    ///
    /// # async fn example(shop: Shop) -> shop_core::Result<()> {
    /// let everybody = shop.all_users();
    /// let start = everybody.events_position().await?;
    /// let listed: Vec<_> = everybody.purchases().try_collect().await?;
    /// let following = match everybody.events(Some(start)).await {
    ///     // Begin again with a position and a list.
    ///     Err(error) if error.kind() == ErrorKind::Expired => return Ok(()),
    ///     following => following?,
    /// };
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns the errors of [`events`](Self::events).
    pub async fn events_position(&self) -> Result<FeedCursor> {
        let (events, selector) = self.events_and_selector()?;
        events.position(selector).await
    }

    /// Returns the source of events, and the selection to follow.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for a selection that is not valid, and
    /// [`Unsupported`](ErrorKind::Unsupported) if the shop contains no source of events.
    fn events_and_selector(&self) -> Result<(&dyn PurchaseEvents, &Selector)> {
        let selector = self.selector.as_ref().map_err(|invalid| *invalid)?;
        let Some(events) = &self.shop.ports.events else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "this shop has no events: add them by with_events",
            ));
        };
        Ok((&**events, selector))
    }

    /// Waits until the purchase of [`wait_for`](Self::wait_for) is stored, if there is one. Returns
    /// the selector of the purchases to read.
    ///
    /// # Errors
    /// - [`Invalid`](ErrorKind::Invalid) for a selection that is not valid
    /// - [`DeadlineExceeded`](ErrorKind::DeadlineExceeded) if the purchase is not stored within the
    ///   timeout
    /// - the errors of [`PurchaseQuery::wait_for`]
    async fn wait_for_awaited(&self) -> Result<&Selector> {
        let selector = self.selector.as_ref().map_err(|invalid| *invalid)?;
        let Some(id) = self.awaited_id else {
            return Ok(selector);
        };

        let is_stored = self.shop.wait_until_stored(&id, self.wait_timeout).await?;
        if !is_stored {
            let message =
                format!("purchase {id} was accepted, but is not stored yet: increase wait_timeout");
            return Err(
                Error::new(ErrorKind::DeadlineExceeded, message).with_outcome(Outcome::NotApplied)
            );
        }
        Ok(selector)
    }
}
