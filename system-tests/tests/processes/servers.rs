//! Real servers: shared ones, and ones for a single test, to be killed and paused.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Stdio;

use shop_core::conformance::skip;
use shop_kafka::KafkaLogOptions;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::{Semaphore, SemaphorePermit};
use uuid::Uuid;

use crate::process::{PATIENCE, soon};
use crate::proxy::{Link, Weather};

/// The maximum number of concurrent sets of servers besides the shared one, for a machine with two cores.
static SETS: Semaphore = Semaphore::const_new(2);

/// Waits until no other set of servers runs, and keeps it so: a cluster takes as much of the machine as all of them.
pub(crate) async fn without_other_sets() -> SemaphorePermit<'static> {
    SETS.acquire_many(2).await.unwrap()
}

/// The name of each server for `up`, and its variable.
const VARIABLES: [(&str, &str); 2] = [
    ("kafka", "SHOP_TEST_KAFKA"),
    ("mongo", "SHOP_TEST_MONGODB_URI"),
];

/// Servers for a test.
#[derive(Default)]
pub(crate) struct Servers {
    /// The variables that `up` prints.
    exports: HashMap<String, String>,
    /// The suffix of topics, groups and databases on shared servers.
    suffix: String,
    own: Option<OwnSet>,
    /// The link to MongoDB, if requested.
    link: Option<Link>,
}

/// A set of servers that ends with the test.
struct OwnSet {
    scripts: PathBuf,
    folder: TempDir,
    settings: &'static [(&'static str, &'static str)],
    // Dropped last, when the servers are stopped.
    _permit: SemaphorePermit<'static>,
}

/// Settings of servers that no test kills: data is in memory, and a busy broker keeps its partitions.
const KEPT_RUNNING: &[(&str, &str)] = &[("MONGO_STORE", "memory"), ("KAFKA_SESSION_MS", "18000")];

impl Servers {
    /// The servers in `SHOP_TEST_KAFKA` and `SHOP_TEST_MONGODB_URI`, for a test that neither kills nor pauses
    /// them: other tests use them concurrently, so that all names are unique to this test. Without
    /// those variables these are servers for the test alone.
    pub(crate) async fn shared(names: &[&str]) -> Option<Self> {
        let wanted = VARIABLES.iter().filter(|(name, _)| names.contains(name));
        let exports: Option<HashMap<_, _>> = wanted
            .map(|(_, variable)| Some(((*variable).to_owned(), environment(variable)?)))
            .collect();
        let servers = match exports {
            Some(exports) => Self {
                exports,
                ..Self::default()
            },
            None => Self::start_with(names, KEPT_RUNNING).await?,
        };
        Some(Self {
            suffix: format!("-{}", Uuid::now_v7().simple()),
            ..servers
        })
    }

    /// Starts the named servers for this test alone. `None` without `TEST_SERVERS`, which is reported, and is a failure
    /// if `SHOP_TEST_REQUIRE` lists one of them.
    pub(crate) async fn start(names: &[&str]) -> Option<Self> {
        Self::start_with(names, &[]).await
    }

    /// The same, with settings for the scripts.
    pub(crate) async fn start_with(
        names: &[&str],
        settings: &'static [(&'static str, &'static str)],
    ) -> Option<Self> {
        let Some(scripts) = environment("TEST_SERVERS") else {
            for name in names {
                skipped(name, "TEST_SERVERS names no scripts that start it");
            }
            return None;
        };
        let own = OwnSet {
            scripts: scripts.into(),
            _permit: SETS.acquire().await.unwrap(),
            folder: tempfile::tempdir().unwrap(),
            settings,
        };
        let printed = own.run("up", names).await;
        let export = |line: &str| {
            let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
            Some((name.to_owned(), value.trim_matches(['\'', '"']).to_owned()))
        };
        let exports = printed.lines().filter_map(export).collect();
        let mut servers = Self {
            exports,
            own: Some(own),
            ..Self::default()
        };
        if let Some(uri) = servers.exports.get_mut("SHOP_TEST_MONGODB_URI") {
            let server = uri
                .trim_start_matches("mongodb://")
                .trim_end_matches('/')
                .parse()
                .unwrap();
            let link = Link::to(server).await;
            *uri = format!("mongodb://{}/", link.address);
            servers.link = Some(link);
        }
        Some(servers)
    }

