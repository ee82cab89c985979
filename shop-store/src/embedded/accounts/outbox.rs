//! [`SqliteOutbox`]: the outbox of a SQLite database of your own.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use shop_core::Result;
use shop_core::outbox::{Backlog, Outbox, OutboxEntry};
use shop_core::record::Event;
use tokio::sync::Notify;

use super::outbox_table as table;
use crate::embedded::error::AtPath as _;
use crate::embedded::thread::blocking;

/// How long the outbox waits for another connection's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The pending events of a SQLite database of your own, in its table `outbox`.
///
/// [`write`](Self::write) adds an event within the transaction of your row, so both are stored or neither. A
/// [`Relay`](shop_core::outbox::Relay) publishes it.
///
/// Leave `synchronous` at its default, `FULL`: with `NORMAL` in WAL mode, a power failure may lose a row whose event
/// was published.
///
/// ```
/// use std::sync::Arc;
///
/// use serde::{Deserialize, Serialize};
/// use shop_core::memory::InMemoryLog;
/// use shop_core::outbox::{Relay, RelayOptions};
/// use shop_core::record::JsonEvent;
/// use shop_store::embedded::SqliteOutbox;
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
/// SqliteOutbox::write(&transaction, &Refund { order: "order-7".to_owned() })?;
/// transaction.commit()?;
/// outbox.notify();
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
    /// Notified by the caller after a commit.
    written: Arc<Notify>,
}

impl SqliteOutbox {
    /// Opens a connection to the database at `path`, and creates the table `outbox` if it does not exist.
    ///
    /// # Errors
    /// [`Unavailable`](shop_core::ErrorKind::Unavailable) when the file cannot be opened or is locked for 5 s,
    /// [`Corrupt`](shop_core::ErrorKind::Corrupt) when it is not a database.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path: Arc<Path> = path.into().into();
        let file = Arc::clone(&path);
        let connection = blocking(move || open(&file).at(&file)).await?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
            path,
            written: Arc::default(),
        })
    }

    /// Adds `event` to the table `outbox` within `transaction`, which is on the same database.
    ///
    /// # Errors
    /// Those of SQLite, and [`ToSqlConversionFailure`](rusqlite::Error::ToSqlConversionFailure) when the event cannot
    /// be encoded.
    pub fn write(transaction: &Transaction<'_>, event: &impl Event) -> rusqlite::Result<()> {
        let record = event.encode();
        let record =
            record.map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        table::insert(transaction, &record)
    }

    /// Wakes the relay after a commit. Without it, the relay finds new events when it next polls the table.
    pub fn notify(&self) {
        self.written.notify_one();
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (connection, path) = (Arc::clone(&self.connection), Arc::clone(&self.path));
        blocking(move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut connection).at(&path)
        })
        .await
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.execute_batch(table::TABLE)?;
    Ok(connection)
}

#[async_trait]
impl Outbox for SqliteOutbox {
    async fn pending(&self, limit: usize) -> Result<Vec<OutboxEntry>> {
        self.run(move |connection| table::pending(connection, limit))
            .await
    }

    async fn delete(&self, ids: &[i64]) -> Result<()> {
        let ids = ids.to_vec();
        let delete = move |connection: &mut Connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            table::delete(&transaction, &ids)?;
            transaction.commit()
        };
        self.run(delete).await
    }

    async fn backlog(&self) -> Result<Backlog> {
        self.run(|connection| table::backlog(connection)).await
    }

    async fn wait_for_entries(&self) {
        self.written.notified().await;
    }
}
