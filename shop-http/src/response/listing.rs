//! The body of a listing outside of `/v1`.

use axum::body::Body;
use serde::Serialize;
use shop_core::ports::{Page, Summary};
use shop_core::{Error, ErrorKind, Purchase, Total};

use crate::dialect::{By, ItemForm, View};
use crate::response::legacy_purchase::LegacyPurchase;

/// The members around the purchases.
#[derive(Debug, Clone)]
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

/// The members after the purchases.
#[derive(Serialize)]
struct Trailer<'a> {
    count: u64,
    total_spent: Total,
    #[serde(skip_serializing_if = "Option::is_none")]
    matched_by: Option<Option<&'static str>>,
    /// Of a page only; `null` on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Option<&'a str>>,
}

/// One page of a listing, with the count and the sum of the whole.
pub(crate) fn page_body(envelope: &Envelope, page: &Page, summary: Summary) -> Result<Body, Error> {
    let mut json = Vec::new();
    write_head(&mut json, envelope)?;
    write_items(&mut json, envelope, &page.items, true)?;
    let next = page.next.as_ref().map(shop_core::ports::Cursor::as_str);
    write_trailer(&mut json, envelope, summary, Some(next))?;
    Ok(json.into())
}

pub(crate) fn write_head(json: &mut Vec<u8>, envelope: &Envelope) -> Result<(), Error> {
    let (userid, username) = match envelope.found {
        Some(By::UserName) => (None, Some(&envelope.who)),
        _ => (Some(&envelope.who), None),
    };
    match envelope.view {
        View::Everything => write_members(json, &[("userid", userid), ("username", username)]),
        View::Summary | View::Owner => {
            let name = envelope.found.unwrap_or(envelope.requested).name();
            write_members(json, &[(name, Some(&envelope.who))])
        }
        View::Status => write_members(json, &[("status", Some(&"Ok!".to_owned()))]),
        View::List => {
            json.push(b'[');
            Ok(())
        }
    }
}

/// The start of an object, up to its purchases.
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

pub(crate) fn write_items(
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

pub(crate) fn write_trailer(
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
    let (count, total_spent) = (summary.count, summary.total_spent.rounded());
    let trailer = match envelope.view {
        View::Everything => {
            Trailer { count, total_spent, matched_by: Some(envelope.found.map(By::name)), next }
        }
        _ => Trailer { count, total_spent, matched_by: None, next: None },
    };
    let start = json.len();
    write(json, &trailer)?;
    // The trailer's members continue the object that the head has opened.
    json[start] = b',';
    Ok(())
}

fn write(json: &mut Vec<u8>, value: &impl Serialize) -> Result<(), Error> {
    serde_json::to_writer(json, value).map_err(|error| {
        Error::new(ErrorKind::Internal, "a listing could not be written as JSON").with_source(error)
    })
}
