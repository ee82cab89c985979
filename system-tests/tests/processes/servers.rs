//! Real servers: shared ones, and ones for a single test, to be killed and paused.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, LazyLock};

use shop_core::conformance::skip;
use shop_kafka::KafkaLogOptions;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::{Mutex, OwnedRwLockReadGuard, RwLock, Semaphore, SemaphorePermit};
use uuid::Uuid;

use crate::process::{PATIENCE, soon};
use crate::proxy::Proxy;

/// The maximum number of concurrent sets of servers besides the shared one, for a machine with two cores.
static SETS: Semaphore = Semaphore::const_new(2);

/// Waits until no other set of servers runs, and keeps it so: a cluster takes as much of the machine as all of them.
pub(crate) async fn without_other_sets() -> SemaphorePermit<'static> {
    SETS.acquire_many(2).await.unwrap()
}

/// Held for reading while a stopped server needs its ports later, and for writing while a set chooses ports.
static PORTS: LazyLock<Arc<RwLock<()>>> = LazyLock::new(Arc::default);

/// The name of each server for `up`, and its variable.
const VARIABLES: [(&str, &str); 2] = [
    ("kafka", "SHOP_TEST_KAFKA"),
    ("mongo", "SHOP_TEST_MONGODB_URI"),
];

/// Servers for a test.
#[derive(Default)]
pub(crate) struct Servers {
    /// Names and values, as `up` prints them.
    exports: Vec<(String, String)>,
    /// The suffix of topics, groups and databases on shared servers.
    suffix: String,
    own: Option<OwnSet>,
    /// The proxy in front of MongoDB, if requested.
    proxy: Option<Proxy>,
}

/// A set of servers that ends with the test.
struct OwnSet {
    scripts: PathBuf,
    folder: TempDir,
    settings: Vec<(&'static str, &'static str)>,
    down: Mutex<Option<OwnedRwLockReadGuard<()>>>,
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
        let variable = |name: &&str| VARIABLES.iter().find(|(known, _)| known == name).unwrap().1;
        let exports: Option<Vec<_>> = names
            .iter()
            .map(variable)
            .map(|name| Some((name.to_owned(), environment(name)?)))
            .collect();
        let suffix = format!("-{}", Uuid::now_v7().simple());
        match exports {
            Some(exports) => {
                let login = environment("SHOP_TEST_KAFKA_SASL")
                    .map(|value| ("SHOP_TEST_KAFKA_SASL".into(), value));
                let exports = exports.into_iter().chain(login).collect();
                Some(Self {
                    exports,
                    suffix,
                    ..Self::default()
                })
            }
            None => Some(Self {
                suffix,
                ..Self::start_with(names, KEPT_RUNNING).await?
            }),
        }
    }

    /// Starts the named servers for this test alone. `None` without `TEST_SERVERS`, which is reported, and is a failure
    /// if `SHOP_TEST_REQUIRE` lists one of them.
    pub(crate) async fn start(names: &[&str]) -> Option<Self> {
        Self::start_with(names, &[]).await
    }

    /// The same, with settings for the scripts.
    pub(crate) async fn start_with(
        names: &[&str],
        settings: &[(&'static str, &'static str)],
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
            settings: settings.to_vec(),
            down: Mutex::default(),
        };
        let ports = PORTS.write().await;
        let printed = own.run("up", names).await;
        drop(ports);
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
        servers.start_proxy().await;
        Some(servers)
    }

    /// Puts a proxy in front of MongoDB, if `up` has started it.
    async fn start_proxy(&mut self) {
        for (name, value) in &mut self.exports {
            if name == "SHOP_TEST_MONGODB_URI" {
                let server = value
                    .trim_start_matches("mongodb://")
                    .trim_end_matches('/')
                    .parse()
                    .unwrap();
                let proxy = Proxy::to(server).await;
                *value = format!("mongodb://{}/", proxy.address());
                self.proxy = Some(proxy);
            }
        }
    }

    /// The value of this variable, if the servers have it.
    pub(crate) fn find(&self, name: &str) -> Option<&str> {
        self.exports
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The address in this variable.
    pub(crate) fn address(&self, name: &str) -> &str {
        self.find(name)
            .unwrap_or_else(|| panic!("no {name} in {:?}", self.exports))
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
        let found = |(setting, name)| Some((setting, self.find(name)?.to_owned()));
        let mut settings: Vec<_> = addresses.into_iter().filter_map(found).collect();
        if !self.suffix.is_empty() {
            let names = [
                ("KAFKA_TOPIC", "purchases"),
                ("KAFKA_GROUP_ID", "purchase-group"),
            ];
            settings.extend(names.map(|(setting, name)| (setting, self.name(name))));
        }
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

    /// Runs `kill`, `start`, `pause` or `resume` for a server. MongoDB is disconnected, not killed: see [`Proxy`].
    pub(crate) async fn ctl(&self, what: &str, name: &str) {
        let own = self.own.as_ref().unwrap();
        let proxy = self.proxy.as_ref().filter(|_| name == "mongo");
        if what == "kill" {
            own.keep_ports().await;
        }
        match proxy {
            Some(proxy) if what == "kill" => {
                soon("complete received requests", proxy.cut()).await;
                // No client is connected any more, so the server can stop cleanly.
                own.run("ctl", &["stop", name]).await;
            }
            Some(proxy) if what == "start" => {
                own.run("ctl", &[what, name]).await;
                proxy.restore();
            }
            _ => drop(own.run("ctl", &[what, name]).await),
        }
        if what == "start" {
            own.down.lock().await.take();
        }
    }
}

impl OwnSet {
    /// Prevents other sets from choosing ports until all servers of this one run again.
    async fn keep_ports(&self) {
        let mut down = self.down.lock().await;
        if down.is_none() {
            *down = Some(Arc::clone(&PORTS).read_owned().await);
        }
    }

    async fn run(&self, script: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(self.scripts.join(script));
        command
            .env("SERVERS_DIR", self.folder.path())
            .stdin(Stdio::null());
        command.envs(self.settings.iter().copied()).args(arguments);
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
