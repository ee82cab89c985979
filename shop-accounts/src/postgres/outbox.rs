//! Contains [`PostgresOutbox`], the outbox of a PostgreSQL database of your own, and of the users
//! and orders.
//!
//! A transaction writes its row and the event about it, so both are stored or neither. A relay
//! reads the events, publishes them to a log, and deletes them here.
//!
//! The relay reads the events in the order of their ids. The relay remembers no position, so an
//! event with a low id is not skipped if its transaction commits late. The ids of one key ascend in
//! the order of the commits, because a transaction takes an advisory lock of the key before the
//! event gets its id, and holds the lock until it ends. The events of users and orders take their
//! ids from `shop_numbers`, whose row is locked until the commit in the same way.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use shop_core::log::{Headers, LogRecord};
use shop_core::record::Event;
use shop_core::{Bytes, Error, ErrorKind, Outcome, Result, Timestamp};
use shop_store::limits::row_limit;
use shop_store::postgres::PostgresStoreOptions;
use shop_store::postgres::database::{
    DURABLE, PostgresConnection, SchemaDefinition, SchemaTable, Statement, answer_column,
    from_driver, postgres_error,
};
use shop_store::postgres::tokio_postgres::{Row, Transaction};
use tokio::sync::Notify;

use crate::outbox::{Backlog, Outbox, OutboxEntry};

/// The table of the events in a database of your own.
const OUTBOX: SchemaDefinition = SchemaDefinition {
    name: "outbox",
    unused_row: "(created, headers, value) values (now(), '', '')",
    tables: &[SchemaTable::new("outbox", &["id"])],
    adoptable: &["outbox"],
    changes: &["create table if not exists outbox (
            id bigint generated always as identity primary key, created timestamptz(3) not null,
            key bytea, headers bytea not null, value bytea
        )"],
};

/// The insert of an event with its key, headers and value.
///
/// The subquery locks the key before the row gets its id. For an event without a key, the argument
/// of the lock function is null, so the function is not called and nothing is locked.
const INSERT: &str = "
    insert into outbox (created, key, headers, value) select clock_timestamp(), $1, $2, $3 from (
        select pg_advisory_xact_lock(hashtextextended(encode($1, 'hex'), 'outbox'::regclass::oid::bigint))
    ) as locked";

/// The outbox of a PostgreSQL database of your own: the events in its table `outbox` that are not
/// published yet.
///
/// [`insert_event`](Self::insert_event) adds an event within the transaction of your row, so both
/// are stored or neither. A [`Relay`](crate::outbox::Relay) publishes the event.
///
/// Events of one key are published in the order in which their transactions commit, even if several
/// are open at once. The order comes at a cost: from its first event of a key until its end, a
/// transaction makes other writes of that key wait. Write events last. Transactions with events of
/// several keys write them in the order of the keys, or PostgreSQL resolves the deadlock by an
/// error in one transaction. Events of different keys do not wait for each other.
///
/// With [`create_schema`](PostgresStoreOptions::create_schema), [`open`](Self::open) creates the
/// tables `outbox` and `shop_schema`. Without it, create `outbox` by your migrations:
///
/// ```sql
/// create table outbox (
///     id bigint generated always as identity primary key, created timestamptz(3) not null, key bytea,
///     headers bytea not null, value bytea
/// );
/// ```
///
/// The database user of the relay needs `SELECT` and `DELETE` on the table, and the user of your
/// transactions needs `INSERT`.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use serde::{Deserialize, Serialize};
/// use shop_accounts::outbox::{Relay, RelayOptions};
/// use shop_accounts::postgres::PostgresOutbox;
/// use shop_core::memory::InMemoryLog;
/// use shop_core::record::JsonEvent;
/// use shop_store::postgres::PostgresStoreOptions;
/// use shop_store::postgres::tokio_postgres::Client;
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
/// # async fn example(mut database: Client) -> Result<(), Box<dyn std::error::Error>> {
/// let outbox = PostgresOutbox::open(PostgresStoreOptions::new("postgresql://localhost/refunds")).await?;
///
/// let transaction = database.transaction().await?;
/// transaction.execute("insert into refunds (number) values ($1)", &[&"order-7"]).await?;
/// PostgresOutbox::insert_event(&transaction, &Refund { order: "order-7".to_owned() }).await?;
/// transaction.commit().await?;
/// outbox.notify_relay();
///
/// // Your log, such as a `KafkaLog`, and your service's shutdown signal.
/// let relay = Relay::new(Arc::new(outbox), Arc::new(InMemoryLog::default()), RelayOptions::default());
/// relay.run(std::future::pending()).await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PostgresOutbox {
    /// The name of the table of events.
    table: String,
    connection: Arc<PostgresConnection>,
    /// Wakes the relay when an event was committed.
    relay_wakeup: Arc<Notify>,
}

