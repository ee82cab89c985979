//! Three brokers of which one fails: purchases under load, before, during and after.
//!
//! Each scene prints what was acknowledged, what is missing or stored twice, the longest time without a success, and when
//! `/health` of facing turned and turned back. `.ci/run` runs the first two; the others run when `SHOP_TEST_CLUSTERS` is
//! set, as at night.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::SemaphorePermit;
use tokio_util::sync::CancellationToken;

use crate::kills::{Random, seed};
use crate::process::{Binary, Process, borrow_settings, get, pause, plain, until, within};
use crate::servers::{environment, skipped, without_other_sets};

const BUYERS: usize = 16;
/// Longer than the session of a broker, the election after it, and the time of a publish.
const RECOVERY: Duration = Duration::from_secs(120);

/// Three brokers for one test.
struct Cluster {
    script: PathBuf,
    folder: TempDir,
    addresses: String,
    _alone: SemaphorePermit<'static>,
}

impl Cluster {
    /// Starts the brokers. `None` without `TEST_SERVERS`, which is reported.
    async fn start() -> Option<Self> {
        let Some(scripts) = environment("TEST_SERVERS") else {
            skipped(
                "kafka",
                "TEST_SERVERS names no scripts that start a cluster",
            );
            return None;
        };
        let mut cluster = Self {
            script: PathBuf::from(scripts).join("cluster"),
            folder: tempfile::tempdir().unwrap(),
            addresses: String::new(),
            _alone: without_other_sets().await,
        };
        let printed = cluster.ctl(&["up"]).await;
        let prefix = "export SHOP_TEST_KAFKA_CLUSTER=";
        let addresses = printed.lines().find_map(|line| line.strip_prefix(prefix));
        cluster.addresses = addresses.unwrap().replace(['\\', '\''], "");
        Some(cluster)
    }

    async fn ctl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.script);
        command
            .args(arguments)
            .env("SERVERS_DIR", self.folder.path())
            .stdin(Stdio::null());
        let output = within(RECOVERY, "cluster", command.output()).await.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cluster {arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    async fn node(&self, verb: &str, node: i32) {
        self.ctl(&[verb, &node.to_string()]).await;
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.addresses);
        config
    }

    /// Creates a topic with its replicas on these nodes.
    async fn create(&self, topic: &str, partitions: &[&[i32]], settings: &[(&str, &str)]) {
        let admin: AdminClient<_> = self.config().create().unwrap();
        let count = i32::try_from(partitions.len()).unwrap();
        let mut new = NewTopic::new(topic, count, TopicReplication::Variable(partitions));
        for (name, value) in settings {
            new = new.set(name, value);
        }
        let created = admin.create_topics([&new], &AdminOptions::new()).await;
        created.unwrap().remove(0).unwrap();
        until("leaders", async || self.leader(topic).await > 0).await;
    }

    /// Adds partitions to a topic, up to `count`.
    async fn grow(&self, topic: &str, count: usize) {
        let admin: AdminClient<_> = self.config().create().unwrap();
        let grown = NewPartitions::new(topic, count);
        let grown = admin
            .create_partitions([&grown], &AdminOptions::new())
            .await;
        grown.unwrap().remove(0).unwrap();
    }

    /// Returns the leader of partition 0.
    async fn leader(&self, topic: &str) -> i32 {
        let consumer: BaseConsumer = self.config().create().unwrap();
        let topic = topic.to_owned();
        let asked = tokio::task::spawn_blocking(move || {
            let metadata = consumer.fetch_metadata(Some(&topic), Duration::from_secs(5));
            let metadata = metadata.ok()?;
            Some(metadata.topics().first()?.partitions().first()?.leader())
        });
        asked.await.unwrap().unwrap_or(-1)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let down = std::process::Command::new(&self.script)
            .arg("down")
            .env("SERVERS_DIR", self.folder.path())
            .stdin(Stdio::null())
            .output();
        if let Err(error) = down {
            eprintln!("the test's cluster could not be stopped: {error}");
        }
    }
}

