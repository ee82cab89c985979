//! Finds the delimiter of a CSV file and the members of its columns, from the line that names the
//! columns.

use std::io::Read;

use serde::Serialize;

use super::columns::COLUMNS;
use super::csv_input::CsvInput;
use super::layout::{ColumnNames, Delimiter, csv_reader};
use super::row_filter::RowFilter;
use super::{Import, MAX_ROW_BYTES, unreadable_file};
use shop_core::{Error, ErrorKind, Result};

/// The columns that a file must have.
const REQUIRED_COLUMNS: [&str; 3] = ["username", "userid", "price"];
/// The additional columns in the files of rejected rows that earlier versions of the console saved.
/// They are ignored.
const REJECTED_ROW_COLUMNS: [&str; 2] = ["line", "problem"];

/// A column of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileColumn {
    /// The name of the column.
    pub column: String,
    /// The member of a purchase that the column contains; `None` if the column is not read.
    pub member: Option<&'static str>,
}

/// Takes the lines of `input` before the line that names the columns, and finds the delimiter of
/// this line.
///
/// # Errors
/// - [`Invalid`](ErrorKind::Invalid) if the file is empty or not CSV, or if another delimiter than
///   the named one fits better
/// - [`Internal`](ErrorKind::Internal) if the file cannot be read
pub(super) fn find_delimiter(
    input: &mut CsvInput<impl Read>,
    import: &Import,
) -> Result<Delimiter> {
    check_format(input.peek_line().map_err(unreadable_file)?)?;
    skip_lines(input, import.skip_lines)?;
    skip_blank_lines(input)?;

    // Excel writes and reads a line `sep=;` in front of the columns, which names the delimiter.
    let line = input.peek_line().map_err(unreadable_file)?;
    let excel_delimiter = line
        .trim_ascii_end()
        .strip_prefix(b"sep=")
        .map(|name| String::from_utf8_lossy(name).into_owned());
    if excel_delimiter.is_some() {
        let length = line.len();
        input.take(length);
        skip_blank_lines(input)?;
    }

    // A name that is no delimiter is ignored, and the likely delimiter is chosen.
    let named_delimiter = import
        .delimiter
        .or(excel_delimiter.and_then(|name| name.parse().ok()));
    let start = input.peek(MAX_ROW_BYTES).map_err(unreadable_file)?;
    if start.is_empty() {
        return Err(invalid_file(
            "the file is empty: its first line names the columns",
        ));
    }
    choose_delimiter(start, named_delimiter, &import.columns)
}

/// Takes the first `count` lines of `input`, which are no part of the table.
fn skip_lines(input: &mut CsvInput<impl Read>, count: u64) -> Result<()> {
    for _ in 0..count {
        let length = input.peek_line().map_err(unreadable_file)?.len();
        input.take(length);
    }
    Ok(())
}

/// Returns the index of the column of `filter`.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) if the column is missing.
pub(super) fn find_filter_column(columns: &[FileColumn], filter: &RowFilter) -> Result<usize> {
    let has_name = |column: &FileColumn| column.column == filter.column;
    columns.iter().position(has_name).ok_or_else(|| {
        let names: Vec<&str> = columns.iter().map(|column| &*column.column).collect();
        invalid_file(format!(
            "the column {:?} of only is missing in the first line, which has: {}",
            filter.column,
            names.join(", ")
        ))
    })
}

/// Takes the lines of `input` that contain only white space, up to the first line with text.
fn skip_blank_lines(input: &mut CsvInput<impl Read>) -> Result<()> {
    loop {
        let line = input.peek_line().map_err(unreadable_file)?;
        let is_end_of_file = line.is_empty();
        let has_text = !line.trim_ascii().is_empty();
        if is_end_of_file || has_text {
            return Ok(());
        }
        let length = line.len();
        input.take(length);
    }
}

