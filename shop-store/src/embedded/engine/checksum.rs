//! Checksums of rows, by which a row that changed on the disk is recognized and not served.
//!
//! A row stores the checksum of its values in a column behind them.

use std::ops::Range;

use rapidhash::v3::rapidhash_v3;
use rusqlite::types::{Type, ValueRef};
use rusqlite::{Error, Row};

/// The length in bytes up to which the values of a row are hashed at once.
const BUFFER_BYTES: usize = 192;

/// A buffer of the values of a row, which are hashed together.
struct HashBuffer {
    bytes: [u8; BUFFER_BYTES],
    length: usize,
}

impl HashBuffer {
    /// Appends `part` to the buffer, or [replaces](Self::replace) the content if `part` does not
    /// fit.
    // This is inlined, because the length of most parts is known at compile time.
    #[inline]
    fn add(&mut self, part: &[u8]) {
        let end = self.length + part.len();
        let Some(room) = self.bytes.get_mut(self.length..end) else {
            return self.replace(part);
        };
        room.copy_from_slice(part);
        self.length = end;
    }

    /// Replaces the content of the buffer by two hashes: the hash of the content, and the hash of
    /// the `part` that does not fit.
    #[cold]
    fn replace(&mut self, part: &[u8]) {
        let hashes =
            [rapidhash_v3(&self.bytes[..self.length]), rapidhash_v3(part)].map(u64::to_le_bytes);
        self.length = 0;
        hashes.iter().for_each(|hash| self.add(hash));
    }
}

/// Returns the checksum of `seed` and the values of a row. The seed is the checksum of values that
/// belong to the row and are stored elsewhere, or 0.
pub(in crate::embedded) fn checksum<'a>(
    seed: u32,
    values: impl IntoIterator<Item = ValueRef<'a>>,
) -> u32 {
    let mut buffer = HashBuffer {
        bytes: [0; BUFFER_BYTES],
        length: 0,
    };
    buffer.add(&seed.to_le_bytes());
    for value in values {
        match value {
            ValueRef::Null => buffer.add(&[0]),
            ValueRef::Integer(number) => buffer.add(&number.to_le_bytes()),
            ValueRef::Real(number) => buffer.add(&number.to_le_bytes()),
            ValueRef::Text(text) => {
                buffer.add(text);
                buffer.add(&text.len().to_le_bytes());
            }
            // One bit in the header of a row makes a text a blob with the same bytes, so the two are
            // hashed differently.
            ValueRef::Blob(bytes) => {
                buffer.add(bytes);
                buffer.add(&(!bytes.len()).to_le_bytes());
            }
        }
    }
    let [a, b, c, d, ..] = rapidhash_v3(&buffer.bytes[..buffer.length]).to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Compares the checksum of `seed` and the values in `columns` of a row with the checksum in the
/// column after them.
///
/// # Errors
/// `FromSqlConversionFailure` if they differ.
pub(in crate::embedded) fn verify_columns(
    row: &Row<'_>,
    seed: u32,
    columns: Range<usize>,
) -> rusqlite::Result<()> {
    verify_values(
        row,
        columns.end,
        seed,
        columns.map(|column| row.get_ref_unwrap(column)),
    )
}

/// Compares the checksum of `seed` and `values` with the checksum in `column` of a row.
///
/// # Errors
/// `FromSqlConversionFailure` if they differ.
pub(in crate::embedded) fn verify_values<'a>(
    row: &Row<'_>,
    column: usize,
    seed: u32,
    values: impl IntoIterator<Item = ValueRef<'a>>,
) -> rusqlite::Result<()> {
    match row.get_ref(column)? {
        ValueRef::Integer(stored) if stored == i64::from(checksum(seed, values)) => Ok(()),
        _ => Err(changed_row_error(column)),
    }
}

/// Returns the error of a row whose checksum, in `column`, does not match its values.
pub(in crate::embedded) fn changed_row_error(column: usize) -> Error {
    let message = "does not match: the row has changed on the disk";
    Error::FromSqlConversionFailure(column, Type::Integer, message.into())
}

/// Checks that the `key` in the first column of a row is greater than the `last` key.
///
/// A scan continues behind the key of its last row. If a damaged row had an earlier key, the scan
/// would never end.
///
/// # Errors
/// `FromSqlConversionFailure` if the key is not greater.
pub(in crate::embedded) fn check_ascending<K: PartialOrd>(
    key: &K,
    last: Option<&K>,
) -> rusqlite::Result<()> {
    if last.is_none_or(|last| last < key) {
        return Ok(());
    }
    let message = "is out of order: a row has changed on the disk";
    Err(Error::FromSqlConversionFailure(
        0,
        Type::Integer,
        message.into(),
    ))
}

#[cfg(test)]
mod tests {
    use rusqlite::types::ValueRef::{Integer, Text};

    use super::*;
    use crate::embedded::schema::SHOP;

    #[test]
    fn the_rows_of_a_new_file_have_their_checksums() {
        let buyer = checksum(0, [Integer(0), Text(b""), Text(b"")]);
        let watermark = checksum(0, [Integer(1), Integer(0), Integer(0), Text(b"")]);
        let statements = SHOP.migrations.concat().concat();
        for row in [
            format!("VALUES (0, '', '', {buyer})"),
            format!("VALUES (1, 0, 0, '', {watermark})"),
        ] {
            assert!(statements.contains(&row), "{row}");
        }
    }
}
