//! The pools of connections, and statements with timeouts.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rust_decimal::Decimal;
use secrecy::{ExposeSecret, SecretString};
use shop_core::{Error, ErrorKind, Outcome, Result};
use tokio::time::{self, Instant};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::connector::{Connector, PooledSession, Servers, Session, SessionPool};
use super::error::{from_driver, from_pool, is_broken, is_retryable, postgres_error};
use super::schema::{SchemaDefinition, SchemaMigrator};
use super::tls::TlsOptions;
use super::url::DatabaseUrl;
use crate::retries::retried;
use crate::unreadable::Unreadables;

/// The timeout of a check in a session.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a successful check of writes is valid while no statement fails. Each one leaves a dead row.
const CHECK_VALIDITY: Duration = Duration::from_secs(5);

/// In a write, whose commit then waits until it is durable, whatever the server's default; in the transaction, because
/// a pooler gives each one another session.
pub(super) const DURABLE: &str = "select set_config('synchronous_commit', 'on', true)
    where current_setting('synchronous_commit') in ('off', 'local', 'remote_write')";

/// Returns a common table expression `confirmed`, which the statement joins. If `rows` are not empty, it makes the
/// transaction wait for the standby, as an insert does.
///
/// A row that is found may be one that no standby has: the server shows what it has committed when the wait for a standby
/// was interrupted, as by a restart. A transaction that only finds it would not wait, and its row would be lost with the
/// server. One that writes a message to the write-ahead log waits until the standby has all before it.
pub(super) fn confirmed(rows: &str) -> String {
    format!(
        "confirmed as materialized (
            select pg_logical_emit_message(true, 'shop', '') from {rows} limit 1
        )"
    )
}

/// Returns a query of the rows of `sql`, in any order, which are [`confirmed`].
pub(super) fn confirmed_rows(sql: &str) -> String {
    let confirmed = confirmed("found");
    format!(
        "with found as materialized ({sql}), {confirmed}
         select found.* from found left join confirmed on true"
    )
}

shop_core::options! {
    /// Options of a [`PostgresStore`](super::PostgresStore), [`PostgresUsers`](super::PostgresUsers) or
    /// [`PostgresOrders`](super::PostgresOrders).
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
        /// Timeout of an insert, after which its outcome is unknown (default 30 s).
        pub insert_timeout: Duration = Duration::from_secs(30),
        /// Timeout of a query (default 5 s).
        pub query_timeout: Duration = Duration::from_secs(5),
        /// Maximum number of connections, half of them for queries (default 16, at least 2). A call that has timed out
        /// uses its connection until the server has finished it.
        pub max_connections: usize = 16,
        /// After this time without use, a connection is closed (default 1 minute).
        pub idle_timeout: Duration = Duration::from_secs(60),
        /// Whether missing tables are created (default true).
        pub create_schema: bool = true,
        /// Whether existing tables of users and orders that another program has made are used, such as those of the
        /// replaced system (default false: every call fails).
        pub adopt_tables: bool = false,
    }

    /// The database at `url`.
    pub fn new(url: impl Into<String>);
}

/// A value that can be bound to a parameter.
pub(super) trait SqlValue: ToSql + Send + Sync + 'static {
    /// The type that the server is told.
    const TYPE: Type;
}

/// Names the type of PostgreSQL that values of each type of Rust are sent as.
macro_rules! sent_as {
    ($($rust:ty => $sql:ident,)+) => {
        $(impl SqlValue for $rust {
            const TYPE: Type = Type::$sql;
        })+
    };
}

sent_as! {
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

/// The value of a parameter, and its type.
pub(super) type BoundParameter = (Box<dyn ToSql + Send + Sync>, Type);

/// A statement with its parameters.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) sql: Cow<'static, str>,
    pub(super) parameters: Vec<BoundParameter>,
    /// Another statement, which runs before it in the same transaction.
    pub(super) before: Option<Box<Self>>,
    /// The end of its transaction, if it is a write.
    pub(super) end: Option<&'static str>,
}

impl Statement {
    pub(super) fn new(sql: impl Into<Cow<'static, str>>) -> Self {
        Self {
            sql: sql.into(),
            parameters: Vec::new(),
            before: None,
            end: None,
        }
    }

    /// Returns the same statement after `before`, in one transaction: it sees what others have committed until `before` has
    /// ended. Both are sent together.
    pub(super) fn after(mut self, before: Self) -> Self {
        self.before = Some(Box::new(before));
        self
    }

    /// The same with the value of the next parameter.
    pub(super) fn bind<V: SqlValue>(mut self, value: V) -> Self {
        self.parameters.push((Box::new(value), V::TYPE));
        self
    }

