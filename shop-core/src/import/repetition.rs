//! Notices a file that was imported before, and is now read by other options.
//!
//! A row without an id and a key is recognized by its values, which depend on the options of the
//! import. With another time zone or another column, the rows of the same file have other values, so
//! they would be stored a second time, and no later import could remove them. So the store keeps the
//! *reading* of each imported file, which is the options by which it was read:
//!
//! ```text
//! 74738ff5-5367-5958-9aee-98fffdcd1876   {"columns":"price=Total, …","format":"csv","time_zone":"Europe/Berlin"}
//! ```
//!
//! A file is recognized by the digest of its [`FileIdentity`].

use std::collections::BTreeMap;

use backon::Retryable;
use tokio::time::sleep;

use super::publish::retry_backoff;
use super::report::ImportReport;
use super::row::{FileIdentity, ImportRow};
use crate::ports::{ImportedFiles, PurchaseQuery};
use crate::{Error, ErrorKind, Result};

/// The reading of a file: the options that decide what a row means, by their names.
type Reading = BTreeMap<String, String>;

/// Whether a file is imported although it was imported before with another reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OtherReading {
    /// The file is refused, so that its rows are not stored a second time.
    Refuse,
    /// The file is imported, because the caller has demanded it.
    Accept,
}

/// Returns the `reading` of a file as the text that a store keeps.
fn to_text(reading: &Reading) -> String {
    serde_json::json!(reading).to_string()
}

/// Describes the differences between `reading` and the earlier reading that a store has kept as
/// `earlier_text`. Returns `None` if the readings are equal.
fn describe_differences(reading: &Reading, earlier_text: &str) -> Option<String> {
    // A text that is no reading counts as one without options, so each option differs.
    let earlier_reading: Reading = serde_json::from_str(earlier_text).unwrap_or_default();
    let mut differences = Vec::new();
    for (name, value) in reading {
        match earlier_reading.get(name) {
            Some(earlier_value) if earlier_value == value => {}
            Some(earlier_value) => {
                differences.push(format!("{name} was {earlier_value}, and is {value}"));
            }
            None => differences.push(format!("{name} was not set, and is {value}")),
        }
    }
    for (name, earlier_value) in &earlier_reading {
        if !reading.contains_key(name) {
            differences.push(format!("{name} was {earlier_value}, and is not set"));
        }
    }

    if differences.is_empty() {
        return None;
    }
    Some(differences.join("; "))
}

/// Guards the import of one file: checks once that the file is read as in its earlier import, and
/// keeps the reading in the store when the first row is imported.
pub(super) struct RepetitionGuard<'a> {
    /// The files that were imported before, or `None` if there is nothing to check or to keep any
    /// more.
    files: Option<&'a dyn ImportedFiles>,
    /// Whether the reading must still be compared with the one of an earlier import.
    must_check: bool,
}

impl<'a> RepetitionGuard<'a> {
    /// Creates a guard for the import of one file into the store of `query`.
    pub(super) fn new(query: &'a dyn PurchaseQuery, other_reading: OtherReading) -> Self {
        Self {
            files: query.info().imported_files,
            must_check: other_reading == OtherReading::Refuse,
        }
    }

    /// Admits a batch of `file` before it is published.
    ///
    /// The reading is kept once a batch contains a valid row. A file without a valid row does not
    /// count as imported, so it can be read by other options later.
    ///
    /// If the store refuses to return or to keep the reading, such as for a missing right, the file
    /// is imported all the same. `report` then says that a repetition could not be noticed.
    ///
    /// # Errors
    /// - [`Conflict`](ErrorKind::Conflict) if the file was imported before with another reading
    /// - the errors of the store, if they last for about half a minute
    pub(super) async fn admit(
        &mut self,
        file: &FileIdentity,
        batch: &[ImportRow],
        report: &mut ImportReport,
    ) -> Result<()> {
        let Some(files) = self.files else {
            return Ok(());
        };
        let Err(error) = self.check_and_keep(files, file, batch).await else {
            return Ok(());
        };

        let ends_import = error.kind() == ErrorKind::Conflict || error.is_retryable();
        if ends_import {
            return Err(error);
        }
        self.files = None;
        report.unknown_repetition = Some(error.to_string());
        Ok(())
    }

    /// Checks the reading if it was not checked yet, and keeps it if `batch` contains a valid row.
    ///
    /// # Errors
    /// - [`Conflict`](ErrorKind::Conflict) if the file was imported before with another reading
    /// - the errors of the store
    async fn check_and_keep(
        &mut self,
        files: &dyn ImportedFiles,
        file: &FileIdentity,
        batch: &[ImportRow],
    ) -> Result<()> {
        if self.must_check {
            refuse_other_reading(files, file).await?;
            self.must_check = false;
        }

        if batch.iter().any(|row| row.purchase.is_ok()) {
            let text = to_text(&file.reading);
            (|| files.last_reading(file.digest, Some(&text)))
                .retry(retry_backoff())
                .sleep(sleep)
                .when(Error::is_retryable)
                .await?;
            self.files = None;
        }
        Ok(())
    }
}

/// Checks that `file` was not imported before into the store of `query` with another reading, as
/// [`Shop::check_repetition`](crate::Shop::check_repetition) does.
///
/// # Errors
/// The errors of [`Shop::check_repetition`](crate::Shop::check_repetition).
pub async fn check_repetition(query: &dyn PurchaseQuery, file: &FileIdentity) -> Result<()> {
    // For a batch without rows, the guard checks the reading and does not keep it.
    let no_rows = [];
    // A store that does not return readings admits each file, so the report is not needed.
    let mut unused_report = ImportReport::default();
    RepetitionGuard::new(query, OtherReading::Refuse)
        .admit(file, &no_rows, &mut unused_report)
        .await
}

/// Checks that `file` was not imported before with another reading.
///
/// # Errors
/// [`Conflict`](ErrorKind::Conflict), with what differs, and the errors of the store.
async fn refuse_other_reading(files: &dyn ImportedFiles, file: &FileIdentity) -> Result<()> {
    // `None` reads the last reading, and keeps no new one.
    let last_reading = (|| files.last_reading(file.digest, None))
        .retry(retry_backoff())
        .sleep(sleep)
        .when(Error::is_retryable)
        .await?;
    let Some(difference) =
        last_reading.and_then(|earlier_text| describe_differences(&file.reading, &earlier_text))
    else {
        return Ok(());
    };
    Err(Error::new(
        ErrorKind::Conflict,
        format!(
            "this file was imported before with other options: {difference}. \
             Each row that means something else with these options would be stored a second time. \
             Import it with the same options as before, or import it all the same with `--again` or `again=true`"
        ),
    ))
}
