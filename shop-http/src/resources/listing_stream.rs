//! A whole listing, streamed page by page in constant memory: as JSON with the count and the sum of exactly the streamed
//! purchases, or as a file.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use shop_core::api::RowFormat;
use shop_core::ports::{Page, PageLimit, PageRequest, Selector, Summary};
use shop_core::{Error, RequestContext};

use crate::response::listing::{Envelope, write_head, write_items, write_trailer};
use crate::service::Purchases;

/// The purchases of the first page: about [`CHUNK`] bytes if the names are the longest.
pub(crate) const FIRST_PAGE: PageLimit = match PageLimit::new(64) {
    Ok(limit) => limit,
    Err(_) => PageLimit::MAX,
};
/// The intended size of a chunk in bytes: the next page has as many purchases as fit, if they are as long as those
/// before.
const CHUNK: usize = 64 << 10;
/// The purchases of the smallest page.
const MIN_PAGE: usize = 16;

/// The form of a streamed listing.
pub(crate) enum StreamForm {
    /// JSON, with these members around the purchases.
    Envelope(Envelope),
    /// A file.
    Rows(RowFormat),
}

/// The whole of a listing whose first page is `first`.
pub(crate) fn whole(
    purchases: Arc<Purchases>,
    form: StreamForm,
    selector: Selector,
    request: PageRequest,
    first: &Page,
) -> Result<Body, Error> {
    let mut writer =
        Writer { purchases, form, selector, request, summary: Summary::default(), is_first: true };
    // The body is read after the handler has ended.
    let context = RequestContext::current().unwrap_or_default();
    let (chunk, more) = writer.chunk(first)?;
    // Most listings fit in one page: they are sent with their length.
    if !more {
        return Ok(chunk.into());
    }
    let rest = stream::try_unfold(Some(writer), move |state| {
        Arc::clone(&context).scope(async move {
            let Some(mut writer) = state else { return Ok(None) };
            let (chunk, more) = writer.next_chunk().await?;
            Ok(Some((chunk, more.then_some(writer))))
        })
    });
    let start = stream::once(async { Ok::<_, Error>(chunk) });
    Ok(Body::from_stream(start.chain(rest)))
}

struct Writer {
    purchases: Arc<Purchases>,
    form: StreamForm,
    selector: Selector,
    request: PageRequest,
    summary: Summary,
    is_first: bool,
}

impl Writer {
    async fn next_chunk(&mut self) -> Result<(Bytes, bool), Error> {
        // The status is sent already: only a truncated body can signal a failure.
        let page = self.purchases.read_page(&self.selector, &self.request).await.inspect_err(|error| {
            tracing::warn!(error = %error.chain(), "listing truncated");
        })?;
        self.chunk(&page)
    }

    /// The text of one page, and whether there are more.
    fn chunk(&mut self, page: &Page) -> Result<(Bytes, bool), Error> {
        let mut text = Vec::new();
        match &self.form {
            StreamForm::Envelope(envelope) => {
                if self.is_first {
                    write_head(&mut text, envelope);
                }
                write_items(&mut text, envelope, &page.items, self.is_first);
                add(&mut self.summary, page)?;
            }
            StreamForm::Rows(format) => {
                if self.is_first {
                    format.write_head(&mut text);
                }
                format.write(&mut text, &page.items)?;
            }
        }
        self.is_first = false;
        let next = page.next_cursor(&self.request)?;
        let more = next.is_some();
        if more {
            self.request.cursor = next;
            let fitting = CHUNK * page.items.len() / text.len().max(1);
            let fitting = fitting.clamp(MIN_PAGE, PageLimit::MAX.get());
            self.request.limit = u16::try_from(fitting)
                .map_or(PageLimit::MAX, |fitting| PageLimit::new(fitting).unwrap_or(PageLimit::MAX));
        } else if let StreamForm::Envelope(envelope) = &self.form {
            write_trailer(&mut text, envelope, self.summary, None);
        }
        Ok((text.into(), more))
    }
}

/// Adds the purchases of `page` to `summary`.
fn add(summary: &mut Summary, page: &Page) -> Result<(), Error> {
    for purchase in &page.items {
        summary.count += 1;
        summary.total_spent = summary.total_spent.checked_add_price(purchase.price)?;
    }
    Ok(())
}
