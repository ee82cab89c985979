//! The reading port of a store.

use std::fmt::Debug;
use std::num::NonZeroU16;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::{Bucket, Cursor, ScanBatch, TimeRange, Totals, TotalsRequest};
use crate::domain::Reference;
use crate::{
    Error, ErrorKind, Invalid, Price, Purchase, PurchaseId, Result, Total, UserId, UserName,
};

/// Lists, sums up and finds stored purchases.
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
/// - A page contains purchases of its selector only (`query::a_selector_matches_its_purchases_only`), and a reference
///   those with exactly its text (`query::a_reference_selects_its_purchases_only`).
/// - [`Selector::All`] is supported, or denied by all calls (`query::all_purchases_are_listed_or_unsupported`).
/// - Pages are ordered by time, then by id, newest or oldest first (`query::pages_are_ordered_both_ways`), for all
///   timestamps (`query::extreme_timestamps_are_ordered`).
/// - A page contains at most `limit` purchases, and `next` is `None` exactly at the end
///   (`query::next_is_none_exactly_at_the_end`).
/// - The limit may change from page to page (`query::the_limit_may_change`).
/// - A scan yields all purchases that were stored throughout, and none twice
///   (`query::a_scan_yields_purchases_present_throughout`).
/// - A cursor of another selector or order, or a forged one, is invalid (`query::a_foreign_cursor_is_invalid`).
/// - Sums are exact and include all purchases of the selector (`query::sums_are_exact`). Without purchases they are
///   zero (`query::an_unknown_user_has_an_empty_summary`).
/// - A listing has exactly the purchases in its range (`query::a_range_selects_by_time`), and its cursors belong to that
///   range (`query::a_cursor_belongs_to_its_range`).
/// - The totals of a period are those of the purchases in it, and together they are the summary of the range
///   (`query::totals_are_exact_per_period`, `query::totals_follow_the_zone`).
/// - Totals have at most 1,000 buckets (`query::too_many_buckets_are_invalid`).
/// - `get` finds a purchase by its id, and returns `None` for an unknown one (`query::get_finds_by_id`).
/// - `look_up` tells apart stored, erased and unknown ids (`erase::marks_are_found`).
/// - `wait_for` returns as soon as the purchase is stored, or `false` after the timeout
///   (`query::wait_for_returns_when_stored`).
/// - `next_name` leads through the names of all users in the order of their bytes; or it is unsupported
///   (`query::names_are_ordered_by_their_bytes`).
/// - `scan_batch` yields all purchases that were stored throughout, and none twice, in batches that end
///   (`query::scan_batches_yield_everything_once`).
/// - A purchase is visible as soon as `insert` returns (`store::a_new_purchase_is_stored`).
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait PurchaseQuery: Debug + Send + Sync + 'static {
    /// One page of the selected purchases.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a foreign cursor, [`Denied`](crate::ErrorKind::Denied) for
    /// [`Selector::All`] where it is not supported, [`Unavailable`](crate::ErrorKind::Unavailable) when the store
    /// cannot be reached.
    async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page>;

    /// The number and the total price of the selected purchases.
    ///
    /// # Errors
    /// [`Denied`](crate::ErrorKind::Denied) for [`Selector::All`] where it is not supported,
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the store cannot be reached,
    /// [`Corrupt`](crate::ErrorKind::Corrupt) when the sum cannot be represented exactly.
    async fn summary(&self, selector: &Selector) -> Result<Summary>;

    /// The number and the total price of the selected purchases in a range of time, for each period in which there are
    /// any, in order.
    ///
    /// By default it reads all pages. A store implements it if it can add up by itself.
    ///
    /// # Errors
    /// As [`page`](Self::page), and [`Invalid`](crate::ErrorKind::Invalid) when there are more than
    /// [`TotalsRequest::MAX_BUCKETS`] periods with purchases.
    async fn totals(&self, selector: &Selector, request: &TotalsRequest) -> Result<Vec<Bucket>> {
        if *request == TotalsRequest::default() {
            return Ok(Bucket::from_summary(self.summary(selector).await?));
        }
        sum_pages(self, selector, request).await
    }

    /// The purchase with this id, if it is stored.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the store cannot be reached.
    async fn get(&self, id: &PurchaseId) -> Result<Option<Purchase>>;

    /// Returns what the store has under this id: a purchase, a refund that waits, or the mark of an erased purchase.
    ///
    /// By default it is [`get`](Self::get). A store from which purchases can be [erased](super::PurchaseErase), or in which
    /// refunds [wait](super::WaitingRefunds), implements it.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    async fn look_up(&self, id: &PurchaseId) -> Result<Lookup> {
        Ok(self.get(id).await?.map_or(Lookup::Missing, Lookup::Stored))
    }

    /// Returns the same as [`look_up`](Self::look_up), for an answer that acknowledges what is found: it is then as durable
    /// as what the store inserts.
    ///
    /// By default it is [`look_up`](Self::look_up). A store whose rows can be seen before they are durable implements it.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    async fn look_up_durable(&self, id: &PurchaseId) -> Result<Lookup> {
        self.look_up(id).await
    }

    /// Returns a number that grows when another server has taken the store over, such as a promoted standby, which may
    /// lack what the one before it had stored (default 0). Makes no request.
    fn takeovers(&self) -> u64 {
        0
    }

    /// Waits until the purchase with this id is stored, at most for `timeout`. Returns whether it is stored.
    ///
    /// By default it polls [`get`](Self::get), with pauses from 2 ms to 50 ms.
    ///
    /// # Errors
    /// As [`get`](Self::get): the first error ends the wait.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect on the store.
    async fn wait_for(&self, id: &PurchaseId, timeout: Duration) -> Result<bool> {
        let start = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            if self.get(id).await?.is_some() {
                return Ok(true);
            }
            let left = timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(false);
            }
            sleep(pause.min(left)).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// The least user name that is `from` or greater in the order of bytes, as it is stored. A store implements it if it
    /// reads one entry of an index of names.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) by default; [`Unavailable`](crate::ErrorKind::Unavailable) when the
    /// store cannot be reached.
    async fn next_name(&self, from: &str) -> Result<Option<String>> {
        let _unused = from;
        Err(Error::new(
            ErrorKind::Unsupported,
            "this store finds no names by their beginning",
        ))
    }

    /// The next part of a scan of the whole store, from the beginning without `after`. The order is any that lasts.
    /// Entries that are not purchases are part of it.
    ///
    /// By default it is [`page`](Self::page) over [`Selector::All`], which lists purchases only. A store implements it
    /// if another order is cheaper than that of time.
    ///
    /// # Errors
    /// As [`page`](Self::page). [`Invalid`](crate::ErrorKind::Invalid) for a position of another store.
    async fn scan_batch(&self, after: Option<&Cursor>) -> Result<ScanBatch> {
        let mut request = PageRequest::first(ListOrder::OldestFirst, PageLimit::MAX);
        request.cursor = after.cloned();
        let page = self.page(&Selector::All, &request).await?;
        let next = page.next_cursor(&request)?;
        Ok(ScanBatch::new(page.items, next))
    }

    /// Checks whether the store can be read now.
    ///
    /// # Errors
    /// The reason why not.
    async fn check_reads(&self) -> Result<()>;
}

