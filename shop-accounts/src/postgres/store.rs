//! Stores rows with consecutive numbers from 1, and inserts each row with its idempotency key and
//! its event by one statement.
//!
//! The table `shop_numbers` holds the last number that was given. An insert tries the number after
//! the last one that this process knows:
//!
//! ```text
//! ┌─▶ insert_statement ── number, key and row are accepted ──▶ inserted
//! │         │ nothing was inserted, or another transaction was first
//! │         ▼
//! │   read_insert_state ── the key is stored already ──▶ the first row with the key
//! │         │          └── the row is not allowed   ──▶ refused
//! │         ▼
//! └── retry with the last number in the database
//! ```
//!
//! `insert_statement` accepts a row if its number is the next one, its key is new, and the row is
//! allowed, for example because its address is not used.
//!
//! The statement updates the row of `shop_numbers`, and so decides between concurrent inserts: the
//! later one waits, finds another number there, and inserts nothing. The numbers do not come from a
//! sequence, because a failed insert would leave a gap. The sequence of the table is set to each
//! new number, for other programs that use it.

use std::cmp::Ordering;
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use shop_core::log::Log;
use shop_core::ports::{DescribeStore, InsertOutcome, RecordStore, StoreInfo, UnreadableEntry};
use shop_core::{Error, ErrorKind, Outcome, Result};
use shop_store::StoreInspection;
use shop_store::postgres::PostgresStoreOptions;
use shop_store::postgres::database::{
    self, Insertable, PostgresConnection, SchemaDefinition, Statement, TargetTable, column_values,
    confirmed, from_driver, is_invalid_text, is_unique_violation, postgres_error,
};
use shop_store::postgres::tokio_postgres::Row;
use shop_store::retries::pauses;
use shop_store::unreadable::Unreadable;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};

use super::outbox::{PostgresOutbox, bind_event};
use crate::entity::{Entity, EntityStore, Insertion, highest_published};
use crate::outbox::{Backlog, Outbox, OutboxEntry};

/// A store of entities of one type, users or orders, in a PostgreSQL database, with an outbox of
/// their events.
///
/// Several processes can use the same database. Clones share the connections.
#[derive(Debug, Clone)]
pub struct PostgresEntities<E> {
    pub(super) connection: Arc<PostgresConnection>,
    /// The last number that this process knows. It is locked while a row is inserted, because only
    /// one row at a time can get the next number.
    last_number: Arc<Mutex<LastNumber>>,
    /// The log that the events are published to, if it is set. The log is read after the promotion
    /// of a server.
    event_log: Arc<OnceLock<Arc<dyn Log>>>,
    outbox: PostgresOutbox,
    kind: PhantomData<E>,
}

/// The last number that was given to a row, as far as this process knows.
#[derive(Debug, Default)]
struct LastNumber {
    number: i64,
    /// The timeline of the server when the number was last compared with the event log, or `None`
    /// before the first time.
    compared_timeline: Option<u32>,
}

/// An entity type with its tables.
pub trait PostgresEntity: Entity {
    /// The definition of the tables.
    const DEFINITION: &'static SchemaDefinition;
    /// The names of the columns after `id`, separated by commas.
    const COLUMNS: &'static str;
    /// The SQL condition for rows that are not erased.
    const PRESENT: &'static str = "true";
    /// The SQL condition under which a row may be inserted: the address of a user is not used, or
    /// the user of an order is known. `$2` is the value of the first of the
    /// [`COLUMNS`](Self::COLUMNS).
    const IS_FREE: &'static str;
    /// The table of references to rows of the other service, with their `id`, and with their owner
    /// if there is one.
    const REFERENCES: TargetTable;

    /// Binds the values of the [`COLUMNS`](Self::COLUMNS) to the next parameters of `statement`.
    fn bind(&self, statement: Statement) -> Statement;

