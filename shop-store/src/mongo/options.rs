//! The options of stores in MongoDB.

use std::time::Duration;

use mongodb::Client;
use secrecy::SecretString;

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
#[non_exhaustive]
pub struct MongoStoreOptions {
    /// The connection string, `mongodb://…` or `mongodb+srv://…`, with the credentials if there are any.
    pub uri: SecretString,
    /// The database (default: that of the URI's path unless it is `admin`, `local` or `config`; otherwise `purchases`).
    pub database: Option<String>,
    /// The collection (default `purchases`).
    pub collection: String,
    /// Timeout of an insert, after which its outcome is unknown (default 30 s).
    pub insert_timeout: Duration,
    /// Timeout of a query (default 5 s).
    pub query_timeout: Duration,
    /// Maximum number of concurrent calls, half of them for queries (default 64). A call that has timed out counts
    /// until the driver has finished it.
    pub max_concurrent_calls: usize,
    /// Whether missing listing indexes are created, and with them the collection (default true).
    pub create_indexes: bool,
    /// The client whose connections are used, such as [`MongoStore::client`](super::MongoStore::client) of another store
    /// on the same server (default none: the store makes one).
    pub client: Option<Client>,
}

shop_core::option_setters!(MongoStoreOptions {
    uri: SecretString,
    database: Option<String>,
    collection: String,
    insert_timeout: Duration,
    query_timeout: Duration,
    max_concurrent_calls: usize,
    create_indexes: bool,
    client: Option<Client>,
});

impl MongoStoreOptions {
    /// The collection `purchases` of the server at `uri`.
    #[must_use]
    pub fn new(uri: impl Into<SecretString>) -> Self {
        Self {
            uri: uri.into(),
            database: None,
            collection: "purchases".to_owned(),
            insert_timeout: Duration::from_secs(30),
            query_timeout: Duration::from_secs(5),
            max_concurrent_calls: 64,
            create_indexes: true,
            client: None,
        }
    }
}
