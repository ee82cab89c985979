//! Reads the values of the rows of a file: the records of CSV, or the lines of NDJSON, each of
//! which is an object.

use std::io::{BufRead, BufReader, ErrorKind as IoErrorKind, Read};

use super::header::{CsvLayout, FileColumn};
use super::input::DecodedInput;
use super::row::{COLUMNS, RowValues};
use super::{Import, MAX_ROW_BYTES, MAX_UNCLOSED_ROW_BYTES, unreadable_file};
use crate::api::RowFormat;
use crate::json::Members;
use crate::{Details, Error, ErrorKind, Result};

/// A row: the line in which it starts, and its values or the reason why it is not valid.
type FileRow = (u64, Result<RowValues, String>);

/// A reader of the rows of a file, by the format of the file.
pub(super) enum FileRows<R> {
    Csv(Box<CsvRows<R>>),
    Ndjson(Box<JsonLines<R>>),
}

impl<R: Read> FileRows<R> {
    /// Opens `file` with the format and the encoding of `import`, and reads the header of CSV.
    ///
    /// # Errors
    /// Returns the errors of [`CsvLayout::read`].
    pub(super) fn new(import: &Import, file: R) -> Result<Self> {
        match import.format {
            RowFormat::Csv => {
                let input = DecodedInput::new(file, import.encoding, MAX_UNCLOSED_ROW_BYTES);
                Ok(Self::Csv(Box::new(CsvRows::new(input, import)?)))
            }
            RowFormat::Ndjson => {
                // Rows of NDJSON need no limit here: a line always ends, and the reader skips the
                // rest of a line that is too long.
                let input = DecodedInput::new(file, import.encoding, usize::MAX);
                Ok(Self::Ndjson(Box::new(JsonLines::new(input))))
            }
        }
    }

    /// Returns the layout that the header of a CSV file states, or `None` for NDJSON.
    pub(super) fn header(&self) -> Option<&CsvLayout> {
        match self {
            Self::Csv(rows) => Some(&rows.header),
            Self::Ndjson(_) => None,
        }
    }

    /// Returns the next row that is not blank, or `None` at the end of the file.
    ///
    /// # Errors
    /// - [`Invalid`](ErrorKind::Invalid) if a row does not end, because its quote is not closed
    /// - [`Internal`](ErrorKind::Internal) if the file cannot be read
    pub(super) fn next(&mut self) -> Result<Option<FileRow>> {
        match self {
            Self::Csv(rows) => rows.next(),
            Self::Ndjson(lines) => lines.next(),
        }
    }

    /// Returns the line of the last row if the file does not end with a line end, so that it may
    /// have been cut off there.
    ///
    /// Known once the file is read to its end.
    pub(super) fn unterminated_line(&self) -> Option<u64> {
        let (input, line) = match self {
            Self::Csv(rows) => (rows.reader.get_ref(), rows.line),
            Self::Ndjson(lines) => (&lines.input, lines.line),
        };
        input.get_ref().is_unterminated.then_some(line)
    }
}

/// A reader of the rows of a CSV file. A cell may contain line breaks, so a row may extend over
/// several lines.
pub(super) struct CsvRows<R> {
    reader: csv::Reader<BufReader<DecodedInput<R>>>,
    header: CsvLayout,
    record: csv::ByteRecord,
    /// The line in which the last row starts.
    line: u64,
}

impl<R: Read> CsvRows<R> {
    /// Reads the header of `input`, whose rows follow.
    fn new(input: DecodedInput<R>, import: &Import) -> Result<Self> {
        let mut input = BufReader::new(input);
        let header = CsvLayout::read(&mut input, import)?;
        let reader = csv::ReaderBuilder::new()
            .has_headers(false)
            // Rows with a wrong number of cells are rejected one by one, instead of ending the file
            // with an error.
            .flexible(true)
            .delimiter(header.delimiter.0)
            .from_reader(input);
        Ok(Self {
            reader,
            line: header.line_count,
            header,
            record: csv::ByteRecord::new(),
        })
    }

