//! The body of a listing outside of `/v1`.

use axum::body::Body;
use shop_core::Purchase;
use shop_core::json::write_member;
use shop_core::ports::{Cursor, Page, Summary};

use crate::compat::purchase::write_purchase;
use crate::compat::{By, ItemForm, View};
use crate::response::PURCHASE_BYTES;

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

/// One page of a listing, with the count and the sum of the whole.
pub(crate) fn page_body(envelope: &Envelope, page: &Page, summary: Summary) -> Body {
    let mut json = Vec::new();
    write_head(&mut json, envelope);
    write_items(&mut json, envelope, &page.items, true);
    write_trailer(&mut json, envelope, summary, Some(page.next.as_ref().map(Cursor::as_str)));
    json.into()
}

pub(crate) fn write_head(json: &mut Vec<u8>, envelope: &Envelope) {
    let who = envelope.who.as_str();
    match envelope.view {
        View::Everything => {
            let is_name = envelope.found == Some(By::UserName);
            write_member(json, "{\"userid\":", &(!is_name).then_some(who));
            write_member(json, ",\"username\":", &is_name.then_some(who));
        }
        View::Summary | View::Owner => {
            write_member(json, "{", envelope.found.unwrap_or(envelope.requested).name());
            write_member(json, ":", who);
        }
        View::Status => json.extend_from_slice(b"{\"status\":\"Ok!\""),
        View::List => return json.push(b'['),
    }
    json.extend_from_slice(b",\"purchases\":[");
}

pub(crate) fn write_items(json: &mut Vec<u8>, envelope: &Envelope, purchases: &[Purchase], is_first: bool) {
    json.reserve(purchases.len() * PURCHASE_BYTES);
    for (position, purchase) in purchases.iter().enumerate() {
        if position > 0 || !is_first {
            json.push(b',');
        }
        write_purchase(json, purchase, envelope.item);
    }
}

pub(crate) fn write_trailer(
    json: &mut Vec<u8>,
    envelope: &Envelope,
    summary: Summary,
    next: Option<Option<&str>>,
) {
    json.push(b']');
    if envelope.view.counts() {
        let (count, sum) = (summary.count, summary.total_spent.rounded());
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
