//! Folds deltas into the kept sums, and completes the sums of scopes that are kept from now on.
//!
//! `sums.sql` has the tables, and [`sums`](super::sums) answers questions from them.
//!
//! | step | what it does | when |
//! |---|---|---|
//! | fold | moves the rows of `purchases_deltas` into `purchases_sums` | there are deltas |
//! | request | inserts the scope of the shop into `purchases_kept` | it is missing |
//! | build | completes the sums of a scope, and marks it as ready | no transaction has missed the scope |
//!
//! A process that ingests runs the steps in a background task, at most once a second. Several
//! processes may do so at the same time: an advisory lock lets one of them fold or build.
//!
//! # How a scope becomes ready
//!
//! A trigger that reads `purchases_kept` before a scope is inserted records no deltas for the scope.
//! So the task waits until all transactions with such a trigger have ended. The task reads the scope,
//! and then takes a transaction id, the *horizon*. The trigger's transaction got its id before the
//! trigger read the kept scopes, so this id is lower than the horizon. Once all transactions with
//! lower ids have ended, a build is right: in one snapshot, it reads the purchases and the sums so
//! far, and adds the difference as deltas. Whatever the sums were before, they are complete
//! afterwards. Changes that are committed later record their own deltas.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use shop_core::Result;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::DropGuard;

use super::PostgresStore;
use super::connection::{PostgresConnection, Statement, until_dropped};
use super::rows::answer_column;
use super::sums::{PERIOD_MINUTES, SHOP_SCOPE};
use crate::retries::pauses;

/// The pause between two rounds of the task.
const PAUSE: Duration = Duration::from_secs(1);
/// The pause after which the task looks for requests of other processes.
const IDLE_PAUSE: Duration = Duration::from_secs(5);
/// The maximum pause after a round that failed.
const MAX_PAUSE_AFTER_ERROR: Duration = Duration::from_secs(30);

/// The SQL expression that tries to take the lock of the fold until the end of the transaction, and
/// records whether the transaction has the lock.
///
/// The first key distinguishes the lock from other advisory locks. The second key is the table,
/// because several stores may be in one database.
macro_rules! try_lock {
    () => {
        "set_config('shop.has_sums_lock', pg_try_advisory_xact_lock(
            1936224115, 'purchases_kept'::regclass::oid::integer)::text, true)"
    };
}

/// The statement that tries to take the lock. It runs before the statement that needs the lock, so
/// that the snapshot of that statement is newer.
const LOCK: &str = concat!("select ", try_lock!());

/// The statement [`LOCK`] for a build, which has no timeout because it reads all purchases of its
/// scope.
const LOCK_WITHOUT_TIMEOUT: &str = concat!(
    "select set_config('statement_timeout', '0', true), ",
    try_lock!()
);

/// The condition that the transaction has the lock, see [`LOCK`].
const HAS_LOCK: &str = "current_setting('shop.has_sums_lock') = 'true'";

/// The query of what there is to do. The answer is one row.
///
/// | column | content |
/// |---|---|
/// | `has_deltas` | whether there are deltas to fold |
/// | `keeps_shop` | whether the scope of the shop is kept |
/// | `oldest` | the id of the oldest transaction that has not ended |
/// | `scopes`, `identities` | the scopes that are not ready, and `since` of each one |
/// | `estimate` | the estimated number of purchases |
const STATUS: &str = "
    with unready as materialized (select scope, since from purchases_kept where not ready)
    select exists (select from purchases_deltas) as has_deltas,
        exists (select from purchases_kept where scope = '') as keeps_shop,
        pg_snapshot_xmin(pg_current_snapshot())::text::bigint as oldest,
        array(select scope from unready order by scope) as scopes,
        array(select since::text from unready order by scope) as identities,
        (select greatest(reltuples, 0)::bigint from pg_class where oid = 'purchases'::regclass) as estimate";

/// The background task of a store, which runs from the first call of [`wake`](FoldTask::wake) by an
/// ingest until the store is dropped.
#[derive(Debug, Default)]
pub(super) struct FoldTask {
    /// Notified when something was written or requested.
    work_signal: Arc<Notify>,
    /// Stops the task when the store is dropped. It is empty until the task is started.
    stop_on_drop: OnceLock<DropGuard>,
}

impl FoldTask {
    /// Wakes the task, if it runs.
    pub(super) fn wake(&self) {
        self.work_signal.notify_one();
    }

    /// Keeps the task of a test from being started.
    #[cfg(test)]
    pub(super) fn disable(&self) {
        let guard = until_dropped(std::future::ready(()));
        self.stop_on_drop.get_or_init(|| guard);
    }
}

impl PostgresStore {
    /// Starts the background task that folds deltas, unless it runs, and wakes it.
    pub(super) fn start_fold(&self) {
        let task = &self.sums.fold_task;
        task.stop_on_drop.get_or_init(|| {
            let fold = Fold::new(Arc::clone(&self.connection));
            until_dropped(fold.run(Arc::clone(&task.work_signal)))
        });
        task.wake();
    }

