//! The way out of the store.

use std::fmt::Debug;
use std::num::NonZeroU16;

use async_trait::async_trait;

use super::Cursor;
use crate::{Error, ErrorKind, Purchase, PurchaseId, Result, Total, UserId, UserName};

/// Reads what is stored, page by page.
///
/// # Behavior
/// Each line names the function of the conformance kit that holds an implementation to it.
///
/// - A page holds the purchases of its selector and no others (`query::a_selector_sees_its_own`).
/// - Everybody's purchases are listed and summed up, or are denied where a backend does neither
///   (`query::everybodys_purchases_are_listed_or_denied`).
/// - Pages are ordered by time, then by id, newest or oldest first (`query::pages_are_ordered_both_ways`), from
///   the first time that there is to the last (`query::the_ends_of_time_are_no_exception`).
/// - A page holds at most `limit` purchases, and `next` is `None` exactly at the end
///   (`query::next_is_none_exactly_at_the_end`).
/// - The limit may change from page to page (`query::the_limit_may_change`).
/// - A scan sees everything that was there throughout, and nothing twice
///   (`query::a_scan_sees_what_was_there_throughout`).
/// - A cursor of another selector or order, or one that nobody gave out, is invalid
///   (`query::a_foreign_cursor_is_invalid`).
/// - Sums are exact and count everything of the selector (`query::sums_are_exact`); of nobody they are zero
///   (`query::nobody_has_bought_nothing`).
/// - `get` finds a purchase by its id, and `None` for an unknown one (`query::get_finds_by_id`).
/// - What `insert` has acknowledged is seen at once (`store::a_new_purchase_is_stored`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait PurchaseQuery: Debug + Send + Sync + 'static {
    /// One page of the selected purchases.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a foreign cursor,
    /// [`Denied`](crate::ErrorKind::Denied) for [`Selector::All`] where it is not listed,
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the store cannot be reached.
    async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page>;

    /// How many purchases are selected, and what they cost together.
    ///
    /// # Errors
    /// [`Denied`](crate::ErrorKind::Denied) for [`Selector::All`] where it is not listed,
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the store cannot be reached,
    /// [`Corrupt`](crate::ErrorKind::Corrupt) when the sum cannot be held exactly.
    async fn summary(&self, selector: &Selector) -> Result<Summary>;

    /// The purchase with this id, if it is stored.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the store cannot be reached.
    async fn get(&self, id: &PurchaseId) -> Result<Option<Purchase>>;

    /// Whether a read has a chance now.
    ///
    /// # Errors
    /// Why not.
    async fn check_reads(&self) -> Result<()>;
}

/// Whose purchases are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Selector {
    /// Those of the user with this id.
    User(UserId),
    /// Those of every user with this name.
    Name(UserName),
    /// Everybody's. A facing service denies them.
    All,
}

impl Selector {
    /// Whether `purchase` is among the selected.
    #[must_use]
    pub fn matches(&self, purchase: &Purchase) -> bool {
        match self {
            Self::User(id) => purchase.user_id == *id,
            Self::Name(name) => purchase.user_name == *name,
            Self::All => true,
        }
    }
}

/// In which order purchases are listed: by time, then by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ListOrder {
    /// The latest first.
    #[default]
    NewestFirst,
    /// The earliest first.
    OldestFirst,
}

/// How many purchases a page may hold: 1 to 1,000, 50 unless chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PageLimit(NonZeroU16);

/// A number that is no [`PageLimit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number from 1 to 1000")]
pub struct InvalidPageLimit;

impl PageLimit {
    /// The largest page.
    pub const MAX: Self = Self(NonZeroU16::new(1_000).unwrap());
    /// A page of [`PageRequest::default`].
    pub const DEFAULT: Self = Self(NonZeroU16::new(50).unwrap());

    /// A limit of `count` purchases.
    ///
    /// # Errors
    /// [`InvalidPageLimit`] outside of 1 to 1,000.
    pub const fn new(count: u16) -> Result<Self, InvalidPageLimit> {
        match NonZeroU16::new(count) {
            Some(count) if count.get() <= Self::MAX.0.get() => Ok(Self(count)),
            _ => Err(InvalidPageLimit),
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

/// Which page is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PageRequest {
    /// The most purchases that it may hold.
    pub limit: PageLimit,
    /// The order of the whole listing.
    pub order: ListOrder,
    /// Where the page before ended; `None` for the first.
    pub cursor: Option<Cursor>,
}

impl PageRequest {
    /// The first page in `order`.
    #[must_use]
    pub const fn first(order: ListOrder, limit: PageLimit) -> Self {
        Self { limit, order, cursor: None }
    }

    /// The same request, for the page that begins at `cursor`.
    #[must_use]
    pub fn with_cursor(mut self, cursor: Option<Cursor>) -> Self {
        self.cursor = cursor;
        self
    }
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Page {
    /// The purchases, in the order asked for.
    pub items: Vec<Purchase>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Cursor>,
}

impl Page {
    /// A page as another service sent it.
    #[must_use]
    pub const fn new(items: Vec<Purchase>, next: Option<Cursor>) -> Self {
        Self { items, next }
    }

    /// The page that begins with `found`, which an adapter read with `limit + 1`: what is over the limit
    /// tells that there is a next page, and is dropped.
    #[must_use]
    pub fn from_overfetch(mut found: Vec<Purchase>, selector: &Selector, request: &PageRequest) -> Self {
        let more = found.len() > request.limit.get();
        found.truncate(request.limit.get());
        let last = found.last().filter(|_| more);
        let next = last.map(|last| Cursor::after(selector, request.order, last));
        Self { items: found, next }
    }

    /// Where whoever reads on to the end goes on, after this answer to `request`; `None` at the end.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) when the listing would never end: there is more, but this page leads no
    /// further.
    pub fn next_cursor(&self, request: &PageRequest) -> Result<Option<Cursor>> {
        let stands_still = self.next.is_some() && (self.items.is_empty() || self.next == request.cursor);
        if stands_still {
            let message = "a page says that there is more and leads no further: the listing would never end";
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        Ok(self.next.clone())
    }
}

/// What the selected purchases come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Summary {
    /// How many there are.
    pub count: u64,
    /// What they cost together, exactly.
    pub total_spent: Total,
}

impl Summary {
    /// A summary of `count` purchases that cost `total_spent` together.
    #[must_use]
    pub const fn new(count: u64, total_spent: Total) -> Self {
        Self { count, total_spent }
    }
}
