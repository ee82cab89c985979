//! One user's purchases.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, TryStreamExt, stream};

use super::Shop;
use crate::domain::Reference;
use crate::feed::{FeedCursor, FeedItem};
use crate::ports::{
    Bucket, Cursor, ListOrder, Page, PageLimit, PageRequest, Period, PurchaseEvents, PurchaseQuery,
    PurchaseQueryExt, Receipt, Selector, Summary, TimeRange, TotalsRequest, UtcOffset,
};
use crate::{Error, ErrorKind, IntoValid, Invalid, Outcome, Purchase, PurchaseId, Result};

/// One user's purchases: all of them, a page, or their count and sum.
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
    query: Arc<dyn PurchaseQuery>,
    events: Option<Arc<dyn PurchaseEvents>>,
    selector: Result<Selector, Invalid>,
    order: ListOrder,
    range: TimeRange,
    page_size: Option<PageLimit>,
    awaited: Option<PurchaseId>,
    /// The maximum wait for the awaited purchase.
    wait_timeout: Duration,
}

/// The default wait for a purchase.
const DEFAULT_WAIT: Duration = Duration::from_secs(10);

impl UserPurchases {
    pub(super) fn new(shop: &Shop, selector: Result<Selector, Invalid>) -> Self {
        Self {
            query: shop.query(),
            events: shop.events.clone(),
            selector,
            order: ListOrder::NewestFirst,
            range: TimeRange::ALL,
            page_size: None,
            awaited: None,
            wait_timeout: DEFAULT_WAIT,
        }
    }

    /// Selects the purchases with this reference alone: those of the user, or after
    /// [`all_users`](crate::Shop::all_users) of all.
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
    pub fn with_reference(mut self, reference: impl IntoValid<Reference>) -> Self {
        self.selector = self.selector.and_then(|selector| {
            let user = match selector {
                Selector::User(user) => Some(user),
                Selector::Reference(_, user) => user,
                Selector::All => None,
                Selector::Name(_) => {
                    return Err(Invalid::malformed(
                        "the reference",
                        "cannot be combined with a user name",
                    ));
                }
            };
            Ok(Selector::Reference(reference.into_valid()?, user))
        });
        self
    }

    /// Lists the oldest purchases first.
    pub const fn oldest_first(mut self) -> Self {
        self.order = ListOrder::OldestFirst;
        self
    }

    /// Selects the purchases in `range` alone, by the time at which they were made: in pages, sums and totals, not events.
    ///
    /// ```
    /// use shop_core::ports::TimeRange;
    ///
    /// # async fn example(shop: shop_core::Shop) -> shop_core::Result<()> {
    /// let year = TimeRange::new(Some("2026-01-01T00:00:00Z".parse()?), Some("2027-01-01T00:00:00Z".parse()?))?;
    /// let spent = shop.user("u1").within(year).summary().await?.total_spent;
    /// # Ok(())
    /// # }
    /// ```
    pub const fn within(mut self, range: TimeRange) -> Self {
        self.range = range;
        self
    }

    /// The number of purchases on a page (default 50), and that [`purchases`](Self::purchases) requests at once (default
    /// 50 at first, then 1,000).
    pub const fn page_size(mut self, size: PageLimit) -> Self {
        self.page_size = Some(size);
        self
    }

    /// Waits until the purchase of `receipt` is stored, at most 10 s or the [`wait_timeout`](Self::wait_timeout), so
    /// that the results include it.
    ///
    /// A purchase is accepted when it is in the log, and listed when it is in the store. Purchases that were accepted
    /// earlier may be stored later.
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
    /// let hurried = user.wait_for(&bought.receipt).wait_timeout(Duration::from_millis(200));
    /// println!("{:?}", hurried.summary().await);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Calls fail with [`DeadlineExceeded`](ErrorKind::DeadlineExceeded) when the purchase is not stored in time.
    pub const fn wait_for(mut self, receipt: &Receipt) -> Self {
        self.awaited = Some(receipt.id);
        self
    }

    /// The maximum wait for the purchase of [`wait_for`](Self::wait_for) (default 10 s). The order of the two
    /// calls does not matter.
    pub const fn wait_timeout(mut self, time: Duration) -> Self {
        self.wait_timeout = time;
        self
    }

    /// Reads the first page.
    ///
    /// ```
    /// use shop_core::Shop;
    /// use shop_core::ports::PageLimit;
    ///
    /// # async fn example(shop: Shop) -> shop_core::Result<()> {
    /// let user = shop.user("u1").page_size(PageLimit::new(20)?);
    /// let mut page = user.page().await?;
    /// while let Some(next) = page.next {
    ///     page = user.page_at(next).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`PurchaseQuery::page`].
    pub async fn page(&self) -> Result<Page> {
        self.query
            .page(self.wait().await?, &self.first_page())
            .await
    }