/// Checks that the `start` of a file does not look like another format than CSV.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) with the name of the format, such as a ZIP archive, and the way
/// to import it.
fn check_format(start: &[u8]) -> Result<()> {
    const ZIP: &[u8] = b"PK\x03\x04";
    const GZIP: &[u8] = &[0x1f, 0x8b];
    const OLD_OFFICE: &[u8] = &[0xd0, 0xcf, 0x11, 0xe0];

    let format = if start.starts_with(ZIP) {
        "a ZIP archive, such as an Excel workbook: save it as CSV"
    } else if start.starts_with(GZIP) {
        "compressed by gzip: decompress it"
    } else if start.starts_with(OLD_OFFICE) {
        "an old Excel workbook: save it as CSV"
    } else if start.starts_with(b"%PDF-") {
        "a PDF: export the table as CSV"
    } else if start.contains(&0) {
        "in UTF-16 without a byte order mark: name its encoding, utf-16le or utf-16be"
    } else if start.trim_ascii_start().starts_with(b"{") {
        "JSON: name its format, ndjson"
    } else if start.trim_ascii_start().starts_with(b"<") {
        "HTML or XML: save it as CSV"
    } else {
        return Ok(());
    };
    Err(invalid_file(format!("the file is {format}")))
}

/// Returns the delimiter of the file. `start` is the beginning of its text, with the line that names
/// the columns.
///
/// `named_delimiter` is the delimiter that the caller or the file named.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) if another delimiter than the named one fits better.
fn choose_delimiter(
    start: &[u8],
    named_delimiter: Option<Delimiter>,
    mapping: &ColumnNames,
) -> Result<Delimiter> {
    // The likely delimiter is the one that leads to the most known members, and then to the most
    // columns. `max_by_key` returns the last maximum, so the reversed order prefers the first
    // delimiter.
    let likely_delimiter = Delimiter::ALL
        .into_iter()
        .rev()
        .max_by_key(|delimiter| {
            let names = read_names(start, *delimiter);
            (count_members(&names, mapping), names.len())
        })
        .unwrap_or(Delimiter::ALL[0]);

    let delimiter = named_delimiter.unwrap_or(likely_delimiter);
    let member_count = count_members(&read_names(start, delimiter), mapping);
    let likely_member_count = count_members(&read_names(start, likely_delimiter), mapping);
    if member_count < likely_member_count {
        return Err(invalid_file(format!(
            "the columns are separated by {likely_delimiter}, and not by {delimiter}"
        )));
    }
    Ok(delimiter)
}

/// Returns the names of the columns in the first record of `start`, if this delimiter separates
/// them. Returns no names if the record cannot be read.
fn read_names(start: &[u8], delimiter: Delimiter) -> Vec<String> {
    let mut record = csv::ByteRecord::new();
    let read_result = csv_reader(start, delimiter).read_byte_record(&mut record);
    if read_result.is_err() {
        return Vec::new();
    }
    let cells = record.iter().map(String::from_utf8_lossy);
    cells.map(|cell| cell.trim().to_owned()).collect()
}

/// Returns the columns of a file. `record` is the first record of the file, which names the columns.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) if the names are too long or not in UTF-8, and the errors of
/// [`assign_members`].
pub(super) fn read_columns(
    record: &csv::ByteRecord,
    mapping: &ColumnNames,
) -> Result<Vec<FileColumn>> {
    if record.as_slice().len() > MAX_ROW_BYTES {
        return Err(invalid_file(format!(
            "the first line has more than {MAX_ROW_BYTES} bytes: it names the columns"
        )));
    }
    let mut names = Vec::with_capacity(record.len());
    for cell in record {
        let name = str::from_utf8(cell).map_err(|_no_text| {
            invalid_file("the file is not in UTF-8: name its encoding, such as windows-1252")
        })?;
        names.push(name.trim().to_owned());
    }
    assign_members(&names, mapping)
}

/// Returns the number of columns that contain a member of a purchase.
fn count_members(names: &[String], mapping: &ColumnNames) -> usize {
    names
        .iter()
        .filter_map(|name| mapping.member_of(name))
        .count()
}

