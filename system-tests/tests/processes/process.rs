//! A running binary.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use shop_client::{RetryPolicy, ShopClient};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

/// The setting of a process that serves users and orders too.
pub(crate) const ALL_ROLES: (&str, &str) = ("SHOP_ROLES", "purchases,users,orders");

/// A purchase of the user u1.
pub(crate) const ADA: &str = r#"{"username":"ada","userid":"u1","price":29.99}"#;

/// Returns settings as [`Binary::run`] and [`Process::start`] take them.
pub(crate) fn borrow_settings<'a>(settings: &'a [(&'a str, String)]) -> Vec<(&'a str, &'a str)> {
    let borrow = |(name, value): &'a (&'a str, String)| (*name, value.as_str());
    settings.iter().map(borrow).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binary {
    Facing,
    Management,
}

impl Binary {
    /// The binary of this build, or the one in the folder `SHOP_BINARIES`.
    #[expect(clippy::disallowed_methods, reason = "the binaries of another profile")]
    pub(crate) fn path(self) -> PathBuf {
        let (name, built) = match self {
            Self::Facing => ("facing", env!("CARGO_BIN_EXE_facing-with-failpoints")),
            Self::Management => (
                "management",
                env!("CARGO_BIN_EXE_management-with-failpoints"),
            ),
        };
        std::env::var_os("SHOP_BINARIES")
            .map_or(built.into(), |folder| Path::new(&folder).join(name))
    }

    /// The binary with only `settings` in its environment.
    pub(crate) fn command(self, settings: &[(&str, &str)]) -> Command {
        let mut command = Command::new(self.path());
        command
            .env_clear()
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs it to completion.
    pub(crate) async fn run(self, arguments: &[&str], settings: &[(&str, &str)]) -> Output {
        soon("end", self.command(settings).args(arguments).output())
            .await
            .unwrap()
    }
}

/// A binary that listens.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pub(crate) url: String,
    /// The address of its admin listener, if it has one.
    pub(crate) admin: Option<String>,
}

/// Long enough for any machine; only a hang takes as long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The result of `future`. Panics if it takes too long.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    within(PATIENCE, what, future).await
}

/// The same, with another time limit.
pub(crate) async fn within<T>(
    patience: Duration,
    what: &str,
    future: impl Future<Output = T>,
) -> T {
    let Ok(result) = tokio::time::timeout(patience, future).await else {
        panic!("{what}: did not happen within {patience:?}")
    };
    result
}

/// Pauses before a call is repeated, so that repetitions do not take the processor from the process under test.
pub(crate) async fn pause() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// The pauses between polls: short at first, because most conditions hold soon, then longer, because each poll may be a
/// request that takes the processor from the process under test.
const FIRST_POLL: Duration = Duration::from_millis(5);
const LONGEST_POLL: Duration = Duration::from_millis(100);

/// Polls until `condition` holds. Panics if it takes too long.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let held = async {
        let mut pause = FIRST_POLL;
        while !condition().await {
            tokio::time::sleep(pause).await;
            pause = LONGEST_POLL.min(pause * 5 / 4);
        }
    };
    soon(what, held).await;
}

/// The file of a process in the folder `SHOP_TEST_LOGS`, if it is set.
#[expect(clippy::disallowed_methods, reason = "the folder of the logs")]
fn log_file(id: u32) -> Option<File> {
    let folder = std::env::var_os("SHOP_TEST_LOGS")?;
    Some(File::create(Path::new(&folder).join(format!("{id}.jsonl"))).unwrap())
}

impl Process {
    /// Starts a binary on `folder` and any port, and waits until it listens.
    pub(crate) async fn start(binary: Binary, folder: &Path, settings: &[(&str, &str)]) -> Self {
        let started = soon("listen", Self::try_start(binary, folder, settings)).await;
        started.unwrap_or_else(|printed| panic!("{binary:?} has ended: {printed}"))
    }

    /// The same, on a folder that is deleted with the first value.
    pub(crate) async fn fresh(binary: Binary, settings: &[(&str, &str)]) -> (TempDir, Self) {
        let folder = tempfile::tempdir().unwrap();
        let process = Self::start(binary, folder.path(), settings).await;
        (folder, process)
    }