    pub(super) fn parameters(&self) -> Vec<(&(dyn ToSql + Sync), Type)> {
        self.parameters
            .iter()
            .map(|(value, of)| (&**value as &(dyn ToSql + Sync), of.clone()))
            .collect()
    }
}

/// The database, with limits on concurrent statements.
#[derive(Debug)]
pub(super) struct PostgresConnection {
    pub(super) options: PostgresStoreOptions,
    pub(super) unreadables: Unreadables,
    /// The name of the database, without credentials.
    pub(super) name: String,
    pub(super) definition: &'static SchemaDefinition,
    /// The number of batches of which rows that are stored already are still expected.
    pub(super) repeats: AtomicU32,
    pub(super) check_timeout: Duration,
    /// The time of the last check of writes, unless a statement has failed since.
    checked: Mutex<Option<Instant>>,
    pub(super) schema: Option<SchemaMigrator>,
    pub(super) servers: Arc<Servers>,
    _closing_idle: DropGuard,
    /// Connections for queries. They are separate, so inserts do not queue behind listings.
    reads: SessionPool,
    pub(super) writes: SessionPool,
}

impl PostgresConnection {
    /// Parses the URL. Connects when there is a statement.
    pub(super) fn open(
        options: PostgresStoreOptions,
        definition: &'static SchemaDefinition,
    ) -> Result<Self> {
        let (tls, url) = TlsOptions::take_from(options.url.expose_secret())?;
        let url = DatabaseUrl::parse(&url, &tls)?;
        let servers = Servers::new(&url);
        // Of several hosts, one may not answer.
        let mut check_timeout = CHECK_TIMEOUT;
        if url.host_count() > 1 {
            check_timeout += url.connect_timeout();
        }
        let tls = tls.connector()?;
        let pool = |timeout: Duration, size: usize| {
            let connector = Connector {
                servers: Arc::clone(&servers),
                configs: url.servers(&session_options(timeout)),
                tls: tls.clone(),
            };
            let built = SessionPool::builder(connector).max_size(size).build();
            built.map_err(|error| {
                postgres_error(ErrorKind::Internal, "no pool of connections").with_source(error)
            })
        };
        let for_reads = (options.max_connections / 2).max(1);
        let reads = pool(options.query_timeout, for_reads)?;
        let for_writes = options.max_connections.saturating_sub(for_reads).max(1);
        let writes = pool(options.insert_timeout, for_writes)?;
        let schema = options
            .create_schema
            .then(|| SchemaMigrator::new(definition, options.adopt_tables, writes.clone()));
        let closing_idle = until_dropped(close_idle(
            [reads.clone(), writes.clone()],
            options.idle_timeout,
        ));
        let unreadables = Unreadables::default();
        let repeats = AtomicU32::default();
        Ok(Self {
            name: url.name(),
            definition,
            unreadables,
            repeats,
            check_timeout,
            checked: Mutex::default(),
            schema,
            servers,
            _closing_idle: closing_idle,
            reads,
            writes,
            options,
        })
    }

    /// Runs a query within the timeout of queries.
    pub(super) async fn query(&self, statement: Statement) -> Result<Vec<Row>> {
        self.run(statement, Instant::now() + self.options.query_timeout)
            .await
    }

    /// Runs a write, or a query that belongs to a write. It must be idempotent: it is repeated if its outcome is unknown.
    pub(super) async fn write(&self, statement: Statement) -> Result<Vec<Row>> {
        self.write_by(statement, Instant::now() + self.options.insert_timeout)
            .await
    }

    pub(super) async fn write_by(
        &self,
        statement: Statement,
        deadline: Instant,
    ) -> Result<Vec<Row>> {
        self.run(
            Statement {
                end: Some("commit"),
                ..statement
            },
            deadline,
        )
        .await
    }

    /// Runs a query, or a write that has an end. Retries a few times if the error is transient: the connections of a
    /// server that has restarted are broken, and the next one is new.
    pub(super) async fn run(&self, statement: Statement, deadline: Instant) -> Result<Vec<Row>> {
        if let Some(schema) = &self.schema {
            let attempted = time::timeout_at(deadline, schema.attempted()).await;
            attempted.map_err(|_elapsed| timed_out(Outcome::NotApplied))??;
        }
        let pool = if statement.end.is_some() {
            &self.writes
        } else {
            &self.reads
        };
        let statement = Arc::new(statement);
        let rows = retried(deadline, is_retryable, || {
            attempt(pool, &statement, deadline)
        })
        .await;
        if rows.is_err() {
            self.set_checked(None);
        }
        rows
    }

