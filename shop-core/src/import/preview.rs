//! Shows how an import would read a file.

use std::fmt;
use std::io::Read;

use serde::Serialize;

use super::header::FileColumn;
use super::{FileReader, Import, Source};
use crate::{Purchase, Result};

/// The number of rows that are shown.
const ROWS: usize = 5;

/// How a file would be read: its columns, and its first five rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preview {
    /// The delimiter of CSV.
    pub delimiter: Option<String>,
    /// The columns of CSV, in their order.
    pub columns: Vec<FileColumn>,
    /// The first five rows.
    pub rows: Vec<RowPreview>,
}

/// A row of a file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RowPreview {
    /// The line in which it starts.
    pub line: u64,
    /// The purchase, if the row is valid.
    pub purchase: Option<Purchase>,
    /// What is wrong with it otherwise.
    pub problem: Option<String>,
}

impl Import {
    /// Reads the header and the first five rows of `file`, and imports nothing. Blocks while the file is read.
    ///
    /// # Errors
    /// As [`run`](Self::run), about the file.
    pub fn preview(&self, file: impl Read) -> Result<Preview> {
        let mut reader = FileReader::new(self.clone(), file)?;
        let (delimiter, columns) = match &reader.source {
            Source::Ndjson(_) => (None, Vec::new()),
            Source::Csv(rows) => {
                let delimiter = rows.header.delimiter.to_string();
                (Some(delimiter), rows.header.columns.clone())
            }
        };
        let mut rows = Vec::new();
        while rows.len() < ROWS
            && let Some((line, values)) = reader.next_values()?
        {
            let purchase = values.and_then(|values| reader.rows.purchase(values));
            if line >= self.from_line {
                let (purchase, problem) = match purchase {
                    Ok(purchase) => (Some(purchase), None),
                    Err(problem) => (None, Some(problem)),
                };
                rows.push(RowPreview {
                    line,
                    purchase,
                    problem,
                });
            }
        }
        Ok(Preview {
            delimiter,
            columns,
            rows,
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
