//! A preview of how a file would be read.

use std::fmt;
use std::io::Read;

use serde::Serialize;
use shop_core::{Purchase, Result};

use super::Import;
use super::header::FileColumn;

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
        let mut reader = self.open(file)?;
        let batch = reader.next_rows(PREVIEW_ROWS);
        if let Some(error) = reader.read_error {
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
