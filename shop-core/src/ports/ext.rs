//! Extension methods for the ports.

use std::sync::Arc;

use futures_util::{Stream, TryStreamExt, stream};

use super::{ListOrder, Page, PageLimit, PageRequest, PurchaseQuery, Selector};
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
        let start = Some((self, selector, first));
        stream::try_unfold(start, |state| async move {
            let Some((query, selector, request)) = state else { return Ok(None) };
            let page = query.page(&selector, &request).await?;
            let following = page.next_cursor(&request)?;
            let following = following.map(|cursor| (query, selector, request.with_cursor(Some(cursor))));
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
}

impl<T: PurchaseQuery + ?Sized> PurchaseQueryExt for T {}
