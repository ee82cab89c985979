//! The driver: its settings, and calls that are never dropped half-way.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use bson::{RawDocumentBuf, doc};
use mongodb::options::ClientOptions;
use mongodb::{Client, Collection, Database};
use secrecy::ExposeSecret;
use shop_core::{Error, ErrorKind, Outcome, Result};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use super::error::{from_driver, may_pass};
use super::unreadable::Unreadables;
use super::{MongoStoreOptions, database_in_uri};

/// A collection, and the calls that are on their way to it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) collection: Collection<RawDocumentBuf>,
    pub(super) database: Database,
    pub(super) options: MongoStoreOptions,
    pub(super) unreadables: Arc<Unreadables>,
    /// Questions that may be on their way; inserts and pings do not wait behind them.
    questions: Arc<Semaphore>,
    others: Arc<Semaphore>,
}

/// How long the driver looks for a server, and how long a connection may take: less than anybody waits.
const SERVER_SELECTION: Duration = Duration::from_secs(3);
const CONNECT: Duration = Duration::from_secs(3);
/// How long a ping may take.
const PING: Duration = Duration::from_secs(2);

impl Connection {
    /// Reads the address; connects in the background, whenever there is a server.
    pub(super) async fn open(options: MongoStoreOptions) -> Result<Self> {
        let parsed = ClientOptions::parse(options.uri.expose_secret()).await.map_err(from_driver)?;
        let named = || database_in_uri(&options.uri);
        let name = options.database.clone().or_else(named).unwrap_or_else(|| "purchases".to_owned());
        let client =
            Client::with_options(with_defaults(parsed, options.max_concurrent_calls)).map_err(from_driver)?;
        let database = client.database(&name);
        let collection = database.collection(&options.collection);
        let calls = || Arc::new(Semaphore::new(options.max_concurrent_calls.div_ceil(2).max(1)));
        let (questions, others) = (calls(), calls());
        Ok(Self { collection, options, database, unreadables: Arc::default(), questions, others })
    }

    /// Asks something. A server that answers that it cannot just now is asked a few times more within `deadline`:
    /// it steps down, say, or makes an index.
    pub(super) async fn ask<T: Send + 'static, F>(
        &self,
        deadline: Duration,
        question: impl Fn() -> F,
    ) -> Result<T>
    where
        F: Future<Output = mongodb::error::Result<T>> + Send + 'static,
    {
        let end = Instant::now() + deadline;
        // 0.35 s together, and as much again by jitter.
        let mut pauses = pauses(Duration::from_millis(50), Duration::from_secs(1)).take(3);
        loop {
            let answer =
                call(&self.questions, end.saturating_duration_since(Instant::now()), question()).await;
            let pause = match &answer {
                Err(error) if may_pass(error) => pauses.next(),
                _ => None,
            };
            match pause.filter(|pause| Instant::now() + *pause < end) {
                Some(pause) => sleep(pause).await,
                None => return answer,
            }
        }
    }

    /// Changes something, or asks what belongs to a change: it does not wait behind those who list.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        deadline: Duration,
        change: impl Future<Output = mongodb::error::Result<T>> + Send + 'static,
    ) -> Result<T> {
        call(&self.others, deadline, change).await
    }

    /// Whether the server answers.
    pub(super) async fn ping(&self) -> Result<()> {
        let database = self.database.clone();
        let ping = async move { database.run_command(doc! { "ping": 1 }).await };
        call(&self.others, PING, ping).await.map(drop)
    }
}

/// Makes a call in a task of its own: the driver's futures must not be dropped half-way. One that does not end
/// within `deadline` is left to end by itself, and counts until then.
async fn call<T: Send + 'static>(
    calls: &Arc<Semaphore>,
    deadline: Duration,
    call: impl Future<Output = mongodb::error::Result<T>> + Send + 'static,
) -> Result<T> {
    let begun = Instant::now();
    let permit = timeout(deadline, Arc::clone(calls).acquire_owned()).await;
    let permit = permit.map_err(|_elapsed| too_late(deadline, Outcome::NotApplied))?;
    let task = tokio::spawn(async move {
        let result = call.await;
        drop(permit);
        result
    });
    match timeout(deadline.saturating_sub(begun.elapsed()), task).await {
        Ok(Ok(result)) => result.map_err(from_driver),
        Ok(Err(panicked)) => {
            Err(Error::new(ErrorKind::Internal, "a call to MongoDB has ended early").with_source(panicked))
        }
        Err(_elapsed) => Err(too_late(deadline, Outcome::Unknown)),
    }
}

/// The server took longer than `deadline`.
pub(super) fn too_late(deadline: Duration, outcome: Outcome) -> Error {
    Error::new(ErrorKind::DeadlineExceeded, format!("MongoDB did not answer within {deadline:?}"))
        .with_outcome(outcome)
        .with_origin("mongodb")
}

/// Growing pauses between attempts, with jitter, without end.
pub(super) fn pauses(min: Duration, max: Duration) -> ExponentialBackoff {
    let builder = ExponentialBuilder::new().with_jitter().with_min_delay(min).with_max_delay(max);
    builder.without_max_times().build()
}

/// What the URI says, and our own values for what it does not say.
fn with_defaults(mut options: ClientOptions, calls: usize) -> ClientOptions {
    options.app_name.get_or_insert_with(|| "shop".to_owned());
    options.server_selection_timeout.get_or_insert(SERVER_SELECTION);
    options.connect_timeout.get_or_insert(CONNECT);
    options.max_pool_size.get_or_insert_with(|| u32::try_from(calls).unwrap_or(u32::MAX));
    // An insert is repeated by ingest, which ids make harmless; a standalone server has no retryable writes.
    options.retry_writes.get_or_insert(false);
    options
}
