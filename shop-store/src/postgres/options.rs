//! The options of the stores in PostgreSQL.

use std::time::Duration;

use secrecy::SecretString;

/// Options of a [`PostgresStore`](super::PostgresStore), [`PostgresUsers`](super::PostgresUsers) or
/// [`PostgresOrders`](super::PostgresOrders).
///
/// ```
/// use std::time::Duration;
///
/// use shop_store::postgres::PostgresStoreOptions;
///
/// let mut options = PostgresStoreOptions::new("postgresql://shop:secret@localhost/shop");
/// options.query_timeout = Duration::from_secs(2);
/// assert!(!format!("{options:?}").contains("secret"), "the URL is not printed");
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PostgresStoreOptions {
    /// The URL, `postgresql://…` or `postgres://…`, with the credentials if there are any.
    pub url: SecretString,
    /// Timeout of an insert, after which its outcome is unknown (default 30 s).
    pub insert_timeout: Duration,
    /// Timeout of a query (default 5 s).
    pub query_timeout: Duration,
    /// Maximum number of connections, half of them for queries (default 16, at least 2). A call that has timed out
    /// uses its connection until the server has finished it.
    pub max_connections: usize,
    /// After this time without use, a connection is closed (default 1 minute).
    pub idle_timeout: Duration,
    /// Whether missing tables are created (default true).
    pub create_schema: bool,
    /// Whether existing tables of users and orders that another program has made are used, such as those of the
    /// replaced system (default false: every call fails).
    pub adopt_tables: bool,
}

shop_core::option_setters!(PostgresStoreOptions {
    url: SecretString,
    insert_timeout: Duration,
    query_timeout: Duration,
    max_connections: usize,
    idle_timeout: Duration,
    create_schema: bool,
    adopt_tables: bool,
});

impl PostgresStoreOptions {
    /// The database at `url`.
    #[must_use]
    pub fn new(url: impl Into<SecretString>) -> Self {
        Self {
            url: url.into(),
            insert_timeout: Duration::from_secs(30),
            query_timeout: Duration::from_secs(5),
            max_connections: 16,
            idle_timeout: Duration::from_secs(60),
            create_schema: true,
            adopt_tables: false,
        }
    }
}
