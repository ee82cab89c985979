//! The pools of connections, and statements with timeouts.

use std::borrow::Cow;
use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod};
use secrecy::ExposeSecret;
use shop_core::{Error, ErrorKind, Outcome, Result};
use tokio::time::{self, Instant};
use tokio_postgres::config::Host;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, Row, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::PostgresStoreOptions;
use super::error::{from_driver, from_pool, is_broken, is_retryable, postgres_error};
use super::schema::{Definition, Schema};
use super::tls::Tls;
use crate::retries::retried;
use crate::unreadable::Unreadables;

/// The timeout of a check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// The default timeout of a new connection to one address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// After this time without an acknowledgement of the host, a connection is closed.
const TCP_TIMEOUT: Duration = Duration::from_secs(30);
/// The driver's default of `keepalives_idle`.
const DRIVER_KEEPALIVE: Duration = Duration::from_secs(2 * 60 * 60);

/// The value of a parameter, and its type.
pub(super) type Parameter = (Box<dyn ToSql + Send + Sync>, Type);

/// A statement with its parameters.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) sql: Cow<'static, str>,
    pub(super) parameters: Vec<Parameter>,
}

impl Statement {
    pub(super) fn new(sql: impl Into<Cow<'static, str>>) -> Self {
        Self { sql: sql.into(), parameters: Vec::new() }
    }

    /// The same with the value of the next parameter.
    pub(super) fn bind(mut self, value: impl ToSql + Send + Sync + 'static, of: Type) -> Self {
        self.parameters.push((Box::new(value), of));
        self
    }
}

/// What a connection is made with.
#[derive(Clone)]
pub(super) struct Connector {
    config: Config,
    tls: MakeRustlsConnect,
}

/// A connection to be driven by its owner.
pub(super) type Driven =
    tokio_postgres::Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

impl Debug for Connector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // Without the password.
        self.config.fmt(f)
    }
}

impl Connector {
    /// A connection outside of the pools.
    pub(super) async fn connect(&self) -> Result<(Client, Driven), tokio_postgres::Error> {
        self.config.connect(self.tls.clone()).await
    }
}

/// The database, with limits on concurrent statements.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) options: PostgresStoreOptions,
    pub(super) unreadables: Unreadables,
    /// The name of the database, without credentials.
    pub(super) name: String,
    /// The main table.
    pub(super) table: &'static str,
    pub(super) connector: Connector,
    /// Whether the last batches had rows that were stored already.
    pub(super) has_repeats: AtomicBool,
    schema: Option<Schema>,
    /// Connections for queries. They are separate, so inserts do not queue behind listings.
    reads: Pool,
    writes: Pool,
}

impl Connection {
    /// Parses the URL. Connects when there is a statement.
    pub(super) fn open(options: PostgresStoreOptions, definition: &'static Definition) -> Result<Self> {
        let (tls, url) = Tls::take_from(options.url.expose_secret())?;
        let invalid = |error: tokio_postgres::Error| {
            let message = "the PostgreSQL URL or one of its options is invalid";
            postgres_error(ErrorKind::Invalid, message).with_source(error)
        };
        let config = with_defaults(url.parse().map_err(invalid)?, &tls);
        let count = options.max_connections.div_ceil(2).max(1);
        let connector = Connector { tls: tls.connector()?, config };
        let reads = pool(&connector, options.query_timeout, count)?;
        let writes = pool(&connector, options.insert_timeout, count)?;
        let schema = options.create_schema.then(|| Schema::new(definition, writes.clone()));
        let (name, table) = (name(&connector.config), definition.name);
        let (unreadables, has_repeats) = (Unreadables::default(), AtomicBool::default());
        Ok(Self { name, table, connector, unreadables, has_repeats, schema, reads, writes, options })
    }

    /// Runs a query within the timeout of queries.
    pub(super) async fn query(&self, statement: Statement) -> Result<Vec<Row>> {
        self.query_by(statement, Instant::now() + self.options.query_timeout).await
    }

    pub(super) async fn query_by(&self, statement: Statement, deadline: Instant) -> Result<Vec<Row>> {
        self.retried(&self.reads, statement, deadline).await
    }

    /// Runs a write, or a query that belongs to a write. It must be idempotent: it is repeated if its outcome is unknown.
    pub(super) async fn write(&self, statement: Statement) -> Result<Vec<Row>> {
        self.write_by(statement, Instant::now() + self.options.insert_timeout).await
    }

    pub(super) async fn write_by(&self, statement: Statement, deadline: Instant) -> Result<Vec<Row>> {
        self.retried(&self.writes, statement, deadline).await
    }

    /// Retries a few times if the error is transient: the connections of a server that has restarted are broken, and
    /// the next one is new.
    async fn retried(&self, pool: &Pool, statement: Statement, deadline: Instant) -> Result<Vec<Row>> {
        if let Some(schema) = &self.schema {
            drop(time::timeout_at(deadline, schema.attempted()).await);
        }
        let statement = Arc::new(statement);
        retried(deadline, is_retryable, || run(pool, &statement, deadline)).await
    }

