//! The connection to a collection: the driver, its configuration, and limits on its calls.
//!
//! Each call runs in a task of its own, because the driver's futures must not be dropped midway.
//! Half of the permits for calls belong to queries, and half to writes, so queries and writes do not
//! wait for each other.
//!
//! All reads have read concern majority, so a fail-over takes nothing away that a read has shown. All
//! reads compare texts byte by byte, whatever the collation of the collection is.
//!
//! | function | permits | timeout | retried |
//! |---|---|---|---|
//! | [`query`](MongoConnection::query), [`find`](MongoConnection::find) | queries | of the caller | after transient errors |
//! | [`run_as_write`](MongoConnection::run_as_write) | writes | of inserts | never |
//! | [`ping`](MongoConnection::ping) | writes | of checks | never |

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bson::{Bson, Decimal128, Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::options::{
    ClientOptions, Collation, DatabaseOptions, FindOptions, ReadConcern, ReadConcernLevel,
    ReadPreference, SelectionCriteria, ServerMonitoringMode,
};
use mongodb::{Client, Collection, Database};
use secrecy::{ExposeSecret, SecretString};
use shop_core::ports::Page;
use shop_core::{Error, ErrorKind, Outcome, Result};
use tokio::sync::Semaphore;
use tokio::time::{self, Instant};

use super::document::member_value;
use super::error::{
    driver_error, is_not_primary, is_retryable, is_server_selection, is_unauthorized, mongo_error,
    refuses_collations, uri_error,
};
use super::reader::{DocumentDecoder, DocumentReader};
use super::servers::{NoServer, Servers};
use super::uri::SupportedUri;
use crate::retries::{CHECK_TIMEOUT, retry_until};

shop_core::options! {
    /// Options of a [`MongoStore`](super::MongoStore).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use shop_store::mongo::MongoStoreOptions;
    ///
    /// let uri = String::from("mongodb://user:secret@localhost:27017/?authSource=admin");
    /// let options =
    ///     MongoStoreOptions::new(&uri).database("shop".to_owned()).query_timeout(Duration::from_secs(2));
    /// assert!(!format!("{options:?}").contains("secret"), "the connection string is not printed");
    /// ```
    #[derive(Debug, Clone)]
    pub struct MongoStoreOptions {
        /// The connection string, `mongodb://…` or `mongodb+srv://…`, with the credentials if there
        /// are any.
        pub uri: SecretString as impl Into<SecretString> = Into::<String>::into(uri).into(),
        /// The database (default: the one in the URI's path unless it is `admin`, `local` or
        /// `config`; otherwise `purchases`).
        pub database: Option<String> as impl Into<Option<String>> = None,
        /// The collection (default `purchases`).
        pub collection: String as impl Into<String> = "purchases".to_owned(),
        /// Timeout of an insert, after which its outcome is unknown (default 30 s).
        pub insert_timeout: Duration = Duration::from_secs(30),
        /// Timeout of a query (default 5 s).
        pub query_timeout: Duration = Duration::from_secs(5),
        /// Maximum number of concurrent calls, half of which are for queries (default 64). A call
        /// that timed out counts until the driver finishes it.
        pub max_concurrent_calls: usize = 64,
        /// Whether missing listing indexes are created, and with them the collection (default
        /// true).
        pub create_indexes: bool = true,
        /// The decoder of the documents that another program wrote into the collection (default
        /// none: these documents are logged and counted, and in no listing and no sum).
        pub decoder: Option<Arc<dyn DocumentDecoder>> = None,
    }

    /// The collection `purchases` of the server at `uri`.
    pub fn new(uri: impl Into<String>);
}

/// The collection of a store, and limits on the calls of the driver that run at the same time.
#[derive(Debug)]
pub(super) struct MongoConnection {
    /// The collection for listings, which the URI may direct to secondaries.
    pub(super) collection: Collection<RawDocumentBuf>,
    /// The database for writes, and for reads that decide about a write. Reads go to the primary,
    /// whatever the URI says.
    pub(super) database: Database,
    pub(super) options: MongoStoreOptions,
    /// The reader of the documents in the collection.
    pub(super) reader: Arc<DocumentReader>,
    /// Permits for queries. Writes and pings use other permits, so they do not queue behind
    /// queries.
    query_permits: Arc<Semaphore>,
    /// Permits for writes, for the reads that belong to writes, and for pings.
    write_permits: Arc<Semaphore>,
    /// Whether the server takes queries with a collation, as far as this process knows.
    has_collations: AtomicBool,
    /// What the driver's events tell about the servers.
    servers: Arc<Servers>,
    /// A sentence for each option of the URI that was left out.
    pub(super) uri_warnings: Vec<String>,
}

/// The default timeout of server selection, shorter than the callers' timeouts.
const SERVER_SELECTION_TIMEOUT: Duration = Duration::from_secs(3);
/// The default timeout of a new connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Databases that a URI contains for authentication, and not for data.
const SYSTEM_DATABASES: [&str; 3] = ["admin", "local", "config"];

/// The total size of documents, in bytes, at which [`find_limited`](MongoConnection::find_limited)
/// leaves out the further documents.
///
/// A page of a listing is always smaller, even with the maximum size of unknown members.
const MAX_READ_BYTES: usize = 2 * Page::MAX_UNKNOWN_BYTES;

/// Returns whether [`find_limited`](MongoConnection::find_limited), which returned `documents`, may
/// have left out further documents, because `documents` have reached the maximum size.
pub(super) fn is_cut_off(documents: &[RawDocumentBuf]) -> bool {
    let sizes = documents.iter().map(|document| document.as_bytes().len());
    sizes.sum::<usize>() >= MAX_READ_BYTES
}

impl MongoConnection {
    /// Parses the URI and creates the driver's client, which connects in the background.
    ///
    /// # Errors
    /// The errors of [`uri_error`], if the URI is invalid or its DNS lookup fails.
    pub(super) async fn open(options: MongoStoreOptions) -> Result<Self> {
        let supported_uri = SupportedUri::new(options.uri.expose_secret())?;
        let mut client_options = ClientOptions::parse(&supported_uri.uri)
            .await
            .map_err(uri_error)?;
        let database_name = choose_database_name(&options, &client_options);
        let servers = Servers::observe(&mut client_options);
        let client = Client::with_options(with_defaults(client_options)).map_err(uri_error)?;

        // Listings may read from secondaries, if the URI says so. Reads that decide about a write must
        // see the latest documents, so the database has a read preference of its own.
        let collection = client
            .database(&database_name)
            .collection(&options.collection);
        let read_from_primary = DatabaseOptions::builder()
            .selection_criteria(SelectionCriteria::from(ReadPreference::Primary))
            .build();
        let database = client.database_with_options(&database_name, read_from_primary);
        // Queries and writes have one half each, and at least one permit.
        let half_of_calls = options.max_concurrent_calls.div_ceil(2).max(1);

        Ok(Self {
            collection,
            database,
            reader: Arc::new(DocumentReader::new(options.decoder.clone())),
            query_permits: Arc::new(Semaphore::new(half_of_calls)),
            write_permits: Arc::new(Semaphore::new(half_of_calls)),
            // The first query finds out whether the server refuses collations.
            has_collations: AtomicBool::new(true),
            servers,
            uri_warnings: supported_uri.warnings,
            options,
        })
    }

    /// Runs a query, and retries it within `timeout` after a transient error of the server.
    ///
    /// Transient errors are for example the stepdown of a primary, or an index build.
    ///
    /// `query` passes the collation that it gets to the driver, so that texts are compared byte by
    /// byte. Without it, user `u1` would read the purchases of `U1` in a collection whose own collation
    /// ignores case. `query` gets `None` for a server that refuses collations. The collections of
    /// such a server have no collation either.
    ///
    /// # Errors
    /// - [`DeadlineExceeded`](ErrorKind::DeadlineExceeded) after `timeout`
    /// - the error of the last attempt
    pub(super) async fn query<T: Send + 'static, F>(
        &self,
        timeout: Duration,
        query: impl Fn(Option<Collation>) -> F + Send + Sync,
    ) -> Result<T>
    where
        F: Future<Output = mongodb::error::Result<T>> + Send + 'static,
    {
        let deadline = Instant::now() + timeout;
        let run_query = || async {
            let remaining = deadline.saturating_duration_since(Instant::now());
            let has_collations = self.has_collations.load(Ordering::Relaxed);
            let call = query(has_collations.then(simple_collation));
            let result = self.run_call(&self.query_permits, remaining, call).await;
            if result.as_ref().is_err_and(refuses_collations) {
                self.has_collations.store(false, Ordering::Relaxed);
            }
            result
        };
        retry_until(deadline, is_repeatable, run_query).await
    }

    /// Returns the documents of `collection` that match `filter`.
    ///
    /// Transient errors are retried as in [`query`](Self::query), within the `max_time` of
    /// `options`. The default of `max_time` is the timeout of queries.
    pub(super) async fn find(
        &self,
        collection: &Collection<RawDocumentBuf>,
        filter: &Document,
        options: FindOptions,
    ) -> Result<Vec<RawDocumentBuf>> {
        self.find_up_to(usize::MAX, collection, filter, options)
            .await
    }

    /// Returns the documents of the collection of purchases that match `filter`, as
    /// [`find`](Self::find) does, up to the document with which they have [`MAX_READ_BYTES`] together.
    ///
    /// So the memory of a query does not depend on the sizes of the documents. [`is_cut_off`] tells
    /// whether documents may be missing.
    pub(super) async fn find_limited(
        &self,
        filter: &Document,
        options: FindOptions,
    ) -> Result<Vec<RawDocumentBuf>> {
        self.find_up_to(MAX_READ_BYTES, &self.collection, filter, options)
            .await
    }

    /// Returns the documents of `collection` that match `filter`, up to the document with which they
    /// have `max_bytes` together.
    async fn find_up_to(
        &self,
        max_bytes: usize,
        collection: &Collection<RawDocumentBuf>,
        filter: &Document,
        mut options: FindOptions,
    ) -> Result<Vec<RawDocumentBuf>> {
        let timeout = *options.max_time.get_or_insert(self.options.query_timeout);
        // The server answers with 101 documents by default. This size gets all documents in one
        // response. It is one more than the limit, so that the server closes the cursor at once.
        options.batch_size = options
            .limit
            .and_then(|limit| u32::try_from(limit + 1).ok());
        // The index of `_id` has the collation of the collection, and serves no query with another
        // collation. So a query by `_id` has none, and its caller compares the `_id` of the result.
        let is_by_id = filter.keys().all(|member| member == "_id");
        let find = |collation: Option<Collation>| {
            let collection = collection.clone();
            let filter = filter.clone();
            let mut options = options.clone();
            options.collation = if is_by_id { None } else { collation };
            async move {
                let mut cursor = collection.find(filter).with_options(options).await?;
                let mut documents: Vec<RawDocumentBuf> = Vec::new();
                let mut read_bytes = 0;
                while read_bytes < max_bytes
                    && let Some(document) = cursor.try_next().await?
                {
                    read_bytes += document.as_bytes().len();
                    documents.push(document);
                }
                Ok(documents)
            }
        };
        self.query(timeout, find).await
    }

    /// Reads the document with the `_id` `id` from the primary.
    pub(super) async fn find_by_id(&self, id: Bson) -> Result<Option<RawDocumentBuf>> {
        let options = FindOptions::builder().limit(1).build();
        let collection = self.on_primary();
        let filter = doc! { "_id": &id };
        let document = self.find(&collection, &filter, options).await?.pop();
        // The collation of the collection may have matched another `_id`, such as one in capitals.
        Ok(document.filter(|document| member_value(document, "_id").as_ref() == Some(&id)))
    }

    /// Runs a write, or a query that belongs to a write, with a permit of writes and within the timeout
    /// of inserts.
    ///
    /// The call does not queue behind listings, and is not retried here.
    pub(super) async fn run_as_write<T: Send + 'static>(
        &self,
        call: impl Future<Output = mongodb::error::Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.run_call(&self.write_permits, self.options.insert_timeout, call)
            .await
    }

    /// Returns the collection with reads from the primary.
    pub(super) fn on_primary(&self) -> Collection<RawDocumentBuf> {
        self.database.collection(self.collection.name())
    }

    /// Returns whether the collection exists.
    pub(super) async fn exists(&self, timeout: Duration) -> Result<bool> {
        let list_names = |_collation| {
            let database = self.database.clone();
            let filter = doc! { "name": self.collection.name() };
            async move { database.list_collection_names().filter(filter).await }
        };
        let names = self.query(timeout, list_names).await?;
        Ok(!names.is_empty())
    }

    /// Checks that the user may write to the collection, and that the server takes writes and
    /// supports `Decimal128`.
    ///
    /// The check changes nothing. Its update matches no document, because no `_id` is a decimal. A
    /// missing collection is only read, because some compatible servers create it with the update.
    pub(super) async fn check_writes(&self) -> Result<()> {
        let deadline = Instant::now() + CHECK_TIMEOUT;
        let remaining = || deadline.saturating_duration_since(Instant::now());
        let collection = self.on_primary();
        let decimal = Decimal128::from_bytes([0; 16]);
        let no_document = doc! { "_id": decimal };
        let collection_exists = match self.exists(remaining()).await {
            // A user without the right to list collections may still write, so the update decides.
            Err(error) if is_unauthorized(&error) => true,
            result => result?,
        };
        // A secondary answers reads, also of a missing collection.
        if let Some(cause) = self.servers.directly_connected_secondary() {
            let error = mongo_error(ErrorKind::Unavailable, cause);
            return Err(error.with_outcome(Outcome::NotApplied));
        }

        if !collection_exists {
            let find = async move { collection.find_one(no_document).await };
            return self
                .run_call(&self.query_permits, remaining(), find)
                .await
                .map(drop);
        }

        let change = doc! { "$set": { "price": decimal } };
        let update = async move { collection.update_one(no_document, change).await };
        self.run_call(&self.write_permits, remaining(), update)
            .await
            .map(drop)
    }

    /// Checks that the server responds within [`CHECK_TIMEOUT`].
    pub(super) async fn ping(&self) -> Result<()> {
        let database = self.database.clone();
        let ping = async move { database.run_command(doc! { "ping": 1 }).await };
        self.run_call(&self.write_permits, CHECK_TIMEOUT, ping)
            .await
            .map(drop)
    }

    /// Runs a call of the driver in a separate task, once `permits` grants a permit.
    ///
    /// The driver's futures must not be dropped midway. So the task continues in the background
    /// after `timeout`, and holds its permit until the call ends.
    ///
    /// # Errors
    /// - [`DeadlineExceeded`](ErrorKind::DeadlineExceeded) after `timeout`. The outcome is
    ///   `NotApplied` if there was no permit in time, and `Unknown` if the call had begun
    /// - [`Internal`](ErrorKind::Internal) if the call panicked
    /// - the error of the driver, with its known cause
    async fn run_call<T: Send + 'static>(
        &self,
        permits: &Arc<Semaphore>,
        timeout: Duration,
        call: impl Future<Output = mongodb::error::Result<T>> + Send + 'static,
    ) -> Result<T> {
        let started = Instant::now();
        let permit = time::timeout(timeout, Arc::clone(permits).acquire_owned())
            .await
            .map_err(|_elapsed| timeout_error(timeout, Outcome::NotApplied))?;

        // The semaphore is never closed, so the result of the wait is a permit.
        let task = tokio::spawn(async move {
            let result = call.await;
            drop(permit);
            result
        });
        let remaining = timeout.saturating_sub(started.elapsed());
        match time::timeout(remaining, task).await {
            Ok(Ok(result)) => result.map_err(|error| self.with_known_cause(driver_error(error))),
            Ok(Err(panicked)) => {
                Err(mongo_error(ErrorKind::Internal, "MongoDB call aborted").with_source(panicked))
            }
            Err(_elapsed) => Err(self.with_known_cause(timeout_error(timeout, Outcome::Unknown))),
        }
    }

    /// Ends the sessions and connections of the driver, within [`CHECK_TIMEOUT`].
    ///
    /// Without this call, the driver spawns a task to end them, which panics if the runtime ends
    /// meanwhile.
    pub(super) async fn close(&self) {
        let shutdown = self.database.client().clone().shutdown().immediate(true);
        drop(time::timeout(CHECK_TIMEOUT, shutdown.into_future()).await);
    }

    /// Adds the cause to `error` where the driver does not state it:
    ///
    /// - A denied call without a login in the URI becomes an error that asks for a login.
    /// - A timeout, or a call for which the driver found no server, gets the reason that
    ///   [`Servers`] knows. If that reason is a rejected login, the error becomes
    ///   [`Denied`](ErrorKind::Denied).
    ///
    /// Returns any other error unchanged.
    fn with_known_cause(&self, error: Error) -> Error {
        let uri = self.options.uri.expose_secret();
        let has_login = uri.contains('@') || uri.contains("authMechanism");
        let is_denied = error.kind() == ErrorKind::Denied && !refuses_collations(&error);
        if is_denied && !has_login {
            let message =
                "the MongoDB server requires a login: set user and password in SHOP_MONGODB_URI";
            return mongo_error(ErrorKind::Denied, message).with_outcome(Outcome::NotApplied);
        }

        // A timeout may have the same cause as a failed selection of a server.
        let may_lack_server = error.kind() == ErrorKind::DeadlineExceeded
            || is_server_selection(&error)
            || is_not_primary(&error);
        if !may_lack_server {
            return error;
        }
        match self.servers.cause() {
            Some(NoServer::Login(rejected)) => driver_error(rejected).with_outcome(error.outcome()),
            Some(NoServer::Other(cause)) => error.with_source(io::Error::other(cause)),
            None => error,
        }
    }
}

