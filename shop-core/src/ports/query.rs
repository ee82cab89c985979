//! The port that reads purchases from a store, with its requests and its answers.
//!
//! | Question | Method of [`PurchaseQuery`] | Answer |
//! |---|---|---|
//! | Which purchases does a [`Selector`] select? | `page`, one [`PageRequest`] after the other | [`Page`] |
//! | How many are they, and what did they cost? | `summary`, or `totals` per period | [`Summary`], [`Bucket`] |
//! | What does the store contain under an id? | `look_up`, `wait_for` | [`Lookup`] |
//! | What does the whole store contain? | `scan_batch` | [`ScanBatch`] |

use std::fmt::Debug;
use std::num::NonZeroU16;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

#[cfg(feature = "mock")]
use super::StoreInfo;
use super::{Bucket, Cursor, DescribeStore, Polls, ScanBatch, TimeRange, Totals, TotalsRequest};
use crate::domain::Reference;
use crate::{
    Error, ErrorKind, Invalid, Price, Purchase, PurchaseId, Result, Total, UserId, UserName,
};

/// Lists, sums up and finds stored purchases.
///
/// A store implements `page` and `look_up`. The defaults of the other functions call these two, so
/// a query that wraps another one and leaves them out is slower, and not wrong.
///
/// ```
/// use shop_core::ports::{ListOrder, PageLimit, PageRequest, PurchaseQuery, Selector};
///
/// /// Prints the purchases of a user, page by page.
/// async fn list(query: &dyn PurchaseQuery, user: Selector) -> shop_core::Result<()> {
///     let mut request = PageRequest::first(ListOrder::NewestFirst, PageLimit::DEFAULT);
///     loop {
///         let page = query.page(&user, &request).await?;
///         for purchase in &page.items {
///             println!("{} {}", purchase.timestamp, purchase.price);
///         }
///         let Some(next) = page.next_cursor(&request)? else { return Ok(()) };
///         request = request.with_cursor(next);
///     }
/// }
/// ```
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - A page contains purchases of its selector only, and a reference those with exactly its text
///   (`query::a_selector_matches_its_purchases_only`).
/// - [`Selector::All`] is supported, or denied by all calls
///   (`query::a_selector_matches_its_purchases_only`).
/// - A listing contains exactly the purchases in its range, ordered by time, then by id, newest or
///   oldest first, for all timestamps. A page contains at most `limit` purchases, which may change
///   from page to page, and `next` is `None` exactly at the end
///   (`query::pages_are_ordered_both_ways`).
/// - A page contains fewer purchases than its `limit`, but at least one, and a `next`, only if the
///   members of these purchases that this version does not know have 4 MiB together. A batch of a
///   scan ends there too (`query::pages_and_batches_end_by_their_bytes`).
/// - A [`UserPurchases`](crate::UserPurchases) yields the pages of its order and its range
///   (`shop::pages_are_those_of_the_selection`).
/// - A scan yields all purchases that were stored throughout, and none twice
///   (`query::a_scan_yields_purchases_present_throughout`).
/// - A cursor of another selector, order or range, or a forged one, is invalid
///   (`query::a_foreign_cursor_is_invalid`).
/// - Sums are exact and include all purchases of the selector (`query::totals_are_exact_per_period`).
///   Without purchases they are zero (`query::a_selector_matches_its_purchases_only`).
/// - The totals of a period in the zone of the request add up the purchases in the period, and the
///   totals of all periods add up to the summary of the range
///   (`query::totals_are_exact_per_period`).
/// - Totals consist of at most 1,000 buckets (`query::too_many_buckets_are_invalid`).
/// - `look_up` finds a purchase by its id (`store::stored_purchases_are_unchanged`), and tells apart
///   stored, erased and unknown ids (`erase::a_marked_purchase_is_never_stored`).
/// - What `look_up` returned, and what an insert acknowledged, is there after a fail-over too
///   (`durability::a_fail_over_keeps_what_was_acknowledged`).
/// - `wait_for` returns as soon as the purchase is stored, or `false` after the timeout
///   (`query::wait_for_returns_when_stored`).
/// - `scan_batch` yields all purchases that were stored throughout, and none twice, in batches that
///   end (`query::scan_batches_yield_everything_once`).
/// - A purchase is visible as soon as `insert` returns (`store::stored_purchases_are_unchanged`).
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait PurchaseQuery: DescribeStore {
    /// Returns one page of the selected purchases.
    ///
    /// # Errors
    /// - [`Invalid`](crate::ErrorKind::Invalid) if the cursor of `request` belongs to another
    ///   listing
    /// - [`Denied`](crate::ErrorKind::Denied) for [`Selector::All`] if the query does not support
    ///   it
    /// - [`Unavailable`](crate::ErrorKind::Unavailable) if the store cannot be reached
    async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page>;

    /// Returns the number and the total price of the selected purchases.
    ///
    /// By default this function reads all pages. A store that can add up by itself implements it.
    ///
    /// # Errors
    /// - [`Denied`](crate::ErrorKind::Denied) for [`Selector::All`] if the query does not support
    ///   it
    /// - [`Unavailable`](crate::ErrorKind::Unavailable) if the store cannot be reached
    /// - [`Corrupt`](crate::ErrorKind::Corrupt) if the sum cannot be represented exactly
    async fn summary(&self, selector: &Selector) -> Result<Summary> {
        let buckets = sum_pages(self, selector, &TotalsRequest::default()).await?;
        Ok(buckets
            .first()
            .map(|bucket| bucket.summary)
            .unwrap_or_default())
    }

    /// Returns the number and the total price of the selected purchases in each period of a range
    /// of time.
    ///
    /// The periods are in the order of time. A period without purchases is left out. By default
    /// this function reads all pages. A store that can add up by itself implements it.
    ///
    /// # Errors
    /// - [`Invalid`](crate::ErrorKind::Invalid) if more than [`TotalsRequest::MAX_BUCKETS`] periods
    ///   contain purchases
    /// - The errors of [`page`](Self::page) and [`summary`](Self::summary)
    async fn totals(&self, selector: &Selector, request: &TotalsRequest) -> Result<Vec<Bucket>> {
        // The default request is one bucket with all purchases, which the store sums up faster.
        if *request == TotalsRequest::default() {
            return Ok(Bucket::from_summary(self.summary(selector).await?));
        }
        sum_pages(self, selector, request).await
    }

    /// Returns the entry of the store under the id `id`: a purchase, a waiting refund, or the mark of
    /// an erased purchase.
    ///
    /// The returned entry is as durable as an acknowledged insert, because the answer acknowledges
    /// the entry, for example to the caller of a repeated purchase. Reads of some stores see an entry
    /// before it is durable, such as reads of the primary of a replica set. There this function
    /// waits until the entry is durable, or leaves the entry out.
    ///
    /// So a look-up may take as long as an insert. It may fail while nothing can be inserted,
    /// although pages can be read.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the store cannot be reached, or cannot make
    /// the entry durable now.
    async fn look_up(&self, id: &PurchaseId) -> Result<Lookup>;

    /// Waits until the purchase with the id `id` is stored, for at most `timeout`, and returns
    /// whether it is stored.
    ///
    /// By default this function polls [`look_up`](Self::look_up), with the pauses of [`Polls`].
    ///
    /// # Errors
    /// Returns the errors of [`look_up`](Self::look_up). The first error ends the wait.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect on the store.
    async fn wait_for(&self, id: &PurchaseId, timeout: Duration) -> Result<bool> {
        let mut polls = Polls::until(Instant::now() + timeout);
        loop {
            if self.look_up(id).await?.stored().is_some() {
                return Ok(true);
            }
            if !polls.pause().await {
                return Ok(false);
            }
        }
    }

    /// Returns the batch of a scan of the whole store that begins behind the cursor `after`. Without
    /// a cursor, it is the first batch.
    ///
    /// The scan is in any order that does not change while it runs. It also contains the entries
    /// that are not purchases.
    ///
    /// By default this function calls [`page`](Self::page) with [`Selector::All`], which lists
    /// purchases only. A store implements it if another order is cheaper than the order of time.
    ///
    /// # Errors
    /// - [`Invalid`](crate::ErrorKind::Invalid) if `after` is not a cursor of a scan of this store
    /// - The errors of [`page`](Self::page)
    async fn scan_batch(&self, after: Option<&Cursor>) -> Result<ScanBatch> {
        let mut request = PageRequest::first(ListOrder::OldestFirst, PageLimit::MAX);
        request.cursor = after.cloned();
        let page = self.page(&Selector::All, &request).await?;
        let next_cursor = page.next_cursor(&request)?;
        Ok(ScanBatch::new(page.items, next_cursor))
    }

    /// Checks whether the store can be read now.
    ///
    /// By default this function reads a page. A store with a cheaper check implements it.
    ///
    /// # Errors
    /// Returns the reason why the store cannot be read.
    async fn check_reads(&self) -> Result<()> {
        // Any service may list a user, and it does not matter whether this user has purchases.
        let any_user = Selector::User("0".parse()?);
        self.page(&any_user, &PageRequest::default())
            .await
            .map(drop)
    }
}

