//! `facing` as its binary serves it, or the bare echo, in a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;

use mongodb::bson::doc;
use serde::{Deserialize, Serialize};
use shop_core::ingest::{Ingest, IngestMonitor, IngestOptions};
use shop_core::log::{DeadLetters, LogSource};
use shop_core::memory::InMemoryStore;
use shop_core::ports::{PurchaseQuery, PurchaseSink, PurchaseStore};
use shop_http::{Facing, HttpOptions, Metrics, PurchasesRole, facing};
use shop_kafka::{KafkaLog, KafkaLogOptions};
use shop_store::embedded::{EmbeddedLog, EmbeddedLogOptions, EmbeddedStore, EmbeddedStoreOptions};
use shop_store::mongo::{MongoStore, MongoStoreOptions};
use tokio::net::TcpListener;
use tokio::runtime::Builder;

use crate::echo;
use crate::run::Run;
use crate::usage::{Memory, processor_seconds_of};

/// What a process serves.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Served {
    /// The bare axum program.
    Echo,
    /// `facing`.
    Facing {
        /// Where purchases go.
        log: Log,
        /// Where this process carries them, and lists them from; nowhere if another process does that.
        store: Option<Store>,
    },
}

/// Where purchases go.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Log {
    /// The embedded log in this folder.
    Embedded(PathBuf),
    /// A topic of these brokers.
    Kafka(String, String),
}

/// Where purchases are kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Store {
    /// The embedded store in this folder.
    Embedded(PathBuf),
    /// A collection of this server.
    MongoDb(String, String),
}

const DATABASE: &str = "shop_bench";

impl Served {
    /// Serves until the process that has started this one closes its input or ends. Says where first.
    pub(crate) fn run(self) -> String {
        begin_log();
        std::thread::spawn(|| {
            drop(std::io::stdin().read(&mut [0]));
            std::process::exit(0);
        });
        // As `#[tokio::main]` makes it.
        Builder::new_multi_thread().enable_all().build().unwrap().block_on(self.serve());
        String::new()
    }

    async fn serve(self) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        match self {
            Self::Echo => {
                println!("{address}");
                echo::serve(listener).await.unwrap();
            }
            Self::Facing { log, store } => {
                let mut options = HttpOptions::default();
                let is_alone = matches!((&log, &store), (Log::Embedded(_), Some(Store::Embedded(_))));
                options.remember_buys = is_alone;
                let log = OpenLog::open(log).await;
                let metrics = Metrics::new();
                let purchases = match store {
                    None => PurchasesRole::with_sink(log.sink, Arc::new(InMemoryStore::new())),
                    Some(store) => {
                        let (store, query) = store.open().await;
                        let monitor = log.carry_into(store, &metrics);
                        let mut purchases = PurchasesRole::with_sink(log.sink, query);
                        purchases.ingest = Some(monitor);
                        purchases
                    }
                };
                let mut parts = Facing::from(purchases);
                parts.metrics = metrics;
                println!("{address}");
                let router = facing(parts, options.clone());
                shop_http::serve(listener, router, &options, std::future::pending()).await.unwrap();
            }
        }
    }
}

/// As the binary logs where nobody looks at a terminal, to nowhere.
fn begin_log() {
    let filter = tracing_subscriber::EnvFilter::new("info");
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::sink).with_ansi(false);
    lines.json().flatten_event(true).with_current_span(true).with_span_list(false).init();
}

struct OpenLog {
    sink: Arc<dyn PurchaseSink>,
    source: Box<dyn Fn() -> Arc<dyn LogSource> + Send + Sync>,
    letters: Arc<dyn DeadLetters>,
}

impl OpenLog {
    async fn open(log: Log) -> Self {
        match log {
            Log::Embedded(folder) => {
                let log = EmbeddedLog::open(folder, EmbeddedLogOptions::default()).await.unwrap();
                Self {
                    sink: Arc::new(log.sink()),
                    letters: Arc::new(log.dead_letters()),
                    source: Box::new(move || Arc::new(log.source("purchase-group").unwrap())),
                }
            }
            Log::Kafka(brokers, topic) => {
                let mut options = KafkaLogOptions::new(brokers);
                options.topic.clone_from(&topic);
                let log = KafkaLog::open(options).await.unwrap();
                Self {
                    sink: Arc::new(log.sink()),
                    letters: Arc::new(log.dead_letters()),
                    // One of its own: the member that was killed before is waited for in its group.
                    source: Box::new(move || Arc::new(log.source(&topic).unwrap())),
                }
            }
        }
    }

    fn carry_into(&self, store: Arc<dyn PurchaseStore>, metrics: &Metrics) -> IngestMonitor {
        let letters = Arc::clone(&self.letters);
        let ingest = Ingest::new((self.source)(), store, letters, IngestOptions::default());
        let ingest = ingest.observed_by(metrics.ingest_observer());
        let monitor = ingest.monitor();
        tokio::spawn(ingest.run(std::future::pending()));
        monitor
    }
}

impl Store {
    /// Drops a collection; a folder is for whoever made it.
    pub(crate) async fn wipe(self) {
        let Self::MongoDb(uri, collection) = self else { return };
        let client = mongodb::Client::with_uri_str(uri).await.unwrap();
        client.database(DATABASE).collection::<mongodb::bson::Document>(&collection).drop().await.unwrap();
    }

    /// Whether a question is answered by an index: a server that explains no plans looks at every document each time.
    pub(crate) async fn has_plans(uri: &str) -> bool {
        let client = mongodb::Client::with_uri_str(uri).await.unwrap();
        let question = doc! { "explain": { "find": "nothing", "filter": {} } };
        client.database(DATABASE).run_command(question).await.is_ok()
    }

    pub(crate) async fn open(self) -> (Arc<dyn PurchaseStore>, Arc<dyn PurchaseQuery>) {
        match self {
            Self::Embedded(folder) => {
                let store = EmbeddedStore::open(folder, EmbeddedStoreOptions::default()).await.unwrap();
                (Arc::new(store.clone()), Arc::new(store))
            }
            Self::MongoDb(uri, collection) => {
                let mut options = MongoStoreOptions::new(uri);
                options.database = Some(DATABASE.to_owned());
                options.collection = collection;
                let store = MongoStore::open(options).await.unwrap();
                store.indexed().await;
                (Arc::new(store.clone()), Arc::new(store))
            }
        }
    }
}

/// A process that serves, until this is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts one and waits until it listens.
    #[must_use]
    pub fn start(served: Served) -> Self {
        let mut command = Run::Serve(served).command();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().parse().unwrap();
        Self { child, address }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The processor time that it has used so far, in seconds.
    #[must_use]
    pub fn processor_seconds(&self) -> f64 {
        processor_seconds_of(self.child.id())
    }

    /// Its memory.
    #[must_use]
    pub fn memory(&self) -> Memory {
        Memory::of(&self.child.id().to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// `facing` on the embedded log and store, all in one process, as it is with nothing configured.
#[must_use]
pub fn alone(folder: &Path) -> Served {
    let folder = folder.to_owned();
    Served::Facing { log: Log::Embedded(folder.clone()), store: Some(Store::Embedded(folder)) }
}
