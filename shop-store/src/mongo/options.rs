//! Where the collections are, and how long a call may take.

use std::time::Duration;

use secrecy::SecretString;

/// How a [`MongoStore`](super::MongoStore) is reached.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MongoStoreOptions {
    /// `mongodb://…` or `mongodb+srv://…`, with the login if there is one.
    pub uri: SecretString,
    /// The database; that of the URI's path unless it is `admin`, `local` or `config`, else `purchases`.
    pub database: Option<String>,
    /// The collection, `purchases` unless chosen.
    pub collection: String,
    /// How long an insert may take before its outcome counts as unknown, 30 s unless chosen.
    pub insert_timeout: Duration,
    /// How long a question may take, 5 s unless chosen.
    pub query_timeout: Duration,
    /// The most calls that may be on their way, 64 unless chosen, half of them questions: those that were given up
    /// count until the driver is done with them.
    pub max_concurrent_calls: usize,
    /// Whether the indexes of listings are made if they are missing, and with them the collection. They are unless
    /// chosen.
    pub create_indexes: bool,
}

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
        }
    }
}

/// How [`MongoUsers`](super::MongoUsers) or [`MongoOrders`](super::MongoOrders) are reached.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MongoEntityOptions {
    /// `mongodb://…` or `mongodb+srv://…`, with the login if there is one.
    pub uri: SecretString,
    /// The database, which has nothing else in it; that of the URI's path is for the login only.
    pub database: String,
    /// How long a registration or an order may take, with the wait for those before it, 4.5 s unless chosen: a bit less
    /// than those wait who ask for it over HTTP, so that they hear whether it was sent.
    pub insert_timeout: Duration,
    /// How long a question may take, 5 s unless chosen.
    pub query_timeout: Duration,
    /// The most calls that may be on their way, 64 unless chosen; see [`MongoStoreOptions::calls`].
    pub max_concurrent_calls: usize,
}

impl MongoEntityOptions {
    /// The database `database` of the server at `uri`.
    #[must_use]
    pub fn new(uri: impl Into<SecretString>, database: impl Into<String>) -> Self {
        let MongoStoreOptions { uri, query_timeout: query_deadline, max_concurrent_calls: calls, .. } =
            MongoStoreOptions::new(uri);
        let insert_deadline = Duration::from_millis(4_500);
        Self {
            uri,
            database: database.into(),
            insert_timeout: insert_deadline,
            query_timeout: query_deadline,
            max_concurrent_calls: calls,
        }
    }

    /// The rows' collection.
    pub(super) fn for_collection(self, collection: &str) -> MongoStoreOptions {
        let Self {
            uri,
            database,
            insert_timeout: insert_deadline,
            query_timeout: query_deadline,
            max_concurrent_calls: calls,
        } = self;
        MongoStoreOptions {
            database: Some(database),
            collection: collection.to_owned(),
            insert_timeout: insert_deadline,
            query_timeout: query_deadline,
            max_concurrent_calls: calls,
            create_indexes: false,
            ..MongoStoreOptions::new(uri)
        }
    }
}
