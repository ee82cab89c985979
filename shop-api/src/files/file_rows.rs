//! Reads the values of the rows of a file: the records of CSV, or the lines of NDJSON, each of
//! which is an object.

use std::io::{BufRead, BufReader, ErrorKind as IoErrorKind, Read};

use super::columns::{COLUMNS, RowValues};
use super::csv_input::{CsvInput, check_quotes, first_line};
use super::header::{FileColumn, find_delimiter, find_filter_column, invalid_file, read_columns};
use super::input::DecodedInput;
use super::layout::{Delimiter, csv_reader};
use super::row_filter::RowFilter;
use super::{Import, MAX_ROW_BYTES, unreadable_file};
use crate::files::RowFormat;
use shop_core::json::Members;
use shop_core::{Details, Error, Result};

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
    /// - [`Invalid`](shop_core::ErrorKind::Invalid) if the file is empty or not CSV, if a required
    ///   column is missing, or if a column is unknown or there twice
    /// - [`Internal`](shop_core::ErrorKind::Internal) if the file cannot be read
    pub(super) fn new(import: &Import, file: R) -> Result<Self> {
        let input = DecodedInput::new(file, import.encoding);
        Ok(match import.format {
            RowFormat::Csv => Self::Csv(Box::new(CsvRows::new(input, import)?)),
            RowFormat::Ndjson => Self::Ndjson(Box::new(JsonLines::new(input))),
        })
    }

    /// Returns the delimiter of a CSV file, or `None` for NDJSON.
    pub(super) fn delimiter(&self) -> Option<Delimiter> {
        match self {
            Self::Csv(rows) => Some(rows.delimiter),
            Self::Ndjson(_) => None,
        }
    }

    /// Returns the columns of a CSV file, in their order. NDJSON has no columns.
    pub(super) fn columns(&self) -> &[FileColumn] {
        match self {
            Self::Csv(rows) => &rows.columns,
            Self::Ndjson(_) => &[],
        }
    }

    /// Returns the number of rows that the filter of the import has excluded so far.
    pub(super) fn excluded_rows(&self) -> u64 {
        match self {
            Self::Csv(rows) => rows.excluded_rows,
            Self::Ndjson(_) => 0,
        }
    }

    /// Returns the next row that is not blank and not excluded, or `None` at the end of the file.
    ///
    /// # Errors
    /// - [`Invalid`](shop_core::ErrorKind::Invalid) if a row has no end within
    ///   [`MAX_UNCLOSED_ROW_BYTES`](super::MAX_UNCLOSED_ROW_BYTES), such as after a quote that is not
    ///   closed
    /// - [`Internal`](shop_core::ErrorKind::Internal) if the file cannot be read
    pub(super) fn next(&mut self) -> Result<Option<FileRow>> {
        match self {
            Self::Csv(rows) => rows.next(),
            Self::Ndjson(lines) => lines.next(),
        }
    }

    /// Returns the line of the last row if the file does not end with a line end. Such a file may
    /// have been cut off.
    ///
    /// The result is only known once the file is read to its end.
    pub(super) fn unterminated_line(&self) -> Option<u64> {
        let (is_unterminated, line) = match self {
            Self::Csv(rows) => (rows.reader.get_ref().is_unterminated(), rows.line),
            Self::Ndjson(lines) => (lines.input.get_ref().is_unterminated, lines.line),
        };
        is_unterminated.then_some(line)
    }
}

/// A reader of the rows of a CSV file. A cell may contain line breaks, so a row may extend over
/// several lines.
pub(super) struct CsvRows<R> {
    reader: csv::Reader<CsvInput<R>>,
    delimiter: Delimiter,
    /// The columns of the file, in their order.
    columns: Vec<FileColumn>,
    /// The filter of rows, with the index of its column.
    filter: Option<(usize, RowFilter)>,
    /// The number of rows that the filter has excluded.
    excluded_rows: u64,
    record: csv::ByteRecord,
    /// The line in which the last row starts.
    line: u64,
    /// The offset in the file at which `reader` begins to count bytes.
    reader_start: u64,
    /// The last record if its quotes do not match, until all of its lines are rejected.
    rejected_record: Option<RejectedRecord>,
}

/// A record whose quotes do not match, so that it is not certain where its rows end. Each line of
/// the record is a rejected row.
struct RejectedRecord {
    /// The line in which the record starts.
    line: u64,
    /// The offset in the file at which the record ends.
    end: u64,
    /// The reason, as the rest of a sentence about the line.
    problem: &'static str,
}

