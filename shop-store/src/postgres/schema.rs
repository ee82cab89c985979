//! Creates the table and its indexes in the background.
//!
//! Changes are numbered. The table `shop_schema` has the number of the last one that was made. A change is made once,
//! under an advisory lock: several processes may start at the same time.

use std::time::Duration;

use deadpool_postgres::{Object, Pool};
use shop_core::{Error, ErrorKind};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_postgres::error::SqlState;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::error::{from_driver, from_pool};
use crate::retries::pauses;

/// The schema of a store.
#[derive(Debug)]
pub(super) struct Definition {
    /// The name in `shop_schema`, and of the main table.
    pub(super) name: &'static str,
    /// The changes. Only append to them.
    pub(super) changes: &'static [&'static str],
}

/// The schema of purchases.
pub(super) const PURCHASES: Definition = Definition { name: "purchases", changes: &["\
    create table purchases (
        id text collate \"C\" primary key,
        userid text collate \"C\",
        username text collate \"C\",
        price numeric check (price between 0 and 1000000000000000 and scale(price) <= 8),
        \"timestamp\" timestamptz(3)
            check (\"timestamp\" between '0001-01-01T00:00:00Z' and '9999-12-30T22:00:00Z'),
        -- The row of an erased purchase has its id only.
        constraint purchases_whole_or_erased check (num_nulls(userid, username, price, \"timestamp\") in (0, 4))
    );
    create index purchases_by_user on purchases (userid, \"timestamp\", id);
    create index purchases_by_name on purchases (username, \"timestamp\", id);
    create index purchases_by_time on purchases (\"timestamp\", id);"] };

/// The key of the advisory lock.
const LOCK: i64 = 0x73_686f_7073;

/// The maximum pause between two attempts: until the table exists, all calls fail.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// Progress of the creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// The first attempt has not ended.
    Started,
    /// An attempt has failed.
    Retrying,
    /// The schema exists, or the server has rejected a change.
    Done,
}

/// Creates the schema, with retries until it is dropped.
#[derive(Debug)]
pub(super) struct Schema {
    progress: watch::Receiver<Progress>,
    _until_dropped: DropGuard,
}

impl Schema {
    pub(super) fn new(definition: &'static Definition, pool: Pool) -> Self {
        let (sender, progress) = watch::channel(Progress::Started);
        let stopped = CancellationToken::new();
        tokio::spawn(stopped.clone().run_until_cancelled_owned(create(definition, pool, sender)));
        Self { progress, _until_dropped: stopped.drop_guard() }
    }

    /// Waits until the first attempt has ended.
    pub(super) async fn attempted(&self) {
        drop(self.progress.clone().wait_for(|progress| *progress != Progress::Started).await);
    }

    /// Waits until the schema exists or the server has rejected a change.
    pub(super) async fn done(&self) {
        drop(self.progress.clone().wait_for(|progress| *progress == Progress::Done).await);
    }
}

async fn create(definition: &Definition, pool: Pool, progress: watch::Sender<Progress>) {
    let mut pauses = pauses(Duration::from_millis(100), MAX_PAUSE);
    while let Err(error) = attempt(definition, &pool).await {
        if matches!(error.kind(), ErrorKind::Denied | ErrorKind::Unsupported) {
            tracing::error!(error = %error.chain(), table = definition.name, "creation of a table rejected");
            break;
        }
        if progress.send_replace(Progress::Retrying) == Progress::Started {
            tracing::warn!(error = %error.chain(), table = definition.name, "creation of a table failed, retrying");
        }
        sleep(pauses.next().unwrap_or(MAX_PAUSE)).await;
    }
    progress.send_replace(Progress::Done);
}

async fn attempt(definition: &Definition, pool: &Pool) -> Result<(), Error> {
    let mut client = pool.get().await.map_err(from_pool)?;
    match current(definition, &client).await {
        // No right to create anything is needed for a schema that exists.
        Ok(version) if version >= definition.changes.len() => return Ok(()),
        Err(error) if error.code() != Some(&SqlState::UNDEFINED_TABLE) => return Err(from_driver(error)),
        _ => {}
    }
    let changed = change(definition, &mut client).await;
    if changed.is_err() {
        // Its transaction may be open.
        drop(Object::take(client));
    }
    changed.map_err(from_driver)
}

/// The number of changes that were made.
async fn current(
    definition: &Definition,
    client: &tokio_postgres::Client,
) -> Result<usize, tokio_postgres::Error> {
    let row =
        client.query_opt("select version from shop_schema where name = $1", &[&definition.name]).await?;
    let version: i32 = row.map_or(Ok(0), |row| row.try_get(0))?;
    Ok(usize::try_from(version).unwrap_or_default())
}

async fn change(
    definition: &Definition,
    client: &mut tokio_postgres::Client,
) -> Result<(), tokio_postgres::Error> {
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
    for change in definition.changes.iter().skip(made) {
        transaction.batch_execute(change).await?;
    }
    let version = i32::try_from(definition.changes.len().max(made)).unwrap_or(i32::MAX);
    let note = "insert into shop_schema (name, version) values ($1, $2)
                on conflict (name) do update set version = excluded.version, changed = now()";
    transaction.execute(note, &[&definition.name, &version]).await?;
    transaction.commit().await
}