    /// Folds the deltas now, after the purchases of a user were erased, so that the sums of this
    /// user are gone as well.
    ///
    /// An error is only logged. After an error, or if another process is folding, the background task
    /// of a process folds the deltas later.
    pub(super) async fn fold_after_erasure(&self) {
        if let Err(error) = Fold::new(Arc::clone(&self.connection)).fold_deltas().await {
            tracing::debug!(error = %error.chain(), "the sums of an erased user are removed later");
        }
    }
}

/// What is left to do after a round.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is nothing to do until something is written or requested.
    Idle,
    /// There is more to do.
    Busy,
}

/// The scopes that are built once all transactions below the horizon have ended.
#[derive(Debug)]
struct PendingBuild {
    horizon: i64,
    /// Each scope with its `since`, which tells it from a scope that is requested again meanwhile.
    scopes: Vec<(String, String)>,
}

/// The steps of the task, and the build that it waits for.
#[derive(Debug)]
pub(super) struct Fold {
    connection: Arc<PostgresConnection>,
    pending_build: Option<PendingBuild>,
}

impl Fold {
    /// Creates the steps for a database. Nothing runs yet.
    pub(super) const fn new(connection: Arc<PostgresConnection>) -> Self {
        Self {
            connection,
            pending_build: None,
        }
    }

    /// Runs rounds until the future is dropped.
    ///
    /// Logs the first error of a series. While rounds fail, totals are right, but slower.
    async fn run(mut self, work_signal: Arc<Notify>) {
        let mut error_pauses = None;
        loop {
            let pause = match self.run_round().await {
                Ok(progress) => {
                    error_pauses = None;
                    if progress == Progress::Idle {
                        // The timeout is no error: another process may have requested something.
                        let _elapsed = timeout(IDLE_PAUSE, work_signal.notified()).await;
                    }
                    PAUSE
                }
                Err(error) => {
                    if error_pauses.is_none() {
                        tracing::warn!(error = %error.chain(), "the sums in PostgreSQL are not brought up to date, so totals take longer");
                    }
                    let pauses =
                        error_pauses.get_or_insert_with(|| pauses(PAUSE, MAX_PAUSE_AFTER_ERROR));
                    pauses.next().unwrap_or(MAX_PAUSE_AFTER_ERROR)
                }
            };
            sleep(pause).await;
        }
    }

    /// Runs the steps that are possible now, without waiting for other transactions. Returns whether
    /// another round is needed soon.
    ///
    /// # Errors
    /// The first error of a statement. Nothing is lost, and the next round goes on.
    pub(super) async fn run_round(&mut self) -> Result<Progress> {
        let status = self.connection.query(Statement::new(STATUS)).await?;

        if !answer_column(&status, "keeps_shop")? {
            let insert = "insert into purchases_kept (scope) values ($1) on conflict do nothing";
            let request = Statement::new(insert).bind(SHOP_SCOPE.to_owned());
            self.connection.write(request).await?;
            return Ok(Progress::Busy);
        }

        if answer_column(&status, "has_deltas")? {
            self.fold_deltas().await?;
        }

        let oldest_transaction: i64 = answer_column(&status, "oldest")?;
        let due_build = self
            .pending_build
            .take_if(|build| build.horizon <= oldest_transaction);
        if let Some(build) = due_build {
            let estimate: i64 = answer_column(&status, "estimate")?;
            for (scope, identity) in build.scopes {
                self.build(scope, identity, estimate).await?;
            }
            return Ok(Progress::Busy);
        }
        // The pending build still waits for transactions.
        if self.pending_build.is_some() {
            return Ok(Progress::Busy);
        }

        let scopes: Vec<String> = answer_column(&status, "scopes")?;
        if scopes.is_empty() {
            return Ok(Progress::Idle);
        }
        let identities: Vec<String> = answer_column(&status, "identities")?;
        self.pending_build = Some(PendingBuild {
            horizon: self.take_horizon().await?,
            scopes: scopes.into_iter().zip(identities).collect(),
        });
        Ok(Progress::Busy)
    }

    /// Returns a transaction id that is higher than the ids of all transactions so far.
    ///
    /// The statement assigns a new id. The highest id of a snapshot would not do, because transactions
    /// with higher ids may be running.
    async fn take_horizon(&self) -> Result<i64> {
        let select = "select pg_current_xact_id()::text::bigint as horizon";
        let rows = self.connection.write(Statement::new(select)).await?;
        answer_column(&rows, "horizon")
    }

    /// Moves the deltas into the sums, unless another process holds the lock. Deletes the deltas of
    /// scopes that are not kept.
    ///
    /// If a user has no purchases any more, the sums of the user are deleted, and are not kept any
    /// longer.
    pub(super) async fn fold_deltas(&self) -> Result<()> {
        let fold = Statement::new(fold_sql()).after(Statement::new(LOCK));
        let rows = self.connection.write(fold).await?;
        if answer_column(&rows, "has_empty_sums")? {
            self.delete_empty_sums().await?;
        }
        Ok(())
    }

