//! Three brokers for one test, behind links from their clients.

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use tokio::sync::SemaphorePermit;

use super::are_wanted;
use super::buyers::RECOVERY;
use crate::prelude::*;
use crate::proxy::Link;
use crate::servers::{environment, without_other_sets};
use crate::small_disk::SmallDisk;

/// Three brokers for one test.
pub(super) struct Cluster {
    script: PathBuf,
    folder: TempDir,
    /// The addresses of the links.
    pub(super) addresses: String,
    /// The link from the clients to each broker. The brokers reach each other without them.
    pub(super) links: Vec<Link>,
    /// The disk of the third broker, if it has one of its own.
    pub(super) disk: Option<SmallDisk>,
    _alone: SemaphorePermit<'static>,
}

impl Cluster {
    /// Starts the brokers. `None` if no scenes are wanted, or without `TEST_SERVERS`, which is reported.
    pub(super) async fn start() -> Option<Self> {
        Some(Self::prepare().await?.up().await)
    }

    /// Starts the brokers, the third one on a disk of 200 MiB. `None` without the rights of root, which is reported.
    pub(super) async fn start_with_small_disk() -> Option<Self> {
        let mut cluster = Self::prepare().await?;
        let disk = cluster.folder.path().join("cluster/node-3");
        std::fs::create_dir_all(&disk).unwrap();
        cluster.disk = Some(SmallDisk::mount(disk, c"size=200m")?);
        Some(cluster.up().await)
    }

    async fn prepare() -> Option<Self> {
        if !are_wanted() {
            return None;
        }
        let Some(scripts) = environment("TEST_SERVERS") else {
            skipped("kafka", "TEST_SERVERS names no scripts");
            return None;
        };
        Some(Self {
            script: PathBuf::from(scripts).join("cluster"),
            folder: tempfile::tempdir().unwrap(),
            addresses: String::new(),
            links: join_all((1..=3).map(|_node| Link::open())).await,
            disk: None,
            _alone: without_other_sets().await,
        })
    }

    /// Starts all brokers behind their links.
    async fn up(mut self) -> Self {
        let printed = self.ctl(&["up"]).await;
        let prefix = "export SHOP_TEST_KAFKA_CLUSTER=";
        let servers = printed.lines().find_map(|line| line.strip_prefix(prefix));
        let servers = servers.unwrap().replace(['\\', '\''], "");
        let mut addresses = Vec::new();
        for (link, server) in self.links.iter().zip(servers.split(',')) {
            link.server.set(server.parse().unwrap()).unwrap();
            addresses.push(link.address.to_string());
        }
        self.addresses = addresses.join(",");
        self
    }

    async fn ctl(&self, arguments: &[&str]) -> String {
        let ports = self.links.iter().map(|link| link.address.port());
        let ports: Vec<_> = ports.map(|port| port.to_string()).collect();
        let mut command = Command::new(&self.script);
        command
            .args(arguments)
            .env("SERVERS_DIR", self.folder.path())
            .env("CLUSTER_CLIENT_PORTS", ports.join(" "))
            .stdin(Stdio::null());
        let output = within(RECOVERY, "cluster", command.output()).await.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cluster {arguments:?}: {errors}");
        text(&output.stdout)
    }

    pub(super) async fn node(&self, verb: &str, node: i32) {
        self.ctl(&[verb, &node.to_string()]).await;
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.addresses);
        config.create().unwrap()
    }

    /// Creates a topic with its replicas on these nodes.
    pub(super) async fn create(
        &self,
        topic: &str,
        partitions: &[&[i32]],
        settings: &[(&str, &str)],
    ) {
        let count = i32::try_from(partitions.len()).unwrap();
        let mut new = NewTopic::new(topic, count, TopicReplication::Variable(partitions));
        for (name, value) in settings {
            new = new.set(name, value);
        }
        let admin = self.admin();
        let created = admin.create_topics([&new], &AdminOptions::new()).await;
        created.unwrap().remove(0).unwrap();
    }

    /// Adds partitions to a topic, up to `count`.
    pub(super) async fn grow(&self, topic: &str, count: usize) {
        let admin = self.admin();
        let new = NewPartitions::new(topic, count);
        let grown = admin.create_partitions([&new], &AdminOptions::new()).await;
        grown.unwrap().remove(0).unwrap();
    }

    /// Changes one setting of a topic.
    pub(super) async fn configure(&self, topic: &str, name: &str, value: &str) {
        let admin = self.admin();
        let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(name, value);
        let changed = admin.alter_configs([&change], &AdminOptions::new()).await;
        changed.unwrap().remove(0).unwrap();
    }

    /// Returns the leader of the one partition of a topic.
    pub(super) async fn leader(&self, topic: &str) -> i32 {
        let printed = self.ctl(&["leader", topic]).await;
        let leader = printed.split(' ').nth(1).unwrap();
        leader.parse().unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut down = std::process::Command::new(&self.script);
        down.arg("down")
            .env("SERVERS_DIR", self.folder.path())
            .stdin(Stdio::null());
        if let Err(error) = down.output() {
            eprintln!("the test's cluster could not be stopped: {error}");
        }
    }
}
