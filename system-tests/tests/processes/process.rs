//! A running binary.

use std::panic::Location;
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use shop_client::{NewPurchase, RetryPolicy, ShopClient};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// The setting of a process that serves users and orders too.
pub(crate) const ALL_ROLES: (&str, &str) = ("SHOP_ROLES", "purchases,users,orders");

/// A purchase of the user u1.
pub(crate) const ADA: &str = r#"{"username":"ada","userid":"u1","price":29.99}"#;

/// A purchase of 29.99 by the user `user`, whose name is ada.
pub(crate) fn purchase_of(user: &str) -> NewPurchase {
    NewPurchase::for_user(user)
        .with_user_name("ada")
        .with_price("29.99")
        .unwrap()
}

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
    /// The path of the binary, which was built with these tests.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Facing => env!("CARGO_BIN_EXE_facing-with-failpoints"),
            Self::Management => env!("CARGO_BIN_EXE_management-with-failpoints"),
        }
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

    /// Runs the binary to completion.
    #[track_caller]
    pub(crate) fn run(
        self,
        arguments: &[&str],
        settings: &[(&str, &str)],
    ) -> impl Future<Output = Output> + use<> {
        let output = self.command(settings).args(arguments).output();
        soon("end", async move { output.await.unwrap() })
    }
}

/// A binary that listens.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pub(crate) url: String,
    /// The URL of its admin listener, if it has one.
    admin_url: Option<String>,
    /// The lines that it has logged.
    log: Arc<Mutex<Vec<String>>>,
}

/// Long enough for any machine; only a hang takes as long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the result of `future`. Panics with the line of the caller if the result takes longer than [`PATIENCE`].
#[track_caller]
pub(crate) fn soon<T>(what: &str, future: impl Future<Output = T>) -> impl Future<Output = T> {
    within(PATIENCE, what, future)
}

/// Returns the result of `future`. Panics with the line of the caller if the result takes longer than `patience`.
#[track_caller]
pub(crate) fn within<T>(
    patience: Duration,
    what: &str,
    future: impl Future<Output = T>,
) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move {
        let Ok(result) = tokio::time::timeout(patience, future).await else {
            panic!("{caller}: {what}: did not happen within {patience:?}")
        };
        result
    }
}

/// Pauses before a call is repeated, so that repetitions do not take the processor from the process under test.
pub(crate) async fn pause() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// Polls until `condition` holds. Panics with the line of the caller if this takes longer than [`PATIENCE`].
#[track_caller]
pub(crate) fn until(
    what: &str,
    mut condition: impl AsyncFnMut() -> bool,
) -> impl Future<Output = ()> {
    let held = async move {
        // Short at first, because most conditions hold soon, then longer, because each poll may be a request that takes the
        // processor from the process under test.
        let mut pause = Duration::from_millis(5);
        while !condition().await {
            tokio::time::sleep(pause).await;
            pause = Duration::from_millis(100).min(pause * 5 / 4);
        }
    };
    soon(what, held)
}

/// Starts a binary, and waits until it logs a line with these words, which may be before it listens.
pub(crate) async fn start_and_log(binary: Binary, settings: &[(&str, &str)], words: &str) -> Child {
    let mut command = binary.command(settings);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.as_mut().unwrap()).lines();
    let logged = async { while !lines.next_line().await.unwrap().unwrap().contains(words) {} };
    soon(words, logged).await;
    child
}

/// Returns the URL after these words in a line of a log, which is text or JSON.
fn url_after(words: &str, line: &str) -> Option<String> {
    let (_, url) = line.split_once(words)?;
    url.split(['"', ' ']).next().map(str::to_owned)
}

impl Process {
    /// Starts a binary on `folder` and any port, and waits until it listens.
    #[track_caller]
    pub(crate) fn start(
        binary: Binary,
        folder: &Path,
        settings: &[(&str, &str)],
    ) -> impl Future<Output = Self> {
        soon("listen", Self::start_now(binary, folder, settings))
    }

    /// Starts a binary on a folder that is deleted with the first value.
    #[track_caller]
    pub(crate) fn fresh(
        binary: Binary,
        settings: &[(&str, &str)],
    ) -> impl Future<Output = (TempDir, Self)> {
        let started = async move {
            let folder = tempfile::tempdir().unwrap();
            let process = Self::start_now(binary, folder.path(), settings).await;
            (folder, process)
        };
        soon("listen", started)
    }

    async fn start_now(binary: Binary, folder: &Path, settings: &[(&str, &str)]) -> Self {
        let started = Self::try_start(binary, folder, settings).await;
        started.unwrap_or_else(|printed| panic!("{binary:?} has ended: {printed}"))
    }

