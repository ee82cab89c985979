//! [`SqliteOutbox`]: the outbox of a SQLite database of your own.
//!
//! An event is written to the table `outbox` in the transaction of its row. A relay reads it from
//! there, publishes it, and deletes it. The files of users and orders use the same table and the
//! same statements, which are functions of this module.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use shop_core::log::{Headers, LogRecord};
use shop_core::record::Event;
use shop_core::{Bytes, Clock, Result, SystemClock, Timestamp};
use shop_store::embedded::file::{blocking, sqlite_error, unreadable};
use shop_store::embedded::rusqlite::{
    self, Connection, Row, Transaction, TransactionBehavior, params,
};
use shop_store::limits::row_limit;
use tokio::sync::Notify;

use crate::outbox::{Backlog, Outbox, OutboxEntry};

/// The maximum time that the outbox waits for the transaction of another connection.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The pending events of a SQLite database of your own, in its table `outbox`.
///
/// [`insert_event`](Self::insert_event) adds an event within the transaction of your row, so both
/// are stored or neither. A [`Relay`](crate::outbox::Relay) publishes the event.
///
/// Leave `synchronous` at its default, `FULL`: with `NORMAL` in WAL mode, a power failure may lose
/// a row whose event was published.
///
/// ```
/// use std::sync::Arc;
///
/// use serde::{Deserialize, Serialize};
/// use shop_accounts::embedded::SqliteOutbox;
/// use shop_accounts::outbox::{Relay, RelayOptions};
/// use shop_core::memory::InMemoryLog;
/// use shop_core::record::JsonEvent;
/// use shop_store::embedded::rusqlite::Connection;
///
/// #[derive(Debug, Clone, Serialize, Deserialize)]
/// struct Refund {
///     order: String,
/// }
///
/// impl JsonEvent for Refund {
///     const TOPIC: &'static str = "refunds";
///
///     fn key(&self) -> String {
///         self.order.clone()
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("refunds.db");
/// let mut database = Connection::open(&path)?;
/// database.execute_batch("CREATE TABLE refunds (number TEXT PRIMARY KEY)")?;
/// let outbox = SqliteOutbox::open(&path).await?;
///
/// let transaction = database.transaction()?;
/// transaction.execute("INSERT INTO refunds (number) VALUES (?1)", ["order-7"])?;
/// SqliteOutbox::insert_event(&transaction, &Refund { order: "order-7".to_owned() })?;
/// transaction.commit()?;
/// outbox.notify_relay();
///
/// let log = InMemoryLog::default();
/// let relay = Relay::new(Arc::new(outbox), Arc::new(log), RelayOptions::default());
/// let monitor = relay.monitor();
/// // A service passes its shutdown signal. What is pending at a shutdown is still published.
/// relay.run(std::future::ready(())).await;
/// assert_eq!(monitor.status().published, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SqliteOutbox {
    connection: Arc<Mutex<Connection>>,
    path: Arc<Path>,
    /// Wakes the relay, by [`notify_relay`](Self::notify_relay) after a commit of the caller.
    relay_wakeup: Arc<Notify>,
}

impl SqliteOutbox {
    /// Opens a connection to the database at `path`, and creates the table `outbox` if it does not
    /// exist.
    ///
    /// # Errors
    /// - [`Unavailable`](shop_core::ErrorKind::Unavailable) if the file cannot be opened, or is
    ///   locked for 5 s
    /// - [`Corrupt`](shop_core::ErrorKind::Corrupt) if the file is not a database
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path: Arc<Path> = path.into().into();
        let blocking_path = Arc::clone(&path);
        let open_database = move || {
            open_blocking(&blocking_path).map_err(|error| sqlite_error(error, &blocking_path))
        };
        let connection = blocking(open_database).await?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
            path,
            relay_wakeup: Arc::default(),
        })
    }

    /// Adds `event` to the table `outbox` within `transaction`, which is on the same database.
    ///
    /// # Errors
    /// - the errors of SQLite
    /// - [`ToSqlConversionFailure`](rusqlite::Error::ToSqlConversionFailure) if the event cannot be
    ///   encoded
    pub fn insert_event(transaction: &Transaction<'_>, event: &impl Event) -> rusqlite::Result<()> {
        let record = event
            .encode()
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        insert(transaction, &record)
    }

    /// Wakes the relay. Call this after the commit of a transaction with an event.
    ///
    /// Without this call, the relay finds the event when it polls the table the next time.
    pub fn notify_relay(&self) {
        self.relay_wakeup.notify_one();
    }

    /// Runs `work` with the connection on a thread for blocking work. Calls of several clones run
    /// one after the other.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let connection = Arc::clone(&self.connection);
        let path = Arc::clone(&self.path);
        blocking(move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut connection).map_err(|error| sqlite_error(error, &path))
        })
        .await
    }
}

