//! Three brokers of which one fails, or the links to them.

use std::collections::BTreeSet;
use std::time::Instant;

use tokio::time::sleep;

use super::brokers::Cluster;
use super::buyers::{Load, PURCHASES, buy, buy_all, buy_once};
use super::links::Weather;
use crate::prelude::*;

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
        let port = port_of(&management);
        management.kill().await;
        meanwhile.await;
        let mut settings = borrow_settings(&self.settings);
        settings.push(("PORT", &port));
        let started = Process::start(Binary::Management, self.folder.path(), &settings).await;
        self.management = Some(started);
    }

    /// Ends facing, and starts it again with the port that the buyers use.
    async fn restart_facing(&mut self) {
        let port = port_of(&self.facing);
        let management = self.management.as_ref().unwrap().url.clone();
        let mut settings = borrow_settings(&self.settings);
        settings.push(("SHOP_MANAGEMENT_URL", &management));
        settings.push(("PORT", &port));
        self.facing.signal(Signal::TERM);
        until("facing ends", async || self.facing.end().is_some()).await;
        self.facing = Process::start(Binary::Facing, self.folder.path(), &settings).await;
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

fn port_of(process: &Process) -> String {
    process.url.rsplit(':').next().unwrap().to_owned()
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
async fn scene(name: &str, cluster: &Cluster, fault: impl AsyncFnOnce(&Load, &mut Services)) {
    let topic = name.replace(' ', "-");
    let settings = [("min.insync.replicas", "2")];
    cluster.create(&topic, &REPLICATED, &settings).await;
    let mut services = Services::start(cluster, &topic).await;
    let load = Load::start(&services.facing);
    load.goes_on().await;
    fault(&load, &mut services).await;
    load.goes_on().await;
    load.end(name, async || services.stored().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_loses_and_doubles_nothing() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    scene("leader killed", &cluster, async |load, _| {
        cluster.node("kill", 1).await;
        load.goes_on().await;
        cluster.node("start", 1).await;
    })
    .await;
    scene("zombie leader", &cluster, async |load, _| {
        cluster.node("pause", 2).await;
        sleep(Duration::from_secs(15)).await;
        cluster.node("resume", 2).await;
        load.goes_on().await;
    })
    .await;
    scene("two of three away", &cluster, async |_, _| {
        cluster.node("pause", 2).await;
        cluster.node("pause", 3).await;
        sleep(Duration::from_secs(20)).await;
        cluster.node("resume", 2).await;
        cluster.node("resume", 3).await;
    })
    .await;
    // The active controller is among them.
    for (name, verb) in [("rolling restart", "stop"), ("each node killed", "kill")] {
        scene(name, &cluster, async |load, _| {
            for node in 1..=3 {
                cluster.node(verb, node).await;
                load.goes_on().await;
                cluster.node("start", node).await;
                load.goes_on().await;
            }
        })
        .await;
    }
    scene("six partitions more", &cluster, async |load, _| {
        cluster.grow("six-partitions-more", 12).await;
        // Both services learn of them at the next look at the topic.
        sleep(Duration::from_secs(20)).await;
        load.goes_on().await;
    })
    .await;
    let small_batches = "smaller batches";
    scene(small_batches, &cluster, async |load, _| {
        let topic = small_batches.replace(' ', "-");
        cluster.configure(&topic, "max.message.bytes", "5000").await;
        load.goes_on().await;
        // Both services learn of the limit at the next look at the topic.
        sleep(Duration::from_secs(20)).await;
    })
    .await;
    scene("services restarted", &cluster, async |load, services| {
        for _round in 0..3 {
            services.without_management(load.goes_on()).await;
            services.restart_facing().await;
            load.goes_on().await;
        }
    })
    .await;
    faults_by_chance(&cluster).await;
}

/// The network between the services and one broker, or all of them, fails; the brokers reach each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_links_to_brokers_lose_and_double_nothing() {
    let Some(cluster) = Cluster::start_behind_links().await else {
        return;
    };
    for (name, weather, links) in [
        ("link cut", Weather::Cut, &cluster.links[..1]),
        ("link mute", Weather::Mute, &cluster.links[..1]),
        ("link without responses", Weather::Deaf, &cluster.links[..1]),
        ("slow link", Weather::Slow, &cluster.links[..1]),
        ("all links cut", Weather::Cut, &cluster.links),
        ("all links mute", Weather::Mute, &cluster.links),
    ] {
        scene(name, &cluster, async |_, _| {
            for link in links {
                link.set(weather);
            }
            sleep(Duration::from_secs(15)).await;
            for link in links {
                link.set(Weather::Fair);
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_of_a_broker_loses_and_doubles_nothing() {
    let Some(cluster) = Cluster::start_with_small_disk().await else {
        return;
    };
    scene("full disk", &cluster, async |load, _| {
        cluster.fill_disk();
        load.goes_on().await;
        sleep(Duration::from_secs(10)).await;
        load.goes_on().await;
        cluster.free_disk();
        cluster.node("kill", 3).await;
        cluster.node("start", 3).await;
    })
    .await;
}

/// Nodes are killed, stopped or frozen at random times, one at a time, so that two replicas stay.
async fn faults_by_chance(cluster: &Cluster) {
    let seed = seed();
    println!("SHOP_TEST_SEED={seed} replays the faults");
    let mut random = Random::new(seed);
    scene("faults by chance", cluster, async |load, _| {
        for _ in 0..12 {
            let node = 1 + i32::try_from(random.below(3)).unwrap();
            let (fault, mend) = [("kill", "start"), ("pause", "resume"), ("stop", "start")]
                [usize::try_from(random.below(3)).unwrap()];
            cluster.node(fault, node).await;
            sleep(Duration::from_millis(random.below(12_000))).await;
            cluster.node(mend, node).await;
            sleep(Duration::from_millis(random.below(8_000))).await;
        }
        load.goes_on().await;
    })
    .await;
}

/// A start while the leader of a partition accepts connections and does not answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_start_while_the_leader_of_a_partition_is_mute() {
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
    let url = services.facing.path(PURCHASES);
    let began = Instant::now();
    let mut acknowledged = BTreeSet::new();
    until("sell on the other partitions", async || {
        for user in 0..12 {
            if buy_once(&url, &format!("u{user}"), 1).await {
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
        buy(&url, &format!("u{user}"), 1).await;
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
    buy_all(services.facing.path(PURCHASES), 0..20).await;
    let leader = cluster.leader("unclean").await;
    let behind = 3 - leader;
    cluster.node("stop", behind).await;
    buy_all(services.facing.path(PURCHASES), 20..40).await;
    until("all is stored", async || services.stored().await == 40).await;

    // The log is cut from 40 to 20 records, and grows past the position of the group.
    let facing = services.facing.url.clone();
    let sell = buy_all(services.facing.path(PURCHASES), 40..80);
    let management_away = async {
        cluster.node("kill", leader).await;
        cluster.node("start", behind).await;
        sell.await;
    };
    services.without_management(management_away).await;
    let restarted = Instant::now();
    let url = services.management.as_ref().unwrap().path("/health");
    until("the gap is named", async || {
        let (_, health) = get(&url).await;
        health["status"] == "degraded" && health["ingest"]["gaps"]["records"] == 20
    })
    .await;
    let named_after = restarted.elapsed();
    until("what came after", async || services.stored().await == 80).await;

    let (_, health) = get(&format!("{facing}/health")).await;
    let lost = &health["lost_acknowledgements"][0];
    assert_eq!(health["status"], "degraded", "{health}");
    assert_eq!(
        (&lost["from"], &lost["to"]),
        (&20.into(), &40.into()),
        "{health}"
    );
    println!(
        "unclean election: acknowledged 80, missing 0 of the store, 20 cut from the log and named {named_after:.1?} after the start of management"
    );
}
