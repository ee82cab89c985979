//! Writes the JSON of a listing of the short paths: its purchases, and the members around them.

use axum::body::Body;
use shop_core::json::write_member;
use shop_core::ports::{Cursor, Page, Summary};
use shop_core::{Error, Purchase};

use super::form::{PurchaseForm, UserKey, View};
use super::purchase::write_purchase;
use crate::resources::listing_body::ListingFormat;
use crate::response::PURCHASE_BYTES;

/// The members around the purchases of a listing.
pub(super) struct Envelope {
    pub(super) view: View,
    pub(super) purchase_form: PurchaseForm,
    /// The text in the path.
    pub(super) requested_text: String,
    /// The first meaning of the text that is looked up.
    pub(super) requested_key: UserKey,
    /// The meaning of the text for which there are purchases.
    pub(super) found_key: Option<UserKey>,
    /// The count and the sum of the purchases: of the whole listing, or of those read so far.
    pub(super) summary: Summary,
    /// Whether a purchase was written.
    pub(super) has_purchases: bool,
}

impl Envelope {
    /// Writes one page of a listing, with the cursor of the next one.
    pub(super) fn write_page(mut self, page: &Page) -> Body {
        let mut json = Vec::new();
        self.write_head(&mut json);
        self.write_items(&mut json, &page.items);
        let next_cursor = page.next.as_ref().map(Cursor::as_str);
        self.write_end(&mut json, Some(next_cursor));
        json.into()
    }

    /// Writes purchases, with commas between them. Refunds are left out: clients of short paths do
    /// not expect negative prices.
    fn write_items(&mut self, json: &mut Vec<u8>, purchases: &[Purchase]) {
        json.reserve(purchases.len() * PURCHASE_BYTES);
        for purchase in purchases {
            if purchase.is_refund() {
                continue;
            }
            if self.has_purchases {
                json.push(b',');
            }
            self.has_purchases = true;
            write_purchase(json, purchase, self.purchase_form);
        }
    }

    /// Writes the members after the purchases.
    ///
    /// `next_member` is the value of the member `next` of a page: the cursor of the next page, or null
    /// after the last page. It is `None` for a whole listing, which has no such member.
    fn write_end(&self, json: &mut Vec<u8>, next_member: Option<Option<&str>>) {
        json.push(b']');
        if self.view.has_summary() {
            let count = self.summary.count;
            let sum = self.summary.total_spent.round_to_cents();
            json.extend_from_slice(format!(",\"count\":{count},\"total_spent\":{sum}").as_bytes());
        }
        if self.view == View::Everything {
            write_member(json, ",\"matched_by\":", &self.found_key.map(UserKey::name));
            if let Some(next_cursor) = next_member {
                write_member(json, ",\"next\":", &next_cursor);
            }
        }
        if self.view != View::List {
            json.push(b'}');
        }
    }
}

/// A whole listing, with the count and the sum of the purchases that were read. Refunds are not
/// written, but reduce the sum.
impl ListingFormat for Envelope {
    fn write_head(&self, json: &mut Vec<u8>) {
        let text = self.requested_text.as_str();
        match self.view {
            View::Everything => {
                let is_name = self.found_key == Some(UserKey::UserName);
                write_member(json, "{\"userid\":", &(!is_name).then_some(text));
                write_member(json, ",\"username\":", &is_name.then_some(text));
            }
            View::Summary | View::Owner => {
                let key = self.found_key.unwrap_or(self.requested_key);
                write_member(json, "{", key.name());
                write_member(json, ":", text);
            }
            View::Status(word) => write_member(json, "{\"status\":", word),
            View::List => return json.push(b'['),
        }
        json.extend_from_slice(b",\"purchases\":[");
    }

    fn write_purchases(&mut self, json: &mut Vec<u8>, purchases: &[Purchase]) -> Result<(), Error> {
        self.write_items(json, purchases);
        for purchase in purchases {
            let purchase_summary = Summary::from_price(purchase.price);
            let count = self.summary.count + purchase_summary.count;
            let total_spent = self
                .summary
                .total_spent
                .checked_add(purchase_summary.total_spent)?;
            self.summary = Summary::new(count, total_spent);
        }
        Ok(())
    }

    fn write_trailer(&self, json: &mut Vec<u8>) {
        let no_next_member = None;
        self.write_end(json, no_next_member);
    }
}
