//! Checksums of rows: a row that has changed on the disk is not served.
//!
//! Rows that an earlier version wrote have none and are not checked.

use std::ops::Range;

use rapidhash::v3::rapidhash_v3;
use rusqlite::types::{Type, ValueRef};
use rusqlite::{Error, Row};
use smallvec::SmallVec;

/// A hash of a row's values, behind `seed`. Values of a usual length are not allocated.
pub(super) fn checksum<'a>(seed: u32, values: impl IntoIterator<Item = ValueRef<'a>>) -> u32 {
    let mut bytes: SmallVec<[u8; 192]> = SmallVec::new();
    bytes.extend_from_slice(&seed.to_le_bytes());
    for value in values {
        match value {
            ValueRef::Null => bytes.push(0),
            ValueRef::Integer(number) => bytes.extend_from_slice(&number.to_le_bytes()),
            ValueRef::Real(number) => bytes.extend_from_slice(&number.to_le_bytes()),
            ValueRef::Text(text) | ValueRef::Blob(text) => {
                bytes.extend_from_slice(text);
                bytes.extend_from_slice(&text.len().to_le_bytes());
            }
        }
    }
    let [a, b, c, d, ..] = rapidhash_v3(&bytes).to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Compares the values in `columns` with the checksum in the column after them.
pub(super) fn check(row: &Row<'_>, seed: u32, columns: Range<usize>) -> rusqlite::Result<()> {
    let column = columns.end;
    let written: Option<u32> = row.get(column)?;
    let values = columns.map(|column| row.get_ref_unwrap(column));
    match written {
        Some(written) if written != checksum(seed, values) => Err(changed(column)),
        _ => Ok(()),
    }
}

/// The error of a row whose checksum, in `column`, does not match.
pub(super) fn changed(column: usize) -> Error {
    let message = "does not match: the row has changed on the disk";
    Error::FromSqlConversionFailure(column, Type::Integer, message.into())
}

/// Checks that the key in the first column follows the `last` one. To read on from an earlier one would never end.
pub(super) fn ascending<K: PartialOrd>(key: &K, last: Option<&K>) -> rusqlite::Result<()> {
    let message = "is out of order: a row has changed on the disk";
    let is_next = last.is_none_or(|last| last < key);
    if is_next { Ok(()) } else { Err(Error::FromSqlConversionFailure(0, Type::Integer, message.into())) }
}