    /// Returns the next row that is not blank, or `None` at the end of the file.
    fn next(&mut self) -> Result<Option<FileRow>> {
        loop {
            // The input counts the bytes from here on, and fails if the row does not end.
            self.reader.get_mut().get_mut().bytes_of_row = 0;
            let is_read = self
                .reader
                .read_byte_record(&mut self.record)
                .map_err(|error| self.map_read_error(error))?;
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

    /// Returns the line of the file in which the last record starts.
    ///
    /// The csv reader counts blank lines in front of a record as a part of the record. So the line
    /// is counted back from the end of the record, by the line breaks in its cells.
    fn first_line_of_record(&self) -> u64 {
        let cells = self.record.as_slice().iter();
        let line_breaks = cells.filter(|byte| **byte == b'\n').count() as u64;
        let line_after = self.reader.position().line();
        let counted_line = line_after.saturating_sub(line_breaks + 1);
        let reported_line = self.record.position().map_or(0, csv::Position::line);
        self.header.line_count + counted_line.max(reported_line)
    }

    /// Returns the values of the last record.
    ///
    /// # Errors
    /// Returns the reason why the record is not valid: its length, its number of cells, its
    /// encoding, or a value in a column without a name.
    fn values(&self) -> Result<RowValues, String> {
        let columns = &self.header.columns;
        if self.record.as_slice().len() > MAX_ROW_BYTES {
            return Err(format!("has more than {MAX_ROW_BYTES} bytes"));
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

    /// Maps an error of the csv reader. Input that is too long for a row is an error of the file,
    /// and not of reading.
    fn map_read_error(&self, error: csv::Error) -> Error {
        match error.into_kind() {
            csv::ErrorKind::Io(error) if error.kind() == IoErrorKind::InvalidData => Error::new(
                ErrorKind::Invalid,
                format!("after line {}: {error}", self.line),
            ),
            csv::ErrorKind::Io(error) => unreadable_file(error),
            other => Error::new(ErrorKind::Invalid, format!("{other:?}")),
        }
    }
}

/// Sets the value of `member` to the text of `cell`.
///
/// An export puts an apostrophe in front of texts that a spreadsheet would take for a formula. It
/// is removed here, except from members that an export writes verbatim.
fn set_cell(values: &mut RowValues, member: &str, cell: &str) {
    let is_verbatim = ["id", "key", "price", "timestamp", "more"].contains(&member);
    let text = if is_verbatim {
        cell.to_owned()
    } else {
        RowFormat::strip_formula_quote(cell)
    };
    if let Some(index) = COLUMNS.iter().position(|column| *column == member) {
        values[index] = Some(text);
    }
}

/// A reader of the lines of an NDJSON file.
pub(super) struct JsonLines<R> {
    input: BufReader<DecodedInput<R>>,
    /// The text of the last line.
    text: Vec<u8>,
    /// The number of the last line.
    line: u64,
}

impl<R: Read> JsonLines<R> {
    /// Creates a reader of the lines of `input`.
    fn new(input: DecodedInput<R>) -> Self {
        Self {
            input: BufReader::new(input),
            text: Vec::new(),
            line: 0,
        }
    }

    /// Returns the next row that is not blank, or `None` at the end of the file.
    fn next(&mut self) -> Result<Option<FileRow>> {
        loop {
            self.text.clear();
            let limit = MAX_ROW_BYTES as u64 + 1;
            let bytes_read = (&mut self.input)
                .take(limit)
                .read_until(b'\n', &mut self.text)
                .map_err(unreadable_file)?;
            if bytes_read == 0 {
                return Ok(None);
            }
            self.line += 1;

            // The input ends each line with LF, also the last one. So a text without LF was cut off
            // by the limit. The rest of the line is skipped, and takes no memory.
            if !self.text.ends_with(b"\n") {
                self.input.skip_until(b'\n').map_err(unreadable_file)?;
                let problem = format!("has more than {MAX_ROW_BYTES} bytes");
                return Ok(Some((self.line, Err(problem))));
            }

            let text = self.text.trim_ascii();
            if !text.is_empty() {
                return Ok(Some((self.line, object_values(text))));
            }
        }
    }
}

/// Returns the values of the JSON object `json`, in the order of [`COLUMNS`]. A member that is null
/// counts as missing.
///
/// # Errors
/// Returns the reason why the row is not valid: it is no object, or contains an unknown member or a
/// member of another type.
fn object_values(json: &[u8]) -> Result<RowValues, String> {
    let members =
        Members::parse(json, COLUMNS).map_err(|error| format!("is no JSON object: {error}"))?;
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
            // A price may be a number, whose text is taken as it is written, without rounding.
            "price" => member.text().or(Some(member.as_json().into())),
            _ => member.text().or_else(|| Details::text_of(name, &member)),
        };
        let text = text.ok_or_else(|| format!("{name} must be text"))?;
        values[index] = Some(text.into_owned());
    }
    Ok(values)
}