    /// The address in this variable.
    pub(crate) fn address(&self, name: &str) -> &str {
        &self.exports[name]
    }

    /// The name of a topic, group or database in this test.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{name}{}", self.suffix)
    }

    /// The options of a log on this topic.
    pub(crate) fn log(&self, topic: &str) -> KafkaLogOptions {
        let mut options = KafkaLogOptions::new(self.address("SHOP_TEST_KAFKA"));
        options.topic = self.name(topic);
        // What is published here is published once, also by a busy broker.
        options.publish_timeout = PATIENCE;
        options
    }

    /// The settings of a service on these servers. On servers for the test alone, names have their
    /// defaults.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        let addresses = [
            ("KAFKA_BOOTSTRAP_SERVERS", "SHOP_TEST_KAFKA"),
            ("MONGODB_URI", "SHOP_TEST_MONGODB_URI"),
        ];
        let found = |(setting, name)| Some((setting, self.exports.get(name)?.clone()));
        let mut settings: Vec<_> = addresses.into_iter().filter_map(found).collect();
        let names = [
            ("KAFKA_TOPIC", "purchases"),
            ("KAFKA_GROUP_ID", "purchase-group"),
        ];
        settings.extend(names.map(|(setting, name)| (setting, self.name(name))));
        settings
    }

    /// The topics and groups of users and orders, for processes with these roles.
    pub(crate) fn settings_of_events(&self) -> Vec<(&'static str, String)> {
        let names = [
            ("SHOP_USERS_TOPIC", "user_created"),
            ("SHOP_USERS_GROUP_ID", "user_service_group"),
            ("SHOP_ORDERS_TOPIC", "order_created"),
            ("SHOP_ORDERS_GROUP_ID", "order_service_group"),
        ];
        names
            .map(|(setting, name)| (setting, self.name(name)))
            .to_vec()
    }

    /// Runs `kill`, `start`, `pause` or `resume` for a server. MongoDB is disconnected, not killed: see [`Link`].
    pub(crate) async fn ctl(&self, what: &str, name: &str) {
        let own = self.own.as_ref().unwrap();
        let link = self.link.as_ref().filter(|_| name == "mongo");
        match (what, link) {
            ("kill", Some(link)) => {
                soon("complete received requests", link.cut()).await;
                // No client is connected any more, so the server can stop cleanly.
                own.run("ctl", &["stop", name]).await;
            }
            ("start", Some(link)) => {
                own.run("ctl", &[what, name]).await;
                link.set(Weather::Fair);
            }
            _ => drop(own.run("ctl", &[what, name]).await),
        }
    }
}

impl OwnSet {
    async fn run(&self, script: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(self.scripts.join(script));
        command
            .env("SERVERS_DIR", self.folder.path())
            // A client connects to the members that a replica set names, and not by the link.
            .env_remove("MONGO_REPLICA_SET")
            .stdin(Stdio::null());
        command.envs(self.settings.to_vec()).args(arguments);
        let output = soon(script, command.output()).await.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script} {arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for OwnSet {
    fn drop(&mut self) {
        let down = std::process::Command::new(self.scripts.join("down"))
            .arg("--wipe")
            .env("SERVERS_DIR", self.folder.path())
            .stdin(Stdio::null())
            .output();
        if let Err(error) = down {
            eprintln!("the test's servers could not be stopped: {error}");
        }
    }
}

/// Reports a skipped test, and fails if `SHOP_TEST_REQUIRE` lists it.
pub(crate) fn skipped(what: &str, why: &str) {
    skip(what, environment("SHOP_TEST_REQUIRE").as_deref(), why);
}

/// A variable that is not empty.
#[expect(clippy::disallowed_methods, reason = "the addresses of servers")]
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
