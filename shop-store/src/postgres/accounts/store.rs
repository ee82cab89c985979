//! Rows with consecutive numbers from 1, each inserted with its event by one statement.
//!
//! A new row tries the number after the last one. The statement updates the last number in `shop_numbers`, which decides
//! between concurrent inserts: the later one finds another number there and inserts nothing. A sequence would leave a gap
//! where an insert fails. The sequence of an existing table is set, for programs that use it.

use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use shop_core::entity::{Entity, EntityStore, Insertion, highest_published};
use shop_core::log::LogAdmin;
use shop_core::outbox::{Backlog, Outbox, OutboxEntry};
use shop_core::ports::{InsertOutcome, RecordStore, UnreadableEntry};
use shop_core::{Error, ErrorKind, Outcome, Result};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_postgres::Row;

use super::outbox::{PostgresOutbox, with_event};
use crate::postgres::connection::{PostgresConnection, Statement, confirmed};
use crate::postgres::error::{self, from_driver, postgres_error};
use crate::postgres::insert::{self, Insertable};
use crate::postgres::schema::SchemaDefinition;
use crate::postgres::sqlstate;
use crate::postgres::{DatabaseInspection, PostgresStoreOptions};
use crate::retries::pauses;
use crate::unreadable::Unreadable;

/// Entities of one type in a PostgreSQL database, shared by all processes that use it, with an outbox.
///
/// Clones share the connections.
#[derive(Debug, Clone)]
pub struct PostgresEntities<E> {
    pub(super) connection: Arc<PostgresConnection>,
    /// Locked while a row is added: only one row at a time can get the next number.
    last: Arc<Mutex<LastNumber>>,
    event_log: Arc<OnceLock<Arc<dyn LogAdmin>>>,
    outbox: PostgresOutbox,
    kind: PhantomData<E>,
}

/// The last number that this process knows.
#[derive(Debug, Default)]
struct LastNumber {
    number: i64,
    /// The timeline of the server on which the number was compared with the event log.
    compared_timeline: Option<u32>,
}

/// The tables of an entity type.
pub(super) trait PostgresEntity: Entity {
    const DEFINITION: &'static SchemaDefinition;
    /// The columns after `id`.
    const COLUMNS: &'static [&'static str];
    /// The condition of rows that were not erased.
    const PRESENT: &'static str = "true";
    /// The condition under which a row may be inserted. `$2` is the value of the first column.
    const IS_FREE: &'static str;
    /// The table of references to rows of the other service: their `id`, and their owner if they have one.
    const REFERENCES: insert::TargetTable;

    /// Binds the values of the columns.
    fn bind(&self, statement: Statement) -> Statement;

    /// Reads `id` and the columns.
    fn from_row(row: &Row) -> Result<Self, Unreadable>;
}

/// A reference to a row of the other service: its id, and its owner if it has one.
impl Insertable for (i64, Option<i64>) {
    type Id = i64;

    fn id(&self) -> i64 {
        self.0
    }

    fn same_content(&self, other: &Self) -> bool {
        self.1 == other.1
    }

    fn bind(statement: Statement, rows: &[&Self]) -> Statement {
        let ids: Vec<i64> = rows.iter().map(|(id, _)| *id).collect();
        let owners: Option<Vec<i64>> = rows.iter().map(|(_, owner)| *owner).collect();
        let statement = statement.bind(ids);
        match owners {
            Some(owners) => statement.bind(owners),
            None => statement,
        }
    }
}

#[expect(private_bounds, reason = "users and orders are the only types")]
impl<E: PostgresEntity> PostgresEntities<E> {
    /// Opens the tables in the database of `options`. Does not wait for the server.
    ///
    /// # Errors
    /// As [`PostgresStore::open`](crate::postgres::PostgresStore::open).
    pub async fn open(options: PostgresStoreOptions) -> Result<Self> {
        let connection = Arc::new(PostgresConnection::open(options, E::DEFINITION)?);
        let outbox = PostgresOutbox::on(
            Arc::clone(&connection),
            format!("{}_outbox", E::DEFINITION.name),
        );
        Ok(Self {
            connection,
            last: Arc::default(),
            event_log: Arc::default(),
            outbox,
            kind: PhantomData,
        })
    }

