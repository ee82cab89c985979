//! Creates the tables of a store and their indexes in the background.
//!
//! The changes to a schema are numbered from 1. A row of the table `shop_schema` records the number
//! of the last change that was made to each schema. All missing changes are made in one
//! transaction. It holds an advisory lock, so each change is made once, even if several processes
//! start at the same time.

use std::time::Duration;

use shop_core::{Error, ErrorKind, Outcome, Result};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_postgres::error::SqlState;
use tokio_util::sync::DropGuard;

use super::connection::until_dropped;
use super::connector::{PooledSession, SessionPool};
use super::error::{from_driver, from_pool, postgres_error};
use crate::retries::pauses;

/// The definition of the tables of a store.
#[derive(Debug)]
pub struct SchemaDefinition {
    /// The name of the main table, which is also the name of the schema in `shop_schema`.
    pub name: &'static str,
    /// The columns and values of a row with an unused id, which a check of writes inserts and rolls
    /// back. No value is null where the table forbids it.
    pub unused_row: &'static str,
    /// All tables that the store reads and writes.
    pub tables: &'static [SchemaTable],
    /// The tables that another program may have created under the same names.
    pub adoptable: &'static [&'static str],
    /// The schema changes, as SQL in which `{table}` stands for the name of the main table.
    ///
    /// The first one creates the tables. After a release, only append to this list, because databases
    /// record how many of its changes were applied.
    pub changes: &'static [&'static str],
}

/// A table of a store.
#[derive(Debug)]
pub struct SchemaTable {
    pub(super) name: &'static str,
    /// The columns that have a unique index each. The statements of the store rely on these
    /// indexes to recognize what is stored already.
    pub(super) unique_columns: &'static [&'static str],
    /// Whether the store only becomes slower without rights on the table.
    pub(super) is_only_faster: bool,
}

impl SchemaTable {
    /// Creates the definition of the table `name`, with a unique index on each of
    /// `unique_columns`.
    #[must_use]
    pub const fn new(name: &'static str, unique_columns: &'static [&'static str]) -> Self {
        Self {
            name,
            unique_columns,
            is_only_faster: false,
        }
    }

    /// Returns this definition for a table without which the store works, but is slower.
    #[must_use]
    pub(super) const fn only_faster(mut self) -> Self {
        self.is_only_faster = true;
        self
    }
}

/// The schema of purchases.
pub(super) const PURCHASES: SchemaDefinition = SchemaDefinition {
    name: "purchases",
    unused_row: "(id) values (gen_random_uuid()::text)",
    tables: &[
        SchemaTable::new("purchases", &["id"]),
        SchemaTable::new("purchases_clock", &["single"]),
        SchemaTable::new("purchases_waiting", &["sequence"]),
        SchemaTable::new("purchases_settings", &["name"]),
        SchemaTable::new("purchases_kept", &[]).only_faster(),
        SchemaTable::new("purchases_deltas", &[]).only_faster(),
        SchemaTable::new("purchases_sums", &[]).only_faster(),
    ],
    adoptable: &[],
    changes: &[concat!(
        include_str!("purchases.sql"),
        include_str!("sums.sql")
    )],
};

/// The key of the advisory lock that all processes take before they change a schema.
const LOCK: i64 = 0x73_686f_7073;

/// The maximum pause between two attempts. It is short, because all calls fail until the tables
/// exist.
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// The maximum pause after the server rejects an attempt. It is longer, because an operator must
/// act first, for example by granting a right.
const MAX_PAUSE_AFTER_REJECTION: Duration = Duration::from_secs(30);

/// The result of the last attempt to create the tables, or `None` before the end of the first one.
type LastAttempt = Option<Result<()>>;

/// A background task that creates the tables of a store.
///
/// The task retries until it succeeds or this value is dropped.
#[derive(Debug)]
pub(super) struct SchemaMigrator {
    last_attempt: watch::Receiver<LastAttempt>,
    /// Whether another program may have created tables of the same names.
    is_adoptable: bool,
    /// Stops the task when this value is dropped.
    _stop_on_drop: DropGuard,
}

impl SchemaMigrator {
    /// Starts the task, which takes its sessions from `pool`.
    ///
    /// `adopts_tables` is the option `adopt_tables`.
    pub(super) fn new(
        definition: &'static SchemaDefinition,
        adopts_tables: bool,
        pool: SessionPool,
    ) -> Self {
        let (sender, last_attempt) = watch::channel(None);
        let guard = until_dropped(create_tables(definition, adopts_tables, pool, sender));
        Self {
            last_attempt,
            is_adoptable: !definition.adoptable.is_empty(),
            _stop_on_drop: guard,
        }
    }