/// Returns the name of the database: from `options`, from the path of the URI, or the default.
///
/// A system database in the path of the URI serves authentication only. Purchases are not stored
/// there.
fn choose_database_name(options: &MongoStoreOptions, client_options: &ClientOptions) -> String {
    if let Some(name) = &options.database {
        return name.clone();
    }
    match &client_options.default_database {
        Some(name) if !SYSTEM_DATABASES.contains(&name.as_str()) => name.clone(),
        _ => "purchases".to_owned(),
    }
}

/// Creates the error of a call that took longer than `timeout`.
fn timeout_error(timeout: Duration, outcome: Outcome) -> Error {
    let message = format!("MongoDB did not answer within {timeout:?}");
    mongo_error(ErrorKind::DeadlineExceeded, message).with_outcome(outcome)
}

/// Returns whether a query is repeated after `error`. It is if the error is transient, or if the
/// server refuses collations: the next attempt has none.
fn is_repeatable(error: &Error) -> bool {
    is_retryable(error) || refuses_collations(error)
}

/// Returns the collation that compares texts byte by byte.
fn simple_collation() -> Collation {
    Collation::builder().locale("simple").build()
}

/// Returns the read concern of all reads: majority, or linearizable if the URI asks for that.
///
/// The URI may name a weaker read concern for other programs. It is not used, because it shows
/// documents that a fail-over takes away, and a buy would be acknowledged because of such a document.
/// `snapshot` shows only what a majority has too, but some commands and standalone servers reject it.
fn read_concern_at_least_majority(uri_concern: Option<ReadConcern>) -> ReadConcern {
    match uri_concern {
        Some(concern) if concern.level == ReadConcernLevel::Linearizable => concern,
        _ => ReadConcern::majority(),
    }
}

