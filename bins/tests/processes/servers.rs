//! Real servers of a test's own, to be killed and paused: those that `TEST_SERVERS` starts.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, LazyLock};

use shop_core::conformance::skip;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::process::soon;
use crate::wire::Wire;

/// Servers that end with the test.
pub(crate) struct Servers {
    scripts: PathBuf,
    folder: TempDir,
    settings: Vec<(&'static str, &'static str)>,
    /// What `up` has printed: names and values.
    exports: Vec<(String, String)>,
    /// What MongoDB is reached by, if it was asked for.
    wire: Option<Wire>,
    // Dropped last, when the servers are down.
    _alone: OwnedMutexGuard<()>,
}

impl Servers {
    /// Starts the named servers. `None` without `TEST_SERVERS`, which is said, and is a failure if
    /// `SHOP_TEST_REQUIRE` asks for one of them.
    pub(crate) async fn start(names: &[&str]) -> Option<Self> {
        Self::start_with(names, &[]).await
    }

    /// The same, with settings of the script's own.
    #[expect(clippy::disallowed_methods, reason = "tests are told so where servers are")]
    pub(crate) async fn start_with(
        names: &[&str],
        settings: &[(&'static str, &'static str)],
    ) -> Option<Self> {
        let Some(scripts) = std::env::var_os("TEST_SERVERS") else {
            let required = std::env::var("SHOP_TEST_REQUIRE").ok();
            for name in names {
                skip(name, required.as_deref(), "TEST_SERVERS names no scripts that start it");
            }
            return None;
        };
        // One set at a time: the ports of one that was killed must be free when it starts again.
        static ALONE: LazyLock<Arc<Mutex<()>>> = LazyLock::new(Arc::default);
        let alone = Arc::clone(&ALONE).lock_owned().await;
        let folder = tempfile::tempdir().unwrap();
        let mut servers = Self {
            scripts: scripts.into(),
            folder,
            settings: settings.to_vec(),
            exports: Vec::new(),
            wire: None,
            _alone: alone,
        };
        let printed = servers.run("up", names).await;
        let export = |line: &str| {
            let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
            Some((name.to_owned(), value.trim_matches(['\'', '"']).to_owned()))
        };
        servers.exports = printed.lines().filter_map(export).collect();
        servers.lay_wire().await;
        Some(servers)
    }

    /// Puts a wire before MongoDB, where `up` has started it.
    async fn lay_wire(&mut self) {
        for (name, value) in &mut self.exports {
            if name == "SHOP_TEST_MONGODB_URI" {
                let server = value.trim_start_matches("mongodb://").trim_end_matches('/').parse().unwrap();
                let wire = Wire::to(server).await;
                *value = format!("mongodb://{}/", wire.address());
                self.wire = Some(wire);
            }
        }
    }

    /// The address that `up` has printed under `name`.
    pub(crate) fn address(&self, name: &str) -> &str {
        let found = self.exports.iter().find(|(known, _)| known == name);
        found.map_or_else(|| panic!("no {name} in {:?}", self.exports), |(_, value)| value)
    }

    /// `kill`, `start`, `pause` or `resume`, of one server. MongoDB is cut off instead of killed: see [`Wire`].
    pub(crate) async fn ctl(&self, what: &str, name: &str) {
        match self.wire.as_ref().filter(|_| name == "mongo") {
            Some(wire) if what == "kill" => {
                soon("answer what has arrived", wire.cut()).await;
                // Nobody sees any more how it ends.
                self.run("ctl", &["stop", name]).await;
            }
            Some(wire) if what == "start" => {
                self.run("ctl", &[what, name]).await;
                wire.mend();
            }
            _ => drop(self.run("ctl", &[what, name]).await),
        }
    }

    async fn run(&self, script: &str, arguments: &[&str]) -> String {
        let mut command = command(&self.scripts.join(script), self.folder.path());
        command.envs(self.settings.iter().copied()).args(arguments);
        let output = soon(script, command.output()).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script} {arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }
}

fn command(script: &Path, folder: &Path) -> Command {
    let mut command = Command::new(script);
    command.env("SERVERS_DIR", folder).stdin(Stdio::null());
    command
}

impl Drop for Servers {
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
