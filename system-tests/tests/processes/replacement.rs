//! `management replace`, with the programs of a replaced system: its records, its consumer and its documents.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bson::{Document, doc};
use mongodb::{Client, Collection};
use rdkafka::ClientConfig;
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::Value;
use shop_client::NewPurchase;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::kafka::{settings, start};
use crate::process::{Binary, Process, soon, until};
use crate::servers::Servers;

/// A program that runs until it is stopped, and counts.
struct Old {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Old {
    /// Its facing: 50 records a second without headers, times without a zone, and now and then what is no purchase.
    fn facing(servers: &Servers) -> Self {
        let config = ClientConfig::new().set("bootstrap.servers", servers.address("SHOP_TEST_KAFKA")).clone();
        let (producer, topic): (FutureProducer, _) = (config.create().unwrap(), servers.name("old"));
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&count));
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let number = counted.load(Ordering::Relaxed);
                let minute = number / 60 % 60;
                let value = format!(
                    r#"{{"username":"ada","userid":"u{number}","price":{number}.25,"timestamp":"2026-03-01T09:{minute:02}:{:02}.043200"}}"#,
                    number % 60,
                );
                let key = format!("u{number}");
                let record = FutureRecord::to(&topic).key(&key).payload(&value);
                producer.send(record, Duration::from_secs(30)).await.unwrap();
                counted.fetch_add(1, Ordering::Relaxed);
                if number % 50 == 7 {
                    let odd = FutureRecord::<str, str>::to(&topic).payload("no purchase");
                    producer.send(odd, Duration::from_secs(30)).await.unwrap();
                }
                sleep(Duration::from_millis(20)).await;
            }
        });
        Self { stop, count, task }
    }

    /// Its consumer, which inserts a document and commits.
    fn consumer(servers: &Servers, collection: Collection<Document>) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", servers.address("SHOP_TEST_KAFKA"));
        config.set("group.id", servers.name("old-group")).set("client.id", "old-consumer");
        config.set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
        let consumer: StreamConsumer = config.create().unwrap();
        consumer.subscribe(&[&servers.name("old")]).unwrap();
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&count));
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let received = tokio::time::timeout(Duration::from_millis(200), consumer.recv()).await;
                // Or the topic is not there yet.
                let Ok(Ok(record)) = received else {
                    continue;
                };
                if let Ok(document) = serde_json::from_slice::<Document>(record.payload().unwrap_or_default())
                {
                    collection.insert_one(document).await.unwrap();
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                consumer.commit_message(&record, CommitMode::Sync).unwrap();
            }
        });
        Self { stop, count, task }
    }

    /// Returns the number of its purchases.
    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.count.load(Ordering::Relaxed)
    }
}

/// Runs a command of management to its success, and does what it says, line for line.
async fn steps(options: &[&str], settings: &[(&str, &str)], mut follow: impl AsyncFnMut(Value)) {
    let mut command = Binary::Management.command(settings);
    let command = command.args(options).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn();
    let mut command = command.unwrap();
    let mut lines = BufReader::new(command.stdout.take().unwrap()).lines();
    while let Some(line) = soon("go on", lines.next_line()).await.unwrap() {
        follow(serde_json::from_str(&line).unwrap()).await;
    }
    assert!(command.wait().await.unwrap().success(), "{options:?}");
}

/// Buys at our facing. Returns how often.
async fn buy(facing: &Process) -> u64 {
    let client = facing.client();
    for number in 0..20 {
        let order = NewPurchase::of(format!("new{number}")).named("ada").priced("1.5").unwrap();
        client.buy(order).await.unwrap();
    }
    20
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_system_is_replaced_under_load_by_a_new_topic_and_back() {
    let Some(servers) = Servers::shared(&["kafka", "mongo"]).await else { return };
    let settings = settings(&servers);
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let database = Client::with_uri_str(servers.address("SHOP_TEST_MONGODB_URI")).await.unwrap();
    let collection = database.database(&servers.name("shop")).collection("purchases");
    let (topic, group) = (servers.name("old"), servers.name("old-group"));
    let options = [
        "replace",
        "--system",
        "003",
        "--json",
        "--settle",
        "2",
        "--old-topic",
        &topic,
        "--old-group",
        &group,
    ];
    let (mut facing, mut consumer) =
        (Some(Old::facing(&servers)), Some(Old::consumer(&servers, collection.clone())));
    let consumed = async || consumer.as_ref().is_some_and(|old| old.count.load(Ordering::Relaxed) > 60);
    until("consume what the old facing writes", consumed).await;

    let dry = Binary::Management.run(&[&options[..], &["--dry-run"]].concat(), &settings).await;
    assert!(dry.status.success(), "{}", String::from_utf8_lossy(&dry.stderr));
    let report: Value = serde_json::from_slice(&dry.stdout).unwrap();
    assert!(report["odd_records"][0]["count"].as_u64() > Some(0), "{report}");
    assert_eq!(report["steps"].as_array().unwrap().len(), 6, "{report}");

    let (mut ours, mut bought, mut produced, mut verified) = (Vec::<Process>::new(), 0, 0, Vec::new());
    let forth = steps(&options, &settings, async |line| {
        let step = line["step"].as_str().unwrap_or_default();
        if step.starts_with("start our management") {
            ours.push(start(Binary::Management, &servers, &[]).await);
        } else if step.starts_with("start our facing") {
            ours.push(start(Binary::Facing, &servers, &[("SHOP_INGEST", "off")]).await);
            bought = buy(&ours[1]).await;
            produced = facing.take().unwrap().stop().await;
        } else if step.starts_with("stop the old consumer") {
            assert_eq!(consumer.take().unwrap().stop().await, produced);
        } else if line["missing"].is_u64() {
            verified.push(line);
        }
    });
    forth.await;
    let counts = |member: &str| verified.iter().map(|report| report[member].as_u64().unwrap()).sum::<u64>();
    assert_eq!((verified.len(), counts("missing"), counts("twice")), (2, 0, 0), "{verified:?}");
    assert_eq!(counts("by_others"), produced);
    assert_eq!(collection.count_documents(doc! {}).await.unwrap(), produced + bought);

    let back_options = [&options[..], &["--back"]].concat();
    let back = steps(&back_options, &settings, async |line| {
        if line["step"].as_str().is_some_and(|step| step.starts_with("stop our")) {
            // Facing first.
            assert!(ours.pop().unwrap().terminate().await.success());
        }
    });
    back.await;
    assert!(ours.is_empty());
    let with_a_date = collection.count_documents(doc! { "timestamp": { "$type": "date" } }).await.unwrap();
    let all = collection.count_documents(doc! {}).await.unwrap();
    assert_eq!((with_a_date, all), (0, produced + bought));
}
