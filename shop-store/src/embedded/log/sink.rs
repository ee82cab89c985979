//! [`EmbeddedSink`]: publishes purchases to the log.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, params};
use shop_core::log::{LogRecord, LogWriter, RecordPosition};
use shop_core::ports::{Durability, InsertOutcome, PurchaseSink, Receipt, publish_each};
use shop_core::record::encode;
use shop_core::{Error, ErrorKind, Purchase, Result, Timestamp};

use super::EmbeddedLog;
use super::log::Shared;
use crate::embedded::store;
use crate::embedded::thread::closed;
use crate::embedded::writer::written;

/// Publishes purchases to an [`EmbeddedLog`], and stores them if it is a
/// [`storing_sink`](EmbeddedLog::storing_sink).
#[derive(Debug)]
pub struct EmbeddedSink {
    log: Arc<Shared>,
    /// The group whose records it stores, if it does.
    group: Option<Arc<str>>,
    closed: AtomicBool,
}

/// A purchase that was published: the outcome, and the offset of its record.
enum Published {
    /// Only appended, or appended and stored.
    Appended(u64),
    /// Its id is in use. With the purchase that has it, if that has the same content.
    Known(InsertOutcome, Option<Box<Purchase>>),
}

/// The maximum number of rows that a batch of purchases adds to a transaction with one write.
const MAX_ROWS: usize = 1_024;
/// The pause before a close retries on a full queue.
const CLOSE_RETRY: Duration = Duration::from_millis(5);

impl EmbeddedSink {
    pub(super) const fn new(log: Arc<Shared>, group: Option<Arc<str>>) -> Self {
        Self { log, group, closed: AtomicBool::new(false) }
    }

    fn open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, "the sink is closed").with_origin("embedded log"));
        }
        Ok(())
    }

    fn receipt(&self, purchase: &Purchase, published: Published) -> Result<Receipt> {
        match published {
            Published::Appended(offset) => {
                let receipt = Receipt::new(purchase.id, self.durability());
                Ok(receipt.with_position(self.log.position(offset)))
            }
            Published::Known(outcome, first) => {
                let mut receipt = outcome.into_receipt(purchase.id, self.durability())?;
                receipt.first = first;
                Ok(receipt)
            }
        }
    }

    /// The write that appends `purchases`, and stores them if this sink does.
    fn write(
        &self,
        purchases: &[Purchase],
    ) -> Result<impl Fn(&Connection) -> rusqlite::Result<Vec<Published>> + Send + 'static> {
        let records = purchases.iter().map(encode).collect::<Result<Vec<_>>>()?;
        let storing = self.group.clone().map(|group| (group, purchases.to_vec()));
        let (clock, stored) = (Arc::clone(&self.log.options.clock), Arc::clone(&self.log.stored));
        Ok(move |connection: &Connection| match &storing {
            None => {
                let offsets = insert_all(connection, &records, clock.now())?;
                Ok(offsets.into_iter().map(Published::Appended).collect())
            }
            Some((group, purchases)) => {
                let outcomes = store::insert(connection, purchases)?;
                let append =
                    |((outcome, record), purchase): ((InsertOutcome, &LogRecord), &Purchase)| match outcome {
                        InsertOutcome::Inserted => {
                            let offset = insert(connection, record, clock.now())?;
                            stored.add(group, offset);
                            Ok(Published::Appended(offset))
                        }
                        InsertOutcome::Duplicate => {
                            let first = store::by_id(connection, &purchase.id)?;
                            Ok(Published::Known(outcome, first.map(Box::new)))
                        }
                        _ => Ok(Published::Known(outcome, None)),
                    };
                outcomes.into_iter().zip(&records).zip(purchases).map(append).collect()
            }
        })
    }
}

