//! Finds the layout of a CSV file, which is its delimiter and its columns, from its first line.

use std::io::{BufRead, BufReader, Read};

use serde::Serialize;

use super::input::DecodedInput;
use super::layout::{ColumnNames, Delimiter, read_cells};
use super::row::COLUMNS;
use super::{Import, MAX_ROW, unreadable};
use crate::{Error, ErrorKind, Result};

/// The columns that a file must have.
const NEEDED: [&str; 3] = ["username", "userid", "price"];
/// The columns of the files of rejected rows that earlier versions of the console have saved.
const OF_REJECTED_ROWS: [&str; 2] = ["line", "problem"];

/// The layout of a CSV file, as its first line states it.
#[derive(Debug)]
pub(super) struct CsvLayout {
    pub(super) delimiter: Delimiter,
    /// The columns of the file, in their order.
    pub(super) columns: Vec<FileColumn>,
    /// The number of lines before the first row.
    pub(super) lines: u64,
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
    /// - [`Invalid`](ErrorKind::Invalid) if the file is empty or not CSV, if a needed column is
    ///   missing, or if a column is unknown or there twice
    /// - [`Internal`](ErrorKind::Internal) if the file cannot be read
    pub(super) fn read(
        input: &mut BufReader<DecodedInput<impl Read>>,
        import: &Import,
    ) -> Result<Self> {
        let mut lines = 0;
        let mut separator = import.delimiter;
        let text = loop {
            let (text, lines_of_text) = read_logical_line(input)?;
            if text.is_empty() {
                return Err(invalid(
                    "the file is empty: its first line names the columns",
                ));
            }
            if lines == 0 {
                check_format(&text)?;
            }
            lines += lines_of_text;
            let text = String::from_utf8(text).map_err(|_no_text| {
                invalid("the file is not in UTF-8: name its encoding, such as windows-1252")
            })?;
            // Excel writes and reads a line `sep=;` in front of the columns, which names the
            // delimiter.
            if let Some(named) = text.trim_end().strip_prefix("sep=") {
                separator = separator.or_else(|| named.parse().ok());
            } else if !text.trim().is_empty() {
                break text;
            }
        };
        let (delimiter, columns) = columns(&text, separator, &import.columns)?;
        Ok(Self {
            delimiter,
            columns,
            lines,
        })
    }
}

