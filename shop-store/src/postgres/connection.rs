//! The connection to a database: two pools of sessions, and statements that run in them with
//! deadlines.
//!
//! ```text
//! query ─┐                        ┌─ pool of reads  ─┐
//!        ├─▶ run (retries) ─▶ run_once               ├─▶ run_in_session, in a task of its own ─▶ execute
//! write ─┘                        └─ pool of writes ─┘
//! ```
//!
//! The caller waits until its deadline at most. The task goes on with its session until the server
//! answers, see [`run_once`].

use std::borrow::Cow;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use deadpool::managed::Manager as _;
use futures_util::TryStreamExt;
use rust_decimal::Decimal;
use secrecy::{ExposeSecret, SecretString};
use shop_core::ports::Page;
use shop_core::{Error, ErrorKind, Outcome, Result};
use tokio::time::{self, Instant};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Row, RowStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::connector::{Connector, PooledSession, Servers, Session, SessionPool};
use super::error::{from_driver, from_pool, is_broken, is_retryable, postgres_error};
use super::schema::{SchemaDefinition, SchemaMigrator};
use super::tls::TlsOptions;
use super::url::DatabaseUrl;
use crate::retries::{CHECK_TIMEOUT, retry_until};
use crate::unreadable::Unreadables;

/// The time for which a successful check of writes is not repeated, unless a statement fails. Each
/// check leaves a dead row in the table, which the server must clean up.
const CHECK_VALIDITY: Duration = Duration::from_secs(5);

/// The total size of rows, in bytes, at which a query with [`Statement::limited`] leaves out the
/// further rows.
///
/// The rows of a page are always smaller, even with the maximum size of unknown members.
pub(super) const MAX_READ_BYTES: usize = 2 * Page::MAX_UNKNOWN_BYTES;

/// The first statement of each write, which makes the commit wait until the write is durable.
///
/// It raises `synchronous_commit` to `on` if the server, the database or the user sets a lower
/// level. The setting holds for the transaction only and is not made once for each session, because
/// a pooler may give each transaction another session.
pub const DURABLE: &str = "select set_config('synchronous_commit', 'on', true)
    where current_setting('synchronous_commit') in ('off', 'local', 'remote_write')";

/// Returns SQL of a common table expression `confirmed`, which makes a statement that only reads
/// wait for the synchronous standby, as an insert does.
///
/// The statement must join `confirmed`. It waits if `rows`, the name of an earlier expression or
/// table, is not empty.
///
/// A stored row may be missing on the standby. When a wait for the standby is interrupted, for
/// example by a restart, the server shows the row although it is not acknowledged. A transaction
/// that only reads the row would not wait, so a caller that reports the row as stored could lose it
/// with the server. `confirmed` writes a message to the write-ahead log. The commit then waits
/// until the standby receives the log up to this message, and with it the row.
///
/// Without a synchronous standby, a row is durable once the server has flushed the log that there
/// was when the row was read. The statement writes nothing then, and waits for nothing.
pub fn confirmed(rows: &str) -> String {
    format!(
        "confirmed as materialized (
            select pg_logical_emit_message(true, 'shop', '') from {rows}
            where current_setting('synchronous_standby_names') <> ''
               or pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn()
            limit 1
        )"
    )
}

/// Returns a query of the rows of the query `sql`, in any order, that waits until the rows are on
/// the standby.
///
/// See [`confirmed`]. The query names the rows `found`, for an `order by` that is appended.
pub(super) fn confirmed_rows(sql: &str) -> String {
    let confirmed = confirmed("found");
    format!(
        "with found as materialized ({sql}), {confirmed}
         select found.* from found left join confirmed on true"
    )
}

