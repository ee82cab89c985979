//! The rows of a file by its format: rows of CSV, or lines of NDJSON, each one an object.

use std::io::{BufRead, BufReader, ErrorKind as IoErrorKind, Read};

use super::header::{CsvLayout, FileColumn};
use super::input::DecodedInput;
use super::row::{COLUMNS, RowValues};
use super::{Import, MAX_ROW, MAX_UNCLOSED_ROW, unreadable};
use crate::api::RowFormat;
use crate::json::Members;
use crate::{Details, Error, ErrorKind, Result};

/// The line of a row, and its values or what is wrong with it.
type FileRow = (u64, Result<RowValues, String>);

/// A file by its format.
pub(super) enum FileRows<R> {
    Csv(Box<CsvRows<R>>),
    Ndjson(Box<JsonLines<R>>),
}

impl<R: Read> FileRows<R> {
    /// Opens a file, and reads the header of CSV.
    ///
    /// # Errors
    /// As [`Header::read`].
    pub(super) fn new(import: &Import, file: R) -> Result<Self> {
        let input = |max_bytes_of_row| DecodedInput::new(file, import.encoding, max_bytes_of_row);
        Ok(match import.format {
            RowFormat::Csv => Self::Csv(Box::new(CsvRows::new(input(MAX_UNCLOSED_ROW), import)?)),
            // A line always ends, and what is too long is skipped.
            RowFormat::Ndjson => Self::Ndjson(Box::new(JsonLines::new(input(usize::MAX)))),
        })
    }

    /// Returns the header of CSV.
    pub(super) fn header(&self) -> Option<&CsvLayout> {
        match self {
            Self::Csv(rows) => Some(&rows.header),
            Self::Ndjson(_) => None,
        }
    }

    /// Returns the line and the values of the next row that has any value; `None` at the end.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) if a row does not end, as its quote is not closed;
    /// [`Internal`](ErrorKind::Internal) if the file cannot be read.
    pub(super) fn next(&mut self) -> Result<Option<FileRow>> {
        match self {
            Self::Csv(rows) => rows.next(),
            Self::Ndjson(lines) => lines.next(),
        }
    }

    /// Returns the line of the last row, if it has no end.
    pub(super) fn unterminated_line(&self) -> Option<u64> {
        let (input, line) = match self {
            Self::Csv(rows) => (rows.reader.get_ref(), rows.line),
            Self::Ndjson(lines) => (&lines.input, lines.line),
        };
        input.get_ref().is_unterminated.then_some(line)
    }
}

/// The rows of a file. A cell may have line breaks, so a row may have several lines.
pub(super) struct CsvRows<R> {
    reader: csv::Reader<BufReader<DecodedInput<R>>>,
    header: CsvLayout,
    record: csv::ByteRecord,
    /// The line in which the last row starts.
    line: u64,
}

impl<R: Read> CsvRows<R> {
    fn new(input: DecodedInput<R>, import: &Import) -> Result<Self> {
        let mut input = BufReader::new(input);
        let header = CsvLayout::read(&mut input, import)?;
        let reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(header.delimiter.0)
            .from_reader(input);
        Ok(Self {
            reader,
            line: header.lines,
            header,
            record: csv::ByteRecord::new(),
        })
    }

    fn next(&mut self) -> Result<Option<FileRow>> {
        loop {
            self.reader.get_mut().get_mut().bytes_of_row = 0;
            let is_read = self
                .reader
                .read_byte_record(&mut self.record)
                .map_err(|error| self.failed(error))?;
            if !is_read {
                return Ok(None);
            }
            self.line = self.first_line_of_record();
            let has_value = self.record.iter().any(|cell| !cell.trim_ascii().is_empty());
            if has_value {
                return Ok(Some((self.line, self.values())));
            }
        }
    }

    /// Returns the line in which the last record starts. The reader counts the blank lines before it as a part of it, so
    /// the line is counted from the end of the record.
    fn first_line_of_record(&self) -> u64 {
        let breaks = |cell: &[u8]| cell.iter().filter(|byte| **byte == b'\n').count() as u64;
        let breaks_in_cells: u64 = self.record.iter().map(breaks).sum();
        let line_after = self.reader.position().line();
        let from_end = line_after.saturating_sub(breaks_in_cells + 1);
        let start = self.record.position().map_or(0, csv::Position::line);
        self.header.lines + from_end.max(start)
    }

