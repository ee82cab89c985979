//! From Kafka into MongoDB, beside bare inserts of the same documents, and beside a naive loop: in turn, each run in
//! a process of its own, so that its processor time and its memory are its own too. A round goes there and back, and
//! its two runs of one thing count as one: what a server does every other run, collecting its garbage say, meets each.
//!
//! ```text
//! SHOP_TEST_KAFKA=localhost:9092 SHOP_TEST_MONGODB_URI=mongodb://localhost:27017 \
//!     cargo bench --bench kafka_to_mongodb
//! ```
//!
//! With `-- --soak 5000000` so many records are carried once, and it says whether memory stays flat.
//!
//! `SHOP_BENCH_PAIRS` says how many rounds, 15 unless set; with `-- --quick` they are 3, of 100,000 records. Nothing
//! else should run on the machine meanwhile.

#![expect(
    clippy::missing_docs_in_private_items,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench that cannot be set up has failed"
)]

mod run;
mod soak;

use std::process::Command;
use std::time::Duration;

use benches::purchases;
use benches::scale::{self, Scale};
use benches::usage::{Cost, median};
use futures_util::{StreamExt, stream};
use mongodb::Client;
use shop_core::Purchase;
use shop_core::ports::PurchaseSink;
use shop_kafka::{KafkaLog, KafkaLogOptions};
use tokio::runtime::{Builder, Runtime};

use crate::run::{DATABASE, Run};

/// Where the servers are.
struct Servers {
    kafka: String,
    mongodb: String,
}

impl Servers {
    fn named() -> Option<Self> {
        Some(Self { kafka: scale::kafka()?, mongodb: scale::mongodb()? })
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let Some(servers) = Servers::named() else {
        println!("kafka_to_mongodb: skipped, SHOP_TEST_KAFKA and SHOP_TEST_MONGODB_URI name no servers");
        return;
    };
    if let Some(run) = Run::told_by(&arguments) {
        let cost = runtime().block_on(run.measure(&servers));
        println!("{}", serde_json::to_string(&cost).unwrap());
        return;
    }
    if let Some(flag) = arguments.iter().position(|argument| argument == "--soak") {
        let records = arguments.get(flag + 1).and_then(|records| records.parse().ok());
        return soak::soak(&servers, records.unwrap_or(5_000_000));
    }
    let scale = Scale::of_bench();
    for partitions in [1, 5] {
        compare(&servers, partitions, scale.pick(2_000, 100_000, 1_000_000), scale.pairs());
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Runs all of them in turn, and says what they cost.
fn compare(servers: &Servers, partitions: u32, records: usize, rounds: usize) {
    let name = format!("bench-{}", uuid::Uuid::now_v7().simple());
    runtime().block_on(fill_topic(servers, &name, partitions, records));
    let runs = [Run::pipeline(&name, records), Run::bare(&name, records), Run::naive(&name, records)];
    let mut costs = [const { Vec::new() }; 3];
    for _ in 0..rounds {
        let there = runs.each_ref().map(|run| in_own_process(servers, run));
        for (which, there) in there.into_iter().enumerate().rev() {
            costs[which].push(there.and(in_own_process(servers, &runs[which])));
        }
    }
    runtime().block_on(drop_collection(servers, &name));
    let [ours, bare, naive] = &costs;
    let plural = if partitions == 1 { "" } else { "s" };
    println!(
        "Kafka to MongoDB, {partitions} partition{plural}, {records} records, medians of {rounds} rounds"
    );
    println!("  pipeline          {}", Cost::median(ours));
    println!("  bare insert_many  {}", Cost::median(bare));
    println!("  naive loop        {}", Cost::median(naive));
    println!("  rate by bare      {}", ratios(ours, bare, |cost| cost.records_per_second));
    println!("  rate by naive     {}", ratios(ours, naive, |cost| cost.records_per_second));
    println!("  work by naive     {}", ratios(ours, naive, |cost| cost.processor));
}

/// The median of the ratios within each round, and their spread.
fn ratios(ours: &[Cost], others: &[Cost], figure: fn(&Cost) -> f64) -> String {
    let mut ratios: Vec<f64> =
        ours.iter().zip(others).map(|(ours, other)| figure(ours) / figure(other)).collect();
    let middle = median(&mut ratios);
    format!("{middle:.2} ({:.2} to {:.2})", ratios[0], ratios[ratios.len() - 1])
}

async fn fill_topic(servers: &Servers, name: &str, partitions: u32, records: usize) {
    let mut options = KafkaLogOptions::new(&servers.kafka);
    name.clone_into(&mut options.topic);
    options.partitions = partitions;
    let sink = KafkaLog::open(options).await.unwrap().sink();
    let all = purchases(records as u64);
    let publish = async |purchase: &Purchase| while sink.publish(purchase).await.is_err() {};
    stream::iter(&all).map(publish).buffer_unordered(5_000).collect::<()>().await;
    sink.close(Duration::from_secs(10)).await.unwrap();
}

async fn drop_collection(servers: &Servers, name: &str) {
    let client = Client::with_uri_str(&servers.mongodb).await.unwrap();
    client.database(DATABASE).collection::<bson::Document>(name).drop().await.unwrap();
}

/// This program, told to do one run.
fn told_to(run: &Run) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(run.arguments());
    command
}

/// Starts this program again for one run, into an empty collection.
fn in_own_process(servers: &Servers, run: &Run) -> Cost {
    runtime().block_on(drop_collection(servers, run.name()));
    let output = told_to(run).output().unwrap();
    assert!(output.status.success(), "{run:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
