//! The options of the stores in PostgreSQL.

use std::time::Duration;

use secrecy::SecretString;

shop_core::options! {
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
    pub struct PostgresStoreOptions {
        /// The URL, `postgresql://…` or `postgres://…`, with the credentials if there are any.
        pub url: SecretString = url.into(),
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
    pub fn new(url: impl Into<SecretString>);
}
