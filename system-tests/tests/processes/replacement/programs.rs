//! Programs of a replaced system, and its buyers.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use futures_util::future::BoxFuture;
use rdkafka::ClientConfig;
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::systems::{Commits, System, fill};
use crate::prelude::*;

/// Its facing.
pub(super) struct OldFacing {
    producer: FutureProducer,
    topic: String,
}

impl OldFacing {
    pub(super) fn start(servers: &str, topic: &str) -> Self {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", servers)
            .create()
            .unwrap();
        Self {
            producer,
            topic: topic.to_owned(),
        }
    }

    /// Returns whether the record was acknowledged.
    pub(super) async fn write(&self, key: Option<&str>, value: &str) -> bool {
        let mut record = FutureRecord::<str, str>::to(&self.topic).payload(value);
        record.key = key;
        self.producer
            .send(record, Duration::from_secs(30))
            .await
            .is_ok()
    }
}

/// Its consumer.
pub(super) struct OldConsumer {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU32>,
    task: JoinHandle<StreamConsumer>,
}

impl OldConsumer {
    /// Starts a consumer that passes the value of each record to `insert`.
    pub(super) fn start(
        commits: Commits,
        servers: &str,
        [topic, group]: [&str; 2],
        insert: impl Fn(Vec<u8>) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", servers)
            .set("group.id", group)
            .set("client.id", "old-consumer")
            .set("auto.offset.reset", "earliest");
        let is_by_timer = commits == Commits::ByTimer;
        config.set("enable.auto.commit", is_by_timer.to_string());
        // Theirs is five seconds.
        config.set("auto.commit.interval.ms", "500");
        let consumer: StreamConsumer = config.create().unwrap();
        consumer.subscribe(&[topic]).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicU32::new(0));
        let stopped = Arc::clone(&stop);
        let counted = Arc::clone(&count);
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let received =
                    tokio::time::timeout(Duration::from_millis(200), consumer.recv()).await;
                let Ok(Ok(record)) = received else {
                    continue;
                };
                if commits == Commits::BeforeInsert {
                    consumer.commit_message(&record, CommitMode::Sync).unwrap();
                }
                insert(record.payload().unwrap().to_vec()).await;
                if commits == Commits::AfterInsert {
                    consumer.commit_message(&record, CommitMode::Sync).unwrap();
                }
                counted.fetch_add(1, Ordering::Relaxed);
            }
            consumer
        });
        Self { stop, count, task }
    }

    /// Returns the number of its documents.
    pub(super) fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    /// The same, when it has stopped, and its member of the group, which leaves when it is dropped.
    pub(super) async fn stop(self) -> (u32, StreamConsumer) {
        self.stop.store(true, Ordering::Relaxed);
        let member = self.task.await.unwrap();
        (self.count.load(Ordering::Relaxed), member)
    }
}

/// Where the proxy leads.
pub(super) enum Facing {
    /// Nowhere: buyers wait.
    Closed,
    Old(OldFacing),
    Ours(Box<ShopClient>),
}

impl Facing {
    /// A buy of a new user. Returns whether it was acknowledged, or nothing if the buyer waits.
    async fn buy(&self, system: &System, number: u32) -> Option<bool> {
        match self {
            Self::Closed => None,
            Self::Old(facing) => {
                let key = system.key.map(|key| fill(key, number));
                let value = fill(system.value, number);
                Some(facing.write(key.as_deref(), &value).await)
            }
            Self::Ours(client) => {
                // Old programs do not know its reference.
                let order = NewPurchase::for_user(format!("u{number}"))
                    .with_user_name(format!("ada{number}"));
                let order = order.with_reference(format!("order-{number}"));
                Some(
                    client
                        .shop()
                        .buy(order.with_price("1.5").unwrap())
                        .await
                        .is_ok(),
                )
            }
        }
    }
}

/// Those who buy, 50 a second.
pub(super) struct Buyers {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    proxy: Mutex<Facing>,
    bought: AtomicU32,
    stop: AtomicBool,
}

impl Buyers {
    pub(super) fn start(system: &'static System, facing: Facing) -> Self {
        let shared = Arc::new(Shared {
            proxy: Mutex::new(facing),
            bought: AtomicU32::new(0),
            stop: AtomicBool::new(false),
        });
        let of_task = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while !of_task.stop.load(Ordering::Relaxed) {
                let number = of_task.bought.load(Ordering::Relaxed);
                let is_bought = of_task.proxy.lock().await.buy(system, number).await;
                assert_ne!(is_bought, Some(false), "buy {number} has failed");
                if is_bought.is_some() {
                    of_task.bought.fetch_add(1, Ordering::Relaxed);
                }
                sleep(Duration::from_millis(20)).await;
            }
        });
        Self { shared, task }
    }

    /// Turns the proxy when no buy is in flight.
    pub(super) async fn turn_to(&self, facing: Facing) {
        *self.shared.proxy.lock().await = facing;
    }

    /// Waits for more of them.
    pub(super) async fn more(&self) {
        let bought = || self.shared.bought.load(Ordering::Relaxed);
        let before = bought();
        until("buy more", async || bought() >= before + 20).await;
    }

    /// Returns how many have bought: no buy has failed.
    pub(super) async fn stop(self) -> u32 {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.shared.bought.load(Ordering::Relaxed)
    }
}