impl PostgresOutbox {
    /// Opens the outbox in the database of `options`, for a relay.
    ///
    /// Creates the table `outbox` in the first schema of the `search_path` if it does not exist and
    /// [`create_schema`](PostgresStoreOptions::create_schema) is set. Waits for the server.
    ///
    /// # Errors
    /// - [`Invalid`](shop_core::ErrorKind::Invalid) if the URL is invalid
    /// - [`Unavailable`](shop_core::ErrorKind::Unavailable) if the server cannot be reached
    /// - [`DeadlineExceeded`](shop_core::ErrorKind::DeadlineExceeded) if the server does not answer
    ///   in time
    /// - [`Denied`](shop_core::ErrorKind::Denied) if the user may not create or read the table, or
    ///   if a table `outbox` of another program exists and
    ///   [`adopt_tables`](PostgresStoreOptions::adopt_tables) is not set
    pub async fn open(options: PostgresStoreOptions) -> Result<Self> {
        let outbox = Self::with_table(
            PostgresConnection::open(options, &OUTBOX)?.into(),
            OUTBOX.name.to_owned(),
        );
        // A query connects to the server and creates the table, even without a result.
        outbox.pending(0).await?;
        Ok(outbox)
    }

    /// Creates the outbox in `table` of a database that is open already, for users or orders.
    pub(super) fn with_table(connection: Arc<PostgresConnection>, table: String) -> Self {
        Self {
            table,
            connection,
            relay_wakeup: Arc::default(),
        }
    }

    /// Adds `event` to the table `outbox` within `transaction`, which must use the same database
    /// and `search_path`.
    ///
    /// Waits for the end of other open transactions that wrote an event with the same key.
    ///
    /// Raises a lower `synchronous_commit` to `on` in the transaction. With a lower value, a power
    /// failure could lose your row although its event was published.
    ///
    /// # Errors
    /// - [`Internal`](shop_core::ErrorKind::Internal) if the event cannot be encoded
    /// - [`Unavailable`](shop_core::ErrorKind::Unavailable) if the connection broke, if PostgreSQL
    ///   resolved a deadlock by an error here, or if a trigger skipped the event
    /// - other errors of the server
    ///
    /// Roll back the transaction after an error. Nothing is stored then.
    ///
    /// # Cancel safety
    /// If the future is dropped, the event may have been added to the transaction.
    pub async fn insert_event(transaction: &Transaction<'_>, event: &impl Event) -> Result<()> {
        let insert = bind_event(Statement::new(INSERT), event.encode()?);
        let parameters = insert.parameters();

        // Both statements are sent together and in this order, so there is one round trip.
        let (durable_commit, row_count) = tokio::join!(
            biased;
            transaction.batch_execute(DURABLE),
            transaction.execute_typed(&insert.sql, &parameters)
        );

        let error = match durable_commit.and(row_count) {
            Ok(1) => return Ok(()),
            Ok(_no_row) => {
                let message = "PostgreSQL has not stored the event: a trigger has skipped it; roll back the transaction";
                postgres_error(ErrorKind::Unavailable, message)
            }
            Err(error) => from_driver(error),
        };
        Err(error.with_outcome(Outcome::NotApplied))
    }