    /// Reads an entity from the `id` and the [`COLUMNS`](Self::COLUMNS) of a row.
    ///
    /// # Errors
    /// The first column that is not valid.
    fn from_row(row: &Row) -> Result<Self, Unreadable>;
}

/// A reference to a row of the other service.
///
/// A batch holds references to rows of one type, so either all references name an owner or none
/// does.
#[derive(Debug)]
pub struct Reference {
    /// The id of the row.
    id: i64,
    /// The id of the owner of the row, if there is one.
    owner: Option<i64>,
}

impl From<(i64, Option<i64>)> for Reference {
    fn from((id, owner): (i64, Option<i64>)) -> Self {
        Self { id, owner }
    }
}

impl Insertable for Reference {
    type Id = i64;

    fn id(&self) -> i64 {
        self.id
    }

    fn same_content(&self, other: &Self) -> bool {
        self.owner == other.owner
    }

    fn bind(statement: Statement, rows: &[&Self]) -> Statement {
        // `None` if the rows have no owners.
        let owners: Option<Vec<i64>> = rows.iter().map(|row| row.owner).collect();
        let statement = statement.bind(column_values(rows, |row| row.id));
        match owners {
            Some(owners) => statement.bind(owners),
            None => statement,
        }
    }
}

impl<E: PostgresEntity> PostgresEntities<E> {
    /// Opens the store in the database of `options`. Does not wait for the server.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) if the URL is invalid, or the file in `sslrootcert` cannot
    /// be read.
    pub async fn open(options: PostgresStoreOptions) -> Result<Self> {
        let connection = Arc::new(PostgresConnection::open(options, E::DEFINITION)?);
        let outbox = PostgresOutbox::with_table(
            Arc::clone(&connection),
            format!("{}_outbox", E::DEFINITION.name),
        );
        Ok(Self {
            connection,
            last_number: Arc::default(),
            event_log: Arc::default(),
            outbox,
            kind: PhantomData,
        })
    }

