//! Documents that are not purchases.

use bson::{Bson, RawDocument};
use shop_core::Purchase;

use super::{document, erase};
use crate::unreadable::Unreadables;

impl Unreadables {
    /// Returns the purchase in `document`, if it is one.
    pub(super) fn purchase(&self, document: &RawDocument) -> Option<Purchase> {
        if erase::is_mark(document) {
            return None;
        }
        document::purchase(document).inspect_err(|error| self.note("document", &name(document), error)).ok()
    }
}

/// Returns the `_id` of a document, of any type, as a single line.
pub(super) fn name(document: &RawDocument) -> String {
    match document.get("_id").ok().flatten().and_then(|id| Bson::try_from(id).ok()) {
        Some(Bson::String(text)) => format!("{text:?}"),
        Some(id) => id.to_string().replace(char::is_control, " "),
        None => "none".to_owned(),
    }
}
