//! The rows of a file, and the port through which an import reads them.

use std::collections::BTreeMap;

use crate::domain::Reference;
use crate::{Purchase, Result, Uuid};

/// The size of the values of a batch in bytes at which a [`RowSource`] ends the batch.
///
/// It bounds the memory of an import of long rows. The values of 65,536 rows of usual length have
/// about this size.
pub const MAX_BATCH_BYTES: usize = 4 << 20;

/// An entry of a file: the purchase or refund that a row states, or the reason why the row is not
/// valid.
///
/// A row that states a purchase and its refund has two entries, with the same line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportRow {
    /// The line in which the row starts, from 1.
    pub line: u64,
    /// The purchase or refund, or the reason why the row is not valid, in words.
    pub purchase: Result<Purchase, String>,
    /// The reference of the refunded purchase, if `purchase` is a refund that does not know the id
    /// of its purchase yet. The import looks the purchase up, and replaces the id of the refund.
    pub refunded_reference: Option<Reference>,
}

impl ImportRow {
    /// Creates an entry that does not depend on another purchase.
    #[must_use]
    pub const fn new(line: u64, purchase: Result<Purchase, String>) -> Self {
        Self {
            line,
            purchase,
            refunded_reference: None,
        }
    }
}

/// What a store keeps about an imported file: by what it recognizes the file, and how the rows of
/// the file were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileIdentity {
    /// A digest of the beginning of the file.
    pub digest: Uuid,
    /// The options that decide what a row means, by their names. Options that are not set are left
    /// out.
    pub reading: BTreeMap<String, String>,
}

/// The rows of a file, in their order.
///
/// [`Shop::import`](crate::Shop::import) reads one batch after the other, each on a thread for
/// blocking work, while it publishes the batch before. `shop-api` has a source for files of CSV and
/// NDJSON.
pub trait RowSource: Send + 'static {
    /// Returns the identity of the file, which does not change.
    fn identity(&self) -> &FileIdentity;

    /// Returns the next rows of the file: at least one, and about `max_rows` at most. Returns no rows
    /// at the end of the file.
    ///
    /// The batch ends earlier once the values of its rows have [`MAX_BATCH_BYTES`].
    ///
    /// # Errors
    /// The error of a place at which the file cannot be read. The rows before this place are returned
    /// first, by an earlier call, and are imported.
    fn next_batch(&mut self, max_rows: usize) -> Result<Vec<ImportRow>>;

    /// Returns the columns of the file that are not read, for the report.
    fn ignored_columns(&self) -> &[String] {
        &[]
    }

    /// Returns the number of rows that were excluded by a filter so far, for the report.
    fn excluded_rows(&self) -> u64 {
        0
    }

    /// Returns the line of the last row if it does not end with a line end, so that the file may
    /// have been cut off there. Called at the end of the file.
    fn unterminated_line(&self) -> Option<u64> {
        None
    }
}
