//! Imports the purchases of a file, each once, however often it is imported. Feature `csv`.
//!
//! An [`Import`] says how the file is read. [`Shop::import`](crate::Shop::import) imports it.
//!
//! The steps of a row:
//!
//! ```text
//! bytes ─▶ input: UTF-8, lines ─▶ csv_input: records whose quotes match ─▶ file_rows: values
//!       ─▶ row: a purchase with its id ─▶ publish: stored, and counted
//! ```

mod amount;
mod csv_input;
#[cfg(test)]
mod durability_test;
mod file_options;
mod file_rows;
mod header;
#[cfg(test)]
mod import_test;
mod input;
mod layout;
#[cfg(test)]
mod other_systems_test;
mod preset;
mod publish;
mod referenced;
mod repetition;
mod report;
mod row;
mod row_filter;
mod row_format;
#[cfg(test)]
mod stray_quotes_test;
mod time_pattern;
#[cfg(test)]
mod times_test;

use std::io::Read;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::domain::Currency;
use crate::ports::{PurchaseQuery, PurchaseSink};
use crate::{Error, ErrorKind, Result, Uuid, options};

pub use amount::{CurrencySign, ThousandsSeparator};
pub use file_options::FileOptions;
use file_rows::FileRows;
pub use header::FileColumn;
pub use layout::{ColumnNames, Delimiter, FileZone, TextEncoding};
pub use preset::Preset;
use publish::ImportPublisher;
use repetition::{Reading, RepetitionGuard, StartedFile, read_start};
pub use report::{ImportReport, Preview, RowPreview, RowProblem};
use row::{ImportRow, RowParser};
pub use row_filter::RowFilter;
pub use row_format::RowFormat;
pub use time_pattern::{TimePattern, ZoneAbbreviations};

/// The number of rows of a batch at the beginning, and of each batch for a sink that appends to a
/// log.
const MIN_BATCH_SIZE: usize = 1_000;
/// The maximum number of rows of a batch for a sink that stores them.
const MAX_BATCH_SIZE: usize = 65_536;
/// The size of the values of a batch in bytes with which it ends, so that the memory of an import
/// does not depend on what is in its rows. 65,536 rows of usual length have about as much.
const MAX_BATCH_BYTES: usize = 4 << 20;
/// The time that publishing a batch of more than [`MIN_BATCH_SIZE`] rows may take. After a slower
/// batch, smaller batches follow.
const MAX_BATCH_TIME: Duration = Duration::from_secs(4);
/// The maximum length of a row in bytes, which is far more than a purchase needs. Longer rows are
/// rejected.
const MAX_ROW_BYTES: usize = 64 << 10;
/// The number of bytes without an end of the row at which reading a CSV file fails.
///
/// A quote that is never closed makes the rest of the file one record. This limit keeps that record
/// from filling the memory.
const MAX_UNCLOSED_ROW_BYTES: usize = 16 << 20;

options! {
    /// The import of a file with one purchase or refund per row: `username`, `userid`, `price`, and
    /// optionally `timestamp`, `id`, `key`, [details](crate::Details) and `more`.
    ///
    /// It reads the files that [`RowFormat`] writes, with the rows in any order, and files of other
    /// systems.
    ///
    /// The `id` of a row stays the id of its purchase, and the id follows from a `key` as in the
    /// HTTP API. A row without an id and a key is recognized by its values and by how often the
    /// file contains these values. So importing a file again imports only new rows, even if the
    /// file was reordered, corrected or saved by a spreadsheet. Rows with the same values in two
    /// files are one purchase: the second row is counted as [`repeated`](ImportReport::repeated).
    /// An id, a key or a time tells such rows apart.
    ///
    /// While a file is read, rows without an id and a key are remembered by a hash and a count.
    /// This takes 17 bytes for each slot of a hash map, so 285 MB for 10 million different rows.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Import {
        /// The format of the file.
        pub format: RowFormat = format,
        /// The first line to import (default 1). The rows before this line are read, but not
        /// imported.
        pub from_line: u64 = 1,
        /// How long the store keeps purchases, by their timestamp (default `None`, for ever). Older
        /// purchases are rejected.
        pub retention: Option<Duration> = None,
        /// The currency of the shop (default none). Purchases without a currency get this one, and
        /// purchases with another currency are rejected.
        pub currency: Option<Currency> = None,
        /// Whether the file may contain refunds (default true).
        pub refunds: bool = true,
        /// The encoding of the file (default UTF-8). A byte order mark in the file takes
        /// precedence.
        pub encoding: Option<TextEncoding> = None,
        /// The delimiter of CSV (default: the delimiter of the first line).
        pub delimiter: Option<Delimiter> = None,
        /// The CSV columns whose names differ from the member names of a purchase (default none).
        pub columns: ColumnNames = ColumnNames::default(),
        /// Whether the decimals of prices follow a comma, as in `12,50` (default false).
        pub decimal_comma: bool = false,
        /// The character between the thousands of amounts (default none).
        pub thousands: Option<ThousandsSeparator> = None,
        /// The currency sign that may be beside amounts (default none).
        pub currency_sign: Option<CurrencySign> = None,
        /// The zone of times without an offset (default `None`: they are rejected).
        pub time_zone: Option<FileZone> = None,
        /// How times are written (default: as in RFC 3339, also without an offset or seconds).
        pub time_pattern: Option<TimePattern> = None,
        /// The abbreviations of zones at the end of times, with their offsets (default none).
        pub zone_abbreviations: ZoneAbbreviations = ZoneAbbreviations::default(),
        /// The number of lines before the line that names the columns of CSV (default 0).
        pub skip_lines: u64 = 0,
        /// The rows of CSV that are imported, by the value of a column (default all).
        pub only: Option<RowFilter> = None,
        /// Whether a file is imported although it was imported before with other options (default
        /// false: it is refused).
        pub again: bool = false,
        /// How long an import waits for ingest while no further row becomes stored (default 10
        /// min).
        pub store_timeout: Duration = Duration::from_secs(10 * 60),
    }

    /// Creates the import of a whole file of this format, with defaults for the other settings.
    pub fn new(format: RowFormat);
}

