//! Shows how an import would read a file.

use std::fmt;
use std::io::Read;

use serde::Serialize;

use super::row::COLUMNS;
use super::{FileReader, Import, Row, Source};
use crate::{Purchase, Result};

/// The number of rows that are shown.
const ROWS: usize = 5;

/// How a file would be read: its columns, and its first five rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preview {
    /// The delimiter of CSV.
    pub delimiter: Option<String>,
    /// The columns of CSV, in their order.
    pub columns: Vec<ColumnPreview>,
    /// The first five rows.
    pub rows: Vec<RowPreview>,
}

/// A column of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ColumnPreview {
    /// Its name.
    pub column: String,
    /// The member of a purchase that it has; `None` if it is not read.
    pub member: Option<&'static str>,
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
                let columns = rows.header.columns.iter().map(|column| ColumnPreview {
                    column: column.name.clone(),
                    member: column.member.map(|member| COLUMNS[member]),
                });
                (Some(rows.header.delimiter.to_string()), columns.collect())
            }
        };
        let mut rows = Vec::new();
        while rows.len() < ROWS
            && let Some((line, values)) = reader.next_values()?
        {
            let purchase = values.and_then(|values| reader.rows.purchase(values));
            if line >= self.from_line {
                rows.push(Row { line, purchase }.into());
            }
        }
        Ok(Preview {
            delimiter,
            columns,
            rows,
        })
    }
}

impl From<Row> for RowPreview {
    fn from(row: Row) -> Self {
        let (purchase, problem) = match row.purchase {
            Ok(purchase) => (Some(purchase), None),
            Err(problem) => (None, Some(problem)),
        };
        Self {
            line: row.line,
            purchase,
            problem,
        }
    }
}

impl fmt::Display for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(delimiter) = &self.delimiter {
            writeln!(f, "columns, separated by {delimiter}:")?;
        }
        for ColumnPreview { column, member } in &self.columns {
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