    /// Waits until the first attempt to create the tables ends.
    ///
    /// Each statement of the store waits for this before it is sent. If the attempt failed, the
    /// statement is sent nevertheless, since the tables may exist. Tables that may belong to
    /// another program are the exception: no statement may touch them before an attempt shows that
    /// they belong to this store.
    ///
    /// # Errors
    /// The error of the last attempt, if the tables may belong to another program.
    pub(super) async fn wait_for_attempt(&self) -> Result<()> {
        let mut last_attempt = self.last_attempt.clone();
        let attempt = last_attempt.wait_for(Option::is_some).await;
        match attempt.as_deref() {
            Ok(Some(Err(error))) if self.is_adoptable => {
                Err(error.clone().with_outcome(Outcome::NotApplied))
            }
            // The attempt succeeded, the server rejects statements on missing tables itself, or the task
            // has ended.
            _ => Ok(()),
        }
    }

    /// Waits until the tables exist or the server rejects their creation. Waits longer if the
    /// server is unavailable.
    pub(super) async fn wait_until_done(&self) {
        let is_done = |attempt: &LastAttempt| match attempt {
            Some(Ok(())) => true,
            Some(Err(error)) => is_rejection(error),
            None => false,
        };
        // An error means that the task ended, so there is nothing more to wait for.
        drop(self.last_attempt.clone().wait_for(is_done).await);
    }
}

/// Returns whether the server rejected a change, so that a retry fails until an operator acts.
fn is_rejection(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Denied | ErrorKind::Unsupported)
}

/// Attempts to create the tables until an attempt succeeds, and sends the result of each attempt to
/// `last_attempt`.
///
/// Logs the first error. Logs a later error only if it is the first one by which the server rejects the
/// changes, or the first other error after such rejections.
async fn create_tables(
    definition: &SchemaDefinition,
    adopts_tables: bool,
    pool: SessionPool,
    last_attempt: watch::Sender<LastAttempt>,
) {
    let mut pauses = pauses(Duration::from_millis(100), MAX_PAUSE_AFTER_REJECTION);
    // Whether the last logged error is a rejection. `None` before the first error.
    let mut was_rejection_logged = None;

    while let Err(error) = attempt_migration(definition, adopts_tables, &pool).await {
        let is_rejected = is_rejection(&error);
        if was_rejection_logged != Some(is_rejected) {
            tracing::error!(error = %error.chain(), table = definition.name, "creation of a table failed, retrying");
            was_rejection_logged = Some(is_rejected);
        }
        last_attempt.send_replace(Some(Err(error)));

        let max_pause = if is_rejected {
            MAX_PAUSE_AFTER_REJECTION
        } else {
            MAX_PAUSE
        };
        sleep(pauses.next().unwrap_or(max_pause).min(max_pause)).await;
    }

    last_attempt.send_replace(Some(Ok(())));
}