impl Import {
    /// Imports `file`, as [`Shop::import`](crate::Shop::import) does: publishes to `sink`, and waits
    /// until `query` finds the purchases stored.
    ///
    /// # Errors
    /// The errors of [`Shop::import`](crate::Shop::import).
    ///
    /// # Cancel safety
    /// Dropping the future may leave a part of the file imported.
    pub(crate) async fn run(
        &self,
        sink: &dyn PurchaseSink,
        query: &dyn PurchaseQuery,
        file: impl Read + Send + 'static,
        report: &mut ImportReport,
        mut progress: impl FnMut(&ImportReport) + Send,
    ) -> Result<()> {
        sink.check().await?;

        let mut publisher = ImportPublisher::new(sink, query, self.store_timeout);
        let mut repetition_guard = RepetitionGuard::new(query, self.again);
        let import = self.clone();
        let mut batch_size = MIN_BATCH_SIZE;
        let mut next_batch =
            spawn_blocking(move || FileReader::open(import, file)?.next_batch(batch_size));
        loop {
            // The outer error is a panic of the thread, the inner one is an error of the file.
            let (reader, batch) = next_batch.await.map_err(unreadable_file)??;
            report.ignored_columns.clone_from(&reader.ignored_columns);
            report.excluded = reader.file.excluded();
            if batch.is_empty() {
                report.unterminated_line = reader.file.unterminated_line();
                publisher.finish(report).await?;
                progress(report);
                // The rows before an unreadable place are imported, and then the import fails.
                return reader.failure.map_or(Ok(()), Err);
            }

            repetition_guard
                .admit(reader.digest, &reader.reading, &batch, report)
                .await?;

            // A thread reads the next batch while this one is published.
            next_batch = spawn_blocking(move || reader.next_batch(batch_size));
            let started = Instant::now();
            publisher.publish(batch, report).await?;
            if sink.info().is_storing {
                batch_size = adapt_batch_size(batch_size, started.elapsed());
            }
            progress(report);
        }
    }
}

/// A reader that makes batches of purchases from the rows of a file.
struct FileReader<R> {
    file: FileRows<R>,
    parser: RowParser,
    /// The first line that is imported.
    from_line: u64,
    ignored_columns: Vec<String>,
    /// The digest by which the store knows the file.
    digest: Uuid,
    /// How the file is read.
    reading: Reading,
    /// The error after which the file cannot be read further. The rows before it are imported.
    failure: Option<Error>,
}

impl<R: Read> FileReader<R> {
    /// Opens `file`, and reads the header of a CSV file.
    ///
    /// # Errors
    /// Returns the errors of [`Import::check_amounts`] and [`FileRows::new`].
    fn open(import: Import, file: R) -> Result<FileReader<StartedFile<R>>> {
        import.check_amounts()?;
        let (digest, file) = read_start(file)?;
        let file = FileRows::new(&import, file)?;
        let ignored_columns = file
            .columns()
            .iter()
            .filter(|column| column.member.is_none() && !column.column.is_empty())
            .filter(|column| {
                let filter = import.only.as_ref();
                filter.is_none_or(|filter| filter.column != column.column)
            })
            .map(|column| column.column.clone())
            .collect();
        Ok(FileReader {
            ignored_columns,
            digest,
            reading: Reading::new(&import, file.columns()),
            file,
            from_line: import.from_line,
            parser: RowParser::new(import),
            failure: None,
        })
    }

    /// Returns this reader, and at most `max_rows` further rows, or fewer of [`MAX_BATCH_BYTES`].
    ///
    /// Returns no rows at the end of the file, and after `failure` is set. The function takes and
    /// returns the reader, because each call runs as a blocking task of its own.
    fn next_batch(mut self, max_rows: usize) -> Result<(Self, Vec<ImportRow>)> {
        let mut batch = Vec::new();
        let mut batch_bytes = 0;
        while batch.len() < max_rows && batch_bytes < MAX_BATCH_BYTES && self.failure.is_none() {
            match self.file.next() {
                Ok(Some((line, values))) => {
                    let texts = values.iter().flatten().flatten();
                    batch_bytes += texts.map(String::len).sum::<usize>();
                    // Rows before `from_line` are parsed too, because the id of a later row depends
                    // on how often its values occurred before.
                    self.parser.parse_row(line, values, &mut batch);
                    if line < self.from_line {
                        batch.clear();
                    }
                }
                Ok(None) => break,
                Err(error) => self.failure = Some(error),
            }
        }
        Ok((self, batch))
    }
}

/// Returns the size of a later batch, after publishing a batch of about `size` rows took the time
/// `elapsed`.
///
/// The size is doubled after a fast batch and halved after a slow one. A sink that stores is faster
/// with large batches, because it writes a page once for all of its rows in a batch. A batch of a
/// few seconds still shows progress.
fn adapt_batch_size(size: usize, elapsed: Duration) -> usize {
    if elapsed < MAX_BATCH_TIME / 2 {
        MAX_BATCH_SIZE.min(size * 2)
    } else if elapsed > MAX_BATCH_TIME {
        MIN_BATCH_SIZE.max(size / 2)
    } else {
        size
    }
}

/// Returns the error for a file that cannot be read. `cause` is an I/O error, or the panic of the
/// thread that reads.
fn unreadable_file(cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Internal, "the file cannot be read").with_source(cause)
}
