//! What a removal of purchases has left behind: the entries that it could not remove.
//!
//! A removal continues behind an entry that it cannot remove, such as a row that the disk has
//! changed, and reports the entry as *left*. [`Removed`] is the result of one call of a port. The
//! report of a whole erasure, and the log line of a retention, name the [`LeftEntries`].

use std::fmt;

use serde::Serialize;

use super::UnreadableEntry;

/// The result of a call of [`PurchaseErase`](super::PurchaseErase): the entries that it removed,
/// and the entries that it met and could not remove.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Removed {
    /// The number of removed entries.
    pub count: u64,
    /// The entries that the call met and could not remove. The next call meets them again.
    pub left: LeftEntries,
}

impl Removed {
    /// Creates the result of a call that removed `count` entries, and left `left`.
    #[must_use]
    pub const fn new(count: u64, left: LeftEntries) -> Self {
        Self { count, left }
    }
}

impl From<u64> for Removed {
    /// Creates the result of a call that removed `count` entries, and left none.
    fn from(count: u64) -> Self {
        Self::new(count, LeftEntries::default())
    }
}

/// The maximum number of entries that are named.
const MAX_NAMED: usize = 20;

/// The entries that a removal could not remove: their number, and the names of the first 20.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct LeftEntries {
    /// The number of entries.
    pub count: u64,
    /// The first 20 entries, with the reason why each was not removed.
    pub named: Vec<UnreadableEntry>,
}

impl LeftEntries {
    /// Adds an entry that was not removed.
    pub fn add(&mut self, entry: UnreadableEntry) {
        self.count += 1;
        if self.named.len() < MAX_NAMED {
            self.named.push(entry);
        }
    }

    /// Returns whether nothing was left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// A line for each named entry, and one with the number of the others.
impl fmt::Display for LeftEntries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, UnreadableEntry { id, reason }) in self.named.iter().enumerate() {
            let line_break = if index > 0 { "\n" } else { "" };
            write!(f, "{line_break}left: {id}: {reason}")?;
        }
        let unnamed = self.count - self.named.len() as u64;
        if unnamed > 0 {
            write!(f, "\nleft: {unnamed} more")?;
        }
        Ok(())
    }
}
