//! The options of stores in MongoDB.

use std::time::Duration;

use secrecy::SecretString;

shop_core::options! {
    /// Options of a [`MongoStore`](super::MongoStore).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use shop_store::mongo::MongoStoreOptions;
    ///
    /// let mut options = MongoStoreOptions::new("mongodb://user:secret@localhost:27017/?authSource=admin");
    /// options.database = Some("shop".to_owned());
    /// options.query_timeout = Duration::from_secs(2);
    /// assert!(!format!("{options:?}").contains("secret"), "the connection string is not printed");
    /// ```
    #[derive(Debug, Clone)]
    pub struct MongoStoreOptions {
        /// The connection string, `mongodb://…` or `mongodb+srv://…`, with the credentials if there are any.
        pub uri: SecretString = uri.into(),
        /// The database (default: that of the URI's path unless it is `admin`, `local` or `config`; otherwise
        /// `purchases`).
        pub database: Option<String> = None,
        /// The collection (default `purchases`).
        pub collection: String = "purchases".to_owned(),
        /// Timeout of an insert, after which its outcome is unknown (default 30 s).
        pub insert_timeout: Duration = Duration::from_secs(30),
        /// Timeout of a query (default 5 s).
        pub query_timeout: Duration = Duration::from_secs(5),
        /// Maximum number of concurrent calls, half of them for queries (default 64). A call that has timed out counts
        /// until the driver has finished it.
        pub max_concurrent_calls: usize = 64,
        /// Whether missing listing indexes are created, and with them the collection (default true).
        pub create_indexes: bool = true,
    }

    /// The collection `purchases` of the server at `uri`.
    pub fn new(uri: impl Into<SecretString>);
}