shop_core::options! {
    /// Options of a [`PostgresStore`](super::PostgresStore), and of the other stores in a database.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use shop_store::postgres::PostgresStoreOptions;
    ///
    /// let url = String::from("postgresql://shop:secret@localhost/shop");
    /// let options = PostgresStoreOptions::new(&url).query_timeout(Duration::from_secs(2));
    /// assert!(!format!("{options:?}").contains("secret"), "the URL is not printed");
    /// ```
    #[derive(Debug, Clone)]
    pub struct PostgresStoreOptions {
        /// The URL, `postgresql://…` or `postgres://…`, with the credentials if there are any.
        pub url: SecretString as impl Into<SecretString> = Into::<String>::into(url).into(),
        /// The timeout of an insert, after which its outcome is unknown (default 30 s).
        pub insert_timeout: Duration = Duration::from_secs(30),
        /// The timeout of a query (default 5 s).
        pub query_timeout: Duration = Duration::from_secs(5),
        /// The maximum number of connections, half of which are for queries (default 16, at least
        /// 2).
        ///
        /// The statement of a call that timed out keeps its connection until the server finishes
        /// the statement.
        pub max_connections: usize = 16,
        /// The time without use after which a connection is closed (default 1 minute).
        pub idle_timeout: Duration = Duration::from_secs(60),
        /// Whether missing tables are created (default true).
        pub create_schema: bool = true,
        /// Whether the store uses tables of its names that another program created (default false:
        /// every call fails if there are such tables).
        ///
        /// A [`PostgresStore`](super::PostgresStore) uses such tables in any case.
        pub adopt_tables: bool = false,
    }

    /// Creates options for the database at `url`, with the defaults.
    pub fn new(url: impl Into<String>);
}

/// A value that can be bound to a parameter of a statement.
///
/// The type is sent with the value, so that the server need not be asked for the types of the
/// parameters first.
pub trait SqlValue: ToSql + Send + Sync + 'static {
    /// The type of PostgreSQL that the value is sent as.
    const TYPE: Type;
}

/// Implements [`SqlValue`] for types of Rust, each with the type of PostgreSQL that its values are
/// sent as.
macro_rules! impl_sql_value {
    ($($rust:ty => $sql:ident,)+) => {
        $(impl SqlValue for $rust {
            const TYPE: Type = Type::$sql;
        })+
    };
}

impl_sql_value! {
    i32 => INT4,
    i64 => INT8,
    Vec<i64> => INT8_ARRAY,
    Decimal => NUMERIC,
    String => TEXT,
    Vec<String> => TEXT_ARRAY,
    Vec<&'static str> => TEXT_ARRAY,
    Vec<Option<String>> => TEXT_ARRAY,
    SystemTime => TIMESTAMPTZ,
    Vec<SystemTime> => TIMESTAMPTZ_ARRAY,
    Vec<u8> => BYTEA,
    Option<Vec<u8>> => BYTEA,
}

/// A statement with its parameters, and with the transaction that it runs in.
#[derive(Debug)]
pub struct Statement {
    /// The SQL, in which `$1`, `$2` and so on are the parameters.
    pub sql: Cow<'static, str>,
    /// The values of `$1`, `$2` and so on, each with its type.
    pub parameters: Vec<(Box<dyn ToSql + Send + Sync>, Type)>,
    /// A statement that runs before this one in the same transaction, for writes only.
    pub(super) before: Option<Box<Self>>,
    /// The statement that ends the transaction of a write, `commit` or `rollback`. `None` for a
    /// query.
    pub(super) end: Option<&'static str>,
    /// Whether a query leaves out rows once the rows so far have [`MAX_READ_BYTES`].
    is_limited: bool,
}

impl Statement {
    /// Creates a query without parameters.
    pub fn new(sql: impl Into<Cow<'static, str>>) -> Self {
        Self {
            sql: sql.into(),
            parameters: Vec::new(),
            before: None,
            end: None,
            is_limited: false,
        }
    }

    /// Returns this query with a limit on the size of its rows: the rows end with the row with which
    /// they have [`MAX_READ_BYTES`] together. So the memory of a query does not depend on the content
    /// of the rows.
    pub(super) const fn limited(mut self) -> Self {
        self.is_limited = true;
        self
    }

