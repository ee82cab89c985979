//! The rows of a file that are imported, by the value of a column.

use std::fmt;
use std::str::FromStr;

use shop_core::Invalid;

/// The column and its values by which rows are imported, as in `Status=Completed|Refunded`. Rows
/// with another value are excluded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFilter {
    /// The name of the column.
    pub(super) column: String,
    /// The values with which a row is imported.
    values: Vec<String>,
}

impl RowFilter {
    /// Creates the filter of a preset.
    pub(super) fn from_preset(column: &str, values: &[&str]) -> Self {
        Self {
            column: column.to_owned(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        }
    }

    /// Returns whether a row is imported if its `cell` in the column of this filter has this value.
    /// White space around the value does not count.
    pub(super) fn admits(&self, cell: &[u8]) -> bool {
        let cell = cell.trim_ascii();
        self.values.iter().any(|value| value.as_bytes() == cell)
    }
}

impl fmt::Display for RowFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.column, self.values.join("|"))
    }
}

impl FromStr for RowFilter {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        const INVALID: Invalid = Invalid::malformed(
            "only",
            "must be a column and its values, such as Status=Completed|Refunded",
        );
        let (column, values) = text.split_once('=').ok_or(INVALID)?;
        let values: Vec<String> = values
            .split('|')
            .map(|value| value.trim().to_owned())
            .collect();
        let column = column.trim().to_owned();
        if column.is_empty() || values.iter().all(String::is_empty) {
            return Err(INVALID);
        }
        Ok(Self { column, values })
    }
}