/// Sets this store's defaults for the options that the URI does not set.
fn with_defaults(mut options: ClientOptions) -> ClientOptions {
    options.app_name.get_or_insert_with(|| "shop".to_owned());
    options
        .server_selection_timeout
        .get_or_insert(SERVER_SELECTION_TIMEOUT);
    options.connect_timeout.get_or_insert(CONNECT_TIMEOUT);
    // The pool is unlimited, because each connection of a store limits its own calls.
    options.max_pool_size.get_or_insert(u32::MAX);
    // After an error such as `ShutdownInProgress`, the driver uses a server again only when the
    // server has answered a heartbeat. In the streaming mode, this may take 10 s, because the server
    // answers when its state changes. In the mode `Poll`, the driver asks at once.
    options
        .server_monitoring_mode
        .get_or_insert(ServerMonitoringMode::Poll);
    options.read_concern = Some(read_concern_at_least_majority(options.read_concern));
    // Every write sets its own write concern. If the URI set `w=0`, the driver would also reject
    // reads.
    options.write_concern = None;
    // A standalone server does not support retryable writes. Ingest retries inserts, which are
    // idempotent by id.
    options.retry_writes.get_or_insert(false);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refused_connection_is_named() {
        let connection = MongoConnection::open(MongoStoreOptions::new("mongodb://127.0.0.1:1"))
            .await
            .unwrap();
        for error in [
            connection.ping().await,
            connection.exists(2 * CONNECT_TIMEOUT).await.map(drop),
        ] {
            let text = error.unwrap_err().chain().to_string();
            assert!(
                text.ends_with("127.0.0.1:1: I/O error: Connection refused (os error 111)"),
                "{text}"
            );
        }
    }

    #[tokio::test]
    async fn system_databases_in_the_uri_are_ignored() {
        for (uri, name) in [
            ("mongodb://u:p@h:27017/shop?directConnection=true", "shop"),
            ("mongodb://h", "purchases"),
            ("mongodb://h/", "purchases"),
            ("mongodb://u:p@h/admin?tls=false", "purchases"),
        ] {
            let connection = MongoConnection::open(MongoStoreOptions::new(uri))
                .await
                .unwrap();
            assert_eq!(connection.database.name(), name, "{uri}");
        }
    }
}
