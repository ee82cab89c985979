//! Publishes the purchases of a file to a log, each once, however often it is imported. Feature `csv`.
//!
//! ```
//! use shop_core::api::RowFormat;
//! use shop_core::import::{Import, ImportReport};
//! use shop_core::memory::InMemoryLog;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> shop_core::Result<()> {
//! let file = "username,userid,price\nada,u1,29.99\nada,u1,much\n";
//! let mut report = ImportReport::default();
//! let import = Import::new(RowFormat::Csv);
//! import.run(&InMemoryLog::default().sink(), file.as_bytes(), &mut report, |_report| ()).await?;
//! assert_eq!((report.imported, report.rejected_lines[0].line), (1, 3));
//! # Ok(())
//! # }
//! ```

#[cfg(test)]
mod import_test;
mod rows;

use std::fmt;
use std::io::BufRead;
use std::time::Duration;

use serde::Serialize;

use crate::api::RowFormat;
use crate::domain::Currency;
use crate::ports::PurchaseSink;
use crate::{Error, ErrorKind, Outcome, Purchase, Result, options};

use rows::{Row, Rows};

/// The number of purchases that are published together.
const BATCH: usize = 1_000;
/// The maximum number of rejected lines that are named.
const MAX_NAMED: usize = 20;
/// The pauses before purchases with an unknown outcome are published again: 0.1 s to 6.4 s, half of a minute in all.
const PAUSES: u32 = 9;

options! {
    /// The import of a file with one purchase per line or row: `username`, `userid`, `price`, and optionally
    /// `timestamp`,
    /// `id`, `key` and [details](crate::Details). An `id` stays the purchase's id, and a `key` makes the id as in the HTTP API. A purchase without
    /// either gets an id from the number and the content of its line.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Import {
        /// The format of the file.
        pub format: RowFormat = format,
        /// The first line to import (default 1).
        pub from_line: u64 = 1,
        /// How long the store keeps purchases, by their timestamp (default `None`, for ever): older ones are rejected.
        pub retention: Option<Duration> = None,
        /// The currency of the shop (default none). Purchases without one get it, and those with another one are rejected.
        pub currency: Option<Currency> = None,
    }

    /// The import of a whole file.
    pub fn new(format: RowFormat);
}

/// The result of an import.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ImportReport {
    /// Lines that were read and are not blank: the sum of the following, unless the import has failed.
    pub lines: u64,
    /// Acknowledged purchases.
    pub imported: u64,
    /// Purchases that were stored before. A log without its store, such as Kafka, does not know them: they are imported.
    pub repeated: u64,
    /// Lines that are not valid, or whose purchase the log has rejected.
    pub rejected: u64,
    /// The first 20 of these lines.
    pub rejected_lines: Vec<RejectedLine>,
    /// The line to continue with, if the sink has failed.
    #[serde(skip)]
    pub resume_at: Option<u64>,
}

/// A line that was not imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RejectedLine {
    /// Its number, from 1.
    pub line: u64,
    /// The reason.
    pub detail: String,
}

impl ImportReport {
    fn reject(&mut self, line: u64, detail: String) {
        self.rejected += 1;
        if self.rejected_lines.len() < MAX_NAMED {
            self.rejected_lines.push(RejectedLine { line, detail });
        }
    }
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            lines,
            imported,
            repeated,
            rejected,
            ..
        } = self;
        write!(
            f,
            "lines {lines}: imported {imported}, repeated {repeated}, rejected {rejected}"
        )?;
        for RejectedLine { line, detail } in &self.rejected_lines {
            write!(f, "\n  line {line}: {detail}")?;
        }
        match self.rejected - self.rejected_lines.len() as u64 {
            0 => Ok(()),
            more => write!(f, "\n  {more} more"),
        }
    }
}

impl Import {
    /// Reads `input`, on a thread for blocking work, and publishes its purchases to `sink`, in batches. `report` counts
    /// what was imported, also when it fails; `progress` is called after each batch.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) when the header of CSV is wrong; [`Internal`](ErrorKind::Internal) when the
    /// input cannot be read; errors of the sink when they have lasted for about half a minute. Importing the file again
    /// publishes nothing twice.
    ///
    /// # Cancel safety
    /// Dropping the future may leave a part of the file published.
    pub async fn run(
        &self,
        sink: &dyn PurchaseSink,
        input: impl BufRead + Send + 'static,
        report: &mut ImportReport,
        mut progress: impl FnMut(&ImportReport) + Send,
    ) -> Result<()> {
        sink.check().await?;
        let import = self.clone();
        let mut reading =
            tokio::task::spawn_blocking(move || Rows::new(import, input)?.next_batch(BATCH));
        loop {
            let read = reading
                .await
                .map_err(|panicked| unreadable().with_source(panicked))?;
            let (rows, batch) = read?;
            if batch.is_empty() {
                return Ok(());
            }
            // The next batch is read while this one is published.
            reading = tokio::task::spawn_blocking(move || rows.next_batch(BATCH));
            publish(sink, batch, report).await?;
            progress(report);
        }
    }
}

fn unreadable() -> Error {
    Error::new(ErrorKind::Internal, "the file cannot be read")
}

/// Publishes a batch until each purchase is acknowledged or rejected.
async fn publish(
    sink: &dyn PurchaseSink,
    batch: Vec<Row>,
    report: &mut ImportReport,
) -> Result<()> {
    let (mut lines, mut purchases) = (
        Vec::with_capacity(batch.len()),
        Vec::with_capacity(batch.len()),
    );
    for (line, row) in batch {
        report.lines += 1;
        match row {
            Ok(purchase) => {
                lines.push(line);
                purchases.push(purchase);
            }
            Err(why) => report.reject(line, why),
        }
    }
    for pause in 0.. {
        let (mut failed, mut again) = (None, (Vec::new(), Vec::<Purchase>::new()));
        let results = if purchases.is_empty() {
            Vec::new()
        } else {
            sink.publish_many(&purchases).await
        };
        for ((line, purchase), result) in lines.into_iter().zip(purchases).zip(results) {
            match result {
                Ok(receipt) if receipt.is_duplicate => report.repeated += 1,
                Ok(_) => report.imported += 1,
                Err(error) if error.is_retryable() || error.outcome() == Outcome::Unknown => {
                    failed.get_or_insert((line, error));
                    again.0.push(line);
                    again.1.push(purchase);
                }
                Err(error) => report.reject(line, error.to_string()),
            }
        }
        (lines, purchases) = again;
        let Some((line, error)) = failed else { break };
        if pause == PAUSES {
            report.resume_at = Some(line);
            return Err(error);
        }
        tracing::warn!(error = %error.chain(), line, "publish failed, retrying");
        tokio::time::sleep(Duration::from_millis(100 << pause.min(6))).await;
    }
    Ok(())
}
