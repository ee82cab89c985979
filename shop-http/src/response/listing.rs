//! The body of a whole listing: written page by page, so that its length costs no memory, with the count and
//! the sum of exactly what was written.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::Serialize;
use shop_core::json::number;
use shop_core::ports::{Page, PageRequest, Selector, Summary};
use shop_core::{Error, ErrorKind, Purchase, RoundedTotal};

use crate::dialect::{ItemForm, View};
use crate::request::query::By;
use crate::response::legacy_purchase::LegacyPurchase;
use crate::service::purchases::Purchases;

/// What stands around the purchases.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    pub(crate) view: View,
    pub(crate) item: ItemForm,
    /// The text asked for.
    pub(crate) who: String,
    /// What that was looked up as first.
    pub(crate) asked: By,
    /// What it was found to be.
    pub(crate) found: Option<By>,
    /// Where the purchases are that the text finds in the other way, if it finds any.
    pub(crate) alternate: Option<String>,
}

/// What stands behind the purchases.
#[derive(Serialize)]
struct Trailer<'a> {
    count: u64,
    #[serde(with = "number")]
    total_spent: RoundedTotal,
    #[serde(skip_serializing_if = "Option::is_none")]
    matched_by: Option<Option<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alternate: Option<&'a str>,
    /// Of a page only; `null` at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Option<&'a str>>,
}

/// One page of a listing, with the count and the sum of the whole.
pub(crate) fn of_page(envelope: &Envelope, page: &Page, summary: Summary) -> Result<Body, Error> {
    let mut json = Vec::new();
    write_head(&mut json, envelope)?;
    write_items(&mut json, envelope, &page.items, true)?;
    let next = page.next.as_ref().map(shop_core::ports::Cursor::as_str);
    write_trailer(&mut json, envelope, summary, Some(next))?;
    Ok(json.into())
}

/// The whole listing of somebody who has bought nothing.
pub(crate) fn of_nothing(envelope: &Envelope) -> Result<Body, Error> {
    let mut json = Vec::new();
    write_head(&mut json, envelope)?;
    write_trailer(&mut json, envelope, Summary::default(), None)?;
    Ok(json.into())
}

/// The whole of a listing that begins with the page `first`.
pub(crate) fn whole(
    purchases: Arc<Purchases>,
    envelope: Envelope,
    selector: Selector,
    request: PageRequest,
    first: &Page,
) -> Result<Body, Error> {
    let mut writer =
        Writer { purchases, envelope, selector, request, summary: Summary::default(), is_first: true };
    let (chunk, more) = writer.chunk(first)?;
    // Most listings fit in one page: they are sent with their length.
    if !more {
        return Ok(chunk.into());
    }
    let rest = stream::try_unfold(Some(writer), |state| async move {
        let Some(mut writer) = state else { return Ok(None) };
        let (chunk, more) = writer.next_chunk().await?;
        Ok(Some((chunk, more.then_some(writer))))
    });
    let start = stream::once(async { Ok::<_, Error>(chunk) });
    Ok(Body::from_stream(start.chain(rest)))
}

struct Writer {
    purchases: Arc<Purchases>,
    envelope: Envelope,
    selector: Selector,
    request: PageRequest,
    summary: Summary,
    is_first: bool,
}

impl Writer {
    async fn next_chunk(&mut self) -> Result<(Bytes, bool), Error> {
        // The status is sent already: a truncated body is all that can still signal a failure.
        let page = self.purchases.read_page(&self.selector, &self.request).await.inspect_err(|error| {
            tracing::warn!(error = %error.chain(), "a listing broke off");
        })?;
        self.chunk(&page)
    }

    /// The JSON of one page, and whether there are more.
    fn chunk(&mut self, page: &Page) -> Result<(Bytes, bool), Error> {
        let mut json = Vec::new();
        if self.is_first {
            write_head(&mut json, &self.envelope)?;
        }
        write_items(&mut json, &self.envelope, &page.items, self.is_first)?;
        self.is_first = false;
        for purchase in &page.items {
            self.summary.count += 1;
            self.summary.total_spent = self.summary.total_spent.plus(purchase.price).map_err(|error| {
                Error::new(ErrorKind::Corrupt, "the purchases cannot be summed exactly").with_source(error)
            })?;
        }
        let next = page.leads_to(&self.request)?;
        let more = next.is_some();
        if more {
            self.request.cursor = next;
        } else {
            write_trailer(&mut json, &self.envelope, self.summary, None)?;
        }
        Ok((json.into(), more))
    }
}

fn write_head(json: &mut Vec<u8>, envelope: &Envelope) -> Result<(), Error> {
    let (userid, username) = match envelope.found {
        Some(By::UserName) => (None, Some(&envelope.who)),
        _ => (Some(&envelope.who), None),
    };
    match envelope.view {
        View::Everything => write_members(json, &[("userid", userid), ("username", username)]),
        View::Summary | View::Owner => {
            let name = envelope.found.unwrap_or(envelope.asked).name();
            write_members(json, &[(name, Some(&envelope.who))])
        }
        View::Status => write_members(json, &[("status", Some(&"Ok!".to_owned()))]),
        View::List => {
            json.push(b'[');
            Ok(())
        }
    }
}

/// The beginning of an object, up to its purchases.
fn write_members(json: &mut Vec<u8>, members: &[(&str, Option<&String>)]) -> Result<(), Error> {
    json.push(b'{');
    for (name, value) in members {
        write(json, name)?;
        json.push(b':');
        write(json, value)?;
        json.push(b',');
    }
    json.extend_from_slice(b"\"purchases\":[");
    Ok(())
}

fn write_items(
    json: &mut Vec<u8>,
    envelope: &Envelope,
    purchases: &[Purchase],
    is_first: bool,
) -> Result<(), Error> {
    for (position, purchase) in purchases.iter().enumerate() {
        if position > 0 || !is_first {
            json.push(b',');
        }
        write(json, &LegacyPurchase::in_listing(purchase, envelope.item))?;
    }
    Ok(())
}

fn write_trailer(
    json: &mut Vec<u8>,
    envelope: &Envelope,
    summary: Summary,
    next: Option<Option<&str>>,
) -> Result<(), Error> {
    json.push(b']');
    if !envelope.view.counts() {
        if envelope.view != View::List {
            json.push(b'}');
        }
        return Ok(());
    }
    let (count, total_spent) = (summary.count, summary.total_spent.rounded(2));
    let trailer = match envelope.view {
        View::Everything => {
            let (matched_by, alternate) = (Some(envelope.found.map(By::name)), envelope.alternate.as_deref());
            Trailer { count, total_spent, matched_by, alternate, next }
        }
        _ => Trailer { count, total_spent, matched_by: None, alternate: None, next: None },
    };
    let start = json.len();
    write(json, &trailer)?;
    // The trailer's members go on in the object that the head has opened.
    json[start] = b',';
    Ok(())
}

fn write(json: &mut Vec<u8>, value: &impl Serialize) -> Result<(), Error> {
    serde_json::to_writer(json, value).map_err(|error| {
        Error::new(ErrorKind::Internal, "a listing could not be written as JSON").with_source(error)
    })
}
