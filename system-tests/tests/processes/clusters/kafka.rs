//! Three brokers of which one fails, or the links to them.

use super::brokers::Cluster;
use super::buyers::{Load, PURCHASES, buy_all, faults_by_chance};
use crate::prelude::*;
use crate::proxy::Weather;

/// Both services on a topic of the cluster, with an embedded store.
struct Services {
    folder: TempDir,
    settings: Vec<(&'static str, String)>,
    facing: Process,
    /// Management, while it runs.
    management: Option<Process>,
}

impl Services {
    async fn start(cluster: &Cluster, topic: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = vec![
            ("SHOP_KAFKA_BOOTSTRAP_SERVERS", cluster.addresses.clone()),
            ("SHOP_PURCHASES_TOPIC", topic.to_owned()),
        ];
        let borrowed = borrow_settings(&settings);
        let management = Process::start(Binary::Management, folder.path(), &borrowed).await;
        settings.push(("SHOP_MANAGEMENT_URL", management.url.clone()));
        let borrowed = borrow_settings(&settings);
        let facing = Process::start(Binary::Facing, folder.path(), &borrowed).await;
        Self {
            folder,
            settings,
            facing,
            management: Some(management),
        }
    }

    /// Starts a service again, with its port.
    async fn start_again(&self, binary: Binary, port: &str) -> Process {
        let is_for_facing = |name| name == "SHOP_MANAGEMENT_URL";
        let mut settings = borrow_settings(&self.settings);
        settings.retain(|(name, _)| binary == Binary::Facing || !is_for_facing(*name));
        settings.push(("PORT", port));
        Process::start(binary, self.folder.path(), &settings).await
    }

    /// Kills management, and starts it again after `meanwhile`.
    async fn without_management(&mut self, meanwhile: impl Future<Output = ()>) {
        let management = self.management.take().unwrap();
        let port = management.port().to_owned();
        management.kill().await;
        meanwhile.await;
        self.management = Some(self.start_again(Binary::Management, &port).await);
    }

    /// Ends facing, and starts it again.
    async fn restart_facing(&mut self) {
        self.facing.signal(Signal::TERM);
        until("facing ends", async || self.facing.end().is_some()).await;
        self.facing = self.start_again(Binary::Facing, self.facing.port()).await;
    }

