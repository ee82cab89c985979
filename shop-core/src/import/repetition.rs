//! Notices a file that was imported before, and is read otherwise now.
//!
//! A row without an id and a key is known by its values, as the options of the import make them.
//! With another time zone or another column, the rows of the same file have other values, so they
//! would be stored a second time, and nothing could take them back. So the store keeps of each
//! imported file how it was read:
//!
//! ```text
//! 74738ff5-5367-5958-9aee-98fffdcd1876   {"columns":"price=Total, …","format":"csv","time_zone":"Europe/Berlin"}
//! ```
//!
//! A file is known by a digest of its first [`START_BYTES`]. These bytes are in memory before the
//! first row is imported, also if the file is standard input. And a file to which rows were added
//! since is still known, although only its first rows would be stored a second time.

use std::collections::BTreeMap;
use std::io::{Chain, Cursor, Read};

use backon::Retryable;
use tokio::time::sleep;

use super::header::FileColumn;
use super::layout::TextEncoding;
use super::publish::retry_backoff;
use super::report::ImportReport;
use super::row::ImportRow;
use super::{Import, MAX_ROW_BYTES, unreadable_file};
use crate::import::RowFormat;
use crate::ports::{ImportedFiles, PurchaseQuery};
use crate::{Error, ErrorKind, Result, Uuid};

/// The number of bytes from the beginning of a file by which the file is known. They contain at
/// least one row, as a row is not longer.
const START_BYTES: usize = MAX_ROW_BYTES;

/// A file whose first bytes were read already, and are read again.
pub(super) type StartedFile<R> = Chain<Cursor<Vec<u8>>, R>;

/// Reads the first [`START_BYTES`] of `file`, and returns their digest and the whole file.
///
/// # Errors
/// [`Internal`](ErrorKind::Internal) if the file cannot be read.
pub(super) fn read_start<R: Read>(mut file: R) -> Result<(Uuid, StartedFile<R>)> {
    let mut start = Vec::new();
    file.by_ref()
        .take(START_BYTES as u64)
        .read_to_end(&mut start)
        .map_err(unreadable_file)?;
    let digest = Uuid::new_v5(&Uuid::NAMESPACE_OID, &start);
    Ok((digest, Cursor::new(start).chain(file)))
}

/// How a file is read: the options that decide what a row means, by their names. Options that are
/// not set are left out.
///
/// The delimiter is no such option, because with another one no column is found, and neither is the
/// choice of rows: it decides which rows are imported, and not what they mean. Two ways to write
/// the same options are one reading, such as a column that has the name of its member anyway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading(BTreeMap<String, String>);

impl Reading {
    /// Returns how `import` reads a file with these columns. A file of NDJSON has none.
    pub(super) fn new(import: &Import, columns: &[FileColumn]) -> Self {
        let mut options = BTreeMap::new();
        let mut set = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                options.insert(name.to_owned(), value);
            }
        };

        let format = match import.format {
            RowFormat::Csv => "csv",
            RowFormat::Ndjson => "ndjson",
        };
        set("format", Some(format.to_owned()));
        let columns = Some(read_columns(columns)).filter(|columns| !columns.is_empty());
        set("columns", columns);
        let encoding = import.encoding.and_then(TextEncoding::unless_utf_8);
        set("encoding", encoding);
        let decimal_comma = import.decimal_comma.then(|| "true".to_owned());
        set("decimal_comma", decimal_comma);
        set("thousands", text_of(import.thousands.as_ref()));
        set("currency_sign", text_of(import.currency_sign.as_ref()));
        set("time_zone", text_of(import.time_zone.as_ref()));
        set("time_pattern", text_of(import.time_pattern.as_ref()));
        let abbreviations = Some(&import.zone_abbreviations).filter(|table| !table.is_empty());
        set("zone_abbreviations", text_of(abbreviations));
        Self(options)
    }

    /// Returns this reading as the text that a store keeps.
    fn to_text(&self) -> String {
        serde_json::json!(self.0).to_string()
    }

    /// Returns what differs between the reading of the `text` that a store has kept and this one,
    /// or `None` if nothing does.
    fn difference_from(&self, text: &str) -> Option<String> {
        let before: BTreeMap<String, String> = serde_json::from_str(text).unwrap_or_default();
        let mut differences = Vec::new();
        for (name, value) in &self.0 {
            match before.get(name) {
                Some(before) if before == value => {}
                Some(before) => differences.push(format!("{name} was {before}, and is {value}")),
                None => differences.push(format!("{name} was not set, and is {value}")),
            }
        }
        for (name, value) in &before {
            if !self.0.contains_key(name) {
                differences.push(format!("{name} was {value}, and is not set"));
            }
        }
        (!differences.is_empty()).then(|| differences.join("; "))
    }
}