/// Opens a connection to the database at `path`, and creates the table if it does not exist.
fn open_blocking(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.execute_batch(TABLE)?;
    Ok(connection)
}

#[async_trait]
impl Outbox for SqliteOutbox {
    async fn pending(&self, limit: usize) -> Result<Vec<OutboxEntry>> {
        self.run(move |connection| pending(connection, limit)).await
    }

    async fn delete(&self, ids: &[i64]) -> Result<()> {
        let ids = ids.to_vec();
        self.run(move |connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            delete(&transaction, &ids)?;
            transaction.commit()
        })
        .await
    }

    async fn backlog(&self) -> Result<Backlog> {
        self.run(|connection| backlog(connection)).await
    }

    async fn wait_for_entries(&self) {
        self.relay_wakeup.notified().await;
    }
}

/// The statement that creates the table of events. With `AUTOINCREMENT`, an id is never used again,
/// so ids keep the order of the writes even if the table was empty in between.
pub(super) const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS outbox (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        time INTEGER NOT NULL,
        key BLOB,
        headers BLOB NOT NULL,
        value BLOB
    ) STRICT;
";

/// Adds an event to the table, with the present time, within the caller's transaction.
pub(super) fn insert(connection: &Connection, event: &LogRecord) -> rusqlite::Result<()> {
    let sql = "INSERT INTO outbox (time, key, headers, value) VALUES (?1, ?2, ?3, ?4)";
    let row = params![
        SystemClock.now().as_millis(),
        event.key.as_deref(),
        &event.headers.as_bytes()[..],
        event.value.as_deref()
    ];
    connection.prepare_cached(sql)?.execute(row).map(drop)
}

/// Reads an entry from a row with the columns `id`, `time`, `key`, `headers` and `value`.
fn read_entry(row: &Row<'_>) -> rusqlite::Result<OutboxEntry> {
    let read_bytes = |column: usize| {
        Ok::<_, rusqlite::Error>(row.get::<_, Option<Vec<u8>>>(column)?.map(Bytes::from))
    };
    let time = Timestamp::from_millis(row.get(1)?).map_err(unreadable(1))?;
    let headers = Headers::from_bytes(read_bytes(3)?.unwrap_or_default()).map_err(unreadable(3))?;
    // The log replaces the offset and the time when the record is appended.
    let record = LogRecord::new(0, Timestamp::MIN, read_bytes(4)?)
        .with_key(read_bytes(2)?)
        .with_headers(headers);
    Ok(OutboxEntry::new(row.get(0)?, time, record))
}

/// Returns the oldest entries of the table, at most `limit`.
pub(super) fn pending(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<OutboxEntry>> {
    let sql = "SELECT id, time, key, headers, value FROM outbox ORDER BY id LIMIT ?1";
    connection
        .prepare_cached(sql)?
        .query_map([row_limit(limit)], read_entry)?
        .collect()
}

/// Deletes the entries with these ids. An id without an entry is ignored.
pub(super) fn delete(connection: &Connection, ids: &[i64]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("DELETE FROM outbox WHERE id = ?1")?;
    for id in ids {
        statement.execute([id])?;
    }
    Ok(())
}

/// Returns the number of entries in the table, and the time of the oldest entry.
pub(super) fn backlog(connection: &Connection) -> rusqlite::Result<Backlog> {
    let sql = "SELECT count(*), (SELECT time FROM outbox ORDER BY id LIMIT 1) FROM outbox";
    connection.prepare_cached(sql)?.query_row([], |row| {
        let count: i64 = row.get(0)?;
        let oldest_time: Option<i64> = row.get(1)?;
        // A time out of range counts as unknown.
        let oldest = oldest_time.and_then(|time| Timestamp::from_millis(time).ok());
        Ok(Backlog::new(count.unsigned_abs(), oldest))
    })
}