/// Adds up the selected purchases per period by reading all pages of `query`.
///
/// This is the default of [`PurchaseQuery::totals`], for stores that cannot add up by themselves.
///
/// # Errors
/// - [`Invalid`](crate::ErrorKind::Invalid) if more than [`TotalsRequest::MAX_BUCKETS`] periods
///   contain purchases
/// - [`Corrupt`](crate::ErrorKind::Corrupt) if a sum cannot be represented exactly, or if the pages
///   do not end
/// - The errors of [`PurchaseQuery::page`]
pub async fn sum_pages(
    query: &(impl PurchaseQuery + ?Sized),
    selector: &Selector,
    request: &TotalsRequest,
) -> Result<Vec<Bucket>> {
    let mut totals = Totals::new(*request);
    let mut page_request =
        PageRequest::first(ListOrder::OldestFirst, PageLimit::MAX).with_range(request.range);
    loop {
        let page = query.page(selector, &page_request).await?;
        for purchase in &page.items {
            totals.add_purchase(purchase.timestamp, purchase.price)?;
        }
        match page.next_cursor(&page_request)? {
            Some(next_cursor) => page_request = page_request.with_cursor(next_cursor),
            None => return Ok(totals.into_buckets()),
        }
    }
}

#[cfg(feature = "mock")]
mockall::mock! {
    /// A mock of a query: `expect_page`, `expect_summary`, `expect_look_up` and `expect_check_reads`
    /// take functions of references. A purchase with a key, and a refund, ask `look_up`. Its
    /// `wait_for` polls `look_up`, and so does `wait_for` of a user; its `totals` ask `page`, and
    /// without a range `summary`.
    ///
    /// ```
    /// use shop_core::Shop;
    /// use shop_core::ports::{MockPurchaseQuery, MockPurchaseSink, Summary};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> shop_core::Result<()> {
    /// let mut query = MockPurchaseQuery::new();
    /// query.expect_summary().returning(|_selector| Ok(Summary::default()));
    /// let shop = Shop::new(MockPurchaseSink::new(), query);
    /// assert_eq!(shop.user("u1").summary().await?.count, 0);
    /// # Ok(())
    /// # }
    /// ```
    #[derive(Debug)]
    pub PurchaseQuery {}

    #[async_trait]
    impl PurchaseQuery for PurchaseQuery {
        async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page>;
        async fn summary(&self, selector: &Selector) -> Result<Summary>;
        async fn look_up(&self, id: &PurchaseId) -> Result<Lookup>;
        async fn check_reads(&self) -> Result<()>;
    }
}

