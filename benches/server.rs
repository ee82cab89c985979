//! `facing` as in its binary, the bare echo, or the naive handler, in a child process.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use procfs::process::Process;
use serde_json::Value;
use shop_bins::ServiceKind;
use tokio::runtime::Builder;

use crate::run::THIS;
use crate::scale::variable;
use crate::{echo, naive, usage};

/// The variable that selects what a child process serves: `facing`, `echo` or `naive`.
const SERVE: &str = "SHOP_BENCH_SERVE";

/// If this process was started as a server, serves until its parent closes its input or ends.
pub(crate) fn serve_if_requested() {
    let Some(what) = variable(SERVE) else { return };
    std::thread::spawn(|| {
        drop(std::io::stdin().read(&mut [0]));
        std::process::exit(0);
    });
    // Like `#[tokio::main]`.
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        match what.as_str() {
            "echo" => echo::serve().await.unwrap(),
            "naive" => naive::serve().await.unwrap(),
            _ => {
                let _exit_code = shop_bins::run(ServiceKind::Facing).await;
            }
        }
    });
    std::process::exit(1);
}

/// The settings of a facing that only publishes, without ingest and listings.
pub const EDGE_ONLY: (&str, &str) = ("MANAGEMENT_URL", "http://127.0.0.1:1");

/// A server in a child process, until this is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// The bare echo.
    #[must_use]
    pub fn echo() -> Self {
        Self::start(Command::new(THIS).env(SERVE, "echo"))
    }

    /// The naive handler with `settings`: of Kafka.
    #[must_use]
    pub fn naive(settings: &[(&str, &str)]) -> Self {
        Self::start(
            Command::new(THIS)
                .env(SERVE, "naive")
                .envs(settings.iter().copied()),
        )
    }

    /// `facing` with `settings`, for purchases only, with its files in `folder`. Without settings it runs everything in
    /// one process, with the embedded log and store.
    #[must_use]
    pub fn facing(folder: &Path, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(THIS);
        command
            .env_clear()
            .env(SERVE, "facing")
            .env("SHOP_ROLES", "purchases");
        Self::start(with_files_in(folder, &mut command).envs(settings.iter().copied()))
    }

    /// Starts `command` and waits until it listens.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let address = lines.find_map(|line| {
            let line: Value = serde_json::from_str(&line).unwrap_or_default();
            line["http.address"]
                .as_str()
                .map(|address| address.parse().unwrap())
        });
        // Keeps reading the log: a full pipe would block the server.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            address: address.unwrap(),
            child,
        }
    }

    /// Its address.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    #[must_use]
    pub fn process(&self) -> Process {
        usage::process(self.child.id())
    }
}

/// Configures a facing to listen on any port, to log as JSON, and to keep its files in `folder`.
pub fn with_files_in<'a>(folder: &Path, command: &'a mut Command) -> &'a mut Command {
    command
        .env("PORT", "0")
        .env("LOG_FORMAT", "json")
        .env("SHOP_DATA_DIR", folder)
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
