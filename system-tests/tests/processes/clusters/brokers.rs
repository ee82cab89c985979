//! Three brokers for one test.

use std::io::Write as _;

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::config::{ClientConfig, FromClientConfig};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio::sync::SemaphorePermit;

use super::are_wanted;
use super::buyers::RECOVERY;
use super::links::Link;
use crate::prelude::*;
use crate::servers::{environment, without_other_sets};

/// Three brokers for one test.
pub(super) struct Cluster {
    script: PathBuf,
    folder: TempDir,
    /// The addresses that clients use.
    pub(super) addresses: String,
    /// The link from the clients to each broker, if there are links.
    pub(super) links: Vec<Link>,
    /// The disk of the third broker, if it has one of its own.
    disk: Option<PathBuf>,
    _alone: SemaphorePermit<'static>,
}

impl Cluster {
    /// Starts the brokers. `None` if no scenes are wanted, or without `TEST_SERVERS`, which is reported.
    pub(super) async fn start() -> Option<Self> {
        let mut cluster = Self::prepare().await?;
        cluster.addresses = cluster.up().await;
        Some(cluster)
    }

    /// Starts the brokers behind links from their clients. The brokers reach each other without them.
    pub(super) async fn start_behind_links() -> Option<Self> {
        let mut cluster = Self::prepare().await?;
        for _node in 1..=3 {
            cluster.links.push(Link::open().await);
        }
        let servers = cluster.up().await;
        for (link, server) in cluster.links.iter().zip(servers.split(',')) {
            link.server.set(server.parse().unwrap()).unwrap();
        }
        let addresses = cluster.links.iter().map(|link| link.address.to_string());
        cluster.addresses = addresses.collect::<Vec<_>>().join(",");
        Some(cluster)
    }

    /// Starts the brokers, the third one on a disk of 200 MiB. `None` without the rights of root, which is reported.
    pub(super) async fn start_with_small_disk() -> Option<Self> {
        let mut cluster = Self::prepare().await?;
        let disk = cluster.folder.path().join("cluster/node-3");
        std::fs::create_dir_all(&disk).unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=200m", "tmpfs"]);
        let mounted = mount.arg(&disk).output().unwrap();
        if !mounted.status.success() {
            skipped("tmpfs", String::from_utf8_lossy(&mounted.stderr).trim());
            return None;
        }
        cluster.disk = Some(disk);
        cluster.addresses = cluster.up().await;
        Some(cluster)
    }

    /// Fills the disk of the third broker.
    pub(super) fn fill_disk(&self) {
        let mut ballast = std::fs::File::create(self.ballast()).unwrap();
        while ballast.write_all(&[0; 64 * 1024]).is_ok() {}
    }

    pub(super) fn free_disk(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.disk.as_ref().unwrap().join("ballast")
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
            links: Vec::new(),
            disk: None,
            _alone: without_other_sets().await,
        })
    }

    /// Starts all brokers, and returns their addresses.
    async fn up(&self) -> String {
        let printed = self.ctl(&["up"]).await;
        let prefix = "export SHOP_TEST_KAFKA_CLUSTER=";
        let addresses = printed.lines().find_map(|line| line.strip_prefix(prefix));
        addresses.unwrap().replace(['\\', '\''], "")
    }

    async fn ctl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.script);
        command
            .args(arguments)
            .env("SERVERS_DIR", self.folder.path())
            .stdin(Stdio::null());
        if !self.links.is_empty() {
            let ports = self
                .links
                .iter()
                .map(|link| link.address.port().to_string());
            command.env("CLUSTER_CLIENT_PORTS", ports.collect::<Vec<_>>().join(" "));
        }
        let output = within(RECOVERY, "cluster", command.output()).await.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cluster {arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(super) async fn node(&self, verb: &str, node: i32) {
        self.ctl(&[verb, &node.to_string()]).await;
    }

    /// A client of the brokers.
    fn client<C: FromClientConfig>(&self) -> C {
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
        let admin: AdminClient<_> = self.client();
        let created = admin.create_topics([&new], &AdminOptions::new()).await;
        created.unwrap().remove(0).unwrap();
        until("leaders", async || self.leader(topic).await > 0).await;
    }

    /// Adds partitions to a topic, up to `count`.
    pub(super) async fn grow(&self, topic: &str, count: usize) {
        let admin: AdminClient<_> = self.client();
        let grown = NewPartitions::new(topic, count);
        let grown = admin
            .create_partitions([&grown], &AdminOptions::new())
            .await;
        grown.unwrap().remove(0).unwrap();
    }

    /// Changes one setting of a topic.
    pub(super) async fn configure(&self, topic: &str, name: &str, value: &str) {
        let admin: AdminClient<_> = self.client();
        let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(name, value);
        let changed = admin.alter_configs([&change], &AdminOptions::new()).await;
        changed.unwrap().remove(0).unwrap();
    }

    /// Returns the leader of partition 0.
    pub(super) async fn leader(&self, topic: &str) -> i32 {
        let consumer: BaseConsumer = self.client();
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
        let mut down = std::process::Command::new(&self.script);
        down.arg("down")
            .env("SERVERS_DIR", self.folder.path())
            .stdin(Stdio::null());
        let mut unmount = std::process::Command::new("umount");
        unmount.args(&self.disk);
        let commands = [Some(down), self.disk.is_some().then_some(unmount)];
        for mut command in commands.into_iter().flatten() {
            if let Err(error) = command.output() {
                eprintln!("the test's cluster could not be stopped: {error}");
            }
        }
    }
}
