//! Documents that are not purchases. Listings and totals skip them; each is logged once, and counted.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bson::{Bson, RawDocument};
use shop_core::Purchase;

use super::document::{self, Unreadable};
use super::erase;

/// The maximum number of distinct documents; further ones are neither logged nor counted.
const MAX_KNOWN: usize = 10_000;

/// The unreadable documents found so far.
#[derive(Debug, Default)]
pub(super) struct Unreadables {
    /// Hashes of their ids.
    known: Mutex<HashSet<u64>>,
    pub(super) count: Arc<AtomicU64>,
}

impl Unreadables {
    /// Returns the purchase in `document`, if it is one.
    pub(super) fn purchase(&self, document: &RawDocument) -> Option<Purchase> {
        if erase::is_mark(document) {
            return None;
        }
        document::purchase(document).inspect_err(|error| self.note(document, error)).ok()
    }

    fn note(&self, document: &RawDocument, error: &Unreadable) {
        let id = name(document);
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN || !known.insert(hasher.finish()) {
            return;
        }
        self.count.store(known.len() as u64, Ordering::Relaxed);
        tracing::warn!(document.id = %id, %error, "document skipped in listings and totals: not a purchase");
        if known.len() == MAX_KNOWN {
            tracing::warn!(
                "further unreadable documents are not logged: `management doctor` lists all of them"
            );
        }
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
