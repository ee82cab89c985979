//! The report of an import.

use std::fmt;

use serde::Serialize;

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
    /// The number of rows that a filter of the source excludes. They are not among the `rows`.
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
