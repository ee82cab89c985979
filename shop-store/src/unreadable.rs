//! Documents and rows that are not purchases. Listings skip them; each is logged once, and counted.

use std::collections::HashSet;
use std::fmt::Display;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use shop_core::Invalid;

/// The maximum number of distinct entries; further ones are neither logged nor counted.
const MAX_KNOWN: usize = 10_000;

/// Why a document or a row is not a purchase.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{member} {problem}")]
pub(crate) struct Unreadable {
    /// The member of the document, or the column.
    member: &'static str,
    problem: String,
}

pub(crate) fn unreadable(member: &'static str, problem: impl Display) -> Unreadable {
    Unreadable {
        member,
        problem: problem.to_string(),
    }
}

/// Returns the conversion of the error of a member that is not valid.
pub(crate) fn not_valid(member: &'static str) -> impl FnOnce(Invalid) -> Unreadable {
    move |invalid| unreadable(member, invalid.reason())
}

/// The unreadable entries found so far.
#[derive(Debug, Default)]
pub(crate) struct Unreadables {
    /// Hashes of their ids.
    known: Mutex<HashSet<u64>>,
    pub(crate) count: Arc<AtomicU64>,
}

impl Unreadables {
    /// Logs and counts an entry, unless it is known. `what` is a document or a row.
    pub(crate) fn note(&self, what: &str, id: &str, error: impl Display) {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN || !known.insert(hasher.finish()) {
            return;
        }
        self.count.store(known.len() as u64, Ordering::Relaxed);
        tracing::warn!(document.id = %id, %error, "{what} skipped in listings and totals: not a purchase");
        if known.len() == MAX_KNOWN {
            tracing::warn!(
                "further unreadable {what}s are not logged: `management doctor` lists all of them"
            );
        }
    }
}