    fn values(&self) -> Result<RowValues, String> {
        let columns = &self.header.columns;
        if self.record.as_slice().len() > MAX_ROW {
            return Err(format!("has more than {MAX_ROW} bytes"));
        }
        if self.record.len() != columns.len() {
            let hint = if self.record.as_slice().contains(&b'\n') {
                ": is a quote not closed?"
            } else {
                ""
            };
            return Err(format!(
                "has {} columns, and the first line {}{hint}",
                self.record.len(),
                columns.len()
            ));
        }
        let mut values = RowValues::default();
        for (FileColumn { column, member }, cell) in columns.iter().zip(&self.record) {
            let cell = str::from_utf8(cell).map_err(|_no_text| {
                "is not in UTF-8: name the encoding of the file, such as windows-1252".to_owned()
            })?;
            if cell.contains(char::REPLACEMENT_CHARACTER) {
                return Err("has a character that is not one of the file's encoding".to_owned());
            }
            if cell.is_empty() {
                continue;
            }
            match member {
                Some(member) => set_cell(&mut values, member, cell),
                None if column.is_empty() => {
                    return Err(format!("has {cell:?} in a column without a name"));
                }
                None => {}
            }
        }
        Ok(values)
    }

    fn failed(&self, error: csv::Error) -> Error {
        match error.into_kind() {
            csv::ErrorKind::Io(error) if error.kind() == IoErrorKind::InvalidData => Error::new(
                ErrorKind::Invalid,
                format!("after line {}: {error}", self.line),
            ),
            csv::ErrorKind::Io(error) => unreadable().with_source(error),
            other => Error::new(ErrorKind::Invalid, format!("{other:?}")),
        }
    }
}

/// Sets the value of a member. Texts lose the apostrophe that an export has put in front of what a spreadsheet would take
/// for a formula.
fn set_cell(values: &mut RowValues, member: &str, cell: &str) {
    let is_verbatim = ["id", "key", "price", "timestamp", "more"].contains(&member);
    let text = if is_verbatim {
        cell.to_owned()
    } else {
        RowFormat::strip_formula_quote(cell)
    };
    if let Some(index) = COLUMNS.iter().position(|known| *known == member) {
        values[index] = Some(text);
    }
}

/// The lines of a file.
pub(super) struct JsonLines<R> {
    input: BufReader<DecodedInput<R>>,
    text: Vec<u8>,
    line: u64,
}

impl<R: Read> JsonLines<R> {
    fn new(input: DecodedInput<R>) -> Self {
        Self {
            input: BufReader::new(input),
            text: Vec::new(),
            line: 0,
        }
    }

    fn next(&mut self) -> Result<Option<FileRow>> {
        loop {
            let Some(is_too_long) = self.read_line()? else {
                return Ok(None);
            };
            self.line += 1;
            if is_too_long {
                let why = format!("has more than {MAX_ROW} bytes");
                return Ok(Some((self.line, Err(why))));
            }
            let text = self.text.trim_ascii();
            if !text.is_empty() {
                return Ok(Some((self.line, object_values(text))));
            }
        }
    }

    /// Reads the next line, of which more than the maximum is not kept. Returns whether it is too long; `None` at the end.
    fn read_line(&mut self) -> Result<Option<bool>> {
        let failed = |error| unreadable().with_source(error);
        self.text.clear();
        let limit = MAX_ROW as u64 + 1;
        let read = (&mut self.input)
            .take(limit)
            .read_until(b'\n', &mut self.text)
            .map_err(failed)?;
        if read == 0 {
            return Ok(None);
        }
        let is_too_long = !self.text.ends_with(b"\n");
        if is_too_long {
            self.input.skip_until(b'\n').map_err(failed)?;
        }
        Ok(Some(is_too_long))
    }
}

fn object_values(text: &[u8]) -> Result<RowValues, String> {
    let members =
        Members::parse(text, COLUMNS).map_err(|error| format!("is no JSON object: {error}"))?;
    if let [unknown, ..] = &members.unknown[..] {
        return Err(format!(
            "{unknown} is unknown: there are {}",
            COLUMNS.join(", ")
        ));
    }
    let mut values = RowValues::default();
    for (index, name) in COLUMNS.into_iter().enumerate() {
        let Some(member) = members.get(name).filter(|member| !member.is_null()) else {
            continue;
        };
        let text = match name {
            "more" => Some(member.as_json().into()),
            "price" => member.text().or(Some(member.as_json().into())),
            _ => member.text().or_else(|| Details::text_of(name, &member)),
        };
        let text = text.ok_or_else(|| format!("{name} must be text"))?;
        values[index] = Some(text.into_owned());
    }
    Ok(values)
}