    /// Returns this statement with `before` to run first, in the same transaction.
    ///
    /// Each statement of a transaction gets its own snapshot, at PostgreSQL's default isolation
    /// level. So this statement sees everything that other transactions committed until `before`
    /// ended, for example when `before` waits for locks of rows. Both statements are sent together,
    /// without a round trip between them.
    pub(super) fn after(mut self, before: Self) -> Self {
        self.before = Some(Box::new(before));
        self
    }

    /// Binds a value to the next parameter of this statement. The first call binds `$1`.
    #[must_use]
    pub fn bind<V: SqlValue>(mut self, value: V) -> Self {
        self.parameters.push((Box::new(value), V::TYPE));
        self
    }

    /// Returns the values and types of the parameters as the driver takes them.
    pub fn parameters(&self) -> Vec<(&(dyn ToSql + Sync), Type)> {
        self.parameters
            .iter()
            .map(|(value, sql_type)| (&**value as &(dyn ToSql + Sync), sql_type.clone()))
            .collect()
    }
}

/// The connection of a store to one database, with limits on concurrent statements.
#[derive(Debug)]
pub struct PostgresConnection {
    /// The options that the connection was opened with.
    pub options: PostgresStoreOptions,
    /// The rows that were found and are no purchases.
    pub(super) unreadables: Unreadables,
    /// The name of the database, `host:port/database`, without credentials.
    pub name: String,
    /// The tables of the store.
    pub(super) definition: &'static SchemaDefinition,
    /// The number of further batches that are expected to contain stored rows, see
    /// [`insert`](super::insert::insert). 0 in normal operation.
    pub(super) repeats: AtomicU32,
    /// The timeout of checks. It is longer if the URL names several hosts, because one host may not
    /// answer.
    pub(super) check_timeout: Duration,
    /// The time of the last successful check of writes, or `None` if a statement has failed since.
    last_write_check: Mutex<Option<Instant>>,
    /// The task that creates the tables, or `None` if they are not to be created.
    pub(super) schema: Option<SchemaMigrator>,
    pub(super) servers: Arc<Servers>,
    /// Stops the task that closes idle sessions when the connection is dropped.
    _stop_closing_idle: DropGuard,
    /// The sessions for queries. They are separate, so that inserts do not wait behind listings.
    read_sessions: SessionPool,
    /// The sessions for writes.
    pub(super) write_sessions: SessionPool,
}

impl PostgresConnection {
    /// Opens the connection, and begins to create the tables in the background if the options say
    /// so.
    ///
    /// Does not wait for the server. Sessions are started when statements need them.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the URL is invalid, or the certificates in `sslrootcert` cannot be
    /// read.
    pub fn open(
        options: PostgresStoreOptions,
        definition: &'static SchemaDefinition,
    ) -> Result<Self> {
        let (tls_options, url_without_tls) = TlsOptions::take_from(options.url.expose_secret())?;
        let url = DatabaseUrl::parse(&url_without_tls, &tls_options)?;
        let servers = Servers::new(&url);

        // One of several hosts may not answer, and a new session waits for that host until the
        // connect timeout.
        let mut check_timeout = CHECK_TIMEOUT;
        if url.host_count() > 1 {
            check_timeout += url.connect_timeout();
        }

        let tls = tls_options.connector()?;
        let build_pool = |timeout: Duration, size: usize| {
            let connector = Connector {
                servers: Arc::clone(&servers),
                configs: url.host_configs(&session_options(timeout)),
                tls: tls.clone(),
            };
            SessionPool::builder(connector)
                .max_size(size)
                .build()
                .map_err(|error| {
                    postgres_error(ErrorKind::Internal, "no pool of connections").with_source(error)
                })
        };

        let max_reads = (options.max_connections / 2).max(1);
        let read_sessions = build_pool(options.query_timeout, max_reads)?;
        let max_writes = options.max_connections.saturating_sub(max_reads).max(1);
        let write_sessions = build_pool(options.insert_timeout, max_writes)?;

        Ok(Self {
            name: url.name(),
            definition,
            unreadables: Unreadables::default(),
            repeats: AtomicU32::default(),
            check_timeout,
            last_write_check: Mutex::default(),
            schema: options.create_schema.then(|| {
                SchemaMigrator::new(definition, options.adopt_tables, write_sessions.clone())
            }),
            servers,
            _stop_closing_idle: until_dropped(close_idle(
                [read_sessions.clone(), write_sessions.clone()],
                options.idle_timeout,
            )),
            read_sessions,
            write_sessions,
            options,
        })
    }

