//! The columns of a file.

use shop_core::Details;

/// The columns of a CSV file, which are also the members of an NDJSON object: the columns of an
/// export, and `key`.
pub(super) const COLUMNS: [&str; LEADING_COLUMNS.len() + Details::COLUMNS.len() + 1] =
    Details::columns_after(LEADING_COLUMNS);
/// The columns in front of the details and of `more`.
pub(super) const LEADING_COLUMNS: [&str; 7] = [
    "id",
    "key",
    "username",
    "userid",
    "price",
    "refunded",
    "timestamp",
];

/// The values of a row in the order of [`COLUMNS`], with `None` for an empty value.
pub(super) type RowValues = [Option<String>; COLUMNS.len()];