    /// Reads the page at `cursor`, which is the [`next`](Page::next) of another page with the same order and range.
    ///
    /// # Errors
    /// Those of [`PurchaseQuery::page`]. [`Invalid`](ErrorKind::Invalid) for a cursor of another listing.
    pub async fn page_at(&self, cursor: Cursor) -> Result<Page> {
        self.query
            .page(self.wait().await?, &self.first_page().with_cursor(cursor))
            .await
    }

    fn first_page(&self) -> PageRequest {
        PageRequest::first(self.order, self.page_size.unwrap_or_default()).with_range(self.range)
    }

    /// Reads the number of purchases and their exact sum.
    ///
    /// # Errors
    /// Those of [`PurchaseQuery::summary`].
    pub async fn summary(&self) -> Result<Summary> {
        let whole = self.totals(Period::Whole, UtcOffset::UTC).await?;
        Ok(whole.first().map(|whole| whole.summary).unwrap_or_default())
    }

    /// Reads the number of purchases and their exact sum per period of `zone`, in order. Periods without purchases are
    /// left out. `zone` is a fixed offset: for a zone with summer time, add up [`purchases`](Self::purchases) by their date
    /// in it.
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
    /// Those of [`PurchaseQuery::totals`].
    pub async fn totals(
        &self,
        per: Period,
        zone: impl IntoValid<UtcOffset>,
    ) -> Result<Vec<Bucket>> {
        let request = TotalsRequest::new(self.range, per).with_zone(zone.into_valid()?);
        self.query.totals(self.wait().await?, &request).await
    }

    /// All purchases, newest first unless [`oldest_first`](Self::oldest_first) is set. Pages are requested as the
    /// stream is read; at most one page is buffered.
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
        let user = self.clone();
        let pages = async move {
            let selector = user.wait().await?.clone();
            let first = user.first_page();
            let following = user.page_size.unwrap_or(PageLimit::MAX);
            Ok::<_, Error>(user.query.growing_pages(selector, first, following))
        };
        let purchases = stream::once(pages).try_flatten();
        purchases
            .map_ok(|page| stream::iter(page.items.into_iter().map(Ok)))
            .try_flatten()
            .boxed()
    }

    /// The purchases that become visible from now on, or since the event of `after`, as they do. The stream continues
    /// by itself after failures that pass, and ends after an error. The range and the order have no effect.
    /// Purchases that were written into the store past the log are not among them.
    ///
    /// A cursor moves with the purchases of the selection alone. Of a user who seldom buys, it may be older than what the
    /// log keeps: it is [`Expired`](ErrorKind::Expired) then, and a list without a range has what was missed.
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
    /// Those of [`PurchaseEvents::events`]; [`Unsupported`](ErrorKind::Unsupported) for a shop without
    /// [events](crate::Shop::with_events).
    pub async fn events(
        &self,
        after: Option<FeedCursor>,
    ) -> Result<impl Stream<Item = Result<FeedItem>> + Send + Unpin + use<>> {
        let (events, selector) = self.followed()?;
        events.events(selector, after).await
    }

    /// Where [`events`](Self::events) begin now. List the purchases after this call, and then follow from there:
    /// nothing is missed in between. A program that stores the position at its first start misses nothing, whenever it
    /// ends.
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
    /// As [`events`](Self::events).
    pub async fn events_position(&self) -> Result<FeedCursor> {
        let (events, selector) = self.followed()?;
        events.position(selector).await
    }

    fn followed(&self) -> Result<(&dyn PurchaseEvents, &Selector)> {
        let missing = || {
            Error::new(
                ErrorKind::Unsupported,
                "this shop has no events: add them by with_events",
            )
        };
        let selector = self.selector.as_ref().map_err(|invalid| *invalid)?;
        Ok((&**self.events.as_ref().ok_or_else(missing)?, selector))
    }

    /// What is read, once the awaited purchase is stored.
    async fn wait(&self) -> Result<&Selector> {
        let selector = self.selector.as_ref().map_err(|invalid| *invalid)?;
        match self.awaited {
            Some(id) if !self.query.wait_for(&id, self.wait_timeout).await? => {
                let message = format!(
                    "purchase {id} was accepted, but is not stored yet: increase wait_timeout"
                );
                Err(Error::new(ErrorKind::DeadlineExceeded, message)
                    .with_outcome(Outcome::NotApplied))
            }
            _ => Ok(selector),
        }
    }
}
