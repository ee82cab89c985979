//! A running binary.

use std::fs::File;
use std::io::Write as _;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use shop_client::{NewPurchase, Purchase, RetryPolicy, ShopClient};
use shop_core::{Clock as _, SystemClock};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

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

/// A purchase of 29.99 by the user `user` with an id and a time, as a service publishes it.
pub(crate) fn published_purchase_of(user: &str) -> Purchase {
    purchase_of(user).into_purchase(SystemClock.now(), || SystemClock.fresh_id())
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
    /// The address of its admin listener, if it has one.
    pub(crate) admin: Option<String>,
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

/// The pauses between polls: short at first, because most conditions hold soon, then longer, because each poll may be a
/// request that takes the processor from the process under test.
const FIRST_POLL: Duration = Duration::from_millis(5);
const LONGEST_POLL: Duration = Duration::from_millis(100);

/// Polls until `condition` holds. Panics with the line of the caller if this takes longer than [`PATIENCE`].
#[track_caller]
pub(crate) fn until(
    what: &str,
    mut condition: impl AsyncFnMut() -> bool,
) -> impl Future<Output = ()> {
    let held = async move {
        let mut pause = FIRST_POLL;
        while !condition().await {
            tokio::time::sleep(pause).await;
            pause = LONGEST_POLL.min(pause * 5 / 4);
        }
    };
    soon(what, held)
}

/// The log of a process. It is copied into the folder `SHOP_TEST_LOGS`, if this is set.
struct Log {
    lines: Lines<BufReader<ChildStderr>>,
    copy: Option<File>,
}

/// The addresses of a process: of its listener, and of its admin listener, if it has one.
type Addresses = (String, Option<String>);

impl Log {
    #[expect(clippy::disallowed_methods, reason = "the folder of the logs")]
    fn new(child: &mut Child) -> Self {
        let name = format!("{}.jsonl", child.id().unwrap());
        let folder = std::env::var_os("SHOP_TEST_LOGS");
        Self {
            lines: BufReader::new(child.stderr.take().unwrap()).lines(),
            copy: folder.map(|folder| File::create(Path::new(&folder).join(name)).unwrap()),
        }
    }

    async fn next(&mut self) -> Option<String> {
        let line = self.lines.next_line().await.ok()??;
        if let Some(copy) = &mut self.copy {
            writeln!(copy, "{line}").unwrap();
        }
        Some(line)
    }

    /// Reads until the process listens. The error is what a process that has ended has logged.
    async fn addresses(&mut self) -> Result<Addresses, String> {
        let mut printed = String::new();
        let mut admin = None;
        while let Some(line) = self.next().await {
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            if let Some(address) = event["http.address"].as_str() {
                return Ok((address.to_owned(), admin));
            }
            if let Some(address) = event["admin.address"].as_str() {
                admin = Some(format!("http://{address}"));
            }
            printed.push_str(&line);
        }
        Err(printed)
    }
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
        let is_set = |name| settings.iter().any(|(known, _)| *known == name);
        let mut command = binary.command(settings);
        command
            .env("SHOP_DATA_DIR", folder)
            .env("LOG_FORMAT", "json");
        if !is_set("PORT") {
            command.env("PORT", "0");
        }
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut log = Log::new(&mut child);
        let (address, admin) = log.addresses().await?;
        // A process blocks if its log is not read.
        tokio::spawn(async move { while log.next().await.is_some() {} });
        let is_tls = is_set("SHOP_TLS_CERT_FILE");
        let scheme = if is_tls { "https" } else { "http" };
        Ok(Self {
            child,
            url: format!("{scheme}://{address}"),
            admin,
        })
    }

    /// What `/health` says of ingest.
    #[track_caller]
    pub(crate) fn ingest(&self) -> impl Future<Output = Value> + use<> {
        let health = get(&self.path("/health"));
        async move { health.await.1["ingest"].take() }
    }

    #[track_caller]
    pub(crate) fn metrics(&self) -> impl Future<Output = String> + use<> {
        let metrics = get(&self.path("/metrics"));
        async move { metrics.await.1.as_str().unwrap().to_owned() }
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
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let (_, peak) = status.split_once("\nVmHWM:").unwrap();
        let kibibytes = peak.split_whitespace().next().unwrap();
        kibibytes.parse::<u64>().unwrap() / 1_024
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

pub(crate) fn send(process: &Child, signal: Signal) {
    let id = i32::try_from(process.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
}

/// The number of stored purchases of `user`. Retries, since a store that scans everything may exceed the
/// timeout of the service on a busy machine.
#[track_caller]
pub(crate) fn stored(process: &Process, user: &str) -> impl Future<Output = u64> + use<> {
    let of_user = process.client().user(user);
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

/// Posts this body to `/buy`.
#[track_caller]
pub(crate) fn buy(process: &Process, body: &str) -> impl Future<Output = (u16, Value)> + use<> {
    post(&process.path("/buy"), body)
}

/// Posts this body to `/buy`, which must record a purchase.
#[track_caller]
pub(crate) fn must_buy(process: &Process, body: &str) -> impl Future<Output = ()> + use<> {
    let caller = Location::caller();
    let bought = buy(process, body);
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
