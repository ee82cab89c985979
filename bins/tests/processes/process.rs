//! A running binary.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use shop_client::{RetryPolicy, ShopClient};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

/// The setting of a process that serves users and orders too.
pub(crate) const ALL_ROLES: (&str, &str) = ("SHOP_ROLES", "purchases,users,orders");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binary {
    Facing,
    Management,
}

impl Binary {
    const fn path(self) -> &'static str {
        match self {
            Self::Facing => env!("CARGO_BIN_EXE_facing"),
            Self::Management => env!("CARGO_BIN_EXE_management"),
        }
    }

    /// The binary with nothing in its environment but `settings`.
    pub(crate) fn command(self, settings: &[(&str, &str)]) -> Command {
        let mut command = Command::new(self.path());
        command.env_clear().envs(settings.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs it to its end.
    pub(crate) async fn run(self, arguments: &[&str], settings: &[(&str, &str)]) -> Output {
        soon("end", self.command(settings).args(arguments).output()).await.unwrap()
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

/// Long enough for any machine; only what hangs takes as long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The result of `future`, which must come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    within(PATIENCE, what, future).await
}

/// The same, for what may take longer than anything else.
pub(crate) async fn within<T>(patience: Duration, what: &str, future: impl Future<Output = T>) -> T {
    let Ok(result) = tokio::time::timeout(patience, future).await else {
        panic!("{what}: did not happen within {patience:?}")
    };
    result
}

/// Between two looks at the same thing: without it the looks would take the processor from what they look at.
pub(crate) async fn pause() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}

/// Looks again and again until `condition` holds, which must come.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let held = async {
        while !condition().await {
            pause().await;
        }
    };
    soon(what, held).await;
}

/// The file of a process in the folder `SHOP_TEST_LOGS`, if it is set.
#[expect(clippy::disallowed_methods, reason = "the environment says where logs are kept")]
fn log_file(id: u32) -> Option<File> {
    let folder = std::env::var_os("SHOP_TEST_LOGS")?;
    Some(File::create(Path::new(&folder).join(format!("{id}.jsonl"))).unwrap())
}

impl Process {
    /// Starts a binary on `folder` and any port, and waits until it listens.
    pub(crate) async fn start(binary: Binary, folder: &Path, settings: &[(&str, &str)]) -> Self {
        let started = soon("listen", Self::try_start(binary, folder, settings)).await;
        started.unwrap_or_else(|said| panic!("{binary:?} has ended: {said}"))
    }

    /// The same. The error is what a binary has logged that has ended. If this is dropped, the binary is killed.
    pub(crate) async fn try_start(
        binary: Binary,
        folder: &Path,
        settings: &[(&str, &str)],
    ) -> Result<Self, String> {
        let mut command = binary.command(settings);
        command.env("SHOP_DATA_DIR", folder).env("LOG_FORMAT", "json");
        if settings.iter().all(|(name, _)| *name != "PORT") {
            command.env("PORT", "0");
        }
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let id = child.id().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (listening, address) = oneshot::channel();
        // Read to the end: a process whose log nobody reads would stand still.
        tokio::spawn(async move {
            let (mut listening, mut said, mut admin) = (Some(listening), String::new(), None);
            let mut kept = log_file(id);
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(kept) = &mut kept {
                    writeln!(kept, "{line}").unwrap();
                }
                let event: Value = serde_json::from_str(&line).unwrap_or_default();
                admin = event["admin.address"].as_str().map(|address| format!("http://{address}")).or(admin);
                match (event["http.address"].as_str(), listening.take()) {
                    (Some(address), Some(listening)) => {
                        drop(listening.send(Ok((address.to_owned(), admin.take()))));
                    }
                    (_, waiting) => {
                        listening = waiting;
                        said.push_str(&line);
                    }
                }
            }
            listening.map(|listening| listening.send(Err(said)));
        });
        let (address, admin) = address.await.unwrap()?;
        let is_tls = settings.iter().any(|(name, _)| *name == "SHOP_TLS_CERT_FILE");
        let scheme = if is_tls { "https" } else { "http" };
        Ok(Self { child, url: format!("{scheme}://{address}"), admin })
    }

    pub(crate) fn client(&self) -> ShopClient {
        // What one attempt comes to is what these tests are about.
        ShopClient::builder(&self.url).retries(RetryPolicy::none()).build().unwrap()
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

    /// The memory that it has now, in MiB.
    pub(crate) fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most memory that it ever had, in MiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1_024
    }

    /// SIGKILL, as in a crash.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// SIGTERM, and waits for the end.
    pub(crate) async fn terminate(self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// How it has ended, if it has.
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

/// How many purchases of `user` are stored, as soon as the store can say: one that reads everything may miss the
/// service's deadline on a busy machine.
pub(crate) async fn stored(process: &Process, user: &str) -> u64 {
    let of_user = process.client().user(user.parse().unwrap());
    let mut count = 0;
    until("sum up what is stored", async || {
        let summary = Box::pin(of_user.summary()).await;
        count = summary.as_ref().map_or(0, |summary| summary.count);
        summary.is_ok()
    })
    .await;
    count
}

/// `GET`, as JSON.
pub(crate) async fn get(url: &str) -> (u16, Value) {
    let response = plain().get(url).send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
}

/// `POST /buy` of this body.
pub(crate) async fn buy(process: &Process, body: &str) -> (u16, Value) {
    post(&process.path("/buy"), body).await
}

/// `POST` of JSON, answered by JSON.
pub(crate) async fn post(url: &str, body: &str) -> (u16, Value) {
    let request = plain().post(url).header("content-type", "application/json");
    let response = request.body(body.to_owned()).send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
}

pub(crate) fn plain() -> reqwest::Client {
    reqwest::Client::builder().tls_certs_only([]).build().unwrap()
}