    /// Returns the name of the database as `host:port/database`, without credentials.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.connection.name
    }

    /// Inspects the tables in the database and the rights of the user, as
    /// [`PostgresStore::inspect`](shop_store::postgres::PostgresStore::inspect) does. Changes
    /// nothing.
    ///
    /// # Errors
    /// The errors of [`PostgresStore::inspect`](shop_store::postgres::PostgresStore::inspect).
    pub async fn inspect(&self) -> Result<StoreInspection> {
        self.connection.inspect().await
    }

    /// Reads all rows, including erased ones. Returns the number of rows, and an entry for each row
    /// that is not a valid entity.
    ///
    /// # Errors
    /// The errors of a query, such as [`Unavailable`](ErrorKind::Unavailable).
    pub async fn read_all(&self) -> Result<(u64, Vec<UnreadableEntry>)> {
        let mut row_count = 0;
        let mut unreadable_rows = Vec::new();
        let mut last_read = i64::MIN;
        loop {
            let rows = self.connection.query(slice_query::<E>(last_read)).await?;
            if rows.is_empty() {
                return Ok((row_count, unreadable_rows));
            }
            row_count += rows.len() as u64;
            for row in &rows {
                last_read = row.try_get("number").map_err(from_driver)?;
                if let Err(error) = E::from_row(row) {
                    unreadable_rows.push(UnreadableEntry::new(last_read.to_string(), error));
                }
            }
        }
    }

    /// Inserts a row for `new` with the next number, its key and its event.
    ///
    /// Returns the first row if a row with the same key is stored already, and
    /// [`Insertion::Refused`] if the row is not allowed, for example because its address is used.
    ///
    /// # Errors
    /// - [`ErrorKind::DeadlineExceeded`] with [`Outcome::NotApplied`] if other inserts took all
    ///   numbers until the insert timeout
    /// - the server's error if the row violates a unique index of another program
    /// - an error of the server, of the connection, or of
    ///   [`skip_published_numbers`](Self::skip_published_numbers)
    async fn insert_with_next_number(&self, new: &E::New) -> Result<Insertion<E>> {
        let deadline = Instant::now() + self.connection.options.insert_timeout;
        let mut last_number = timeout_at(deadline, self.last_number.lock())
            .await
            .map_err(|_elapsed| overload_error())?;
        // A failed attempt usually means that another process inserts too, so the pauses grow with
        // the contention.
        let mut pauses = pauses(Duration::from_millis(1), Duration::from_millis(100));

        loop {
            self.skip_published_numbers(&mut last_number, new, deadline)
                .await?;

            let number = last_number.number.saturating_add(1);
            let row = E::with_number(new, number.into());
            let violation = match self.try_insert(&row, new, deadline).await? {
                InsertAttempt::Inserted => {
                    last_number.number = number;
                    return Ok(Insertion::Inserted(row));
                }
                InsertAttempt::NotInserted { violation } => violation,
            };

            // Nothing was inserted. The state in the database shows why.
            let insert_state = self.read_insert_state(new, deadline).await?;
            if let Some(final_insertion) = self.refuse_or_find(new, &insert_state).await? {
                return Ok(final_insertion);
            }
            match (insert_state.last_number.cmp(&last_number.number), violation) {
                // No other insert took the number or the key, which the store itself keeps unique.
                // So the row violates a unique index of another program, and a retry would fail too.
                (Ordering::Equal, Some(error)) => return Err(error),
                // The server lost rows: it is a standby that lacked these rows when it was promoted,
                // or a restored backup.
                (Ordering::Less, _) => {
                    self.skip_lost_numbers(insert_state.last_number, last_number.number, deadline)
                        .await?;
                }
                // Another insert took the number.
                (Ordering::Equal, None) | (Ordering::Greater, _) => {
                    last_number.number = insert_state.last_number;
                }
            }

            if Instant::now() >= deadline {
                return Err(overload_error());
            }
            // The pauses never end.
            sleep(pauses.next().unwrap_or_default()).await;
        }
    }

    /// Inserts `row`, which is `new` with its number, unless the number, the key or the row is not
    /// accepted.
    ///
    /// # Errors
    /// An error of the server or of the connection, other than that of a unique index.
    async fn try_insert(&self, row: &E, new: &E::New, deadline: Instant) -> Result<InsertAttempt> {
        let insert = insert_statement(row, new)?;
        match self.connection.write_by(insert, deadline).await {
            Ok(answer) if answer.is_empty() => Ok(InsertAttempt::NotInserted { violation: None }),
            Ok(_inserted) => Ok(InsertAttempt::Inserted),
            // The number and the key were unused in the statement's snapshot, but another
            // transaction then committed a row with one of the two.
            Err(error) if is_unique_violation(&error) => Ok(InsertAttempt::NotInserted {
                violation: Some(error),
            }),
            Err(error) if is_invalid_text(&error) => {
                Err(skipped_error(&error, row.number().into()))
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the result of an insert of `new` that no retry can change, according to `insert_state`:
    /// its key is taken, or the row is not allowed. Returns `None` if the insert can be retried.
    ///
    /// # Errors
    /// The errors of reading the row with the same key.
    async fn refuse_or_find(
        &self,
        new: &E::New,
        insert_state: &InsertState,
    ) -> Result<Option<Insertion<E>>> {
        if let Some(id) = insert_state.id_with_key
            && let Some(first_row) = self.find(id).await?
        {
            return Ok(Some(Insertion::with_key_of(new, first_row)));
        }
        if !insert_state.is_free {
            return Ok(Some(Insertion::Refused));
        }
        Ok(None)
    }

    /// Raises `last_number` to the highest number in the event log, once after each promotion of a
    /// server.
    ///
    /// An asynchronous standby may lack the newest rows when it is promoted. Clients know the
    /// numbers of these rows, and events with these numbers are published, so the numbers must not
    /// be given again. The event log contains them, also if another process inserted the rows.
    ///
    /// Does nothing if no event log is set. PostgreSQL begins a new timeline with each promotion,
    /// so on timeline 1 no server was promoted yet, and the log is not read.
    ///
    /// # Errors
    /// - [`Unavailable`](ErrorKind::Unavailable) if the event log cannot be read after a promotion
    /// - [`DeadlineExceeded`](ErrorKind::DeadlineExceeded) if the read takes until `deadline`
    /// - an error of the server
    async fn skip_published_numbers(
        &self,
        last_number: &mut LastNumber,
        new: &E::New,
        deadline: Instant,
    ) -> Result<()> {
        let Some(event_log) = self.event_log.get() else {
            return Ok(());
        };
        if last_number.compared_timeline.is_none() {
            // The timeline is known only after a session was started. This query starts one, and
            // its answer is not needed here.
            self.read_insert_state(new, deadline).await?;
        }

        let timeline = self.connection.timeline();
        if timeline > 1 && last_number.compared_timeline != Some(timeline) {
            let highest_published = timeout_at(deadline, highest_published::<E>(event_log))
                .await
                .map_err(|_elapsed| overload_error())?
                .map_err(|error| error.with_outcome(Outcome::NotApplied))?;
            last_number.number = last_number.number.max(highest_published);
        }
        last_number.compared_timeline = Some(timeline);
        Ok(())
    }

    /// Raises the last number in the database from `stored_number` to `last_number`, after the
    /// server lost the rows with the numbers in between.
    ///
    /// Clients know the numbers of the lost rows, and events with these numbers may be published.
    /// So the numbers are not given again.
    async fn skip_lost_numbers(
        &self,
        stored_number: i64,
        last_number: i64,
        deadline: Instant,
    ) -> Result<()> {
        let table = E::DEFINITION.name;
        tracing::error!(
            table,
            first = stored_number + 1,
            last = last_number,
            "the server has lost rows with these numbers, which are not given again"
        );
        let sql = "update shop_numbers set last = greatest(last, $1) where name = $2";
        let update = Statement::new(sql).bind(last_number).bind(table.to_owned());
        self.connection.write_by(update, deadline).await.map(drop)
    }

    /// Queries the state that the insert of `new` depends on, see [`InsertState`].
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if `shop_numbers` contains no row of the table, or an error of the
    /// server.
    async fn read_insert_state(&self, new: &E::New, deadline: Instant) -> Result<InsertState> {
        let query = insert_state_query::<E>(new);
        let rows = self.connection.write_by(query, deadline).await?;
        let state = rows.first().and_then(InsertState::from_row);
        state.ok_or_else(|| {
            postgres_error(ErrorKind::Corrupt, "shop_numbers has no row of the table")
        })
    }

    /// Returns the row with number `id`, or `None` if there is no such row or it is erased.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the row is not a valid entity, or an error of the server.
    async fn find(&self, id: i64) -> Result<Option<E>> {
        let rows = self.connection.query(row_by_id_query::<E>(id)).await?;
        rows.first().map(E::from_row).transpose().map_err(|error| {
            postgres_error(ErrorKind::Corrupt, "a row cannot be read")
                .with_context("id", id)
                .with_source(error)
        })
    }
}

/// Returns the query of the row with this number, unless the row is erased.
pub fn row_by_id_query<E: PostgresEntity>(id: i64) -> Statement {
    let table = E::DEFINITION.name;
    let columns = E::COLUMNS;
    let present = E::PRESENT;
    Statement::new(format!(
        "select id, {columns} from {table} where id = $1 and {present}"
    ))
    .bind(id)
}

/// Returns the query of the next 1,000 rows after the number `after`, with the number of each row
/// in the column `number`.
fn slice_query<E: PostgresEntity>(after: i64) -> Statement {
    let table = E::DEFINITION.name;
    let columns = E::COLUMNS;
    let sql = format!(
        "select id, id::bigint as number, {columns} from {table} where id > $1 order by id limit 1000"
    );
    Statement::new(sql).bind(after)
}

/// Returns the SQL expression of the last number that was given to a row, in a statement on
/// `shop_numbers`.
fn last_number_sql<E: PostgresEntity>() -> String {
    // Another program may insert rows without updating `shop_numbers`.
    format!(
        "greatest(last, (select max(id) from {}))",
        E::DEFINITION.name
    )
}

/// Returns the statement that inserts `row`, its key and its event, if its number is the next one,
/// its key is new and [`IS_FREE`](PostgresEntity::IS_FREE) holds.
///
/// The answer contains one row if all three were inserted, and no row if nothing was. The statement
/// fails if a trigger skips one of the three, see `skipped_error`: SQL has no function that raises
/// an error, so the statement then converts a text that is no number to a number.
///
/// # Errors
/// If the event of the row cannot be encoded.
pub fn insert_statement<E: PostgresEntity>(row: &E, new: &E::New) -> Result<Statement> {
    let table = E::DEFINITION.name;
    let last = last_number_sql::<E>();
    let is_free = E::IS_FREE;
    let columns = E::COLUMNS;

    // The parameters are the idempotency key, the columns, the number, and the key, headers and
    // value of the event. The first ones are bound before the SQL is built, which needs their count.
    let statement = bind_key_and_row(Statement::new(""), row, new);
    let number = statement.parameters.len() + 1;
    // The values of the columns follow `$1`, the idempotency key.
    let placeholders: Vec<_> = (2..number).map(|index| format!("${index}")).collect();
    let values = placeholders.join(", ");
    let event_key = number + 1;
    let headers = number + 2;
    let value = number + 3;

    let sql = format!(
        "with next as (
            update shop_numbers set last = ${number} where name = '{table}' and {last} = ${number} - 1
                and not exists (select from {table}_keys where key = $1) and {is_free}
            returning last
        ), inserted as (insert into {table} (id, {columns}) select last, {values} from next returning 1
        ), keyed as (insert into {table}_keys (id, key) select last, $1 from next returning 1
        ), published as (
            insert into {table}_outbox (id, created, key, headers, value)
                select last, clock_timestamp(), ${event_key}, ${headers}, ${value} from next returning 1
        ), written as (
            select count(*) from (table inserted union all table keyed union all table published) as written (one)
        )
        select case (select count from written) when 3 then 0
            else ('a trigger has skipped a row of ' || last)::int end, setval(pg_get_serial_sequence('{table}', 'id'), last) from next"
    );
    let statement = statement.bind(row.number().into());
    let mut insert = bind_event(statement, row.event(new)?);
    insert.sql = sql.into();
    Ok(insert)
}

/// Returns the error for a trigger that skipped a part of the row with this `number`. `error` is
/// the failed conversion by which [`insert_statement`] reports this.
fn skipped_error(error: &Error, number: i64) -> Error {
    let message = format!(
        "PostgreSQL has not stored the row: a trigger has skipped the row, the key or the event of {number}"
    );
    postgres_error(error.kind(), message).with_outcome(error.outcome())
}

/// The result of one attempt to insert a row.
enum InsertAttempt {
    Inserted,
    NotInserted {
        /// The error of the unique index that the row violates, if it violates one.
        violation: Option<Error>,
    },
}

/// The state that an insert depends on.
struct InsertState {
    /// The last number in the database.
    last_number: i64,
    /// Whether the row is allowed, see [`IS_FREE`](PostgresEntity::IS_FREE).
    is_free: bool,
    /// The number of the row with the same key, if there is one.
    id_with_key: Option<i64>,
}

impl InsertState {
    /// Reads the answer to [`insert_state_query`]. Returns `None` if a column is not valid.
    fn from_row(row: &Row) -> Option<Self> {
        Some(Self {
            last_number: row.try_get("last_number").ok()?,
            is_free: row.try_get("is_free").ok()?,
            id_with_key: row.try_get("id_with_key").ok()?,
        })
    }
}

/// Returns the query of the `InsertState` for `new`.
///
/// If a row with the key exists, the query waits until the row is on the standby, see
/// [`confirmed`], because the caller then acknowledges the row.
pub fn insert_state_query<E: PostgresEntity>(new: &E::New) -> Statement {
    let table = E::DEFINITION.name;
    let last = last_number_sql::<E>();
    let is_free = E::IS_FREE;
    let confirmed = confirmed("keyed");
    let sql = format!(
        "with keyed as materialized (select id from {table}_keys where key = $1), {confirmed}
         select {last} as last_number, {is_free} as is_free, (select id from keyed) as id_with_key
         from shop_numbers left join confirmed on true where name = '{table}'"
    );
    bind_key_and_row(Statement::new(sql), &E::with_number(new, 1.into()), new)
}

/// Binds the idempotency key of `new` and the values of the columns of `row` to the first
/// parameters of `statement`.
fn bind_key_and_row<E: PostgresEntity>(statement: Statement, row: &E, new: &E::New) -> Statement {
    row.bind(statement.bind(E::stored_key(new).as_str().to_owned()))
}

/// Returns the error for an insert that other inserts kept from the next number until its deadline.
fn overload_error() -> Error {
    let message = "the insert had to wait too long for others";
    postgres_error(ErrorKind::DeadlineExceeded, message).with_outcome(Outcome::NotApplied)
}

#[async_trait]
impl<E: PostgresEntity> RecordStore<E::ForeignEvent> for PostgresEntities<E> {
    async fn apply(&self, batch: Arc<[E::ForeignEvent]>) -> Result<Vec<InsertOutcome>> {
        let references: Vec<_> = batch
            .iter()
            .map(|event| Reference::from(E::reference(event)))
            .collect();
        database::insert(&self.connection, &E::REFERENCES, &references).await
    }

    async fn check(&self) -> Result<()> {
        self.connection.check_writes().await
    }
}

impl<E: PostgresEntity> DescribeStore for PostgresEntities<E> {
    fn info(&self) -> StoreInfo<'_> {
        StoreInfo::default()
    }
}

