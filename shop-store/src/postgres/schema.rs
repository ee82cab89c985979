//! Creates the table and its indexes in the background.
//!
//! Changes are numbered. The table `shop_schema` has the number of the last one that was made. A change is made once,
//! under an advisory lock: several processes may start at the same time.

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

/// The schema of a store.
#[derive(Debug)]
pub(super) struct SchemaDefinition {
    /// The name in `shop_schema`, and of the main table.
    pub(super) name: &'static str,
    /// Columns and values of a row that does not exist and may be inserted, also where no column may be null.
    pub(super) unused_row: &'static str,
    /// All tables that it reads and writes.
    pub(super) tables: &'static [&'static str],
    /// The tables that may be those of the replaced system.
    pub(super) adoptable: &'static [&'static str],
    /// The changes. Only append to them.
    pub(super) changes: &'static [&'static str],
}

/// The schema of purchases.
pub(super) const PURCHASES: SchemaDefinition = SchemaDefinition {
    name: "purchases",
    unused_row: "(id) values (gen_random_uuid()::text)",
    tables: &[
        "purchases",
        "purchases_clock",
        "purchases_waiting",
        "purchases_settings",
    ],
    adoptable: &[],
    changes: &[
        include_str!("schema/1_purchases.sql"),
        include_str!("schema/2_clock.sql"),
        include_str!("schema/3_details.sql"),
        include_str!("schema/4_refunds.sql"),
        include_str!("schema/5_waiting_refunds.sql"),
    ],
};

/// The key of the advisory lock.
const LOCK: i64 = 0x73_686f_7073;

/// The maximum pause between two attempts: until the table exists, all calls fail.
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// The same after the server has rejected an attempt, until an operator grants a right or creates a role.
const MAX_PAUSE_AFTER_REJECTION: Duration = Duration::from_secs(30);

/// The result of the last attempt to create the schema; `None` until the first one has ended.
type LastAttempt = Option<Result<()>>;

/// Creates the schema, with retries until it is dropped.
#[derive(Debug)]
pub(super) struct SchemaMigrator {
    progress: watch::Receiver<LastAttempt>,
    /// Whether tables of this name may be those of another program.
    is_adoptable: bool,
    _until_dropped: DropGuard,
}

impl SchemaMigrator {
    pub(super) fn new(
        definition: &'static SchemaDefinition,
        adopts: bool,
        pool: SessionPool,
    ) -> Self {
        let (sender, progress) = watch::channel(None);
        let guard = until_dropped(create(definition, adopts, pool, sender));
        Self {
            progress,
            is_adoptable: !definition.adoptable.is_empty(),
            _until_dropped: guard,
        }
    }

    /// Waits until the first attempt has ended. Its error is that of every call on tables that may be those of another
    /// program: they are not touched before that is known.
    pub(super) async fn attempted(&self) -> Result<()> {
        let mut progress = self.progress.clone();
        let attempted = progress.wait_for(Option::is_some).await;
        match attempted.as_deref() {
            Ok(Some(Err(error))) if self.is_adoptable => {
                Err(error.clone().with_outcome(Outcome::NotApplied))
            }
            _ => Ok(()),
        }
    }

    /// Waits until the schema exists or the server has rejected a change.
    pub(super) async fn done(&self) {
        let is_over = |progress: &LastAttempt| match progress {
            Some(created) => created.as_ref().err().is_none_or(is_rejection),
            None => false,
        };
        drop(self.progress.clone().wait_for(is_over).await);
    }
}

fn is_rejection(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Denied | ErrorKind::Unsupported)
}

async fn create(
    definition: &SchemaDefinition,
    adopts: bool,
    pool: SessionPool,
    progress: watch::Sender<LastAttempt>,
) {
    let mut pauses = pauses(Duration::from_millis(100), MAX_PAUSE_AFTER_REJECTION);
    let mut reported = None;
    while let Err(error) = attempt(definition, adopts, &pool).await {
        let is_rejected = is_rejection(&error);
        if reported.replace(is_rejected) != Some(is_rejected) {
            tracing::error!(error = %error.chain(), table = definition.name, "creation of a table failed, retrying");
        }
        progress.send_replace(Some(Err(error)));
        let longest = if is_rejected {
            MAX_PAUSE_AFTER_REJECTION
        } else {
            MAX_PAUSE
        };
        sleep(pauses.next().unwrap_or(longest).min(longest)).await;
    }
    progress.send_replace(Some(Ok(())));
}

async fn attempt(definition: &SchemaDefinition, adopts: bool, pool: &SessionPool) -> Result<()> {
    let mut session = pool.get().await.map_err(from_pool)?;
    match current(definition, &session.client).await {
        // No right to create anything is needed for a schema that exists.
        Ok(version) if version >= definition.changes.len() => return Ok(()),
        Err(error) if error.code() != Some(&SqlState::UNDEFINED_TABLE) => {
            return Err(from_driver(error));
        }
        _ => {}
    }
    let changed = change(definition, adopts, &mut session.client).await;
    if changed.is_err() {
        // Its transaction may be open.
        drop(PooledSession::take(session));
    }
    match changed.map_err(from_driver)? {
        found if found.is_empty() => Ok(()),
        found => Err(of_another_program(&found)),
    }
}

/// The error for tables that are used only if `adopt_tables` says so.
pub(super) fn of_another_program(found: &[String]) -> Error {
    let message = "another program has made tables of these names: take them over by adopt_tables \
                   (SHOP_ADOPT_TABLES=on), or name another database";
    postgres_error(ErrorKind::Denied, message).with_context("tables", found.join(", "))
}

/// The number of changes that were made.
async fn current(
    definition: &SchemaDefinition,
    client: &tokio_postgres::Client,
) -> Result<usize, tokio_postgres::Error> {
    let row = client
        .query_opt(
            "select version from shop_schema where name = $1",
            &[&definition.name],
        )
        .await?;
    let version: i32 = row.map_or(Ok(0), |row| row.try_get(0))?;
    Ok(usize::try_from(version).unwrap_or_default())
}

/// Makes the changes that were not made yet. Makes none, and returns the tables of another program, if there are any and
/// they are not to be adopted.
async fn change(
    definition: &SchemaDefinition,
    adopts: bool,
    client: &mut tokio_postgres::Client,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    let lock = format!(
        "set local statement_timeout = 0;
         set local client_min_messages = warning;
         select pg_advisory_xact_lock({LOCK});
         create table if not exists shop_schema (
             name text primary key, version integer not null, changed timestamptz not null default now()
         )"
    );
    transaction.batch_execute(&lock).await?;
    // Another process may have made the changes meanwhile.
    let made = current(definition, transaction.client()).await?;
    if made == 0 && !adopts {
        let sql = "select name from unnest($1::text[]) as name where to_regclass(name) is not null";
        let found = transaction.query(sql, &[&definition.adoptable]).await?;
        let found: Vec<String> = found
            .iter()
            .map(|row| row.try_get(0))
            .collect::<Result<_, _>>()?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    for change in definition.changes.iter().skip(made) {
        transaction
            .batch_execute(&change.replace("{table}", definition.name))
            .await?;
    }
    let version = i32::try_from(definition.changes.len().max(made)).unwrap_or(i32::MAX);
    let note = "insert into shop_schema (name, version) values ($1, $2)
                on conflict (name) do update set version = excluded.version, changed = now()";
    transaction
        .execute(note, &[&definition.name, &version])
        .await?;
    transaction.commit().await?;
    Ok(Vec::new())
}
