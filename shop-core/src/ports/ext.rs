//! Conveniences for callers, on every implementation of a port.

use std::sync::Arc;

use futures_util::{Stream, TryStreamExt, stream};

use super::{ListOrder, Page, PageLimit, PageRequest, PurchaseQuery, Selector};
use crate::{Purchase, Result};

/// What callers do with a query again and again.
///
/// The streams own their query, so they live as long as whoever reads them.
pub trait PurchaseQueryExt: PurchaseQuery {
    /// All pages of a listing, from the one that `first` asks for to the end; each is asked for when the one
    /// before was taken.
    fn pages(
        self: Arc<Self>,
        selector: Selector,
        first: PageRequest,
    ) -> impl Stream<Item = Result<Page>> + Send + 'static {
        let start = Some((self, selector, first));
        stream::try_unfold(start, |state| async move {
            let Some((query, selector, request)) = state else { return Ok(None) };
            let page = query.page(&selector, &request).await?;
            let following = page.next_cursor(&request)?;
            let following = following.map(|cursor| (query, selector, request.with_cursor(Some(cursor))));
            Ok(Some((page, following)))
        })
    }

    /// All purchases of a listing, one after the other; pages are asked for as they are needed.
    fn scan(
        self: Arc<Self>,
        selector: Selector,
        order: ListOrder,
    ) -> impl Stream<Item = Result<Purchase>> + Send + 'static {
        self.pages(selector, PageRequest::first(order, PageLimit::MAX))
            .map_ok(|page| stream::iter(page.items.into_iter().map(Ok)))
            .try_flatten()
    }
}

impl<T: PurchaseQuery + ?Sized> PurchaseQueryExt for T {}
