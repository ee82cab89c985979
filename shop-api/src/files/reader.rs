//! [`FileReader`]: makes purchases from the rows of a file.

use std::fmt;
use std::io::Read;

use shop_core::import::{FileIdentity, ImportRow, MAX_BATCH_BYTES, RowSource};
use shop_core::{Error, Result};

use super::Import;
use super::file_rows::FileRows;
use super::header::FileColumn;
use super::identity::{StartedFile, meaning_options, read_start};
use super::row::RowParser;

/// A reader that makes batches of purchases from the rows of a file. [`Import::open`] creates it.
pub struct FileReader<R> {
    pub(super) file: FileRows<StartedFile<R>>,
    parser: RowParser,
    /// The first line that is imported.
    from_line: u64,
    ignored_columns: Vec<String>,
    identity: FileIdentity,
    /// The error after which the file cannot be read further, until it is returned. The rows before
    /// the error are imported.
    pub(super) read_error: Option<Error>,
}

impl Import {
    /// Opens `file`, and reads the header of a CSV file. Blocks meanwhile.
    ///
    /// # Errors
    /// - [`Invalid`](shop_core::ErrorKind::Invalid) if options contradict each other, or if the file
    ///   is empty or not in the expected format, or if the header of CSV is wrong
    /// - [`Internal`](shop_core::ErrorKind::Internal) if the file cannot be read
    pub fn open<R: Read>(&self, file: R) -> Result<FileReader<R>> {
        self.check_amounts()?;
        let (digest, started_file) = read_start(file)?;
        let rows = FileRows::new(self, started_file)?;
        let identity = FileIdentity {
            digest,
            reading: meaning_options(self, rows.columns()),
        };
        Ok(FileReader {
            ignored_columns: self.ignored_columns(rows.columns()),
            identity,
            file: rows,
            from_line: self.from_line,
            parser: RowParser::new(self.clone()),
            read_error: None,
        })
    }

    /// Returns the names of the `columns` that the import does not use: those that contain no member
    /// of a purchase, except the column of the row filter.
    fn ignored_columns(&self, columns: &[FileColumn]) -> Vec<String> {
        let is_filtered_by = |column: &FileColumn| {
            let filter = self.only.as_ref();
            filter.is_some_and(|filter| filter.column == column.column)
        };
        columns
            .iter()
            .filter(|column| column.member.is_none() && !column.column.is_empty())
            .filter(|column| !is_filtered_by(column))
            .map(|column| column.column.clone())
            .collect()
    }
}

impl<R: Read> FileReader<R> {
    /// Returns at most `max_rows` further rows, or fewer once they have [`MAX_BATCH_BYTES`] together.
    /// Returns no rows at the end of the file, and after `read_error` is set.
    pub(super) fn next_rows(&mut self, max_rows: usize) -> Vec<ImportRow> {
        let mut batch = Vec::new();
        let mut batch_bytes = 0;
        while batch.len() < max_rows && batch_bytes < MAX_BATCH_BYTES && self.read_error.is_none() {
            match self.file.next() {
                Ok(Some((line, values))) => {
                    let texts = values.iter().flatten().flatten();
                    batch_bytes += texts.map(String::len).sum::<usize>();
                    // Rows before `from_line` are parsed too, because the id of a later row depends
                    // on how often its values occurred before.
                    self.parser.parse_row(line, values, &mut batch);
                    if line < self.from_line {
                        batch.clear();
                        batch_bytes = 0;
                    }
                }
                Ok(None) => break,
                Err(error) => self.read_error = Some(error),
            }
        }
        batch
    }

    /// Returns the identity of the file.
    ///
    /// The reader is dropped, so that a caller does not keep it while it waits for the store.
    pub(super) fn into_identity(self) -> FileIdentity {
        self.identity
    }
}

impl<R: Read + Send + 'static> RowSource for FileReader<R> {
    fn identity(&self) -> &FileIdentity {
        &self.identity
    }

    fn next_batch(&mut self, max_rows: usize) -> Result<Vec<ImportRow>> {
        let batch = self.next_rows(max_rows);
        // The rows before the error come first. The error is returned by the next call.
        match self.read_error.take_if(|_error| batch.is_empty()) {
            Some(error) => Err(error),
            None => Ok(batch),
        }
    }

    fn ignored_columns(&self) -> &[String] {
        &self.ignored_columns
    }

    fn excluded_rows(&self) -> u64 {
        self.file.excluded_rows()
    }

    fn unterminated_line(&self) -> Option<u64> {
        self.file.unterminated_line()
    }
}

impl<R> fmt::Debug for FileReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileReader")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}