    fn set_checked(&self, at: Option<Instant>) {
        *self.checked.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// Checks that the table can be read.
    pub(super) async fn check_reads(&self) -> Result<()> {
        let check = Statement::new(format!("select from {} limit 0", self.definition.name));
        self.run(check, Instant::now() + self.check_timeout)
            .await
            .map(drop)
    }

    /// Checks that the table can be written: inserts a row, and rolls back. A recent success is not repeated.
    pub(super) async fn check_writes(&self) -> Result<()> {
        let checked = *self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if checked.is_some_and(|at| at.elapsed() < CHECK_VALIDITY) {
            return Ok(());
        }
        let SchemaDefinition {
            name, unused_row, ..
        } = self.definition;
        let check = Statement::new(format!("insert into {name} {unused_row}"));
        let check = Statement {
            end: Some("rollback"),
            ..check
        };
        self.run(check, Instant::now() + self.check_timeout).await?;
        self.set_checked(Some(Instant::now()));
        Ok(())
    }
}

/// Runs a statement in a separate task. After the deadline, or when this future is dropped, the task continues in the
/// background with its connection: a statement that is not finished must not delay another one, and statements that
/// wait for a standby must not use up the connections of the server. If the server does not answer others either, its
/// connections are given up.
async fn attempt(
    pool: &SessionPool,
    statement: &Arc<Statement>,
    deadline: Instant,
) -> Result<Vec<Row>> {
    let session = match time::timeout_at(deadline, pool.get()).await {
        Ok(session) => session.map_err(from_pool)?,
        Err(_elapsed) => return Err(timed_out(Outcome::NotApplied)),
    };
    let host = session.host;
    let task = tokio::spawn(run_in(session, Arc::clone(statement)));
    match time::timeout_at(deadline, task).await {
        Ok(Ok(result)) => result,
        Ok(Err(panicked)) => {
            Err(postgres_error(ErrorKind::Internal, "statement aborted").with_source(panicked))
        }
        Err(_elapsed) => {
            pool.manager().abandon_if_mute(host);
            Err(timed_out(Outcome::Unknown))
        }
    }
}

/// Runs a statement in a session, which leaves its pool if it is of no use afterwards.
async fn run_in(session: PooledSession, statement: Arc<Statement>) -> Result<Vec<Row>> {
    let abandoned = session.abandoned.clone();
    let executed = abandoned
        .run_until_cancelled(execute(&session, &statement))
        .await;
    let Some(result) = executed else {
        drop(PooledSession::take(session));
        return Err(timed_out(Outcome::Unknown));
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

async fn execute(
    session: &Session,
    statement: &Statement,
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let client = &session.client;
    let parameters = statement.parameters();
    // Without a prepared statement: one round trip, and a plan for these values.
    let query = client.query_typed(&statement.sql, &parameters);
    let Some(end) = statement.end else {
        return query.await;
    };
    // Sent together and in this order: it costs no round trip. After an error the server rolls back.
    let begin = format!("begin; {DURABLE}");
    let begin = client.batch_execute(&begin);
    let before = async {
        match &statement.before {
            // Its rows are of no interest.
            Some(before) => client
                .query_typed(&before.sql, &before.parameters())
                .await
                .map(drop),
            None => Ok(()),
        }
    };
    let (begun, before, rows, ended) =
        tokio::join!(biased; begin, before, query, client.batch_execute(end));
    begun?;
    before?;
    let rows = rows?;
    ended?;
    Ok(rows)
}

/// Closes connections that are not used, until it is dropped.
async fn close_idle(pools: [SessionPool; 2], timeout: Duration) {
    loop {
        time::sleep(timeout / 4).await;
        for pool in &pools {
            pool.retain(|_, metrics| metrics.last_used() < timeout);
        }
    }
}

/// Runs `task` in the background until the guard is dropped.
pub(super) fn until_dropped(task: impl Future<Output: Send> + Send + 'static) -> DropGuard {
    let stopped = CancellationToken::new();
    tokio::spawn(stopped.clone().run_until_cancelled_owned(task));
    stopped.drop_guard()
}

fn timed_out(outcome: Outcome) -> Error {
    let message = "PostgreSQL did not answer within the timeout";
    postgres_error(ErrorKind::DeadlineExceeded, message).with_outcome(outcome)
}

/// Returns the options of a session whose statements have this timeout.
fn session_options(timeout: Duration) -> String {
    // Shorter than the client's timeout, so the server reports the error and the outcome is known.
    let limit = (timeout - timeout / 10).as_millis().max(1);
    // Without sorts a page is read in the order of its index, also when the statistics of the table are old. As options
    // of the start: a pooler that shares sessions rejects them, where it would pass a `set` on to other clients.
    format!("-c statement_timeout={limit} -c enable_sort=off")
}
