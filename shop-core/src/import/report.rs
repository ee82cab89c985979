//! The report of an import, and the preview of how a file would be read.

use std::fmt;
use std::io::Read;

use serde::Serialize;

use super::header::FileColumn;
use super::{FileReader, Import};
use crate::{Purchase, Result};

/// The maximum number of rows whose problems are listed in a report.
const MAX_LISTED_PROBLEMS: usize = 20;

/// The result of an import.
///
/// Unless the import failed, each row is counted once as [imported](Self::imported),
/// [repeated](Self::repeated), [rejected](Self::rejected) or [conflicting](Self::conflicting).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ImportReport {
    /// The number of rows that were read. Rows without any value do not count.
    pub rows: u64,
    /// The number of rows whose purchase or refund this import stored.
    pub imported: u64,
    /// The number of imported refunds that wait in the store until their purchase is stored.
    pub waiting: u64,
    /// The number of rows whose purchase was stored before, from another import or from an earlier
    /// row.
    pub repeated: u64,
    /// The number of rows that are not valid, or whose purchase is not accepted.
    pub rejected: u64,
    /// The number of rows whose id or key belongs to a purchase with other content.
    pub conflicting: u64,
    /// The number of rows that [`only`](Import::only) excludes. They are not among the `rows`.
    pub excluded: u64,
    /// The first 20 rows that were rejected or conflict.
    pub problems: Vec<RowProblem>,
    /// The line of the last row, if it does not end with a line end. The row is imported, but the
    /// file may have been cut off in this line.
    pub unterminated_line: Option<u64>,
    /// The columns of the file that are not read.
    pub ignored_columns: Vec<String>,
    /// The reason why it is not known whether the file was imported before with other options, such
    /// as a right that the store lacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_repetition: Option<String>,
    /// The line to continue with, if the import failed.
    #[serde(skip)]
    pub resume_at: Option<u64>,
}

/// A row that was not imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowProblem {
    /// The line in which the row starts, from 1.
    pub line: u64,
    /// The reason why the row was not imported.
    pub detail: String,
}

impl ImportReport {
    /// Counts the row at `line` as rejected for the reason `detail`.
    pub(super) fn count_rejected(&mut self, line: u64, detail: String) {
        self.rejected += 1;
        self.add_problem(line, detail);
    }

    /// Counts the row at `line` as conflicting.
    pub(super) fn count_conflict(&mut self, line: u64) {
        self.conflicting += 1;
        let detail = "its id or key belongs to a purchase with other content";
        self.add_problem(line, detail.to_owned());
    }

    /// Lists the problem of a row, unless the list is full.
    fn add_problem(&mut self, line: u64, detail: String) {
        if self.problems.len() < MAX_LISTED_PROBLEMS {
            self.problems.push(RowProblem { line, detail });
        }
    }

    /// Returns the number of rows that could not be imported: the rejected and the conflicting
    /// ones.
    #[must_use]
    pub const fn failed(&self) -> u64 {
        self.rejected + self.conflicting
    }
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "rows {}: imported {}, repeated {}, rejected {}, conflicting {}",
            self.rows, self.imported, self.repeated, self.rejected, self.conflicting
        )?;
        for RowProblem { line, detail } in &self.problems {
            write!(f, "\n  line {line}: {detail}")?;
        }
        let unlisted_problems = self.failed() - self.problems.len() as u64;
        if unlisted_problems > 0 {
            write!(f, "\n  {unlisted_problems} more")?;
        }
        if self.excluded > 0 {
            write!(f, "\nexcluded by the option only: {}", self.excluded)?;
        }
        if self.waiting > 0 {
            write!(
                f,
                "\n{} of the imported refunds wait until their purchase is stored",
                self.waiting
            )?;
        }
        if let Some(line) = self.unterminated_line {
            write!(
                f,
                "\nline {line} is the last one and has no line end: check whether the file was cut off in it"
            )?;
        }
        if let Some(reason) = &self.unknown_repetition {
            write!(
                f,
                "\nit is not known whether this file was imported before with other options: {reason}"
            )?;
        }
        if !self.ignored_columns.is_empty() {
            write!(
                f,
                "\ncolumns that were not read: {}",
                self.ignored_columns.join(", ")
            )?;
        }
        Ok(())
    }
}

/// The number of rows in a preview.
const PREVIEW_ROWS: usize = 5;

/// A preview of how a file would be read: its columns, and its first five rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preview {
    /// The delimiter of CSV.
    pub delimiter: Option<String>,
    /// The columns of CSV, in their order.
    pub columns: Vec<FileColumn>,
    /// The first five rows.
    pub rows: Vec<RowPreview>,
}

/// A row of a file in a preview, with its purchase or its problem.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RowPreview {
    /// The line in which the row starts.
    pub line: u64,
    /// The purchase, if the row is valid.
    pub purchase: Option<Purchase>,
    /// The reason why the row is not valid, otherwise.
    pub problem: Option<String>,
}

impl Import {
    /// Reads the header and the first five rows of `file`, and imports nothing. Blocks while the
    /// file is read.
    ///
    /// # Errors
    /// Returns the errors of [`run`](Self::run) that are about the file.
    pub fn preview(&self, file: impl Read) -> Result<Preview> {
        let (reader, batch) = FileReader::open(self.clone(), file)?.next_batch(PREVIEW_ROWS)?;
        if let Some(error) = reader.failure {
            return Err(error);
        }

        let rows = batch.into_iter().map(|row| RowPreview {
            line: row.line,
            problem: row.purchase.as_ref().err().cloned(),
            purchase: row.purchase.ok(),
        });
        Ok(Preview {
            delimiter: reader
                .file
                .delimiter()
                .map(|delimiter| delimiter.to_string()),
            columns: reader.file.columns().to_vec(),
            rows: rows.collect(),
        })
    }
}

impl fmt::Display for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(delimiter) = &self.delimiter {
            writeln!(f, "columns, separated by {delimiter}:")?;
        }
        for FileColumn { column, member } in &self.columns {
            writeln!(f, "  {column}: {}", member.unwrap_or("not read"))?;
        }
        write!(f, "rows:")?;
        for row in &self.rows {
            write!(f, "\n  line {}: ", row.line)?;
            match (&row.purchase, &row.problem) {
                (Some(purchase), _) => {
                    let json = serde_json::to_string(purchase).map_err(|_invalid| fmt::Error)?;
                    f.write_str(&json)?;
                }
                (None, problem) => f.write_str(problem.as_deref().unwrap_or_default())?,
            }
        }
        Ok(())
    }
}