/// Assigns a member of a purchase to each column name, or `None` for a column that is not read.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) if a mapped or a required column is missing, if a name is there
/// twice, or if a column is unknown in a file without a mapping.
fn assign_members(names: &[String], mapping: &ColumnNames) -> Result<Vec<FileColumn>> {
    require_mapped_columns(names, mapping)?;
    require_different_names(names)?;
    require_members(names, mapping)?;

    let mut columns = Vec::with_capacity(names.len());
    for name in names {
        let member = mapping.member_of(name);
        // A file whose columns are mapped is from another system, so it may contain columns that
        // are not read.
        let may_be_ignored = !mapping.0.is_empty()
            || name.is_empty()
            || REJECTED_ROW_COLUMNS.contains(&name.as_str());
        if member.is_none() && !may_be_ignored {
            return Err(invalid_file(format!(
                "the column {name:?} is unknown: there are {}",
                COLUMNS.join(", ")
            )));
        }
        columns.push(FileColumn {
            column: name.clone(),
            member,
        });
    }
    Ok(columns)
}

/// Checks that all columns of `mapping` are among the `names`.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) for the first missing column.
fn require_mapped_columns(names: &[String], mapping: &ColumnNames) -> Result<()> {
    for (member, column) in &mapping.0 {
        if !names.contains(column) {
            let names = names.join(", ");
            return Err(invalid_file(format!(
                "the column {column:?} of {member} is missing in the first line, which has: {names}"
            )));
        }
    }
    Ok(())
}

/// Checks that no two columns have the same name. Several columns may have an empty name.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) for the first repeated name.
fn require_different_names(names: &[String]) -> Result<()> {
    for (index, name) in names.iter().enumerate() {
        if !name.is_empty() && names[..index].contains(name) {
            return Err(invalid_file(format!(
                "the column {name:?} is there twice: remove one of them"
            )));
        }
    }
    Ok(())
}

/// Checks that there is a column for each member that every row needs.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) for the first missing member.
fn require_members(names: &[String], mapping: &ColumnNames) -> Result<()> {
    for required_member in REQUIRED_COLUMNS {
        let mut members = names.iter().filter_map(|name| mapping.member_of(name));
        if !members.any(|member| member == required_member) {
            let names = names.join(", ");
            return Err(invalid_file(format!(
                "the column {required_member:?} is missing in the first line, which has: {names}; name it by columns: {required_member}=NAME"
            )));
        }
    }
    Ok(())
}

/// Returns the error of a file that is not in the expected format.
pub(super) fn invalid_file(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::RowFormat;

    #[test]
    fn another_file_is_refused_by_what_it_is() {
        let utf_16: Vec<u8> = "username,userid,price\n"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let csv = Import::new(RowFormat::Csv);
        let semicolons = csv.clone().delimiter(Some(";".parse().unwrap()));
        let total = csv.clone().columns("price=Total".parse().unwrap());
        for (import, file, says) in [
            (&csv, &b"PK\x03\x04\n"[..], "Excel workbook"),
            (&csv, &[0x1f, 0x8b, 8, 0], "gzip"),
            (&csv, &utf_16, "UTF-16 without a byte order mark"),
            (&csv, b"usern\xe4me,userid,price\n", "windows-1252"),
            (
                &csv,
                b"sep=;\nsep=;\nusername;userid;price\n",
                "\"username\" is missing",
            ),
            (
                &csv,
                b"username,userid,price,\"item\n",
                "the first line has a quote that is not closed",
            ),
            (
                &csv,
                b"username,userid,price,\"item\"s\n",
                "the first line has text behind a closing quote",
            ),
            (&semicolons, b"username,userid,price\n", "separated by ,"),
            (
                &total,
                b"username,userid,Sum\n",
                "\"Total\" of price is missing",
            ),
        ] {
            let error = import.preview(file).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(says), "{says}: {error}");
        }
    }
}