/// The totals of all pages of `query`.
///
/// # Errors
/// As [`PurchaseQuery::totals`].
pub async fn sum_pages(
    query: &(impl PurchaseQuery + ?Sized),
    selector: &Selector,
    request: &TotalsRequest,
) -> Result<Vec<Bucket>> {
    let mut totals = Totals::new(*request);
    let mut page =
        PageRequest::first(ListOrder::OldestFirst, PageLimit::MAX).with_range(request.range);
    loop {
        let found = query.page(selector, &page).await?;
        for purchase in &found.items {
            totals.add_purchase(purchase.timestamp, purchase.price)?;
        }
        match found.next_cursor(&page)? {
            Some(next) => page = page.with_cursor(next),
            None => return Ok(totals.into_buckets()),
        }
    }
}

/// The bounds of the pauses between two polls: an awaited purchase usually is stored soon.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const MAX_PAUSE: Duration = Duration::from_millis(50);

#[cfg(feature = "mock")]
mockall::mock! {
    /// A mock of a query: `expect_page`, `expect_summary`, `expect_get` and `expect_check_reads` take functions of
    /// references. Its `wait_for` polls `get`, and so does `wait_for` of a user; its `totals` ask `page`, and without a
    /// range `summary`.
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
        async fn get(&self, id: &PurchaseId) -> Result<Option<Purchase>>;
        async fn check_reads(&self) -> Result<()>;
    }
}

/// What a store has under an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// This purchase.
    Stored(Purchase),
    /// This refund, which waits until its purchase is stored: see [`WaitingRefunds`](super::WaitingRefunds).
    Waiting(Purchase),
    /// The mark of a purchase that was erased: none is stored under this id any more.
    Erased,
    /// Nothing.
    Missing,
}

impl Lookup {
    /// The purchase, if it is stored.
    #[must_use]
    pub fn stored(self) -> Option<Purchase> {
        match self {
            Self::Stored(purchase) => Some(purchase),
            Self::Waiting(_) | Self::Erased | Self::Missing => None,
        }
    }
}