    async fn stored(&self) -> u64 {
        let management = self.management.as_ref().unwrap();
        let (_, body) = get(&management.path("/v1/summary?everyone=true")).await;
        body["count"].as_u64().unwrap_or_default()
    }
}

/// The replicas of half of the partitions of a topic.
const REPLICATED: [&[i32]; 3] = [&[1, 2, 3], &[2, 3, 1], &[3, 1, 2]];

/// Carries out these steps under load, on a topic of which no record is lost while two replicas must have it.
async fn scene(cluster: &Cluster, name: &str, steps: &str) {
    let topic = name.replace(' ', "-");
    let settings = [("min.insync.replicas", "2")];
    let partitions = REPLICATED.repeat(2);
    cluster.create(&topic, &partitions, &settings).await;
    let mut services = Services::start(cluster, &topic).await;
    let load = Load::start(&services.facing);
    load.goes_on().await;
    for step in steps.split(", ") {
        if load.buys_or_waits(step).await {
            continue;
        }
        match step.split(' ').collect::<Vec<_>>()[..] {
            [weather, count, "link" | "links"] => {
                for link in &cluster.links[..count.parse().unwrap()] {
                    link.set(weather_of(weather));
                }
            }
            ["disk", "full"] => cluster.disk.as_ref().unwrap().fill(),
            ["disk", "free"] => cluster.disk.as_ref().unwrap().free(),
            ["partitions", count] => cluster.grow(&topic, count.parse().unwrap()).await,
            ["max.message.bytes", bytes] => {
                cluster.configure(&topic, "max.message.bytes", bytes).await;
            }
            ["restart", "services"] => {
                services.without_management(load.goes_on()).await;
                services.restart_facing().await;
            }
            [verb, node] => cluster.node(verb, node.parse().unwrap()).await,
            _ => panic!("there is no step {step}"),
        }
    }
    load.goes_on().await;
    load.end(name, async || services.stored().await).await;
}

/// Returns the weather that a step makes.
fn weather_of(name: &str) -> Weather {
    match name {
        "mend" => Weather::Fair,
        "cut" => Weather::Cut,
        "mute" => Weather::Mute,
        "deaf" => Weather::Deaf,
        _ => Weather::Slow,
    }
}

/// The links are those between the services and the brokers; the brokers reach each other without them. Both services
/// learn of partitions and limits at the next look at the topic, which takes 15 seconds. All nodes are controllers, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_brokers_and_links_lose_and_double_nothing() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    for (name, steps) in [
        ("leader killed", "kill 1, buy, start 1"),
        ("zombie leader", "pause 2, wait 15, resume 2, buy"),
        (
            "two of three away",
            "pause 2, pause 3, wait 20, resume 2, resume 3",
        ),
        (
            "rolling restart",
            "stop 1, buy, start 1, buy, stop 2, buy, start 2, buy, stop 3, buy, start 3",
        ),
        (
            "each node killed",
            "kill 1, buy, start 1, buy, kill 2, buy, start 2, buy, kill 3, buy, start 3",
        ),
        ("six partitions more", "partitions 12, wait 20"),
        ("smaller batches", "max.message.bytes 5000, buy, wait 20"),
        (
            "services restarted",
            "restart services, buy, restart services, buy, restart services",
        ),
        ("link cut", "cut 1 link, wait 15, mend 1 link"),
        ("link mute", "mute 1 link, wait 15, mend 1 link"),
        // They sell on the other partitions.
        (
            "start beside a mute leader",
            "mute 1 link, restart services, buy, mend 1 link",
        ),
        (
            "link without responses",
            "deaf 1 link, wait 15, mend 1 link",
        ),
        ("slow link", "slow 1 link, wait 15, mend 1 link"),
        ("all links cut", "cut 3 links, wait 15, mend 3 links"),
        ("all links mute", "mute 3 links, wait 15, mend 3 links"),
        // One node at a time, so that two replicas stay.
        ("faults by chance", &faults_by_chance(12, 12, NODE_FAULTS)),
    ] {
        scene(&cluster, name, steps).await;
    }
}

const NODE_FAULTS: &[(&str, &str)] = &[
    ("kill 1", "start 1"),
    ("kill 2", "start 2"),
    ("kill 3", "start 3"),
    ("pause 1", "resume 1"),
    ("pause 2", "resume 2"),
    ("pause 3", "resume 3"),
    ("stop 1", "start 1"),
    ("stop 2", "start 2"),
    ("stop 3", "start 3"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_of_a_broker_loses_and_doubles_nothing() {
    let Some(cluster) = Cluster::start_with_small_disk().await else {
        return;
    };
    let steps = "disk full, buy, wait 10, buy, disk free, kill 3, start 3";
    scene(&cluster, "full disk", steps).await;
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
    let url = services.facing.path(PURCHASES);
    buy_all(&url, 0..20).await;
    let leader = cluster.leader("unclean").await;
    let behind = 3 - leader;
    cluster.node("stop", behind).await;
    buy_all(&url, 20..40).await;
    until("all is stored", async || services.stored().await == 40).await;

    // The log is cut from 40 to 20 records, and grows past the position of the group.
    let management_away = async {
        cluster.node("kill", leader).await;
        cluster.node("start", behind).await;
        buy_all(&url, 40..80).await;
    };
    services.without_management(management_away).await;
    let management = services.management.as_ref().unwrap();
    until("the gap is named", async || {
        let (_, health) = get(&management.path("/health")).await;
        health["status"] == "degraded" && health["ingest"]["gaps"]["records"] == 20
    })
    .await;
    until("what came after", async || services.stored().await == 80).await;

    let (_, health) = get(&services.facing.path("/health")).await;
    assert_eq!(health["status"], "degraded", "{health}");
    let lost = &health["lost_acknowledgements"][0];
    assert_eq!([&lost["from"], &lost["to"]], [20, 40], "{health}");
}
