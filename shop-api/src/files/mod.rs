//! Purchases as the rows of files. Feature `csv`.
//!
//! [`RowFormat`] writes purchases as CSV or NDJSON. An [`Import`] says how a file is read, also one
//! of another system. It imports the file into a shop, or previews how the file would be read.
//!
//! ```
//! use shop_api::files::{Import, RowFormat};
//! use shop_core::Shop;
//! use shop_core::import::ImportReport;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> shop_core::Result<()> {
//! let shop = Shop::in_memory();
//! let import = Import::new(RowFormat::Csv);
//! let file = "username,userid,price\nada,u1,29.99\nada,u1,much\n";
//! let mut report = ImportReport::default();
//! import.run(&shop, file.as_bytes(), &mut report, |_report| ()).await?;
//! assert_eq!((report.imported, report.problems[0].line), (1, 3));
//! # Ok(())
//! # }
//! ```
//!
//! The steps of a row, until [`Shop::import`](shop_core::Shop::import) publishes it:
//!
//! ```text
//! bytes ─▶ input: UTF-8, lines ─▶ csv_input: records whose quotes match ─▶ file_rows: values
//!       ─▶ row: a purchase with its id
//! ```

mod amount;
mod columns;
mod csv_input;
#[cfg(test)]
mod durability_test;
mod file_options;
mod file_rows;
mod header;
mod identity;
#[cfg(test)]
mod import_test;
mod input;
mod layout;
#[cfg(test)]
mod other_systems_test;
mod preset;
mod preview;
mod reader;
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

use shop_core::domain::Currency;
use shop_core::import::{ImportOptions, ImportReport};
use shop_core::{Error, ErrorKind, Result, Shop, options};

pub use amount::{CurrencySign, ThousandsSeparator};
pub use file_options::FileOptions;
pub use header::FileColumn;
pub use layout::{ColumnNames, Delimiter, FileZone, TextEncoding};
pub use preset::Preset;
pub use preview::{Preview, RowPreview};
pub use reader::FileReader;
pub use row_filter::RowFilter;
pub use row_format::RowFormat;
pub use time_pattern::{TimePattern, ZoneAbbreviations};

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
    /// optionally `timestamp`, `id`, `key`, [details](shop_core::Details) and `more`.
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
        /// Whether to import a file that was imported before and was read with other options then
        /// (default false: such a file is refused).
        pub again: bool = false,
        /// How long an import waits for ingest while no further row becomes stored (default 10
        /// min).
        pub store_timeout: Duration = Duration::from_secs(10 * 60),
    }

    /// Creates the import of a whole file of this format, with defaults for the other settings.
    pub fn new(format: RowFormat);
}

impl Import {
    /// Imports `file` into `shop`, as [`Shop::import`] does.
    ///
    /// The file is read on a thread for blocking work. `report` counts the rows by their result,
    /// also if the import fails. `on_batch` is called after each batch with the report so far.
    ///
    /// Importing a file again imports no purchase twice. But if an option that decides what a row
    /// means differs from the first import, such as [`columns`](Self::columns) or
    /// [`time_zone`](Self::time_zone), the file is refused unless [`again`](Self::again) is set.
    ///
    /// # Errors
    /// - [`Conflict`](ErrorKind::Conflict) if the file was imported before with other such options.
    ///   Nothing is imported then
    /// - [`Invalid`](ErrorKind::Invalid) if the file is not in the expected format, or if the header
    ///   of CSV is wrong
    /// - [`Internal`](ErrorKind::Internal) if the file cannot be read
    /// - the errors of the sink and the store, after retries for about half a minute
    /// - [`DeadlineExceeded`](ErrorKind::DeadlineExceeded) if no purchase is ingested within the
    ///   [`store_timeout`](Self::store_timeout)
    ///
    /// # Cancel safety
    /// Dropping the future may leave a part of the file imported.
    pub async fn run(
        &self,
        shop: &Shop,
        file: impl Read + Send + 'static,
        report: &mut ImportReport,
        on_batch: impl FnMut(&ImportReport) + Send,
    ) -> Result<()> {
        let import = self.clone();
        let open_file = move || import.open(file);
        shop.import(open_file, &self.import_options(), report, on_batch)
            .await
    }

    /// Checks that `file` was not imported into `shop` before with other options that decide what a
    /// row means. [`run`](Self::run) makes the same check.
    ///
    /// Reads the beginning of the file, and blocks the thread while it reads. The check succeeds if
    /// the store does not record imported files.
    ///
    /// # Errors
    /// - [`Conflict`](ErrorKind::Conflict), with the options that differ, unless
    ///   [`again`](Self::again) is set
    /// - the errors of [`preview`](Self::preview), and of a store that cannot be reached
    pub async fn check_repetition(&self, shop: &Shop, file: impl Read) -> Result<()> {
        let identity = self.open(file)?.into_identity();
        if self.again {
            return Ok(());
        }
        shop.check_repetition(&identity).await
    }

    /// Returns the options of this import that do not depend on how the file is read.
    #[must_use]
    pub fn import_options(&self) -> ImportOptions {
        ImportOptions::default()
            .again(self.again)
            .store_timeout(self.store_timeout)
    }
}

/// Returns the error for a file that cannot be read.
fn unreadable_file(cause: std::io::Error) -> Error {
    Error::new(ErrorKind::Internal, "the file cannot be read").with_source(cause)
}