/// Selects purchases.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Selector {
    /// Purchases of the user with this id.
    User(UserId),
    /// Purchases of all users with this name.
    Name(UserName),
    /// Purchases with this reference, of the user with this id or of all.
    Reference(Reference, Option<UserId>),
    /// All purchases. Denied by a facing service.
    All,
}

impl Selector {
    /// Whether `purchase` is selected.
    #[must_use]
    pub fn matches(&self, purchase: &Purchase) -> bool {
        match self {
            Self::User(id) => purchase.user_id == *id,
            Self::Name(name) => purchase.user_name == *name,
            Self::Reference(reference, user) => {
                purchase.details.reference.as_ref() == Some(reference)
                    && user.as_ref().is_none_or(|user| purchase.user_id == *user)
            }
            Self::All => true,
        }
    }
}

/// The order of a listing: by time, then by id. There will be no third.
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
    /// The largest page.
    pub const MAX: Self = Self(NonZeroU16::new(1_000).unwrap());
    /// The limit of [`PageRequest::default`].
    pub const DEFAULT: Self = Self(NonZeroU16::new(50).unwrap());

    /// A limit of `count` purchases.
    ///
    /// # Errors
    /// [`Invalid`] outside of 1 to 1,000.
    pub const fn new(count: u16) -> Result<Self, Invalid> {
        match NonZeroU16::new(count) {
            Some(count) if count.get() <= Self::MAX.0.get() => Ok(Self(count)),
            _ => Err(Invalid::malformed(
                "the page limit",
                "must be a whole number from 1 to 1000",
            )),
        }
    }

    /// The number of purchases.
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

/// A request for a page.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PageRequest {
    /// The maximum number of purchases on the page.
    pub limit: PageLimit,
    /// The order of the whole listing.
    pub order: ListOrder,
    /// The times of the purchases of the whole listing.
    pub range: TimeRange,
    /// The cursor of the previous page; `None` for the first page.
    pub cursor: Option<Cursor>,
}

impl PageRequest {
    /// The first page in `order`, of all times.
    #[must_use]
    pub const fn first(order: ListOrder, limit: PageLimit) -> Self {
        Self {
            limit,
            order,
            range: TimeRange::ALL,
            cursor: None,
        }
    }

    /// The same request, for purchases in `range`.
    #[must_use]
    pub const fn with_range(mut self, range: TimeRange) -> Self {
        self.range = range;
        self
    }

    /// The same request, for the page at `cursor`.
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
    /// The cursor of the next page; `None` at the end.
    pub next: Option<Cursor>,
    /// Over HTTP: whether the service has accepted a purchase that it expected to list, and does not store yet.
    #[serde(skip)]
    pub is_pending: bool,
}

impl Page {
    /// A page received from another service.
    #[must_use]
    pub const fn new(items: Vec<Purchase>, next: Option<Cursor>) -> Self {
        Self {
            items,
            next,
            is_pending: false,
        }
    }

    /// A page from `found`, which an adapter has read with `limit + 1`. An extra purchase indicates a next page and is
    /// dropped.
    #[must_use]
    pub fn from_overfetch(
        mut found: Vec<Purchase>,
        selector: &Selector,
        request: &PageRequest,
    ) -> Self {
        let more = found.len() > request.limit.get();
        found.truncate(request.limit.get());
        let last = found.last().filter(|_| more);
        let next = last.map(|last| Cursor::after(selector, request, last));
        Self::new(found, next)
    }

    /// The cursor to continue with after this response to `request`; `None` at the end.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) when the listing would never end: there are more pages, but the cursor does not
    /// advance.
    #[doc(hidden)]
    pub fn next_cursor(&self, request: &PageRequest) -> Result<Option<Cursor>> {
        let stands_still =
            self.next.is_some() && (self.items.is_empty() || self.next == request.cursor);
        if stands_still {
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
    /// Their total price, exactly.
    pub total_spent: Total,
}

impl Summary {
    /// A summary of `count` purchases that cost `total_spent` together.
    #[must_use]
    pub const fn new(count: u64, total_spent: Total) -> Self {
        Self { count, total_spent }
    }

    /// That of one price. The amount of a refund is no further purchase.
    #[doc(hidden)]
    #[must_use]
    pub fn from_price(price: Price) -> Self {
        Self::new(u64::from(!price.is_negative()), price.into())
    }

    /// The summary of the purchases of both.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) when the sum cannot be represented exactly.
    pub(crate) fn checked_add(self, other: Self) -> Result<Self> {
        let total_spent = self.total_spent.checked_add(other.total_spent)?;
        Ok(Self::new(self.count + other.count, total_spent))
    }
}