#[cfg(feature = "mock")]
impl DescribeStore for MockPurchaseQuery {
    /// Returns the info of a store that can do nothing beyond its ports.
    fn info(&self) -> StoreInfo<'_> {
        StoreInfo::default()
    }
}

/// The entry of a store under an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// The store contains this purchase.
    Stored(Purchase),
    /// The store keeps this refund, which waits until its purchase is stored: see
    /// [`WaitingRefunds`](super::WaitingRefunds).
    Waiting(Purchase),
    /// The store contains the mark of an erased purchase, and never stores one under this id again.
    Erased,
    /// The store contains no entry with this id.
    Missing,
}

impl Lookup {
    /// Returns the purchase, if it is stored.
    #[must_use]
    pub fn stored(self) -> Option<Purchase> {
        match self {
            Self::Stored(purchase) => Some(purchase),
            Self::Waiting(_) | Self::Erased | Self::Missing => None,
        }
    }
}

/// A selection of purchases, of which a listing consists.
///
/// Every store matches this enum. It is exhaustive, so that a store does not compile until it can
/// answer a selection that a later version adds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Selector {
    /// The purchases of the user with this id.
    User(UserId),
    /// The purchases of all users with this name.
    Name(UserName),
    /// The purchases with this reference, of the user with this id or, without an id, of all users.
    Reference(Reference, Option<UserId>),
    /// All purchases. A facing service, which is the one that customers call, denies this selection.
    All,
}