/// Both services on a topic of the cluster, with an embedded store.
struct Services {
    folder: TempDir,
    settings: Vec<(&'static str, String)>,
    facing: Process,
    management: Option<Process>,
}

impl Services {
    async fn start(cluster: &Cluster, topic: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = vec![
            ("SHOP_KAFKA_BOOTSTRAP_SERVERS", cluster.addresses.clone()),
            ("SHOP_PURCHASES_TOPIC", topic.to_owned()),
        ];
        let management = Process::start(
            Binary::Management,
            folder.path(),
            &borrow_settings(&settings),
        )
        .await;
        let mut of_facing = borrow_settings(&settings);
        of_facing.push(("SHOP_MANAGEMENT_URL", &management.url));
        let facing = Process::start(Binary::Facing, folder.path(), &of_facing).await;
        Self {
            folder,
            settings,
            facing,
            management: Some(management),
        }
    }

    /// Kills management, and starts it again after `meanwhile`, with the port that facing asks.
    async fn without_management(&mut self, meanwhile: impl Future<Output = ()>) {
        let management = self.management.take().unwrap();
        let port = management.url.rsplit(':').next().unwrap().to_owned();
        management.kill().await;
        meanwhile.await;
        let mut settings = borrow_settings(&self.settings);
        settings.push(("PORT", &port));
        let started = Process::start(Binary::Management, self.folder.path(), &settings).await;
        self.management = Some(started);
    }

