//! Imports the purchases of a file, each once, however often the file is imported.
//!
//! [`Shop::import`](crate::Shop::import) takes the rows of a file from a [`RowSource`], and returns
//! an [`ImportReport`]. `shop-api` reads files of CSV and NDJSON as such a source.
//!
//! ```text
//! RowSource ─▶ repetition: was it imported before, and read otherwise? ─▶ publish: stored, and counted
//! ```

mod publish;
mod referenced;
mod repetition;
mod report;
mod row;

use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::ports::{PurchaseQuery, PurchaseSink};
use crate::{Error, ErrorKind, Result, options};

use publish::ImportPublisher;
pub use repetition::check_repetition;
use repetition::{OtherReading, RepetitionGuard};
pub use report::{ImportReport, RowProblem};
pub use row::{FileIdentity, ImportRow, MAX_BATCH_BYTES, RowSource};

/// The number of rows of a batch at the beginning, and of each batch for a sink that appends to a
/// log.
const MIN_BATCH_SIZE: usize = 1_000;
/// The maximum number of rows of a batch for a sink that stores them.
const MAX_BATCH_SIZE: usize = 65_536;
/// The time that publishing a batch of more than [`MIN_BATCH_SIZE`] rows may take. After a slower
/// batch, smaller batches follow.
const MAX_BATCH_TIME: Duration = Duration::from_secs(4);

options! {
    /// The options of an import that do not depend on how the file is read.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ImportOptions {
        /// Whether a file is imported although it was imported before with other options (default
        /// false: it is refused).
        pub again: bool = false,
        /// How long an import waits for ingest while no further row becomes stored (default 10
        /// min).
        pub store_timeout: Duration = Duration::from_secs(10 * 60),
    }
}

/// Imports the rows of a file, as [`Shop::import`](crate::Shop::import) does: publishes the
/// purchases to `sink`, and waits until `query` finds them stored.
///
/// `open` opens the file, on a thread for blocking work. The function counts the rows in `report`,
/// and calls `progress` with the report after each batch.
///
/// # Errors
/// The errors of [`Shop::import`](crate::Shop::import).
///
/// # Cancel safety
/// Dropping the future may leave a part of the file imported.
pub async fn import_rows<S: RowSource>(
    sink: &dyn PurchaseSink,
    query: &dyn PurchaseQuery,
    open: impl FnOnce() -> Result<S> + Send + 'static,
    options: &ImportOptions,
    report: &mut ImportReport,
    mut progress: impl FnMut(&ImportReport) + Send,
) -> Result<()> {
    sink.check().await?;

    let mut publisher = ImportPublisher::new(sink, query, options.store_timeout);
    let other_reading = if options.again {
        OtherReading::Accept
    } else {
        OtherReading::Refuse
    };
    let mut repetition_guard = RepetitionGuard::new(query, other_reading);
    let mut batch_size = MIN_BATCH_SIZE;
    let mut next_batch = spawn_blocking(move || Ok::<_, Error>(read_batch(open()?, batch_size)));
    loop {
        // The outer error is a panic of the thread, the inner one is an error of opening the file.
        let (source, batch) = next_batch.await.map_err(unreadable_file)??;
        report.ignored_columns = source.ignored_columns().to_vec();
        report.excluded = source.excluded_rows();
        let batch = match batch {
            Ok(batch) if !batch.is_empty() => batch,
            // The end of the file, or an error of reading it.
            end_of_file => {
                report.unterminated_line = source.unterminated_line();
                publisher.finish(report).await?;
                progress(report);
                // The rows before an unreadable place are imported, and then the import fails.
                return end_of_file.map(|_no_rows| ());
            }
        };

        repetition_guard
            .admit(source.identity(), &batch, report)
            .await?;

        // A thread reads the next batch while this one is published.
        next_batch = spawn_blocking(move || Ok(read_batch(source, batch_size)));
        let publish_start = Instant::now();
        publisher.publish(batch, report).await?;
        if sink.info().is_storing {
            batch_size = adapt_batch_size(batch_size, publish_start.elapsed());
        }
        progress(report);
    }
}

/// Reads the next batch of at most `max_rows` rows from `source`, and returns `source` with the
/// batch.
///
/// Each call runs as a blocking task, which owns the source while it reads.
fn read_batch<S: RowSource>(mut source: S, max_rows: usize) -> (S, Result<Vec<ImportRow>>) {
    let batch = source.next_batch(max_rows);
    (source, batch)
}

/// Returns the size of the batch after the next one. Publishing a batch of `batch_size` rows took
/// the time `elapsed`.
///
/// The size is doubled after a fast batch and halved after a slow one. A sink that stores is faster
/// with large batches, because it writes each page once for all rows of a batch. The limit of the
/// time lets the import show progress every few seconds.
fn adapt_batch_size(batch_size: usize, elapsed: Duration) -> usize {
    if elapsed < MAX_BATCH_TIME / 2 {
        MAX_BATCH_SIZE.min(batch_size * 2)
    } else if elapsed > MAX_BATCH_TIME {
        MIN_BATCH_SIZE.max(batch_size / 2)
    } else {
        batch_size
    }
}

/// Returns the error for a file whose reading thread panicked with `cause`.
fn unreadable_file(cause: tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Internal, "the file cannot be read").with_source(cause)
}
