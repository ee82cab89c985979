//! The identity of a file, by which a store recognizes a file that was imported before, and the
//! options that the file was read with: see [`FileIdentity`](shop_core::import::FileIdentity).
//!
//! A file is recognized by a digest of its first [`START_BYTES`]. These bytes are in memory before
//! the first row is imported, also if the file is standard input. And a file to which rows were
//! appended is still recognized, so that its first rows are not stored a second time with other
//! options.

use std::collections::BTreeMap;
use std::io::{Chain, Cursor, Read};

use shop_core::{Result, Uuid};

use super::header::FileColumn;
use super::layout::TextEncoding;
use super::{Import, MAX_ROW_BYTES, RowFormat, unreadable_file};

/// The number of bytes at the beginning of a file by which the file is recognized. They contain at
/// least one row, because a row is not longer.
const START_BYTES: usize = MAX_ROW_BYTES;

/// A file whose first bytes were read into memory, and that is still read from its beginning.
pub(super) type StartedFile<R> = Chain<Cursor<Vec<u8>>, R>;

/// Reads the first [`START_BYTES`] of `file`, and returns their digest and the whole file.
///
/// # Errors
/// [`Internal`](shop_core::ErrorKind::Internal) if the file cannot be read.
pub(super) fn read_start<R: Read>(mut file: R) -> Result<(Uuid, StartedFile<R>)> {
    let mut start = Vec::new();
    file.by_ref()
        .take(START_BYTES as u64)
        .read_to_end(&mut start)
        .map_err(unreadable_file)?;
    let digest = Uuid::new_v5(&Uuid::NAMESPACE_OID, &start);
    Ok((digest, Cursor::new(start).chain(file)))
}

/// Returns the options of `import` that decide what a row means, by their names. Two imports with
/// the same result read a file in the same way. Options that are not set are left out.
///
/// `columns` are the columns of the file, which are none for NDJSON. The result contains the columns
/// in place of the option: naming a column that has the name of its member anyway changes nothing.
///
/// The result contains neither the delimiter nor the filter of rows. With another delimiter, no
/// column would be found. The filter decides which rows are imported, and not what they mean.
pub(super) fn meaning_options(import: &Import, columns: &[FileColumn]) -> BTreeMap<String, String> {
    let mut options = BTreeMap::new();
    let mut insert_if_set = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            options.insert(name.to_owned(), value);
        }
    };

    let format = match import.format {
        RowFormat::Csv => "csv",
        RowFormat::Ndjson => "ndjson",
    };
    insert_if_set("format", Some(format.to_owned()));
    let column_list = Some(list_read_columns(columns)).filter(|list| !list.is_empty());
    insert_if_set("columns", column_list);
    let encoding = import.encoding.and_then(TextEncoding::name_unless_utf_8);
    insert_if_set("encoding", encoding);
    let decimal_comma = import.decimal_comma.then(|| "true".to_owned());
    insert_if_set("decimal_comma", decimal_comma);
    insert_if_set("thousands", text_of(import.thousands.as_ref()));
    insert_if_set("currency_sign", text_of(import.currency_sign.as_ref()));
    insert_if_set("time_zone", text_of(import.time_zone.as_ref()));
    insert_if_set("time_pattern", text_of(import.time_pattern.as_ref()));
    let abbreviations = Some(&import.zone_abbreviations).filter(|table| !table.is_empty());
    insert_if_set("zone_abbreviations", text_of(abbreviations));
    options
}

/// Returns the text of an option, if it is set.
fn text_of(option: Option<&impl ToString>) -> Option<String> {
    option.map(ToString::to_string)
}

/// Returns the columns that are read, as `price=Total, userid=Customer ID`, in the order of the
/// members.
fn list_read_columns(columns: &[FileColumn]) -> String {
    let mut pairs: Vec<String> = columns
        .iter()
        .filter_map(|column| Some(format!("{}={}", column.member?, column.column)))
        .collect();
    pairs.sort();
    pairs.join(", ")
}
