//! What the program that runs a replacement does for it.

use std::error::Error;
use std::fmt;

use crate::ReplacedSystem;
use async_trait::async_trait;
use serde_json::Value;
use shop_core::Backend;
use shop_core::ports::UnreadableEntry;
use shop_core::verify::VerifyOptions;

use super::TopicGroup;

/// A progress line for an operator. A call shows a new text, and the line disappears when it is
/// dropped.
pub type ProgressLine = Box<dyn Fn(String) + Send + Sync>;

/// The program that runs a [`Replacement`](super::Replacement): it opens the stores, and prints.
#[async_trait]
pub trait ReplacementHost: Sync {
    /// The error of the program.
    type Error: From<shop_core::Error> + From<Finding> + Send;

    /// Prints a result in the form that the operator chose: `text`, or the JSON `report`.
    ///
    /// # Errors
    /// The output cannot be written.
    fn print(&self, text: &str, report: &Value) -> Result<(), Self::Error>;

    /// Shows a progress line.
    fn start_progress(&self) -> ProgressLine;

    /// Opens the store of the purchases. Returns its name for output, and its ports.
    ///
    /// # Errors
    /// The store cannot be opened.
    async fn open_purchases(&self) -> Result<(String, Backend), Self::Error>;

    /// Reads all rows of the users or of the orders that are replaced. Returns their number, and the
    /// rows that cannot be read.
    ///
    /// # Errors
    /// The rows are not in a database that old programs can use, or the database fails.
    async fn read_rows(&self) -> Result<(u64, Vec<UnreadableEntry>), Self::Error>;

    /// Converts the stored documents of the old programs to our form, or back to the form of the
    /// system `back_to`, and prints the counts of the converted documents.
    ///
    /// # Errors
    /// The store is not one in which old programs stored documents, or fails.
    async fn convert_documents(&self, back_to: Option<ReplacedSystem>) -> Result<(), Self::Error>;

    /// Verifies the store of purchases against the topic of `group`, and prints the report.
    ///
    /// # Errors
    /// The store differs from the topic, or one of both fails.
    async fn verify(&self, group: &TopicGroup, options: VerifyOptions) -> Result<(), Self::Error>;
}

/// The end of a replacement that found something to repair, such as missing rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding(String);

impl Finding {
    /// Creates a finding that `text` describes to the operator.
    pub(super) const fn new(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Finding {}
