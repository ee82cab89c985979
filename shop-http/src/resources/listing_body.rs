//! The bodies of listings: a page outside of `/v1`, and a whole listing, streamed page by page in
//! constant memory: as JSON with the count and the sum of exactly the streamed purchases, or as a
//! file.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use shop_core::api::RowFormat;
use shop_core::json::write_member;
use shop_core::ports::{Cursor, Page, PageLimit, PageRequest, Selector, Summary};
use shop_core::{Error, Purchase, RequestContext};

use crate::compat::purchase::write_purchase;
use crate::compat::{By, ItemForm, View};
use crate::response::{HttpError, HttpResult, PURCHASE_BYTES};
use crate::service::PurchaseService;

/// The purchases of the first page: about [`CHUNK`] bytes if the names are the longest.
pub(crate) const FIRST_PAGE: PageLimit = match PageLimit::new(64) {
    Ok(limit) => limit,
    Err(_) => PageLimit::MAX,
};
/// The intended size of a chunk in bytes: the next page has as many purchases as fit, if they are
/// as long as those before.
const CHUNK: usize = 64 << 10;
/// The purchases of the smallest page.
const MIN_PAGE: usize = 16;

/// The members around the purchases.
pub(crate) struct Envelope {
    pub(crate) view: View,
    pub(crate) item: ItemForm,
    /// The requested text.
    pub(crate) who: String,
    /// The first meaning that was looked up.
    pub(crate) requested: By,
    /// The meaning that was found.
    pub(crate) found: Option<By>,
}

/// One page of a listing, with the count and the sum of the whole.
pub(crate) fn page_body(envelope: &Envelope, page: &Page, summary: Summary) -> Body {
    let mut json = Vec::new();
    write_head(&mut json, envelope);
    write_items(&mut json, envelope, &page.items, true);
    write_trailer(
        &mut json,
        envelope,
        summary,
        Some(page.next.as_ref().map(Cursor::as_str)),
    );
    json.into()
}

fn write_head(json: &mut Vec<u8>, envelope: &Envelope) {
    let who = envelope.who.as_str();
    match envelope.view {
        View::Everything => {
            let is_name = envelope.found == Some(By::UserName);
            write_member(json, "{\"userid\":", &(!is_name).then_some(who));
            write_member(json, ",\"username\":", &is_name.then_some(who));
        }
        View::Summary | View::Owner => {
            write_member(
                json,
                "{",
                envelope.found.unwrap_or(envelope.requested).name(),
            );
            write_member(json, ":", who);
        }
        View::Status => json.extend_from_slice(b"{\"status\":\"Ok!\""),
        View::List => return json.push(b'['),
    }
    json.extend_from_slice(b",\"purchases\":[");
}

/// Returns whether the next item is still the first one. The replaced systems have no refunds.
fn write_items(
    json: &mut Vec<u8>,
    envelope: &Envelope,
    purchases: &[Purchase],
    mut is_first: bool,
) -> bool {
    json.reserve(purchases.len() * PURCHASE_BYTES);
    for purchase in purchases
        .iter()
        .filter(|purchase| purchase.details.of.is_none())
    {
        if !std::mem::take(&mut is_first) {
            json.push(b',');
        }
        write_purchase(json, purchase, envelope.item);
    }
    is_first
}

fn write_trailer(
    json: &mut Vec<u8>,
    envelope: &Envelope,
    summary: Summary,
    next: Option<Option<&str>>,
) {
    json.push(b']');
    if envelope.view.counts() {
        let count = summary.count;
        let sum = summary.total_spent.round_to_cents();
        json.extend_from_slice(format!(",\"count\":{count},\"total_spent\":{sum}").as_bytes());
    }
    if envelope.view == View::Everything {
        write_member(json, ",\"matched_by\":", &envelope.found.map(By::name));
        if let Some(next) = next {
            write_member(json, ",\"next\":", &next);
        }
    }
    if envelope.view != View::List {
        json.push(b'}');
    }
}

/// The form of a streamed listing.
pub(crate) enum StreamForm {
    /// JSON, with these members around the purchases.
    Envelope(Envelope),
    /// A file.
    Rows(RowFormat),
}

/// The whole of a listing whose first page is `first`.
pub(crate) fn whole(
    purchases: Arc<PurchaseService>,
    form: StreamForm,
    selector: Selector,
    request: PageRequest,
    first: &Page,
) -> HttpResult<Body> {
    let subject = purchases.subject();
    let mut writer = ListingWriter {
        purchases,
        form,
        selector,
        request,
        summary: Summary::default(),
        is_begun: false,
        is_empty: true,
    };
    // The body is read after the handler has ended.
    let context = RequestContext::current().unwrap_or_default();
    let (chunk, more) = writer
        .chunk(first)
        .map_err(|error| HttpError::failed_query(error, subject))?;
    // Most listings fit in one page: they are sent with their length.
    if !more {
        return Ok(chunk.into());
    }
    let rest = stream::try_unfold(Some(writer), move |state| {
        Arc::clone(&context).scope(async move {
            let Some(mut writer) = state else {
                return Ok(None);
            };
            let (chunk, more) = writer.next_chunk().await?;
            Ok(Some((chunk, more.then_some(writer))))
        })
    });
    let start = stream::once(async { Ok::<_, Error>(chunk) });
    Ok(Body::from_stream(start.chain(rest)))
}

struct ListingWriter {
    purchases: Arc<PurchaseService>,
    form: StreamForm,
    selector: Selector,
    request: PageRequest,
    summary: Summary,
    is_begun: bool,
    /// No item is written yet.
    is_empty: bool,
}

impl ListingWriter {
    async fn next_chunk(&mut self) -> Result<(Bytes, bool), Error> {
        // The status is sent already: only a truncated body can signal a failure.
        let page = self
            .purchases
            .read_page(&self.selector, &self.request)
            .await
            .inspect_err(|error| {
                tracing::warn!(error = %error.chain(), "listing truncated");
            })?;
        self.chunk(&page)
    }

    /// The text of one page, and whether there are more.
    fn chunk(&mut self, page: &Page) -> Result<(Bytes, bool), Error> {
        let mut text = Vec::new();
        match &self.form {
            StreamForm::Envelope(envelope) => {
                if !self.is_begun {
                    write_head(&mut text, envelope);
                }
                self.is_empty = write_items(&mut text, envelope, &page.items, self.is_empty);
                for purchase in &page.items {
                    let one = Summary::from_price(purchase.price);
                    let spent = self.summary.total_spent.checked_add(one.total_spent)?;
                    self.summary = Summary::new(self.summary.count + one.count, spent);
                }
            }
            StreamForm::Rows(format) => {
                if !self.is_begun {
                    format.write_head(&mut text);
                }
                format.write(&mut text, &page.items)?;
            }
        }
        self.is_begun = true;
        let next = page.next_cursor(&self.request)?;
        let more = next.is_some();
        if more {
            self.request.cursor = next;
            let fitting = CHUNK * page.items.len() / text.len().max(1);
            let fitting = fitting.clamp(MIN_PAGE, PageLimit::MAX.get());
            self.request.limit = u16::try_from(fitting).map_or(PageLimit::MAX, |fitting| {
                PageLimit::new(fitting).unwrap_or(PageLimit::MAX)
            });
        } else if let StreamForm::Envelope(envelope) = &self.form {
            write_trailer(&mut text, envelope, self.summary, None);
        }
        Ok((text.into(), more))
    }
}