/// Returns the text of an option, if it is set.
fn text_of(option: Option<&impl ToString>) -> Option<String> {
    option.map(ToString::to_string)
}

/// Returns the columns that are read, as `price=Total, userid=Customer ID`, in the order of the
/// members.
fn read_columns(columns: &[FileColumn]) -> String {
    let mut columns: Vec<String> = columns
        .iter()
        .filter_map(|column| Some(format!("{}={}", column.member?, column.column)))
        .collect();
    columns.sort();
    columns.join(", ")
}

/// Checks once that a file is read as before, and keeps how it is read when its first row is
/// imported.
pub(super) struct RepetitionGuard<'a> {
    /// The files that were imported before, or `None` if there is nothing to check or to keep any
    /// more.
    files: Option<&'a dyn ImportedFiles>,
    is_checked: bool,
}

impl<'a> RepetitionGuard<'a> {
    /// Creates a guard for the import of one file into the store of `query`.
    ///
    /// With `again`, a file that was read otherwise before is not refused.
    pub(super) fn new(query: &'a dyn PurchaseQuery, again: bool) -> Self {
        Self {
            files: query.info().imported_files,
            is_checked: again,
        }
    }

    /// Admits a batch of the file with the digest `file` before it is published.
    ///
    /// The reading is kept once a batch contains a valid row. So a file none of whose rows could be
    /// read is not known, and can be read otherwise.
    ///
    /// If the store refuses to tell or to keep the reading, such as for a missing right, the file
    /// is imported, and `report` says why it is not known whether the file is repeated.
    ///
    /// # Errors
    /// - [`Conflict`](ErrorKind::Conflict) if the file was imported before, and was read otherwise
    /// - the errors of the store, if they last for about half a minute
    pub(super) async fn admit(
        &mut self,
        file: Uuid,
        reading: &Reading,
        batch: &[ImportRow],
        report: &mut ImportReport,
    ) -> Result<()> {
        let Some(files) = self.files else {
            return Ok(());
        };
        let result = self.check_and_keep(files, file, reading, batch).await;
        match result {
            Err(error) if error.kind() == ErrorKind::Conflict || error.is_retryable() => Err(error),
            Err(error) => {
                self.files = None;
                report.unknown_repetition = Some(error.to_string());
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Checks the reading if it was not checked yet, and keeps it if `batch` contains a valid row.
    async fn check_and_keep(
        &mut self,
        files: &dyn ImportedFiles,
        file: Uuid,
        reading: &Reading,
        batch: &[ImportRow],
    ) -> Result<()> {
        if !self.is_checked {
            refuse_other_reading(files, file, reading).await?;
            self.is_checked = true;
        }

        if batch.iter().any(|row| row.purchase.is_ok()) {
            let text = reading.to_text();
            (|| files.last_reading(file, Some(&text)))
                .retry(retry_backoff())
                .sleep(sleep)
                .when(Error::is_retryable)
                .await?;
            self.files = None;
        }
        Ok(())
    }
}

impl Import {
    /// Checks `file` as [`Shop::check_repetition`](crate::Shop::check_repetition) does.
    ///
    /// # Errors
    /// The errors of [`Shop::check_repetition`](crate::Shop::check_repetition).
    pub(crate) async fn check_repetition(
        &self,
        query: &dyn PurchaseQuery,
        file: impl Read,
    ) -> Result<()> {
        let (file, reading) = self.reading_of(file)?;
        // A batch without rows is checked, and keeps nothing.
        RepetitionGuard::new(query, self.again)
            .admit(file, &reading, &[], &mut ImportReport::default())
            .await
    }

    /// Returns the digest of `file` and how it is read.
    ///
    /// The reader of the file is dropped here, so that a caller does not keep it while it waits for
    /// the store.
    fn reading_of(&self, file: impl Read) -> Result<(Uuid, Reading)> {
        let reader = super::FileReader::open(self.clone(), file)?;
        Ok((reader.digest, reader.reading))
    }
}

/// Checks that the file with the digest `file` was not imported before and read otherwise.
///
/// # Errors
/// [`Conflict`](ErrorKind::Conflict), with what differs, and the errors of the store.
async fn refuse_other_reading(
    files: &dyn ImportedFiles,
    file: Uuid,
    reading: &Reading,
) -> Result<()> {
    let last_reading = (|| files.last_reading(file, None))
        .retry(retry_backoff())
        .sleep(sleep)
        .when(Error::is_retryable)
        .await?;
    let Some(difference) = last_reading.and_then(|text| reading.difference_from(&text)) else {
        return Ok(());
    };
    Err(Error::new(
        ErrorKind::Conflict,
        format!(
            "this file was imported before with other options: {difference}. \
             Each row that has another meaning by that would be stored a second time. \
             Import it with the options of before, or again (`--again`, `again=true`) to import it all the same"
        ),
    ))
}