    /// Deletes sums that are zero, and the users who have no other sums, unless another process
    /// holds the lock.
    async fn delete_empty_sums(&self) -> Result<()> {
        let delete = Statement::new(delete_empty_sql()).after(Statement::new(LOCK));
        self.connection.write(delete).await.map(drop)
    }

    /// Completes the sums of `scope`, and marks it as ready, unless another process holds the lock
    /// or the scope was requested again.
    ///
    /// `estimate` is the estimated number of all purchases.
    async fn build(&self, scope: String, identity: String, estimate: i64) -> Result<()> {
        // The id of a user is personal data, so it is not logged.
        let of_all_users = scope == SHOP_SCOPE;
        tracing::info!(
            of_all_users,
            purchases_of_all_users = estimate,
            "PostgreSQL adds up purchases, so that totals are quick"
        );
        let started = Instant::now();
        let build = Statement::new(build_sql(&scope))
            .bind(scope)
            .bind(identity)
            .after(Statement::new(LOCK_WITHOUT_TIMEOUT));
        let answer = self.connection.write_alone(build).await?;
        let is_complete = !answer.is_empty();
        // A user whose purchases were erased meanwhile is not kept.
        if is_complete && answer_column(&answer, "is_empty")? {
            self.delete_empty_sums().await?;
        }
        tracing::info!(
            of_all_users,
            is_complete,
            seconds = started.elapsed().as_secs_f64(),
            "PostgreSQL has added up purchases"
        );
        Ok(())
    }
}

/// Returns the SQL that moves the deltas into the sums.
///
/// The answer is one row with the column `has_empty_sums`: whether a sum is zero now.
///
/// `kept` locks the scopes before their sums. A statement that deletes a scope locks them in this order too,
/// so that neither statement fails.
fn fold_sql() -> String {
    format!(
        "with moved as (
            delete from purchases_deltas where {HAS_LOCK} returning scope, start, count, total
        ), kept as materialized (
            select scope from purchases_kept where scope in (select scope from moved) for key share
        ), quarters as materialized (
            select scope, start, sum(count)::bigint as count, sum(total) as total
            from moved join kept using (scope) group by scope, start
        ), changes as (
            select scope, minutes, sum(count)::bigint as count, sum(total) as total,
                date_bin(make_interval(mins => minutes), start, timestamptz '0001-01-01T00:00:00Z') as period
            from quarters cross join unnest(array{PERIOD_MINUTES:?}) as minutes
            group by scope, minutes, period
        ), written as (
            insert into purchases_sums as sums (scope, minutes, start, count, total)
            select scope, minutes, period, count, total from changes
            on conflict (scope, minutes, start) do update
                set count = sums.count + excluded.count, total = sums.total + excluded.total
            returning count, total
        )
        select coalesce(bool_or(count = 0 and total = 0), false) as has_empty_sums from written"
    )
}

/// Returns the SQL that deletes sums that are zero, and the users who have no other sums.
fn delete_empty_sql() -> String {
    format!(
        "with emptied as (
            delete from purchases_sums where count = 0 and total = 0 and {HAS_LOCK}
        )
        delete from purchases_kept as kept
        where scope <> '' and ready and {HAS_LOCK}
            and not exists (select from purchases_deltas where scope = kept.scope)
            and not exists (
                select from purchases_sums
                where scope = kept.scope and not (count = 0 and total = 0)
            )"
    )
}

/// Returns the SQL that adds the difference between the purchases and the sums of a scope as deltas,
/// and marks the scope as ready.
///
/// `$1` is the scope, and `$2` its identity. The answer has a row if the scope was marked, whose
/// column `is_empty` tells whether the scope has no purchases.
fn build_sql(scope: &str) -> String {
    let selection = if scope == SHOP_SCOPE {
        ""
    } else {
        "and userid = $1"
    };
    format!(
        r#"with stored as (
            select date_bin('15 minutes', "timestamp", timestamptz '0001-01-01T00:00:00Z') as start,
                count(*) filter (where price >= 0) as count, sum(price) as total
            from purchases where "timestamp" is not null {selection} and {HAS_LOCK}
            group by 1
        ), recorded as (
            select start, sum(count)::bigint as count, sum(total) as total from (
                select start, count, total from purchases_sums where scope = $1 and minutes = 15
                union all
                select start, count, total from purchases_deltas where scope = $1
            ) as parts group by start
        ), missing as (
            select start, coalesce(stored.count, 0) - coalesce(recorded.count, 0) as count,
                coalesce(stored.total, 0) - coalesce(recorded.total, 0) as total
            from stored full join recorded using (start)
        ), added as (
            insert into purchases_deltas (scope, start, count, total)
            select $1, start, count, total from missing
            where {HAS_LOCK} and not (count = 0 and total = 0)
        )
        update purchases_kept set ready = true
        where scope = $1 and since = $2::xid8 and {HAS_LOCK}
        returning not exists (select from stored) as is_empty"#
    )
}