#[async_trait]
impl PurchaseSink for EmbeddedSink {
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        self.open()?;
        let published = self.log.file.writer.write(self.write(std::slice::from_ref(purchase))?).await?;
        self.receipt(purchase, published.into_iter().next().ok_or_else(closed)?)
    }

    async fn publish_many(&self, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        // All are enqueued before the first is awaited, in their order.
        let mut writes = Vec::new();
        for rows in purchases.chunks(MAX_ROWS) {
            let write = match self.open().and_then(|()| self.write(rows)) {
                Ok(write) => self.log.file.writer.enqueue_when_free(write).await,
                Err(error) => Err(error),
            };
            writes.push((rows, write));
        }
        let mut receipts = Vec::with_capacity(purchases.len());
        for (rows, write) in writes {
            let written = match write {
                Ok(write) => written(write).await,
                Err(error) => Err(error),
            };
            match written {
                Ok(all) => {
                    let published = rows.iter().zip(all);
                    receipts.extend(published.map(|(purchase, published)| self.receipt(purchase, published)));
                }
                // The database rejects one of the rows.
                Err(error)
                    if rows.len() > 1
                        && matches!(error.kind(), ErrorKind::TooLarge | ErrorKind::Internal) =>
                {
                    receipts.extend(publish_each(self, rows).await);
                }
                Err(error) => receipts.extend(rows.iter().map(|_| Err(error.clone()))),
            }
        }
        receipts
    }

    fn durability(&self) -> Durability {
        Durability::LocalDisk
    }

    async fn check(&self) -> Result<()> {
        self.open()?;
        self.log.file.writer.check().await
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        // Writes are processed in order: when this one has completed or failed, so have all before it.
        let drained = async {
            while let Err(error) = self.log.file.writer.write(|_| Ok(())).await
                && error.kind() == ErrorKind::Overloaded
            {
                tokio::time::sleep(CLOSE_RETRY).await;
            }
        };
        tokio::time::timeout(deadline, drained).await.map_err(|_elapsed| {
            Error::new(ErrorKind::DeadlineExceeded, "some purchases were not written in time")
                .with_origin("embedded log")
        })
    }
}

impl EmbeddedLog {
    /// Appends a record with the given key, value and headers. Offset and timestamp are assigned on append. Unlike
    /// [`EmbeddedSink`], it accepts any value, as other producers may write it.
    ///
    /// # Errors
    /// As [`PurchaseSink::publish`].
    pub async fn append(&self, record: LogRecord) -> Result<RecordPosition> {
        self.shared.append(record).await.map(|offset| self.shared.position(offset))
    }
}

#[async_trait]
impl LogWriter for EmbeddedLog {
    async fn append(&self, record: LogRecord) -> Result<()> {
        self.shared.append(record).await.map(drop)
    }

    async fn check(&self) -> Result<()> {
        self.shared.file.writer.check().await
    }
}

impl Shared {
    async fn append(&self, record: LogRecord) -> Result<u64> {
        let clock = Arc::clone(&self.options.clock);
        self.file.writer.write(move |connection| insert(connection, &record, clock.now())).await
    }

    fn position(&self, offset: u64) -> RecordPosition {
        RecordPosition::new(Arc::clone(&self.topic), 0, offset)
    }
}

/// The number of records in a statement. SQLite maintains the offset of the newest record once for each statement.
const ROWS: usize = 16;

/// The statement that inserts [`ROWS`] records.
static INSERT_ROWS: LazyLock<String> = LazyLock::new(|| {
    let rows = vec!["(?, ?, ?, ?)"; ROWS].join(", ");
    format!("INSERT INTO records (time, key, headers, value) VALUES {rows}")
});

/// Inserts `records`. Returns their offsets.
fn insert_all(connection: &Connection, records: &[LogRecord], now: Timestamp) -> rusqlite::Result<Vec<u64>> {
    let (chunks, rest) = records.as_chunks::<ROWS>();
    let mut offsets = Vec::with_capacity(records.len());
    let mut statement = connection.prepare_cached(&INSERT_ROWS)?;
    for chunk in chunks {
        for (row, LogRecord { key, headers, value, .. }) in chunk.iter().enumerate() {
            let first = row * 4;
            statement.raw_bind_parameter(first + 1, now.as_millis())?;
            statement.raw_bind_parameter(first + 2, key.as_deref())?;
            statement.raw_bind_parameter(first + 3, &headers.as_bytes()[..])?;
            statement.raw_bind_parameter(first + 4, value.as_deref())?;
        }
        statement.raw_execute()?;
        // The offsets of a statement are consecutive.
        let next = newest(connection) + 1;
        offsets.extend(next - ROWS as u64..next);
    }
    for record in rest {
        offsets.push(insert(connection, record, now)?);
    }
    Ok(offsets)
}

/// The offset of the newest record. Rowids start at 1.
fn newest(connection: &Connection) -> u64 {
    connection.last_insert_rowid().unsigned_abs()
}

pub(super) fn insert(connection: &Connection, record: &LogRecord, now: Timestamp) -> rusqlite::Result<u64> {
    let sql = "INSERT INTO records (time, key, headers, value) VALUES (?1, ?2, ?3, ?4)";
    let LogRecord { key, headers, value, .. } = record;
    let row = params![now.as_millis(), key.as_deref(), &headers.as_bytes()[..], value.as_deref()];
    connection.prepare_cached(sql)?.execute(row)?;
    Ok(newest(connection))
}
