//! Extension methods of the query: a single purchase, and streams of the purchases of a store, which
//! are the pages of a listing, or a scan of the whole store.
//!
//! A listing is in the order of time. A scan is in the order that is cheapest for the store, and
//! also yields the entries that are not purchases.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use futures_util::{Stream, TryStreamExt, stream};
use serde::Serialize;
use tokio::time::sleep;

use super::{Cursor, ListOrder, Page, PageLimit, PageRequest, PurchaseQuery, Selector};
use crate::{Error, Purchase, PurchaseId, Result};

/// One batch of a scan of the whole store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ScanBatch {
    /// The stored purchases of the batch.
    pub purchases: Vec<Purchase>,
    /// The stored entries of the batch that are not purchases.
    pub unreadable: Vec<UnreadableEntry>,
    /// The cursor of the next batch. `None` at the end. Only the store that returned the cursor can
    /// continue there.
    pub next: Option<Cursor>,
}

impl ScanBatch {
    /// Creates a batch of `purchases`, which is followed by the batch at `next`.
    #[must_use]
    pub const fn new(purchases: Vec<Purchase>, next: Option<Cursor>) -> Self {
        Self {
            purchases,
            unreadable: Vec::new(),
            next,
        }
    }

    /// Returns this batch with the entries `unreadable`, which are not purchases.
    #[must_use]
    pub fn with_unreadable(mut self, unreadable: Vec<UnreadableEntry>) -> Self {
        self.unreadable = unreadable;
        self
    }
}

/// A document or row of a store that is not a purchase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UnreadableEntry {
    /// The id of the entry in one line, as the tools of the store print it.
    pub id: String,
    /// The reason why the entry is not a purchase.
    pub reason: String,
}

impl UnreadableEntry {
    /// Creates the entry with the id `id`, which is not a purchase because of `reason`.
    #[must_use]
    pub fn new(id: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self {
            id: id.into(),
            reason: reason.to_string(),
        }
    }
}

/// Repeats `read`, a call that changes nothing, until it succeeds, fails permanently, or has failed
/// for about half a minute.
///
/// Each failure before the last one is logged as a warning.
///
/// # Errors
/// Returns the last error of `read`.
pub(crate) async fn read_with_retries<T, F: Future<Output = Result<T>>>(
    read: impl Fn() -> F,
) -> Result<T> {
    // There are at most 10 pauses, from 0.1 s to 5 s. The jitter makes each pause up to twice as
    // long, so that many processes do not call again at the same time.
    let policy = ExponentialBuilder::new()
        .with_jitter()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(5))
        .with_max_times(10);
    let log_failure = |error: &Error, pause| {
        tracing::warn!(error = %error.chain(), ?pause, "a read failed, retrying");
    };
    read.retry(policy)
        .sleep(sleep)
        .when(Error::is_retryable)
        .notify(log_failure)
        .await
}

/// Extension methods for every [`PurchaseQuery`].
///
/// A stream owns its query, so it can outlive the caller.
pub trait PurchaseQueryExt: PurchaseQuery {
    /// Returns the purchase or refund with the id `id`, if it is stored.
    ///
    /// # Errors
    /// Returns the errors of [`look_up`](PurchaseQuery::look_up).
    fn get(&self, id: &PurchaseId) -> impl Future<Output = Result<Option<Purchase>>> + Send {
        async move { Ok(self.look_up(id).await?.stored()) }
    }

    /// Returns a stream of all pages of the listing of `selector`, from the page of the request
    /// `first` to the end.
    ///
    /// Each page is requested when the caller has taken the previous one. An error ends the stream.
    fn pages(
        self: Arc<Self>,
        selector: Selector,
        first: PageRequest,
    ) -> impl Stream<Item = Result<Page>> + Send + 'static {
        let limit = first.limit;
        self.growing_pages(selector, first, limit)
    }

    /// Returns a stream of all pages of the listing of `selector`, as [`pages`](Self::pages) does,
    /// with another limit for the pages after the first one.
    ///
    /// The first page contains at most `first.limit` purchases, and each further page at most
    /// `limit`. A small first page is fast, and large further pages need few requests.
    fn growing_pages(
        self: Arc<Self>,
        selector: Selector,
        first: PageRequest,
        limit: PageLimit,
    ) -> impl Stream<Item = Result<Page>> + Send + 'static {
        // The state is `None` behind the last page.
        stream::try_unfold(Some((self, selector, first)), move |state| async move {
            let Some((query, selector, request)) = state else {
                return Ok(None);
            };
            let page = query.page(&selector, &request).await?;
            let next_cursor = page.next_cursor(&request)?;
            let next_state = next_cursor.map(|cursor| {
                let next_request = PageRequest {
                    limit,
                    cursor: Some(cursor),
                    ..request
                };
                (query, selector, next_request)
            });
            Ok(Some((page, next_state)))
        })
    }

    /// Returns a stream of all purchases of the listing of `selector` in `order`.
    ///
    /// Pages of the maximum size are requested as needed. An error ends the stream.
    fn scan(
        self: Arc<Self>,
        selector: Selector,
        order: ListOrder,
    ) -> impl Stream<Item = Result<Purchase>> + Send + 'static {
        self.pages(selector, PageRequest::first(order, PageLimit::MAX))
            .map_ok(|page| stream::iter(page.items.into_iter().map(Ok)))
            .try_flatten()
    }

    /// Returns a stream of all entries of the store, in batches of
    /// [`scan_batch`](PurchaseQuery::scan_batch).
    ///
    /// A batch that fails with a transient error is requested again for about half a minute. Any
    /// other error ends the stream.
    fn scan_batches(self: Arc<Self>) -> impl Stream<Item = Result<ScanBatch>> + Send + 'static {
        // The state is `None` behind the last batch. The first batch has no cursor.
        stream::try_unfold(Some((self, None)), |state| async move {
            let Some((query, cursor)) = state else {
                return Ok(None);
            };
            let mut batch = read_with_retries(|| query.scan_batch(cursor.as_ref())).await?;
            let next_state = batch
                .next
                .take()
                .map(|next_cursor| (query, Some(next_cursor)));
            Ok(Some((batch, next_state)))
        })
    }
}

impl<T: PurchaseQuery + ?Sized> PurchaseQueryExt for T {}