#[async_trait]
impl<E: PostgresEntity> EntityStore<E> for PostgresEntities<E> {
    /// Inserts a row for `new` in a separate task. The task also wakes the relay if the caller
    /// drops this future.
    async fn insert(&self, new: &E::New) -> Result<Insertion<E>> {
        let store = self.clone();
        let new = new.clone();
        let task = tokio::spawn(async move {
            let insertion = store.insert_with_next_number(&new).await;
            store.outbox.notify_relay();
            insertion
        });
        task.await.unwrap_or_else(|panicked| {
            Err(postgres_error(ErrorKind::Internal, "insert aborted").with_source(panicked))
        })
    }

    async fn get(&self, number: E::Number) -> Result<Option<E>> {
        self.find(number.into()).await
    }

    async fn check(&self) -> Result<()> {
        self.connection.check_writes().await
    }

    fn set_event_log(&self, log: Arc<dyn Log>) {
        // A second log is ignored.
        let _is_first = self.event_log.set(log).is_ok();
    }
}

/// The outbox of the events about the rows. The id of an event is the number of its row.
#[async_trait]
impl<E: PostgresEntity> Outbox for PostgresEntities<E> {
    async fn pending(&self, limit: usize) -> Result<Vec<OutboxEntry>> {
        self.outbox.pending(limit).await
    }

    async fn delete(&self, ids: &[i64]) -> Result<()> {
        self.outbox.delete(ids).await
    }

    async fn backlog(&self) -> Result<Backlog> {
        self.outbox.backlog().await
    }

    async fn wait_for_entries(&self) {
        self.outbox.wait_for_entries().await;
    }
}