impl<R: Read> CsvRows<R> {
    /// Finds the delimiter of `input`, and reads the record that names the columns. The next record
    /// is the first row.
    ///
    /// # Errors
    /// Returns the errors of [`FileRows::new`].
    fn new(input: DecodedInput<R>, import: &Import) -> Result<Self> {
        let mut input = CsvInput::new(input);
        let delimiter = find_delimiter(&mut input, import)?;
        let mut rows = Self {
            reader_start: input.offset(),
            reader: csv_reader(input, delimiter),
            delimiter,
            columns: Vec::new(),
            filter: None,
            excluded_rows: 0,
            record: csv::ByteRecord::new(),
            line: 0,
            rejected_record: None,
        };

        rows.read_record()?;
        if let Some(rejected) = &rows.rejected_record {
            let problem = rejected.problem;
            return Err(invalid_file(format!("the first line {problem}")));
        }
        rows.columns = read_columns(&rows.record, &import.columns)?;
        if let Some(filter) = &import.only {
            let index = find_filter_column(&rows.columns, filter)?;
            rows.filter = Some((index, filter.clone()));
        }
        Ok(rows)
    }

    /// Returns the next row that is not blank and not excluded, or `None` at the end of the file.
    fn next(&mut self) -> Result<Option<FileRow>> {
        loop {
            if let Some(row) = self.next_rejected_line() {
                return Ok(Some(row));
            }
            if !self.read_record()? {
                return Ok(None);
            }
            let is_blank = self.record.iter().all(|cell| cell.trim_ascii().is_empty());
            // The lines of a rejected record are returned by the next turns of this loop.
            if self.rejected_record.is_some() || is_blank {
                continue;
            }
            if self.is_excluded() {
                self.excluded_rows += 1;
                continue;
            }
            return Ok(Some((self.line, self.values())));
        }
    }

    /// Reads the next record. Takes the text of the record if its quotes match. If they do not, sets
    /// `rejected_record`. Returns false at the end of the file.
    fn read_record(&mut self) -> Result<bool> {
        let has_record = self
            .reader
            .read_byte_record(&mut self.record)
            .map_err(map_read_error)?;
        if !has_record {
            return Ok(false);
        }

        let end = self.reader_start + self.reader.position().byte();
        let input = self.reader.get_mut();
        input.take_blank_lines();
        self.line = input.line();
        let text = input.text_until(end);
        match check_quotes(text, self.delimiter.0) {
            Ok(()) => {
                let length = text.len();
                input.take(length);
            }
            Err(problem) => {
                self.rejected_record = Some(RejectedRecord {
                    line: self.line,
                    end,
                    problem,
                });
            }
        }
        Ok(true)
    }

    /// Takes the next line of `rejected_record` that is not blank, and returns the line with the
    /// reason why it is rejected. Clears `rejected_record` and returns `None` after its last line.
    fn next_rejected_line(&mut self) -> Option<FileRow> {
        let rejected = self.rejected_record.as_ref()?;
        let input = self.reader.get_mut();
        loop {
            let text = first_line(input.text_until(rejected.end));
            if text.is_empty() {
                self.rejected_record = None;
                return None;
            }
            let is_blank = text
                .iter()
                .all(|byte| byte.is_ascii_whitespace() || *byte == self.delimiter.0);
            let length = text.len();
            let line = input.line();
            input.take(length);
            if is_blank {
                continue;
            }

            self.line = line;
            let problem = if line == rejected.line {
                rejected.problem.to_owned()
            } else {
                let first_line = rejected.line;
                format!("is read as a part of line {first_line}, whose quotes do not match")
            };
            return Some((line, Err(problem)));
        }
    }

    /// Returns whether the filter excludes the last record. A record with a wrong number of cells is
    /// rejected later, and not excluded.
    fn is_excluded(&self) -> bool {
        let Some((column_index, filter)) = &self.filter else {
            return false;
        };
        let has_all_cells = self.record.len() == self.columns.len();
        has_all_cells && !filter.admits(&self.record[*column_index])
    }

    /// Returns the values of the last record.
    ///
    /// # Errors
    /// Returns the reason why the record is not valid: its length, its number of cells, its
    /// encoding, or a value in a column without a name.
    fn values(&self) -> Result<RowValues, String> {
        self.check_size()?;

        let mut values = RowValues::default();
        for (FileColumn { column, member }, cell) in self.columns.iter().zip(&self.record) {
            let cell = self.read_cell(cell)?;
            if cell.is_empty() {
                continue;
            }
            match member {
                Some(member) => set_cell(&mut values, member, cell),
                None if column.is_empty() => {
                    return Err(format!("has {cell:?} in a column without a name"));
                }
                // The preview and the report list the columns that are not read.
                None => {}
            }
        }
        Ok(values)
    }