    /// Returns the database as `host:port/database`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.connection.name
    }

    /// Looks at the database.
    ///
    /// # Errors
    /// As [`PostgresStore::inspect`](crate::postgres::PostgresStore::inspect).
    pub async fn inspect(&self) -> Result<DatabaseInspection> {
        self.connection.inspect().await
    }

    /// Reads all rows, also erased ones. Returns their number, and those that are not of this type.
    ///
    /// # Errors
    /// As [`EntityStore::get`].
    #[doc(hidden)]
    pub async fn read_all(&self) -> Result<(u64, Vec<UnreadableEntry>)> {
        let mut count = 0;
        let mut unreadable = Vec::new();
        let mut last = i64::MIN;
        loop {
            let rows = self.connection.query(slice::<E>(last)).await?;
            if rows.is_empty() {
                return Ok((count, unreadable));
            }
            count += rows.len() as u64;
            for row in &rows {
                last = row.try_get("number").map_err(from_driver)?;
                let read = E::from_row(row);
                unreadable.extend(
                    read.err()
                        .map(|why| UnreadableEntry::new(last.to_string(), why)),
                );
            }
        }
    }

    async fn create(&self, new: &E::New) -> Result<Insertion<E>> {
        let deadline = Instant::now() + self.connection.options.insert_timeout;
        let mut last = timeout_at(deadline, self.last.lock())
            .await
            .map_err(|_elapsed| overloaded())?;
        // The backoff grows with contention.
        let mut pauses = pauses(Duration::from_millis(1), Duration::from_millis(100));
        loop {
            self.skip_published_numbers(&mut last, new, deadline)
                .await?;
            let number = last.number.saturating_add(1);
            let row = E::with_number(new, number.into());
            let insertion = insertion(&row, new)?;
            let rejected = match self.connection.write_by(insertion, deadline).await {
                Ok(inserted) if inserted.is_empty() => None,
                Ok(_) => {
                    last.number = number;
                    return Ok(Insertion::Inserted(row));
                }
                // The statement does not see rows that are committed while it runs.
                Err(error) if error::code(&error) == Some(sqlstate::UNIQUE_VIOLATION) => {
                    Some(error)
                }
                Err(error) => return Err(error),
            };
            let (known, is_free, with_key) = self.state(new, deadline).await?;
            if let Some(id) = with_key
                && let Some(first) = self.find(id).await?
            {
                return Ok(Insertion::with_key_of(new, first));
            }
            if !is_free {
                return Ok(Insertion::Refused);
            }
            match rejected {
                // The unique value is not one of ours.
                Some(error) if known == last.number => return Err(error),
                // The server has lost rows: it is a standby that did not have them when it was promoted, or a restored copy.
                _ if known < last.number => {
                    self.skip_lost_numbers(known, last.number, deadline).await?;
                }
                _ => last.number = known,
            }
            if Instant::now() >= deadline {
                return Err(overloaded());
            }
            sleep(pauses.next().unwrap_or_default()).await;
        }
    }

    /// Continues after the highest number in the event log, unless this was done since the last promotion of a server.
    ///
    /// An asynchronous standby that is promoted may lack the newest rows, whose numbers their clients and events have, and
    /// which only another process knows. On the first timeline, no server was promoted yet.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) when the event log cannot be read after a promotion.
    async fn skip_published_numbers(
        &self,
        last: &mut LastNumber,
        new: &E::New,
        deadline: Instant,
    ) -> Result<()> {
        let Some(event_log) = self.event_log.get() else {
            return Ok(());
        };
        if last.compared_timeline.is_none() {
            // The timeline is known once there is a session.
            self.state(new, deadline).await?;
        }
        let timeline = self.connection.servers.timeline();
        if timeline > 1 && last.compared_timeline != Some(timeline) {
            let published = timeout_at(deadline, highest_published::<E>(event_log)).await;
            let published = published
                .map_err(|_elapsed| overloaded())?
                .map_err(|error| error.with_outcome(Outcome::NotApplied))?;
            last.number = last.number.max(published);
        }
        last.compared_timeline = Some(timeline);
        Ok(())
    }

    /// Continues after the number `last`, which was given to a row before the server went back to `known`: the clients and
    /// the events of the lost rows have the numbers between.
    async fn skip_lost_numbers(&self, known: i64, last: i64, deadline: Instant) -> Result<()> {
        let table = E::DEFINITION.name;
        tracing::error!(
            table,
            first = known + 1,
            last,
            "the server has lost rows with these numbers, which are not given again"
        );
        let sql = "update shop_numbers set last = greatest(last, $1) where name = $2";
        let raised = Statement::new(sql).bind(last).bind(table.to_owned());
        self.connection.write_by(raised, deadline).await.map(drop)
    }

    async fn state(&self, new: &E::New, deadline: Instant) -> Result<InsertState> {
        let rows = self.connection.write_by(state::<E>(new), deadline).await?;
        let read = |row: &Row| {
            Some((
                row.try_get(0).ok()?,
                row.try_get(1).ok()?,
                row.try_get(2).ok()?,
            ))
        };
        let state = rows.first().and_then(read);
        state.ok_or_else(|| {
            postgres_error(ErrorKind::Corrupt, "shop_numbers has no row of the table")
        })
    }

    async fn find(&self, id: i64) -> Result<Option<E>> {
        let rows = self.connection.query(row_by_id::<E>(id)).await?;
        rows.first().map(E::from_row).transpose().map_err(|error| {
            postgres_error(ErrorKind::Corrupt, "a row cannot be read")
                .with_context("id", id)
                .with_source(error)
        })
    }
}

/// The query of the row with this number.
pub(super) fn row_by_id<E: PostgresEntity>(id: i64) -> Statement {
    let table = E::DEFINITION.name;
    let columns = E::COLUMNS.join(", ");
    let present = E::PRESENT;
    Statement::new(format!(
        "select id, {columns} from {table} where id = $1 and {present}"
    ))
    .bind(id)
}