    /// Runs a query within the timeout of queries, and returns its rows.
    ///
    /// # Errors
    /// An error of `run`.
    pub async fn query(&self, statement: Statement) -> Result<Vec<Row>> {
        self.run(statement, Instant::now() + self.options.query_timeout)
            .await
    }

    /// Runs a write, or a query that belongs to a write, within the timeout of inserts, and returns
    /// its rows.
    ///
    /// The statement must be idempotent, because it is repeated if its outcome is unknown.
    ///
    /// # Errors
    /// An error of `run`.
    pub async fn write(&self, statement: Statement) -> Result<Vec<Row>> {
        self.write_by(statement, Instant::now() + self.options.insert_timeout)
            .await
    }

    /// Runs a write in a transaction of its own until `deadline`, see [`write`](Self::write).
    ///
    /// # Errors
    /// An error of `run`.
    pub async fn write_by(&self, mut statement: Statement, deadline: Instant) -> Result<Vec<Row>> {
        statement.end = Some("commit");
        self.run(statement, deadline).await
    }

    /// Runs a write in a session outside of the pools, which ends afterwards, and returns its rows.
    ///
    /// The write may take long, without a deadline, and keeps no session from other statements. It
    /// is rolled back or committed in the background if this future is dropped.
    ///
    /// # Errors
    /// An error of the server or of the new session, see [`error`](super::error).
    pub(super) async fn write_alone(&self, mut statement: Statement) -> Result<Vec<Row>> {
        statement.end = Some("commit");
        let session = self.write_sessions.manager().create().await?;
        let abandoned = session.abandoned.clone();
        let execution = abandoned.run_until_cancelled(execute(&session, &statement));
        match execution.await {
            Some(result) => result.map_err(from_driver),
            // The host has turned out to be mute meanwhile.
            None => Err(timeout_error(Outcome::Unknown)),
        }
    }

    /// Returns the highest timeline of any server that took writes, or 0 if no timeline was seen
    /// yet. Each promotion of a standby begins a new timeline.
    pub fn timeline(&self) -> u32 {
        self.servers.timeline()
    }

    /// Runs a query, or a write whose [`end`](Statement::end) is set, and returns its rows.
    ///
    /// Waits for the first attempt to create the tables. Repeats the statement a few times while
    /// its error is transient: after a restart of the server, pooled sessions are broken, and a
    /// repetition gets a new session.
    ///
    /// # Errors
    /// - [`ErrorKind::DeadlineExceeded`] if there is no answer until `deadline`
    /// - the error of the last attempt to create the tables, if they may belong to another program
    /// - an error of the server or of a new session, see [`error`](super::error)
    pub(super) async fn run(&self, statement: Statement, deadline: Instant) -> Result<Vec<Row>> {
        if let Some(schema) = &self.schema {
            // The outer error is that of the timeout, and the inner one that of the attempt.
            let attempt = time::timeout_at(deadline, schema.wait_for_attempt()).await;
            attempt.map_err(|_elapsed| timeout_error(Outcome::NotApplied))??;
        }

        let pool = if statement.end.is_some() {
            &self.write_sessions
        } else {
            &self.read_sessions
        };
        let statement = Arc::new(statement);
        let result = retry_until(deadline, is_retryable, || {
            run_once(pool, &statement, deadline)
        })
        .await;

        // After an error, the next check of writes must ask the server again.
        if result.is_err() {
            *self.lock_last_write_check() = None;
        }
        result
    }