/// Attempts once to apply the changes that this database lacks.
///
/// Takes no lock and creates nothing if no change is missing.
///
/// # Errors
/// - [`ErrorKind::Denied`] if tables of another program exist and `adopts_tables` is not set
/// - an error of the server, or of the start of a session
async fn attempt_migration(
    definition: &SchemaDefinition,
    adopts_tables: bool,
    pool: &SessionPool,
) -> Result<()> {
    let mut session = pool.get().await.map_err(from_pool)?;

    match count_applied_changes(definition, &session.client).await {
        // A user without the right to create tables can use a schema that is complete. So no lock
        // is taken, and nothing is created here.
        Ok(applied_count) if applied_count >= definition.changes.len() => return Ok(()),
        Err(error) if error.code() != Some(&SqlState::UNDEFINED_TABLE) => {
            return Err(from_driver(error));
        }
        // Changes are missing, or the table of versions is.
        _ => {}
    }

    match migrate(definition, adopts_tables, &mut session.client).await {
        Ok(foreign_tables) if foreign_tables.is_empty() => Ok(()),
        Ok(foreign_tables) => Err(foreign_tables_error(&foreign_tables)),
        Err(error) => {
            // The transaction may still be open, so the session must not be used again.
            drop(PooledSession::take(session));
            Err(from_driver(error))
        }
    }
}

/// The name of the context with the tables in [`foreign_tables_error`].
pub(super) const FOREIGN_TABLES: &str = "tables";

/// Returns the error for tables of another program, which are used only if `adopt_tables` is set.
///
/// `foreign_tables` are the names of these tables.
pub(super) fn foreign_tables_error(foreign_tables: &[String]) -> Error {
    let message = "another program has made tables of these names: take them over by adopt_tables \
                   (SHOP_ADOPT_TABLES=on), or name another database";
    postgres_error(ErrorKind::Denied, message)
        .with_context(FOREIGN_TABLES, foreign_tables.join(", "))
}

/// Returns the number of schema changes that were applied to this database.
///
/// # Errors
/// An error of the server, such as `UNDEFINED_TABLE` if the table `shop_schema` does not exist.
async fn count_applied_changes(
    definition: &SchemaDefinition,
    client: &tokio_postgres::Client,
) -> Result<usize, tokio_postgres::Error> {
    let row = client
        .query_opt(
            "select version from shop_schema where name = $1",
            &[&definition.name],
        )
        .await?;
    let Some(row) = row else {
        return Ok(0);
    };
    let version: i32 = row.try_get("version")?;
    // A negative number, which this program does not write, counts as 0.
    Ok(usize::try_from(version).unwrap_or_default())
}

/// Applies the schema changes that this database lacks, in one transaction.
///
/// Takes an advisory lock first, because several processes may start at the same time.
///
/// Returns the names of tables of another program, and changes nothing, if there are such tables
/// and `adopts_tables` is not set. Returns an empty list otherwise.
///
/// # Errors
/// The first error of the server or of the connection. The transaction may still be open in the
/// session.
pub(super) async fn migrate(
    definition: &SchemaDefinition,
    adopts_tables: bool,
    client: &mut tokio_postgres::Client,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let transaction = client.transaction().await?;

    let lock_sql = format!(
        "set local statement_timeout = 0;
         set local client_min_messages = warning;
         select pg_advisory_xact_lock({LOCK});
         create table if not exists shop_schema (
             name text primary key, version integer not null, changed timestamptz not null default now()
         )"
    );
    transaction.batch_execute(&lock_sql).await?;

    // Another process may have applied the changes while this one waited for the lock.
    let applied_count = count_applied_changes(definition, transaction.client()).await?;
    if applied_count == 0 && !adopts_tables {
        let sql = "select name from unnest($1::text[]) as name where to_regclass(name) is not null";
        let rows = transaction.query(sql, &[&definition.adoptable]).await?;
        let foreign_tables = rows
            .iter()
            .map(|row| row.try_get("name"))
            .collect::<Result<Vec<String>, _>>()?;
        if !foreign_tables.is_empty() {
            return Ok(foreign_tables);
        }
    }

    for change in definition.changes.iter().skip(applied_count) {
        transaction
            .batch_execute(&change.replace("{table}", definition.name))
            .await?;
    }

    // A later version of the program may have applied more changes than this version knows. Then the
    // higher number is kept.
    let version = i32::try_from(definition.changes.len().max(applied_count)).unwrap_or(i32::MAX);
    let record_version = "insert into shop_schema (name, version) values ($1, $2)
                on conflict (name) do update set version = excluded.version, changed = now()";
    transaction
        .execute(record_version, &[&definition.name, &version])
        .await?;

    transaction.commit().await?;
    Ok(Vec::new())
}