    /// Checks that the table can be read.
    pub(super) async fn check_reads(&self) -> Result<()> {
        let check = Statement::new(format!("select from {} limit 0", self.table));
        self.query_by(check, Instant::now() + CHECK_TIMEOUT).await.map(drop)
    }

    /// Checks that the table can be written.
    pub(super) async fn check_writes(&self) -> Result<()> {
        let sql = format!(
            "select current_setting('transaction_read_only')::boolean from (values (1)) as one
             where not exists (select from {} limit 0)",
            self.table
        );
        let rows = self.write_by(Statement::new(sql), Instant::now() + CHECK_TIMEOUT).await?;
        match rows.first().map(|row| row.try_get(0)) {
            Some(Ok(false)) => Ok(()),
            _ => Err(postgres_error(ErrorKind::Unavailable, "PostgreSQL is read-only, such as a standby")
                .with_outcome(Outcome::NotApplied)),
        }
    }

    /// Whether the table exists.
    pub(super) async fn exists(&self) -> Result<bool> {
        let sql = format!("select to_regclass('{}') is not null", self.table);
        let rows = self.query(Statement::new(sql)).await?;
        Ok(rows.first().is_some_and(|row| row.try_get(0).unwrap_or(false)))
    }

    /// Waits until the table exists or the server has rejected its creation.
    pub(super) async fn wait_for_schema(&self) {
        if let Some(schema) = &self.schema {
            schema.done().await;
        }
    }
}

/// Runs a statement in a separate task. After the deadline, or when this future is dropped, the task continues in the
/// background with its connection: a statement that is not finished must not delay another one, and statements that
/// wait for a standby must not use up the connections of the server.
async fn run(pool: &Pool, statement: &Arc<Statement>, deadline: Instant) -> Result<Vec<Row>> {
    let client = match time::timeout_at(deadline, pool.get()).await {
        Ok(client) => client.map_err(from_pool)?,
        Err(_elapsed) => return Err(timed_out(Outcome::NotApplied)),
    };
    let statement = Arc::clone(statement);
    let task = tokio::spawn(async move {
        let parameters: Vec<(&(dyn ToSql + Sync), Type)> = statement
            .parameters
            .iter()
            .map(|(value, of)| (&**value as &(dyn ToSql + Sync), of.clone()))
            .collect();
        // Without a prepared statement: one round trip, and a plan for these values.
        let result = client.query_typed(&statement.sql, &parameters).await;
        if result.as_ref().is_err_and(is_broken) {
            drop(Object::take(client));
        }
        result
    });
    match time::timeout_at(deadline, task).await {
        Ok(Ok(result)) => result.map_err(from_driver),
        Ok(Err(panicked)) => {
            Err(postgres_error(ErrorKind::Internal, "statement aborted").with_source(panicked))
        }
        Err(_elapsed) => Err(timed_out(Outcome::Unknown)),
    }
}

fn timed_out(outcome: Outcome) -> Error {
    let message = "PostgreSQL did not answer within the timeout";
    postgres_error(ErrorKind::DeadlineExceeded, message).with_outcome(outcome)
}

fn pool(connector: &Connector, timeout: Duration, size: usize) -> Result<Pool> {
    // Shorter than the client's timeout, so the server reports the error and the outcome is known.
    let limit = (timeout - timeout / 10).as_millis().max(1);
    // Without sorts a page is read in the order of its index, also when the statistics of the table are old.
    let session: Arc<str> = format!(
        "set statement_timeout = {limit}; set enable_sort = off; \
         select set_config('synchronous_commit', 'on', false) \
         where current_setting('synchronous_commit') in ('off', 'local', 'remote_write')"
    )
    .into();
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let Connector { config, tls } = connector.clone();
    let manager = Manager::from_config(config, tls, recycling);
    let configure = Hook::async_fn(move |client, _metrics| {
        let session = Arc::clone(&session);
        Box::pin(async move { client.batch_execute(&session).await.map_err(HookError::Backend) })
    });
    let built = Pool::builder(manager).max_size(size).post_create(configure).build();
    built.map_err(|error| postgres_error(ErrorKind::Internal, "no pool of connections").with_source(error))
}

/// Adds our defaults for the options that the URL does not set.
fn with_defaults(mut config: Config, tls: &Tls) -> Config {
    config.ssl_mode(tls.mode);
    if config.get_application_name().is_none() {
        config.application_name("shop");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(TCP_TIMEOUT);
    }
    if config.get_keepalives_idle() == DRIVER_KEEPALIVE {
        config.keepalives_idle(TCP_TIMEOUT / 3);
    }
    config
}

/// `host:port/database`.
fn name(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        #[cfg(unix)]
        Some(Host::Unix(path)) => path.display().to_string(),
        None => config.get_hostaddrs().first().map(ToString::to_string).unwrap_or_default(),
    };
    let database = config.get_dbname().or_else(|| config.get_user()).unwrap_or_default();
    format!("{host}:{}/{database}", config.get_ports().first().unwrap_or(&5432))
}