    /// Starts a binary, without a time limit. The error is the log of a binary that has ended.
    pub(crate) async fn try_start(
        binary: Binary,
        folder: &Path,
        settings: &[(&str, &str)],
    ) -> Result<Self, String> {
        let data = ("SHOP_DATA_DIR", folder.to_str().unwrap());
        // Later values replace earlier ones.
        let defaults = [data, ("PORT", "0"), ("LOG_FORMAT", "json")];
        let mut command = binary.command(&[&defaults, settings].concat());
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();

        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut logged = Vec::new();
        let mut admin_url = None;
        let url = loop {
            let Ok(Some(line)) = lines.next_line().await else {
                return Err(logged.concat());
            };
            let url = url_after(" listens on ", &line);
            admin_url = admin_url.or_else(|| url_after(" serves probes and metrics on ", &line));
            logged.push(line);
            if let Some(url) = url {
                break url;
            }
        };

        let log = Arc::new(Mutex::new(logged));
        let rest = Arc::clone(&log);
        // A process blocks if its log is not read.
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                rest.lock().unwrap().push(line);
            }
        });
        Ok(Self {
            child,
            url,
            admin_url,
            log,
        })
    }

    /// Waits for the line of JSON in the log that has this value of `field`.
    pub(crate) async fn logged(&self, field: &str, value: &str) -> Value {
        let mut found = Value::Null;
        until(value, async || {
            let log = self.log.lock().unwrap();
            let mut lines = log
                .iter()
                .filter_map(|line| serde_json::from_str(line).ok());
            let line = lines.find(|line: &Value| line[field] == value);
            line.map(|line| found = line).is_some()
        })
        .await;
        found
    }

    /// What `/health` says of ingest.
    #[track_caller]
    pub(crate) fn ingest(&self) -> impl Future<Output = Value> + use<> {
        let health = get(&self.path("/health"));
        async move { health.await.1["ingest"].take() }
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
        format!("{}{path}", self.admin_url.as_ref().unwrap())
    }

    pub(crate) fn port(&self) -> &str {
        self.url.rsplit(':').next().unwrap()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(&self.child, signal);
    }

    /// The peak memory, in MiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        peak_memory(self.id()).unwrap()
    }

    /// Sends SIGKILL, as in a crash.
    #[track_caller]
    pub(crate) fn kill(mut self) -> impl Future<Output = ()> {
        soon("be killed", async move { self.child.kill().await.unwrap() })
    }

    /// Sends SIGTERM, and waits for the exit.
    #[track_caller]
    pub(crate) fn terminate(self) -> impl Future<Output = ExitStatus> {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// Sends SIGTERM, and waits for the exit, which must be a success.
    #[track_caller]
    pub(crate) fn stop(self) -> impl Future<Output = ()> {
        let caller = Location::caller();
        let ended = self.terminate();
        async move {
            let status = ended.await;
            assert!(status.success(), "{caller}: {status}");
        }
    }

    /// The exit status, if it has ended.
    pub(crate) fn end(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    #[track_caller]
    pub(crate) fn ended(mut self) -> impl Future<Output = ExitStatus> {
        soon("end", async move { self.child.wait().await.unwrap() })
    }
}

/// The peak memory of the process with this id, in MiB, unless it has ended.
pub(crate) fn peak_memory(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let (_, peak) = status.split_once("\nVmHWM:")?;
    let kibibytes = peak.split_whitespace().next()?;
    Some(kibibytes.parse::<u64>().ok()? / 1_024)
}

pub(crate) fn send(process: &Child, signal: Signal) {
    let id = i32::try_from(process.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
}

/// The number of stored purchases of `user`. Retries, since a store that scans everything may exceed the
/// timeout of the service on a busy machine.
#[track_caller]
pub(crate) fn stored(process: &Process, user: &str) -> impl Future<Output = u64> + use<> {
    let of_user = process.client().shop().user(user);
    let sum = async move {
        loop {
            match Box::pin(of_user.summary()).await {
                Ok(summary) => return summary.count,
                Err(_) => pause().await,
            }
        }
    };
    soon("sum up stored purchases", sum)
}

/// Waits until `count` purchases of `user` are stored.
#[track_caller]
pub(crate) fn until_stored(process: &Process, user: &str, count: u64) -> impl Future<Output = ()> {
    until("store the purchases", async move || {
        stored(process, user).await == count
    })
}

/// The file of a folder, as another program opens it.
pub(crate) fn open_file(folder: &Path) -> Connection {
    Connection::open(folder.join("shop.db")).unwrap()
}

/// Sends a request. Returns the status of its response, and the body: as JSON, or as text if it is not JSON.
#[track_caller]
pub(crate) fn exchange(
    request: reqwest::RequestBuilder,
) -> impl Future<Output = (u16, Value)> + use<> {
    let caller = Location::caller();
    async move {
        let response = request.send().await;
        let response = response.unwrap_or_else(|error| panic!("{caller}: {error:?}"));
        let status = response.status().as_u16();
        let body = response.text().await;
        let body = body.unwrap_or_else(|error| panic!("{caller}: {error:?}"));
        (status, serde_json::from_str(&body).unwrap_or(body.into()))
    }
}

/// `GET`.
#[track_caller]
pub(crate) fn get(url: &str) -> impl Future<Output = (u16, Value)> + use<> {
    exchange(plain().get(url))
}

/// Posts this body to `/buy`, which must record a purchase.
#[track_caller]
pub(crate) fn must_buy(process: &Process, body: &str) -> impl Future<Output = ()> + use<> {
    let caller = Location::caller();
    let bought = post(&process.path("/buy"), body);
    async move {
        let (status, answer) = bought.await;
        assert_eq!(status, 201, "{caller}: {answer}");
    }
}

/// `POST` with a body of JSON.
#[track_caller]
pub(crate) fn post(url: &str, body: &str) -> impl Future<Output = (u16, Value)> + use<> {
    let request = plain().post(url).header("content-type", "application/json");
    exchange(request.body(body.to_owned()))
}

/// A client without the certificates of the system, which fails if a response takes longer than [`PATIENCE`].
pub(crate) fn plain() -> reqwest::Client {
    reqwest::Client::builder()
        .tls_certs_only([])
        .read_timeout(PATIENCE)
        .build()
        .unwrap()
}
