//! The body of a whole listing, which is streamed page by page in constant memory.
//!
//! A [`ListingFormat`] writes what is before, between and after the purchases. Most listings fit in
//! one page: they are sent with their length. Others are read while the client reads the body, each
//! page with as many purchases as fit into a chunk.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use shop_api::files::RowFormat;
use shop_core::ports::{Page, PageLimit, PageRequest, Selector};
use shop_core::{Error, Purchase, RequestContext};

use crate::response::{HttpError, HttpResult};
use crate::service::{PurchaseService, within};

/// The number of purchases in the first page: about [`CHUNK_BYTES`] if the names are the longest.
pub(crate) const FIRST_PAGE: PageLimit = match PageLimit::new(64) {
    Ok(limit) => limit,
    Err(_) => PageLimit::MAX,
};
/// The intended size of a chunk. The next page contains as many purchases as fit, if they are as
/// long as on the page before.
const CHUNK_BYTES: usize = 64 << 10;
/// The number of purchases in the smallest page.
const MIN_PAGE: usize = 16;

/// The format of a whole listing.
pub(crate) trait ListingFormat: Send + 'static {
    /// Writes what is before the purchases.
    fn write_head(&self, body: &mut Vec<u8>);

    /// Writes the purchases of a page.
    ///
    /// # Errors
    /// The error of a purchase that cannot be written, or of a sum that is too large.
    fn write_purchases(&mut self, body: &mut Vec<u8>, purchases: &[Purchase]) -> Result<(), Error>;

    /// Writes what is after the purchases. By default that is nothing.
    fn write_trailer(&self, _body: &mut Vec<u8>) {}
}

/// A file of rows, one for each purchase.
impl ListingFormat for RowFormat {
    fn write_head(&self, body: &mut Vec<u8>) {
        Self::write_head(*self, body);
    }

    fn write_purchases(&mut self, body: &mut Vec<u8>, purchases: &[Purchase]) -> Result<(), Error> {
        self.write(body, purchases)
    }
}

/// Returns the body of a whole listing. `first_page` is the result of `request`. The further pages are
/// read while the client reads the body.
///
/// # Errors
/// 500 if the first page cannot be written.
pub(crate) fn stream_listing(
    purchases: Arc<PurchaseService>,
    format: impl ListingFormat,
    selector: Selector,
    request: PageRequest,
    first_page: &Page,
) -> HttpResult<Body> {
    let mut writer = ListingWriter {
        purchases,
        format,
        selector,
        request,
    };
    let mut head = Vec::new();
    writer.format.write_head(&mut head);
    // The body is read after the handler ends, and the queries need the context of the request.
    let context = RequestContext::current().unwrap_or_default();
    let first_chunk = writer
        .write_page(head, first_page)
        .map_err(|error| HttpError::failed_query(error, writer.purchases.subject()))?;
    // The first page is the whole listing.
    if writer.request.cursor.is_none() {
        return Ok(first_chunk.into());
    }

    let further_chunks = stream::try_unfold(writer, move |mut writer| {
        Arc::clone(&context).scope(async move {
            if writer.request.cursor.is_none() {
                return Ok(None);
            }
            let chunk = writer.read_chunk().await?;
            Ok(Some((chunk, writer)))
        })
    });
    let start = stream::once(async { Ok::<_, Error>(first_chunk) });
    Ok(Body::from_stream(start.chain(further_chunks)))
}

/// Reads the pages of a listing, and writes them.
struct ListingWriter<F> {
    purchases: Arc<PurchaseService>,
    format: F,
    selector: Selector,
    /// The request for the next page. After the last page, it has no cursor.
    request: PageRequest,
}

impl<F: ListingFormat> ListingWriter<F> {
    /// Reads the next page, and returns its text.
    ///
    /// # Errors
    /// The error of the query, which ends the body early.
    async fn read_chunk(&mut self) -> Result<Bytes, Error> {
        let purchases = &self.purchases;
        let query = purchases.shop.page(&self.selector, &self.request);
        // The status is sent already, so only a truncated body can signal a failure. The error is not
        // mapped to a response, as `PurchaseService::page` would do.
        let page = within(purchases.options.query_timeout, query)
            .await
            .inspect_err(|error| {
                tracing::warn!(error = %error.chain(), "listing truncated");
            })?;
        let empty_text = Vec::new();
        self.write_page(empty_text, &page)
    }

    /// Appends `page` to `text`, and returns the text. Also prepares the request for the next page.
    fn write_page(&mut self, mut text: Vec<u8>, page: &Page) -> Result<Bytes, Error> {
        self.format.write_purchases(&mut text, &page.items)?;

        self.request.cursor = page.next_cursor(&self.request)?;
        if self.request.cursor.is_some() {
            self.request.limit = limit_of_next_page(page.items.len(), text.len());
        } else {
            self.format.write_trailer(&mut text);
        }
        Ok(text.into())
    }
}

/// Returns the number of purchases that fit into a chunk, if `count` purchases took `bytes` bytes.
fn limit_of_next_page(count: usize, bytes: usize) -> PageLimit {
    let fitting_count = CHUNK_BYTES * count / bytes.max(1);
    let limit = u16::try_from(fitting_count.max(MIN_PAGE)).map(PageLimit::new);
    match limit {
        Ok(Ok(limit)) => limit,
        // More purchases fit than a page may contain.
        _ => PageLimit::MAX,
    }
}