impl Selector {
    /// Checks whether this selector selects `purchase`.
    #[must_use]
    pub fn matches(&self, purchase: &Purchase) -> bool {
        match self {
            Self::User(id) => purchase.user_id == *id,
            Self::Name(name) => purchase.user_name == *name,
            Self::Reference(reference, user_id) => {
                purchase.details.reference.as_ref() == Some(reference)
                    && user_id.as_ref().is_none_or(|id| purchase.user_id == *id)
            }
            Self::All => true,
        }
    }
}

/// The order of a listing: by time, then by id. There will be no third order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ListOrder {
    /// Newest first.
    #[default]
    NewestFirst,
    /// Oldest first.
    OldestFirst,
}

/// The maximum number of purchases on a page: 1 to 1,000 (default 50).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PageLimit(NonZeroU16);

impl PageLimit {
    /// The maximum limit, 1,000 purchases.
    pub const MAX: Self = Self(NonZeroU16::new(1_000).unwrap());
    /// The limit of [`PageRequest::default`], 50 purchases.
    pub const DEFAULT: Self = Self(NonZeroU16::new(50).unwrap());

    /// Creates a limit of `count` purchases.
    ///
    /// # Errors
    /// [`Invalid`] if `count` is not from 1 to 1,000.
    pub const fn new(count: u16) -> Result<Self, Invalid> {
        match NonZeroU16::new(count) {
            Some(count) if count.get() <= Self::MAX.0.get() => Ok(Self(count)),
            _ => Err(Invalid::malformed(
                "the page limit",
                "must be a whole number from 1 to 1000",
            )),
        }
    }

    /// Returns the maximum number of purchases.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0.get() as usize
    }
}

impl Default for PageLimit {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A request for one page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PageRequest {
    /// The maximum number of purchases on the page.
    pub limit: PageLimit,
    /// The order of the whole listing.
    pub order: ListOrder,
    /// The range of time of the whole listing.
    pub range: TimeRange,
    /// The cursor of this page, which the previous page contains as `next`. `None` for the first
    /// page.
    pub cursor: Option<Cursor>,
}

impl PageRequest {
    /// Creates a request for the first page of a listing in `order`, of all times.
    #[must_use]
    pub const fn first(order: ListOrder, limit: PageLimit) -> Self {
        Self {
            limit,
            order,
            range: TimeRange::ALL,
            cursor: None,
        }
    }

    /// Returns this request for the purchases in `range`.
    #[must_use]
    pub const fn with_range(mut self, range: TimeRange) -> Self {
        self.range = range;
        self
    }