    /// As `start`. The error is the log of a binary that has ended. The binary is killed on drop.
    pub(crate) async fn try_start(
        binary: Binary,
        folder: &Path,
        settings: &[(&str, &str)],
    ) -> Result<Self, String> {
        let mut command = binary.command(settings);
        command
            .env("SHOP_DATA_DIR", folder)
            .env("LOG_FORMAT", "json");
        if settings.iter().all(|(name, _)| *name != "PORT") {
            command.env("PORT", "0");
        }
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let id = child.id().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (listening, address) = oneshot::channel();
        // Read to the end: a process blocks if its log is not read.
        tokio::spawn(async move {
            let mut listening = Some(listening);
            let mut printed = String::new();
            let mut admin = None;
            let mut kept = log_file(id);
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(kept) = &mut kept {
                    writeln!(kept, "{line}").unwrap();
                }
                let event: Value = serde_json::from_str(&line).unwrap_or_default();
                admin = event["admin.address"]
                    .as_str()
                    .map(|address| format!("http://{address}"))
                    .or(admin);
                match (event["http.address"].as_str(), listening.take()) {
                    (Some(address), Some(listening)) => {
                        drop(listening.send(Ok((address.to_owned(), admin.take()))));
                    }
                    (_, waiting) => {
                        listening = waiting;
                        printed.push_str(&line);
                    }
                }
            }
            listening.map(|listening| listening.send(Err(printed)));
        });
        let (address, admin) = address.await.unwrap()?;
        let is_tls = settings
            .iter()
            .any(|(name, _)| *name == "SHOP_TLS_CERT_FILE");
        let scheme = if is_tls { "https" } else { "http" };
        Ok(Self {
            child,
            url: format!("{scheme}://{address}"),
            admin,
        })
    }

    /// What `/health` says of ingest.
    pub(crate) async fn ingest(&self) -> Value {
        get(&self.path("/health")).await.1["ingest"].clone()
    }

    pub(crate) async fn metrics(&self) -> String {
        plain()
            .get(self.path("/metrics"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }

    pub(crate) fn client(&self) -> ShopClient {
        // These tests are about single attempts, and do not need the certificates of the system.
        ShopClient::builder(&self.url)
            .http_client(plain())
            .retries(RetryPolicy::none())
            .build()
            .unwrap()
    }

    pub(crate) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub(crate) fn admin_path(&self, path: &str) -> String {
        format!("{}{path}", self.admin.as_ref().unwrap())
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(&self.child, signal);
    }

    /// The current memory, in MiB.
    pub(crate) fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The peak memory, in MiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1_024
    }

    /// Sends SIGKILL, as in a crash.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Sends SIGTERM, and waits for the exit.
    pub(crate) async fn terminate(self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// Sends SIGTERM, and waits for the exit, which must be a success.
    pub(crate) async fn stop(self) {
        let status = self.terminate().await;
        assert!(status.success(), "{status}");
    }

    /// The exit status, if it has ended.
    pub(crate) fn end(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub(crate) async fn ended(mut self) -> ExitStatus {
        soon("end", self.child.wait()).await.unwrap()
    }
}

pub(crate) fn send(process: &Child, signal: Signal) {
    let id = i32::try_from(process.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
}

/// The number of stored purchases of `user`. Retries, since a store that scans everything may exceed the
/// timeout of the service on a busy machine.
pub(crate) async fn stored(process: &Process, user: &str) -> u64 {
    let of_user = process.client().user(user);
    let mut count = 0;
    until("sum up stored purchases", async || {
        let summary = Box::pin(of_user.summary()).await;
        count = summary.as_ref().map_or(0, |summary| summary.count);
        summary.is_ok()
    })
    .await;
    count
}

/// Sends a request. Returns the status of its response, and the body as JSON.
pub(crate) async fn exchange(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let body = response.bytes().await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

/// The file of a folder, as another program opens it.
pub(crate) fn open_file(folder: &Path) -> Connection {
    Connection::open(folder.join("shop.db")).unwrap()
}

/// Waits until `count` purchases of `user` are stored.
pub(crate) async fn until_stored(process: &Process, user: &str, count: u64) {
    until("store the purchases", async || {
        stored(process, user).await == count
    })
    .await;
}

/// `GET`, as JSON.
pub(crate) async fn get(url: &str) -> (u16, Value) {
    exchange(plain().get(url)).await
}

/// Posts this body to `/buy`.
pub(crate) async fn buy(process: &Process, body: &str) -> (u16, Value) {
    post(&process.path("/buy"), body).await
}

/// Posts this body to `/buy`, which must record a purchase.
pub(crate) async fn must_buy(process: &Process, body: &str) {
    assert_eq!(buy(process, body).await.0, 201, "{body}");
}

/// `POST` with a JSON body and response.
pub(crate) async fn post(url: &str, body: &str) -> (u16, Value) {
    let request = plain().post(url).header("content-type", "application/json");
    exchange(request.body(body.to_owned())).await
}

pub(crate) fn plain() -> reqwest::Client {
    reqwest::Client::builder()
        .tls_certs_only([])
        .build()
        .unwrap()
}