/// The query of the next rows after a number.
fn slice<E: PostgresEntity>(after: i64) -> Statement {
    let table = E::DEFINITION.name;
    let columns = E::COLUMNS.join(", ");
    let sql = format!(
        "select id, id::bigint as number, {columns} from {table} where id > $1 order by id limit 1000"
    );
    Statement::new(sql).bind(after)
}

/// The last number, as an expression.
fn last<E: PostgresEntity>() -> String {
    // Another program may insert rows too.
    format!(
        "greatest(last, (select max(id) from {}))",
        E::DEFINITION.name
    )
}

/// Inserts the row, its key and its event if its number is the next one and it is free. Returns a row in this case. Fails
/// if a trigger skips one of the three: the conversion of a text to a number is an error that carries the text.
pub(super) fn insertion<E: PostgresEntity>(row: &E, new: &E::New) -> Result<Statement> {
    let table = E::DEFINITION.name;
    let last = last::<E>();
    let is_free = E::IS_FREE;
    let columns = E::COLUMNS.join(", ");
    let parameter = |index: usize| format!("${}", index + 2);
    let count = E::COLUMNS.len();
    let values = (0..count).map(parameter).collect::<Vec<_>>().join(", ");
    let [number, key, headers, value] = [0, 1, 2, 3].map(|index| parameter(count + index));
    let sql = format!(
        "with next as (
            update shop_numbers set last = {number} where name = '{table}' and {last} = {number} - 1
                and not exists (select from {table}_keys where key = $1) and {is_free}
            returning last
        ), inserted as (insert into {table} (id, {columns}) select last, {values} from next returning 1
        ), keyed as (insert into {table}_keys (id, key) select last, $1 from next returning 1
        ), published as (
            insert into {table}_outbox (id, created, key, headers, value)
                select last, clock_timestamp(), {key}, {headers}, {value} from next returning 1
        ), written as (
            select count(*) from (table inserted union all table keyed union all table published) as written (one)
        )
        select case (select count from written) when 3 then 0
            else ('a trigger has skipped the row, the key or the event of ' || last)::int end, setval(pg_get_serial_sequence('{table}', 'id'), last) from next"
    );
    let statement = with_values(Statement::new(sql), row, new).bind(row.number().into());
    Ok(with_event(statement, row.event(new)?))
}

/// What an insert depends on: the last number, whether the row may be inserted, and the number of the row with its key.
type InsertState = (i64, bool, Option<i64>);

/// The query of a [`InsertState`].
pub(super) fn state<E: PostgresEntity>(new: &E::New) -> Statement {
    let table = E::DEFINITION.name;
    let last = last::<E>();
    let is_free = E::IS_FREE;
    let confirmed = confirmed("keyed");
    let sql = format!(
        "with keyed as materialized (select id from {table}_keys where key = $1), {confirmed}
         select {last}, {is_free}, (select id from keyed)
         from shop_numbers left join confirmed on true where name = '{table}'"
    );
    with_values(Statement::new(sql), &E::with_number(new, 1.into()), new)
}

/// Binds the key and the values of the columns.
fn with_values<E: PostgresEntity>(statement: Statement, row: &E, new: &E::New) -> Statement {
    row.bind(statement.bind(E::stored_key(new).as_str().to_owned()))
}

fn overloaded() -> Error {
    let message = "the insert had to wait too long for others";
    postgres_error(ErrorKind::DeadlineExceeded, message).with_outcome(Outcome::NotApplied)
}

#[async_trait]
impl<E: PostgresEntity> RecordStore<E::ForeignEvent> for PostgresEntities<E> {
    async fn apply(&self, batch: Arc<[E::ForeignEvent]>) -> Result<Vec<InsertOutcome>> {
        let references: Vec<_> = batch.iter().map(E::reference).collect();
        insert::insert(&self.connection, &E::REFERENCES, &references).await
    }

    async fn check(&self) -> Result<()> {
        self.connection.check_writes().await
    }
}

#[async_trait]
impl<E: PostgresEntity> EntityStore<E> for PostgresEntities<E> {
    /// In a separate task, which also notifies the relay if the caller has gone.
    async fn insert(&self, new: &E::New) -> Result<Insertion<E>> {
        let rows = self.clone();
        let new = new.clone();
        let created = tokio::spawn(async move {
            let created = rows.create(&new).await;
            rows.outbox.notify_relay();
            created
        });
        created.await.unwrap_or_else(|panicked| {
            Err(postgres_error(ErrorKind::Internal, "insert aborted").with_source(panicked))
        })
    }

    async fn get(&self, number: E::Number) -> Result<Option<E>> {
        self.find(number.into()).await
    }

    async fn check(&self) -> Result<()> {
        self.connection.check_writes().await
    }

    fn set_event_log(&self, log: Arc<dyn LogAdmin>) {
        let _first = self.event_log.set(log);
    }
}

/// Each row has one event, with the number of the row.
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