    /// Checks the length of the last record, and its number of cells.
    ///
    /// # Errors
    /// Returns the reason why the record is not valid.
    fn check_size(&self) -> Result<(), String> {
        if self.record.as_slice().len() > MAX_ROW_BYTES {
            return Err(format!("has more than {MAX_ROW_BYTES} bytes"));
        }
        if self.record.len() != self.columns.len() {
            let hint = if self.record.as_slice().contains(&b'\n') {
                ": is a quote not closed?"
            } else {
                ""
            };
            return Err(format!(
                "has {} columns, and the first line {}{hint}",
                self.record.len(),
                self.columns.len()
            ));
        }
        Ok(())
    }

    /// Returns the text of a cell.
    ///
    /// # Errors
    /// Returns the reason why the cell is not in the encoding of the file.
    fn read_cell<'a>(&self, cell: &'a [u8]) -> Result<&'a str, String> {
        let text = str::from_utf8(cell).map_err(|_no_text| {
            "is not in UTF-8: name the encoding of the file, such as windows-1252".to_owned()
        })?;
        // In a file of another encoding, the decoder replaced invalid bytes by U+FFFD. A file in
        // UTF-8, such as an export of this service, may contain this character itself.
        let is_decoded = self.reader.get_ref().is_decoded();
        if is_decoded && text.contains(char::REPLACEMENT_CHARACTER) {
            return Err("has a character that is not one of the file's encoding".to_owned());
        }
        Ok(text)
    }
}

/// Converts an error of the csv reader to the error of the import.
///
/// Returns [`Invalid`](shop_core::ErrorKind::Invalid) if a row is too long or the file is not CSV,
/// and [`Internal`](shop_core::ErrorKind::Internal) if the file cannot be read.
fn map_read_error(error: csv::Error) -> Error {
    match error.into_kind() {
        // `CsvInput` reports a row that is too long by this kind.
        csv::ErrorKind::Io(error) if error.kind() == IoErrorKind::InvalidData => {
            invalid_file(error.to_string())
        }
        csv::ErrorKind::Io(error) => unreadable_file(error),
        other => invalid_file(format!("{other:?}")),
    }
}

/// Sets the value of `member` to the text of `cell`, or appends the text if the member is in several
/// columns.
///
/// An export puts an apostrophe in front of texts that a spreadsheet would take for a formula. The
/// apostrophe is removed here, except from members that an export writes verbatim.
fn set_cell(values: &mut RowValues, member: &str, cell: &str) {
    let is_verbatim = ["id", "key", "price", "timestamp", "more"].contains(&member);
    let text = if is_verbatim {
        cell.to_owned()
    } else {
        RowFormat::strip_formula_quote(cell)
    };
    if let Some(index) = COLUMNS.iter().position(|column| *column == member) {
        match &mut values[index] {
            // A date and a time in two columns are one time.
            Some(joined_text) => *joined_text = format!("{joined_text} {text}"),
            empty_value => *empty_value = Some(text),
        }
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
            let max_line_bytes = MAX_ROW_BYTES as u64 + 1;
            let bytes_read = (&mut self.input)
                .take(max_line_bytes)
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

/// Returns the values of the JSON object `json` as texts, in the order of [`COLUMNS`]. A member that
/// is null counts as missing.
///
/// The member `more` contains the members that the version of the export does not know. It stays
/// JSON, because those members may be of any type.
///
/// # Errors
/// Returns the reason why the row is not valid: it is no object, or contains an unknown member or a
/// member of another type.
fn object_values(json: &[u8]) -> Result<RowValues, String> {
    let members =
        Members::parse(json, COLUMNS).map_err(|error| format!("is no JSON object: {error}"))?;
    if let Some(unknown_member) = members.unknown.first() {
        return Err(format!(
            "{unknown_member} is unknown: there are {}",
            COLUMNS.join(", ")
        ));
    }

    let mut values = RowValues::default();
    for (index, name) in COLUMNS.into_iter().enumerate() {
        let Some(member) = members.get(name).filter(|member| !member.is_null()) else {
            continue;
        };
        let text_if_valid = match name {
            "more" => Some(member.as_json().into()),
            // A price may be a number. Its text is taken as it is written, without rounding.
            "price" => member.text().or(Some(member.as_json().into())),
            // A detail may be of another type, such as the quantity, which is a number.
            _ => member.text().or_else(|| Details::text_of(name, &member)),
        };
        let text = text_if_valid.ok_or_else(|| format!("{name} must be text"))?;
        values[index] = Some(text.into_owned());
    }
    Ok(values)
}