    /// Locks the time of the last successful check of writes.
    fn lock_last_write_check(&self) -> MutexGuard<'_, Option<Instant>> {
        self.last_write_check
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks that the main table of the store can be read.
    ///
    /// # Errors
    /// An error of [`run`](Self::run).
    pub(super) async fn check_reads(&self) -> Result<()> {
        let check = Statement::new(format!("select from {} limit 0", self.definition.name));
        self.run(check, Instant::now() + self.check_timeout)
            .await
            .map(drop)
    }

    /// Checks that the main table of the store can be written: inserts a row, and rolls the insert
    /// back.
    ///
    /// Returns at once if a check succeeded in the last 5 seconds and no statement has failed
    /// since.
    ///
    /// # Errors
    /// An error of `run`.
    pub async fn check_writes(&self) -> Result<()> {
        let last_write_check = *self.lock_last_write_check();
        if last_write_check.is_some_and(|at| at.elapsed() < CHECK_VALIDITY) {
            return Ok(());
        }

        let SchemaDefinition {
            name, unused_row, ..
        } = self.definition;
        let mut check = Statement::new(format!("insert into {name} {unused_row}"));
        check.end = Some("rollback");
        self.run(check, Instant::now() + self.check_timeout).await?;

        *self.lock_last_write_check() = Some(Instant::now());
        Ok(())
    }
}

/// Runs a statement once, in a separate task, and waits for its rows until `deadline`.
///
/// After the deadline, or when this future is dropped, the task continues in the background and
/// keeps its session, for two reasons:
///
/// - An unfinished statement does not delay another one in the same session.
/// - Statements that wait for a standby hold their places in the pool, so that new sessions cannot
///   use up the connections of the server.
///
/// After the deadline, the host is also asked whether it answers at all. If the host does not answer,
/// its sessions are ended.
///
/// # Errors
/// - [`ErrorKind::DeadlineExceeded`] after the deadline. The outcome is unknown if the statement
///   was sent.
/// - an error of [`run_in_session`], or of the start of a session
async fn run_once(
    pool: &SessionPool,
    statement: &Arc<Statement>,
    deadline: Instant,
) -> Result<Vec<Row>> {
    let session = time::timeout_at(deadline, pool.get())
        .await
        .map_err(|_elapsed| timeout_error(Outcome::NotApplied))?
        .map_err(from_pool)?;

    let host = session.host;
    let task = tokio::spawn(run_in_session(session, Arc::clone(statement)));
    match time::timeout_at(deadline, task).await {
        Ok(Ok(result)) => result,
        Ok(Err(panicked)) => {
            Err(postgres_error(ErrorKind::Internal, "statement aborted").with_source(panicked))
        }
        Err(_elapsed) => {
            pool.manager().abandon_if_mute(host);
            Err(timeout_error(Outcome::Unknown))
        }
    }
}

/// Runs a statement in a session. The session leaves its pool if it cannot be used again.
///
/// # Errors
/// - [`ErrorKind::DeadlineExceeded`] if the host of the session turned out to be mute meanwhile
/// - [`ErrorKind::Unavailable`] with an unknown outcome if the server committed without waiting for
///   its standby
/// - an error of [`from_driver`]
async fn run_in_session(session: PooledSession, statement: Arc<Statement>) -> Result<Vec<Row>> {
    let abandoned = session.abandoned.clone();
    let execution = abandoned
        .run_until_cancelled(execute(&session, &statement))
        .await;

    // Dropping a session that was taken from its pool ends the connection, and makes room in the
    // pool.
    let Some(result) = execution else {
        drop(PooledSession::take(session));
        return Err(timeout_error(Outcome::Unknown));
    };

    if session.has_skipped_standby.load(Ordering::Acquire) {
        drop(PooledSession::take(session));
        let message = "PostgreSQL has committed without its standby: the wait for it was cancelled";
        let error = postgres_error(ErrorKind::Unavailable, message);
        return Err(error.with_outcome(Outcome::Unknown));
    }

    if result.as_ref().is_err_and(is_broken) {
        drop(PooledSession::take(session));
    }
    result.map_err(from_driver)
}

