//! Logs and counts documents and rows that are not purchases.
//!
//! Another program may write to the collection or table of a store. Listings skip entries that are
//! not purchases. Each such entry is logged once and counted, so that an operator learns that
//! listings are incomplete.

use std::collections::HashSet;
use std::fmt::Display;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use shop_core::Invalid;

/// The maximum number of distinct entries that are remembered. Further entries are neither logged
/// nor counted.
const MAX_LOGGED: usize = 10_000;

/// The reason why a document or a row is not a purchase.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{member} {problem}")]
pub struct Unreadable {
    /// The name of the member of the document, or of the column, that is not valid.
    member: &'static str,
    /// The problem with the value, which follows the name of the member in the message.
    problem: String,
}

/// Creates the reason that `member` of a document or a row has a `problem`.
pub(crate) fn unreadable(member: &'static str, problem: impl Display) -> Unreadable {
    Unreadable {
        member,
        problem: problem.to_string(),
    }
}

/// Returns a function for `map_err` that converts a validation error to an [`Unreadable`] about
/// `member`.
pub fn not_valid(member: &'static str) -> impl FnOnce(Invalid) -> Unreadable {
    move |invalid| unreadable(member, invalid.reason())
}

/// The entries found so far that are not purchases.
#[derive(Debug, Default)]
pub(crate) struct Unreadables {
    /// The hashes of the ids of the entries that were logged.
    logged_hashes: Mutex<HashSet<u64>>,
    /// The number of entries, which metrics read.
    pub(crate) count: Arc<AtomicU64>,
}

impl Unreadables {
    /// Logs and counts the entry with `id`, unless it was logged before or the maximum is reached.
    ///
    /// `entry_word` is the word for the entry in the diagnostic log, `document` or `row`.
    pub(crate) fn record(&self, entry_word: &str, id: &str, error: impl Display) {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);

        let mut logged_hashes = self
            .logged_hashes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if logged_hashes.len() >= MAX_LOGGED {
            return;
        }
        let is_new = logged_hashes.insert(hasher.finish());
        if !is_new {
            return;
        }

        self.count
            .store(logged_hashes.len() as u64, Ordering::Relaxed);
        tracing::warn!(document.id = %id, %error, "{entry_word} skipped in listings and totals: not a purchase");
        if logged_hashes.len() == MAX_LOGGED {
            tracing::warn!(
                "further unreadable {entry_word}s are not logged: `management doctor` lists all of them"
            );
        }
    }
}