/// Reads a line, and further lines while a quote is open. Returns the text and the number of lines.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) if the text is longer than [`MAX_ROW`], and
/// [`Internal`](ErrorKind::Internal) if the file cannot be read.
fn read_logical_line(input: &mut BufReader<DecodedInput<impl Read>>) -> Result<(Vec<u8>, u64)> {
    let mut text = Vec::new();
    let mut lines = 0;
    loop {
        let limit = (MAX_ROW + 1 - text.len()) as u64;
        let read = input
            .by_ref()
            .take(limit)
            .read_until(b'\n', &mut text)
            .map_err(|error| unreadable().with_source(error))?;
        if text.len() > MAX_ROW {
            check_format(&text)?;
            let message =
                format!("the first line has more than {MAX_ROW} bytes: it names the columns");
            return Err(invalid(message));
        }
        lines += 1;
        // An odd number of quotes means that a quote is open, so the name of a column continues in
        // the next line.
        let quotes = text.iter().filter(|byte| **byte == b'"').count();
        if quotes % 2 == 0 || read == 0 {
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
    let is = if start.starts_with(ZIP) {
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
    Err(invalid(format!("the file is {is}")))
}

/// Returns the delimiter of the first line `text`, and the columns that the line names.
///
/// `given` is the delimiter that the caller or the file has named.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) if another delimiter than the given one fits better, and the
/// errors of [`name_columns`].
fn columns(
    text: &str,
    given: Option<Delimiter>,
    mapping: &ColumnNames,
) -> Result<(Delimiter, Vec<FileColumn>)> {
    let split = |delimiter: Delimiter| -> Vec<String> {
        let cells = read_cells(text, delimiter).unwrap_or_default();
        cells.iter().map(|cell| cell.trim().to_owned()).collect()
    };
    let known = |delimiter: Delimiter| {
        let mut names = split(delimiter);
        names.retain(|name| mapping.member_of(name).is_some());
        names.len()
    };
    // The likely delimiter is the one that leads to the most known members, and then to the most
    // columns. `max_by_key` returns the last maximum, so the reversed order prefers the first
    // delimiter.
    let likely = Delimiter::ALL
        .into_iter()
        .rev()
        .max_by_key(|delimiter| (known(*delimiter), split(*delimiter).len()))
        .unwrap_or(Delimiter::ALL[0]);
    let delimiter = given.unwrap_or(likely);
    if delimiter != likely && known(delimiter) < known(likely) {
        return Err(invalid(format!(
            "the columns are separated by {likely}, and not by {delimiter}"
        )));
    }
    let columns = name_columns(&split(delimiter), mapping)?;
    Ok((delimiter, columns))
}

/// Assigns a member of a purchase to each column name, or `None` for a column that is not read.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) if a mapped or a needed column is missing, if a name is there
/// twice, or if a column is unknown in a file without a mapping.
fn name_columns(names: &[String], mapping: &ColumnNames) -> Result<Vec<FileColumn>> {
    for (member, column) in &mapping.0 {
        if !names.contains(column) {
            let names = names.join(", ");
            return Err(invalid(format!(
                "the column {column:?} of {member} is missing in the first line, which has: {names}"
            )));
        }
    }
    for (at, name) in names.iter().enumerate() {
        if !name.is_empty() && names[..at].contains(name) {
            return Err(invalid(format!(
                "the column {name:?} is there twice: remove one of them"
            )));
        }
    }
    for needed in NEEDED {
        let mut members = names.iter().filter_map(|name| mapping.member_of(name));
        if !members.any(|member| member == needed) {
            let names = names.join(", ");
            return Err(invalid(format!(
                "the column {needed:?} is missing in the first line, which has: {names}; name it by columns: {needed}=NAME"
            )));
        }
    }
    let column = |name: &String| {
        let member = mapping.member_of(name);
        // A file whose columns are mapped is from another system, so it may contain columns that
        // are not read.
        let may_be_ignored =
            !mapping.0.is_empty() || name.is_empty() || OF_REJECTED_ROWS.contains(&name.as_str());
        if member.is_none() && !may_be_ignored {
            return Err(invalid(format!(
                "the column {name:?} is unknown: there are {}",
                COLUMNS.join(", ")
            )));
        }
        Ok(FileColumn {
            column: name.clone(),
            member,
        })
    };
    names.iter().map(column).collect()
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::RowFormat;

    fn header(file: &[u8], import: &Import) -> Result<CsvLayout> {
        let input = DecodedInput::new(file, import.encoding, 1 << 20);
        CsvLayout::read(&mut BufReader::new(input), import)
    }

    fn csv() -> Import {
        Import::new(RowFormat::Csv)
    }

    #[test]
    fn the_delimiter_is_found_or_given() {
        for (file, delimiter, lines) in [
            ("username,userid,price\n", ",", 1),
            ("price;userid;username\n", ";", 1),
            ("username\tuserid\tprice\n", "tab", 1),
            ("\n  \nusername|userid|price\n", "|", 3),
            ("sep=;\nusername;userid;price\n", ";", 2),
            ("\"username\";\"userid\";\"price\";item\n", ";", 1),
        ] {
            let header = header(file.as_bytes(), &csv()).unwrap();
            assert_eq!(header.delimiter.to_string(), delimiter, "{file:?}");
            assert_eq!(header.lines, lines, "{file:?}");
        }
        let semicolons = csv().delimiter(Some(";".parse().unwrap()));
        let error = header(b"username,userid,price\n", &semicolons).unwrap_err();
        assert!(error.to_string().contains("separated by ,"), "{error}");
    }

    #[test]
    fn columns_of_another_system_are_mapped() {
        let names = "userid=Customer ID,username=Name,price=Total"
            .parse()
            .unwrap();
        let mapped = csv().columns(names);
        let file = b"Phone;Customer ID;\"Name\";Total;timestamp\n";
        let header = header(file, &mapped).unwrap();
        let members: Vec<_> = header.columns.iter().map(|column| column.member).collect();
        let expected = [
            None,
            Some("userid"),
            Some("username"),
            Some("price"),
            Some("timestamp"),
        ];
        assert_eq!(members, expected);
    }

    #[test]
    fn another_file_is_refused_by_what_it_is() {
        let utf_16: Vec<u8> = "username,userid,price\n"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        for (file, says) in [
            (&b"PK\x03\x04\n"[..], "Excel workbook"),
            (&[0x1f, 0x8b, 8, 0], "gzip"),
            (&utf_16, "UTF-16 without a byte order mark"),
            (b"{\"username\":\"ada\"}\n", "ndjson"),
            (b"<html>", "HTML"),
            (b"usern\xe4me,userid,price\n", "windows-1252"),
            (b"", "is empty"),
            (b"\n", "is empty"),
            (b"username,price\n", "\"userid\" is missing"),
            (b"Customer,Total\n", "which has: Customer, Total"),
            (b"username,userid,price,colour\n", "\"colour\" is unknown"),
            (b"username,userid,price,price\n", "\"price\" is there twice"),
        ] {
            let error = header(file, &csv()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(says), "{says}: {error}");
        }
        let missing = csv().columns("price=Total".parse().unwrap());
        let error = header(b"username,userid,Sum\n", &missing).unwrap_err();
        assert!(
            error.to_string().contains("\"Total\" of price is missing"),
            "{error}"
        );
    }
}