    /// Returns this request for the page at `cursor`.
    #[must_use]
    pub fn with_cursor(mut self, cursor: Cursor) -> Self {
        self.cursor = Some(cursor);
        self
    }
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Page {
    /// The purchases, in the requested order.
    pub items: Vec<Purchase>,
    /// The cursor of the next page. `None` on the last page.
    pub next: Option<Cursor>,
    /// Whether the page lacks a purchase that the service accepted and does not store yet.
    ///
    /// Only a page that was received over HTTP can be pending.
    #[serde(skip)]
    pub is_pending: bool,
}

impl Page {
    /// The size of the [unknown members](crate::Details::unknown_members) of a page, in bytes, with
    /// which the page ends before its limit of purchases.
    ///
    /// The other members of 1,000 purchases take less than 5 MB.
    pub const MAX_UNKNOWN_BYTES: usize = 4 << 20;

    /// Returns whether a page of at most `limit` purchases is full with `count` purchases, whose
    /// unknown members have `unknown_bytes` bytes together.
    #[must_use]
    pub const fn is_full(limit: PageLimit, count: usize, unknown_bytes: usize) -> bool {
        count >= limit.get() || unknown_bytes >= Self::MAX_UNKNOWN_BYTES
    }

    /// Creates a page, such as one that was received from another service.
    #[must_use]
    pub const fn new(items: Vec<Purchase>, next: Option<Cursor>) -> Self {
        Self {
            items,
            next,
            is_pending: false,
        }
    }

    /// Creates a page from the purchases that an adapter has read: one more than the limit of
    /// `request`, or one more than the purchases whose bytes fill the page.
    ///
    /// The extra purchase shows that there is a next page, and is dropped. The cursor is behind the
    /// last purchase of this page, so the next page begins with the dropped purchase.
    #[must_use]
    pub fn from_overfetch(
        mut purchases: Vec<Purchase>,
        selector: &Selector,
        request: &PageRequest,
    ) -> Self {
        let page_length = Self::full_length(&purchases, request.limit);
        let has_next_page = purchases.len() > page_length;
        purchases.truncate(page_length);

        let next_cursor = match purchases.last() {
            Some(last) if has_next_page => Some(Cursor::after(selector, request, last)),
            _ => None,
        };
        Self::new(purchases, next_cursor)
    }

    /// Returns how many of `purchases` belong to one page of at most `limit` purchases: as many as
    /// [fill](Self::is_full) the page, or all of them.
    #[must_use]
    pub fn full_length(purchases: &[Purchase], limit: PageLimit) -> usize {
        let mut unknown_bytes = 0;
        for (count, purchase) in purchases.iter().enumerate() {
            if Self::is_full(limit, count, unknown_bytes) {
                return count;
            }
            unknown_bytes += purchase.details.unknown_bytes();
        }
        purchases.len()
    }

    /// Returns the cursor of the next page after this answer to `request`, or `None` at the end of
    /// the listing.
    ///
    /// A caller that reads all pages uses this function instead of the field `next`. A faulty
    /// service or store then cannot keep the caller in an endless loop.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) if there are more pages, but this page is empty or its
    /// cursor does not advance.
    pub fn next_cursor(&self, request: &PageRequest) -> Result<Option<Cursor>> {
        let advances = !self.items.is_empty() && self.next != request.cursor;
        if self.next.is_some() && !advances {
            let message = "the cursor of a page does not advance: the listing would never end";
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        Ok(self.next.clone())
    }
}

/// The number and the total price of purchases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Summary {
    /// The number of purchases.
    pub count: u64,
    /// The exact total price of the purchases, less their refunds.
    pub total_spent: Total,
}

impl Summary {
    /// Creates the summary of `count` purchases that cost `total_spent` together.
    #[must_use]
    pub const fn new(count: u64, total_spent: Total) -> Self {
        Self { count, total_spent }
    }

    /// Creates the summary of one purchase or refund with the price `price`.
    ///
    /// The price of a refund is negative. It reduces the total price, and is not counted as a
    /// purchase.
    #[must_use]
    pub fn from_price(price: Price) -> Self {
        Self::new(u64::from(!price.is_negative()), price.into())
    }

    /// Returns the summary of the purchases of this summary and of `other` together.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) if the sum cannot be represented exactly.
    pub(crate) fn checked_add(self, other: Self) -> Result<Self> {
        let total_spent = self.total_spent.checked_add(other.total_spent)?;
        Ok(Self::new(self.count + other.count, total_spent))
    }
}
