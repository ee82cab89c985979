//! Finds the layout of a CSV file, which is its delimiter and its columns, from its first line.

use std::io::{BufRead, BufReader, Read};

use serde::Serialize;

use super::input::DecodedInput;
use super::layout::{ColumnNames, Delimiter, read_cells};
use super::row::COLUMNS;
use super::{Import, MAX_ROW_BYTES, unreadable_file};
use crate::{Error, ErrorKind, Result};

/// The columns that a file must have.
const REQUIRED_COLUMNS: [&str; 3] = ["username", "userid", "price"];
/// The columns of the files of rejected rows that earlier versions of the console saved.
const REJECTED_ROW_COLUMNS: [&str; 2] = ["line", "problem"];

/// The layout of a CSV file, as its first line states it.
#[derive(Debug)]
pub(super) struct CsvLayout {
    pub(super) delimiter: Delimiter,
    /// The columns of the file, in their order.
    pub(super) columns: Vec<FileColumn>,
    /// The number of lines before the first row.
    pub(super) line_count: u64,
}

/// A column of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileColumn {
    /// The name of the column.
    pub column: String,
    /// The member of a purchase that the column contains; `None` if the column is not read.
    pub member: Option<&'static str>,
}

impl CsvLayout {
    /// Reads the first line that is not blank, which names the columns.
    ///
    /// # Errors
    /// - [`Invalid`](ErrorKind::Invalid) if the file is empty or not CSV, if a required column is
    ///   missing, or if a column is unknown or there twice
    /// - [`Internal`](ErrorKind::Internal) if the file cannot be read
    pub(super) fn read(
        input: &mut BufReader<DecodedInput<impl Read>>,
        import: &Import,
    ) -> Result<Self> {
        let mut line_count = 0;
        let mut given_delimiter = import.delimiter;
        let header_line = loop {
            let (bytes, lines_read) = read_logical_line(input)?;
            if bytes.is_empty() {
                return Err(invalid_file(
                    "the file is empty: its first line names the columns",
                ));
            }
            if line_count == 0 {
                check_format(&bytes)?;
            }
            line_count += lines_read;

            let line = String::from_utf8(bytes).map_err(|_no_text| {
                invalid_file("the file is not in UTF-8: name its encoding, such as windows-1252")
            })?;
            // Excel writes and reads a line `sep=;` in front of the columns, which names the
            // delimiter.
            if let Some(separator) = line.trim_end().strip_prefix("sep=") {
                given_delimiter = given_delimiter.or_else(|| separator.parse().ok());
            } else if !line.trim().is_empty() {
                break line;
            }
        };

        let (delimiter, columns) = detect_columns(&header_line, given_delimiter, &import.columns)?;
        Ok(Self {
            delimiter,
            columns,
            line_count,
        })
    }
}

/// Reads a line, and further lines while a quote is open. Returns the text and the number of lines.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) if the text is longer than [`MAX_ROW_BYTES`], and
/// [`Internal`](ErrorKind::Internal) if the file cannot be read.
fn read_logical_line(input: &mut BufReader<DecodedInput<impl Read>>) -> Result<(Vec<u8>, u64)> {
    let mut text = Vec::new();
    let mut lines = 0;
    loop {
        let limit = (MAX_ROW_BYTES + 1 - text.len()) as u64;
        let bytes_read = input
            .by_ref()
            .take(limit)
            .read_until(b'\n', &mut text)
            .map_err(unreadable_file)?;
        if text.len() > MAX_ROW_BYTES {
            check_format(&text)?;
            return Err(invalid_file(format!(
                "the first line has more than {MAX_ROW_BYTES} bytes: it names the columns"
            )));
        }

        lines += 1;
        // An odd number of quotes means that a quote is open, so the name of a column continues in
        // the next line.
        let quotes = text.iter().filter(|byte| **byte == b'"').count();
        if quotes % 2 == 0 || bytes_read == 0 {
            return Ok((text, lines));
        }
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

    let format = if start.starts_with(ZIP) {
        "a ZIP archive, such as an Excel workbook: save it as CSV"
    } else if start.starts_with(GZIP) {
        "compressed by gzip: decompress it"
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

/// Returns the delimiter of the first line `text`, and the columns that the line names.
///
/// `given` is the delimiter that the caller or the file named.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) if another delimiter than the given one fits better, and the
/// errors of [`assign_members`].
fn detect_columns(
    text: &str,
    given: Option<Delimiter>,
    mapping: &ColumnNames,
) -> Result<(Delimiter, Vec<FileColumn>)> {
    // The likely delimiter is the one that leads to the most known members, and then to the most
    // columns. `max_by_key` returns the last maximum, so the reversed order prefers the first
    // delimiter.
    let likely = Delimiter::ALL
        .into_iter()
        .rev()
        .max_by_key(|delimiter| {
            let names = split_columns(text, *delimiter);
            (count_members(&names, mapping), names.len())
        })
        .unwrap_or(Delimiter::ALL[0]);

    let delimiter = given.unwrap_or(likely);
    let names = split_columns(text, delimiter);
    let likely_names = split_columns(text, likely);
    if count_members(&names, mapping) < count_members(&likely_names, mapping) {
        return Err(invalid_file(format!(
            "the columns are separated by {likely}, and not by {delimiter}"
        )));
    }
    Ok((delimiter, assign_members(&names, mapping)?))
}

/// Returns the names of the columns in the first line `text`, or no names if it is not CSV.
fn split_columns(text: &str, delimiter: Delimiter) -> Vec<String> {
    let cells = read_cells(text, delimiter).unwrap_or_default();
    cells.iter().map(|cell| cell.trim().to_owned()).collect()
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
    for (member, column) in &mapping.0 {
        if !names.contains(column) {
            let names = names.join(", ");
            return Err(invalid_file(format!(
                "the column {column:?} of {member} is missing in the first line, which has: {names}"
            )));
        }
    }
    for (index, name) in names.iter().enumerate() {
        if !name.is_empty() && names[..index].contains(name) {
            return Err(invalid_file(format!(
                "the column {name:?} is there twice: remove one of them"
            )));
        }
    }
    for required in REQUIRED_COLUMNS {
        let mut members = names.iter().filter_map(|name| mapping.member_of(name));
        if !members.any(|member| member == required) {
            let names = names.join(", ");
            return Err(invalid_file(format!(
                "the column {required:?} is missing in the first line, which has: {names}; name it by columns: {required}=NAME"
            )));
        }
    }

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

/// Returns the error of a file that is not in the expected format.
fn invalid_file(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::RowFormat;

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
            (&semicolons, b"username,userid,price\n", "separated by ,"),
            (
                &total,
                b"username,userid,Sum\n",
                "\"Total\" of price is missing",
            ),
        ] {
            let input = DecodedInput::new(file, import.encoding, 1 << 20);
            let error = CsvLayout::read(&mut BufReader::new(input), import).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(says), "{says}: {error}");
        }
    }
}
