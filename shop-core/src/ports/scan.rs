//! Streams of what a store contains: the pages of a listing, or everything in the order that is cheapest for the store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use futures_util::{Stream, TryStreamExt, stream};
use tokio::time::sleep;

use super::{Cursor, ListOrder, Page, PageLimit, PageRequest, PurchaseQuery, Selector};
use crate::{Error, Purchase, Result};

/// A part of a scan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ScanBatch {
    /// Stored purchases.
    pub purchases: Vec<Purchase>,
    /// Stored entries that are not purchases.
    pub unreadable: Vec<UnreadableEntry>,
    /// Where the next part begins; `None` at the end. Only the store that returned it can continue there.
    pub next: Option<Cursor>,
}

impl ScanBatch {
    /// A part with these purchases, followed by the one at `next`.
    #[must_use]
    pub const fn new(purchases: Vec<Purchase>, next: Option<Cursor>) -> Self {
        Self {
            purchases,
            unreadable: Vec::new(),
            next,
        }
    }

    /// The same part with these unreadable entries.
    #[must_use]
    pub fn with_unreadable(mut self, unreadable: Vec<UnreadableEntry>) -> Self {
        self.unreadable = unreadable;
        self
    }
}

/// A document or row of a store that is not a purchase.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnreadableEntry {
    /// Its id, as the store's own tools print it, in one line.
    pub id: String,
    /// Why it is not a purchase.
    pub reason: String,
}

impl UnreadableEntry {
    /// The entry with this id.
    #[must_use]
    pub fn new(id: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self {
            id: id.into(),
            reason: reason.to_string(),
        }
    }
}

/// Runs `call` until it succeeds, fails permanently, or has failed for about half a minute.
///
/// # Errors
/// The last error.
pub(crate) async fn retried<T, F: Future<Output = Result<T>>>(call: impl Fn() -> F) -> Result<T> {
    // 10 pauses: 0.1 s to 5 s, and up to twice that with jitter.
    let policy = ExponentialBuilder::new()
        .with_jitter()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(5))
        .with_max_times(10);
    let warn = |error: &Error, pause| {
        tracing::warn!(error = %error.chain(), ?pause, "a read failed, retrying");
    };
    call.retry(policy)
        .sleep(sleep)
        .when(Error::is_retryable)
        .notify(warn)
        .await
}

/// Extension methods for every [`PurchaseQuery`].
///
/// The streams own their query.
pub trait PurchaseQueryExt: PurchaseQuery {
    /// All pages of a listing, from `first` to the end. Each page is requested when the previous one was consumed.
    fn pages(
        self: Arc<Self>,
        selector: Selector,
        first: PageRequest,
    ) -> impl Stream<Item = Result<Page>> + Send + 'static {
        let limit = first.limit;
        self.growing_pages(selector, first, limit)
    }

    /// As [`pages`](Self::pages), where the pages after the first one have at most `limit` purchases: a small first
    /// page is fast, and large pages need few requests.
    #[doc(hidden)]
    fn growing_pages(
        self: Arc<Self>,
        selector: Selector,
        first: PageRequest,
        limit: PageLimit,
    ) -> impl Stream<Item = Result<Page>> + Send + 'static {
        let start = Some((self, selector, first));
        stream::try_unfold(start, move |state| async move {
            let Some((query, selector, request)) = state else {
                return Ok(None);
            };
            let page = query.page(&selector, &request).await?;
            let following = page.next_cursor(&request)?;
            let following = following.map(|cursor| {
                let request = PageRequest {
                    limit,
                    cursor: Some(cursor),
                    ..request
                };
                (query, selector, request)
            });
            Ok(Some((page, following)))
        })
    }

    /// All purchases of a listing. Pages are requested as needed.
    fn scan(
        self: Arc<Self>,
        selector: Selector,
        order: ListOrder,
    ) -> impl Stream<Item = Result<Purchase>> + Send + 'static {
        self.pages(selector, PageRequest::first(order, PageLimit::MAX))
            .map_ok(|page| stream::iter(page.items.into_iter().map(Ok)))
            .try_flatten()
    }

    /// Everything that the store contains, see [`scan_batch`](PurchaseQuery::scan_batch). Transient errors are retried
    /// for about half a minute each.
    fn scan_batches(self: Arc<Self>) -> impl Stream<Item = Result<ScanBatch>> + Send + 'static {
        stream::try_unfold(Some((self, None)), |state| async move {
            let Some((query, after)) = state else {
                return Ok(None);
            };
            let mut batch = retried(|| query.scan_batch(after.as_ref())).await?;
            let following = batch.next.take().map(|next| (query, Some(next)));
            Ok(Some((batch, following)))
        })
    }
}

impl<T: PurchaseQuery + ?Sized> PurchaseQueryExt for T {}
