//! Extension methods for the ports.

use std::sync::Arc;

use futures_util::{Stream, TryStreamExt, stream};

use super::{ListOrder, Page, PageLimit, PageRequest, PurchaseQuery, ScanBatch, Selector, retried};
use crate::{Purchase, Result};

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