    async fn stored(&self) -> u64 {
        let url = self
            .management
            .as_ref()
            .unwrap()
            .path("/v1/summary?everyone=true");
        let (_, body) = get(&url).await;
        body["count"].as_u64().unwrap_or_default()
    }
}

/// What buyers saw.
#[derive(Default)]
struct Seen {
    acknowledged: u64,
    last_success: Option<Instant>,
    longest_pause: Duration,
}

impl Seen {
    fn note_success(&mut self) {
        self.acknowledged += 1;
        let before = self.last_success.replace(Instant::now());
        let pause = before.map_or(Duration::ZERO, |before| before.elapsed());
        self.longest_pause = self.longest_pause.max(pause);
    }
}

/// Buyers that repeat each purchase with its key until it is acknowledged.
struct Load {
    stop: CancellationToken,
    seen: Arc<Mutex<Seen>>,
    /// When facing's `/health` was degraded, after the start of the load.
    degraded: Arc<Mutex<Vec<Duration>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(facing: &Process) -> Self {
        let stop = CancellationToken::new();
        let seen = Arc::<Mutex<Seen>>::default();
        let degraded = Arc::<Mutex<Vec<Duration>>>::default();
        let mut tasks = Vec::new();
        for buyer in 0..BUYERS {
            let url = facing.path("/v1/purchases");
            let buys = buy_until_stopped(buyer, url, stop.clone(), Arc::clone(&seen));
            tasks.push(tokio::spawn(buys));
        }
        let url = facing.path("/health");
        let stopped = stop.clone();
        let began = Instant::now();
        let turned = Arc::clone(&degraded);
        tasks.push(tokio::spawn(async move {
            while !stopped.is_cancelled() {
                let (_, body) = get(&url).await;
                if body["status"] == "degraded" {
                    turned.lock().unwrap().push(began.elapsed());
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }));
        Self {
            stop,
            seen,
            degraded,
            tasks,
        }
    }

    fn acknowledged(&self) -> u64 {
        self.seen.lock().unwrap().acknowledged
    }

    /// Waits for as many further purchases as there are buyers, twice: each partition works.
    async fn goes_on(&self) {
        let before = self.acknowledged();
        let enough = before + 2 * BUYERS as u64;
        let wait = async {
            while self.acknowledged() < enough {
                pause().await;
            }
        };
        within(RECOVERY, "buys go on", wait).await;
    }

    /// Stops the buyers, and waits until all that is acknowledged is stored, once.
    async fn end(mut self, scene: &str, services: &Services) {
        self.stop.cancel();
        within(
            RECOVERY,
            "the last purchases",
            join_all(self.tasks.drain(..)),
        )
        .await;
        let acknowledged = self.acknowledged();
        let ended = Instant::now();
        let mut stored = services.stored().await;
        while stored < acknowledged && ended.elapsed() < RECOVERY {
            pause().await;
            stored = services.stored().await;
        }
        let degraded = self.degraded.lock().unwrap().clone();
        let turned = degraded.first().zip(degraded.last());
        let longest_pause = self.seen.lock().unwrap().longest_pause;
        println!(
            "{scene}: acknowledged {acknowledged}, missing {}, twice {}, without a success {:?}, degraded {turned:?}",
            acknowledged.saturating_sub(stored),
            stored.saturating_sub(acknowledged),
            longest_pause,
        );
        assert_eq!(stored, acknowledged, "{scene}");
    }
}

/// Buys as one user, and notes what is acknowledged.
async fn buy_until_stopped(
    buyer: usize,
    url: String,
    stop: CancellationToken,
    seen: Arc<Mutex<Seen>>,
) {
    let http = plain();
    for number in 0_u64.. {
        if stop.is_cancelled() {
            return;
        }
        let body = format!(r#"{{"username":"ada","userid":"u{buyer}","price":{number}}}"#);
        buy(&http, &url, &format!("{buyer}-{number}"), &body).await;
        seen.lock().unwrap().note_success();
        // Three brokers, and what they are asked, share the processors with the buyers.
        pause().await;
    }
}

/// Repeats a purchase until it is acknowledged.
async fn buy(http: &reqwest::Client, url: &str, key: &str, body: &str) {
    let bought = async {
        loop {
            let request = http
                .post(url)
                .header("content-type", "application/json")
                .header("idempotency-key", key)
                .body(body.to_owned());
            match request.send().await.unwrap().status().as_u16() {
                200 | 201 => return,
                503 => tokio::time::sleep(Duration::from_millis(100)).await,
                status => panic!("status {status}"),
            }
        }
    };
    within(RECOVERY, "a purchase", bought).await;
}

const REPLICATED: [&[i32]; 6] = [
    &[1, 2, 3],
    &[2, 3, 1],
    &[3, 1, 2],
    &[1, 3, 2],
    &[2, 1, 3],
    &[3, 2, 1],
];

/// Runs a fault under load, on a topic of which no record is lost while two replicas must have it.
async fn scene(name: &str, cluster: &Cluster, fault: impl AsyncFnOnce(&Load)) {
    let topic = name.replace(' ', "-");
    let settings = [("min.insync.replicas", "2")];
    cluster.create(&topic, &REPLICATED, &settings).await;
    let services = Services::start(cluster, &topic).await;
    let load = Load::start(&services.facing);
    load.goes_on().await;
    fault(&load).await;
    load.goes_on().await;
    load.end(name, &services).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_loses_and_doubles_nothing() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    scene("leader killed", &cluster, async |load| {
        cluster.node("kill", 1).await;
        load.goes_on().await;
        cluster.node("start", 1).await;
    })
    .await;
    if environment("SHOP_TEST_CLUSTERS").is_none() {
        return;
    }
    scene("zombie leader", &cluster, async |load| {
        cluster.node("pause", 2).await;
        tokio::time::sleep(Duration::from_secs(15)).await;
        cluster.node("resume", 2).await;
        load.goes_on().await;
    })
    .await;
    scene("two of three away", &cluster, async |_| {
        cluster.node("pause", 2).await;
        cluster.node("pause", 3).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        cluster.node("resume", 2).await;
        cluster.node("resume", 3).await;
    })
    .await;
    // The active controller is among them.
    for (name, verb) in [("rolling restart", "stop"), ("each node killed", "kill")] {
        scene(name, &cluster, async |load| {
            for node in 1..=3 {
                cluster.node(verb, node).await;
                load.goes_on().await;
                cluster.node("start", node).await;
                load.goes_on().await;
            }
        })
        .await;
    }
    scene("six partitions more", &cluster, async |load| {
        cluster.grow("six-partitions-more", 12).await;
        // Both services learn of them at the next look at the topic.
        tokio::time::sleep(Duration::from_secs(20)).await;
        load.goes_on().await;
    })
    .await;
    faults_by_chance(&cluster).await;
}

/// Nodes are killed, stopped or frozen at random times, one at a time, so that two replicas stay.
async fn faults_by_chance(cluster: &Cluster) {
    let seed = seed();
    println!("SHOP_TEST_SEED={seed} replays the faults");
    let mut random = Random::new(seed);
    scene("faults by chance", cluster, async |load| {
        for _ in 0..12 {
            let node = 1 + i32::try_from(random.below(3)).unwrap();
            let (fault, mend) = [("kill", "start"), ("pause", "resume"), ("stop", "start")]
                [usize::try_from(random.below(3)).unwrap()];
            cluster.node(fault, node).await;
            tokio::time::sleep(Duration::from_millis(random.below(12_000))).await;
            cluster.node(mend, node).await;
            tokio::time::sleep(Duration::from_millis(random.below(8_000))).await;
        }
        load.goes_on().await;
    })
    .await;
}

/// A start while the leader of a partition accepts connections and does not answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_start_while_the_leader_of_a_partition_is_mute() {
    if environment("SHOP_TEST_CLUSTERS").is_none() {
        return;
    }
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let settings = [("min.insync.replicas", "1")];
    // Partitions of one replica: that of the frozen node stays without a leader.
    cluster
        .create("mute-leader", &[&[1], &[2], &[3]], &settings)
        .await;
    cluster.node("pause", 1).await;
    let services = Services::start(&cluster, "mute-leader").await;
    let http = plain();
    let url = services.facing.path("/v1/purchases");
    let began = Instant::now();
    let mut acknowledged = BTreeSet::new();
    until("sell on the other partitions", async || {
        for user in 0..12 {
            let body = format!(r#"{{"username":"ada","userid":"u{user}","price":1}}"#);
            let request = http
                .post(&url)
                .header("content-type", "application/json")
                .header("idempotency-key", format!("k-{user}"))
                .body(body);
            if request.send().await.unwrap().status().is_success() {
                acknowledged.insert(user);
            }
        }
        !acknowledged.is_empty()
    })
    .await;
    let sold_after = began.elapsed();
    until("name the partition", async || {
        let (_, health) = get(&services.facing.path("/health")).await;
        health["status"] == "degraded"
            && health["unavailable_partitions"] == json!(["mute-leader-0"])
    })
    .await;

    cluster.node("resume", 1).await;
    for user in 0..12 {
        let body = format!(r#"{{"username":"ada","userid":"u{user}","price":1}}"#);
        buy(&http, &url, &format!("k-{user}"), &body).await;
    }
    until("all is stored", async || services.stored().await == 12).await;
    until("turn back", async || {
        get(&services.facing.path("/health")).await.1["status"] == "healthy"
    })
    .await;
    println!(
        "start beside a mute leader: sold to {} of 12 after {sold_after:?}; after it was back: acknowledged 12, missing 0, twice 0",
        acknowledged.len()
    );
}

/// Buys the purchases with these numbers, one after the other.
async fn buy_all(facing: &Process, numbers: std::ops::Range<u64>) {
    let http = plain();
    let url = facing.path("/v1/purchases");
    for number in numbers {
        let body = format!(r#"{{"username":"ada","userid":"u1","price":{number}}}"#);
        buy(&http, &url, &format!("k-{number}"), &body).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unclean_election_skips_nothing_that_the_log_has() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let settings = [
        ("unclean.leader.election.enable", "true"),
        ("min.insync.replicas", "1"),
    ];
    // The third node only takes part in the quorum of controllers.
    cluster.create("unclean", &[&[1, 2]], &settings).await;
    let mut services = Services::start(&cluster, "unclean").await;
    buy_all(&services.facing, 0..20).await;
    let leader = cluster.leader("unclean").await;
    let behind = 3 - leader;
    cluster.node("stop", behind).await;
    buy_all(&services.facing, 20..40).await;
    until("all is stored", async || services.stored().await == 40).await;

    // The log is cut from 40 to 20 records, and grows past the position of the group.
    let facing = services.facing.url.clone();
    let management_away = async {
        cluster.node("kill", leader).await;
        cluster.node("start", behind).await;
    };
    services.without_management(management_away).await;
    buy_all(&services.facing, 40..80).await;
    until("what came after", async || services.stored().await == 80).await;

    let (_, health) = get(&format!("{facing}/health")).await;
    let lost = &health["lost_acknowledgements"][0];
    assert_eq!(health["status"], "degraded", "{health}");
    assert_eq!(
        (&lost["from"], &lost["to"]),
        (&20.into(), &40.into()),
        "{health}"
    );
    let management = services.management.as_ref().unwrap().path("/health");
    until("the gap is named", async || {
        let (_, health) = get(&management).await;
        health["status"] == "degraded" && health["ingest"]["gaps"]["records"] == 20
    })
    .await;
    println!(
        "unclean election: acknowledged 80, missing 0 of the store, 20 cut from the log and named"
    );
}