    /// Wakes the relay. Call this after the commit of a transaction with an event.
    ///
    /// Without this call, the relay finds the event when it polls the table the next time.
    pub fn notify_relay(&self) {
        self.relay_wakeup.notify_one();
    }
}

/// Binds the key, the headers and the value of `event` to the next three parameters of `statement`.
pub(super) fn bind_event(statement: Statement, event: LogRecord) -> Statement {
    statement
        .bind(event.key.map(|key| key.to_vec()))
        .bind(event.headers.as_bytes().to_vec())
        .bind(event.value.map(|value| value.to_vec()))
}

/// Returns the query of the `limit` events with the lowest ids in `table`.
pub fn pending_query(table: &str, limit: usize) -> Statement {
    let sql = format!("select id, created, key, headers, value from {table} order by id limit $1");
    Statement::new(sql).bind(row_limit(limit))
}

/// Returns the statement that deletes the events with these ids from `table`.
pub fn delete_statement(table: &str, ids: &[i64]) -> Statement {
    Statement::new(format!("delete from {table} where id = any ($1)")).bind(ids.to_vec())
}

/// Reads an event from a row of [`pending_query`]. Returns `None` if a column is not valid.
fn read_entry(row: &Row) -> Option<OutboxEntry> {
    let id: i64 = row.try_get("id").ok()?;
    let created: SystemTime = row.try_get("created").ok()?;
    let key: Option<Vec<u8>> = row.try_get("key").ok()?;
    let headers: Vec<u8> = row.try_get("headers").ok()?;
    let value: Option<Vec<u8>> = row.try_get("value").ok()?;

    // The log replaces the offset and the time when the record is appended.
    let record = LogRecord::new(0, Timestamp::MIN, value.map(Bytes::from))
        .with_key(key.map(Bytes::from))
        .with_headers(Headers::from_bytes(headers.into()).ok()?);
    let time = Timestamp::try_from(created).ok()?;
    Some(OutboxEntry::new(id, time, record))
}

/// Returns the error for a row of the outbox that [`read_entry`] cannot read.
fn unreadable_entry_error(row: &Row) -> Error {
    // Without an id, the error names the id 0, which no event has.
    let id: i64 = row.try_get("id").unwrap_or_default();
    postgres_error(ErrorKind::Corrupt, "an event in the outbox cannot be read")
        .with_context("id", id)
}

#[async_trait]
impl Outbox for PostgresOutbox {
    async fn pending(&self, limit: usize) -> Result<Vec<OutboxEntry>> {
        let rows = self
            .connection
            .query(pending_query(&self.table, limit))
            .await?;
        rows.iter()
            .map(|row| read_entry(row).ok_or_else(|| unreadable_entry_error(row)))
            .collect()
    }

    async fn delete(&self, ids: &[i64]) -> Result<()> {
        self.connection
            .write(delete_statement(&self.table, ids))
            .await
            .map(drop)
    }

    /// Returns the number of events that are not published yet, and the time of the one with the
    /// lowest id.
    async fn backlog(&self) -> Result<Backlog> {
        let table = &self.table;
        let sql = format!(
            "select count(*) as count, (select created from {table} order by id limit 1) as oldest
             from {table}"
        );
        let rows = self.connection.query(Statement::new(sql)).await?;
        let count: i64 = answer_column(&rows, "count")?;
        let oldest_creation: Option<SystemTime> = answer_column(&rows, "oldest")?;
        // A time out of range counts as unknown.
        let oldest = oldest_creation.and_then(|created| Timestamp::try_from(created).ok());
        Ok(Backlog::new(count.unsigned_abs(), oldest))
    }

    async fn wait_for_entries(&self) {
        self.relay_wakeup.notified().await;
    }
}