/// Sends a statement, and returns its rows. A write is sent with the begin and the end of its
/// transaction.
///
/// # Errors
/// The error of the first statement of the transaction that failed. If the server reported the
/// error, it rolls the transaction back. If the connection broke, the transaction may be committed.
async fn execute(
    session: &Session,
    statement: &Statement,
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let client = &session.client;
    let parameters = statement.parameters();
    // The statement is not prepared. So it takes one round trip, and the server plans it for these
    // values.
    if statement.is_limited {
        return read_limited_rows(client.query_typed_raw(&statement.sql, parameters).await?).await;
    }
    let query = client.query_typed(&statement.sql, &parameters);
    let Some(end) = statement.end else {
        return query.await;
    };

    // All statements are sent together and in this order, so a transaction takes one round trip.
    // After an error, the server rejects the following statements, and `commit` rolls the
    // transaction back.
    let begin_sql = format!("begin; {DURABLE}");
    let begin = client.batch_execute(&begin_sql);
    let run_before = async {
        match &statement.before {
            // This statement is run for its effect, such as a lock. Its rows are not needed.
            Some(before) => client
                .query_typed(&before.sql, &before.parameters())
                .await
                .map(drop),
            None => Ok(()),
        }
    };

    let (begin_result, before_result, query_result, end_result) =
        tokio::join!(biased; begin, run_before, query, client.batch_execute(end));

    // The first error is the cause of the later errors.
    begin_result?;
    before_result?;
    let rows = query_result?;
    end_result?;
    Ok(rows)
}

/// Returns the first rows of `rows`, up to the row with which they have [`MAX_READ_BYTES`] together.
///
/// The driver discards the further rows as they arrive.
async fn read_limited_rows(rows: RowStream) -> Result<Vec<Row>, tokio_postgres::Error> {
    let mut arriving_rows = pin!(rows);
    let mut read_rows = Vec::new();
    let mut read_bytes = 0;
    while read_bytes < MAX_READ_BYTES
        && let Some(row) = arriving_rows.try_next().await?
    {
        read_bytes += row.raw_size_bytes();
        read_rows.push(row);
    }
    Ok(read_rows)
}

/// Closes the pooled sessions that were not used for `timeout`. Runs until the future is dropped.
async fn close_idle(pools: [SessionPool; 2], timeout: Duration) {
    loop {
        time::sleep(timeout / 4).await;
        for pool in &pools {
            pool.retain(|_, metrics| metrics.last_used() < timeout);
        }
    }
}

/// Spawns `task`, and returns a guard that cancels the task when it is dropped.
pub(super) fn until_dropped(task: impl Future<Output: Send> + Send + 'static) -> DropGuard {
    let stopped = CancellationToken::new();
    tokio::spawn(stopped.clone().run_until_cancelled_owned(task));
    stopped.drop_guard()
}

/// Returns the error for a statement without an answer until its deadline.
fn timeout_error(outcome: Outcome) -> Error {
    let message = "PostgreSQL did not answer within the timeout";
    postgres_error(ErrorKind::DeadlineExceeded, message).with_outcome(outcome)
}

/// Returns the options of a session for statements with this timeout, in the form of the setting
/// `options`.
fn session_options(timeout: Duration) -> String {
    // The timeout of the server is a tenth shorter than that of the client, so usually the server
    // reports the error, and the outcome is known.
    let statement_timeout = (timeout - timeout / 10).as_millis().max(1);

    // Without sorts, the server reads a page in the order of an index, even if the statistics of
    // the table are old. A sort that cannot be avoided gets a cost of 10¹⁰ then, for which the
    // server would compile the statement each time (`jit`). Compiling takes 140 ms of a processor,
    // and no statement reads so many rows that this would be worth it.
    //
    // The settings are options of the start of the session, and not `set` statements. A pooler that
    // shares sessions rejects such options. It would accept a `set` statement, and the setting would
    // then also hold for other clients of the session.
    format!("-c statement_timeout={statement_timeout} -c enable_sort=off -c jit=off")
}
