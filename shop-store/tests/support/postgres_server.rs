//! PostgreSQL servers of the tests.

#![allow(
    clippy::expect_used,
    dead_code,
    reason = "a test that cannot be set up has failed; each takes its part"
)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// The time within which the shell answers, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// A private cluster of the machine's PostgreSQL. It ends with its owner, also when that is killed.
#[derive(Debug)]
pub(crate) struct Cluster {
    folder: PathBuf,
    /// The commands to the shell, and its answers.
    shell: Mutex<(ChildStdin, Receiver<String>)>,
    _child: Child,
}

impl Cluster {
    /// Starts an empty cluster.
    ///
    /// # Errors
    /// The reason why there is none.
    pub(crate) fn start() -> Result<Self, String> {
        Self::start_with("")
    }

    /// Starts an empty cluster on its own disk of `size` MiB.
    ///
    /// # Errors
    /// What is missing, and why: `tmpfs` without the rights of root.
    pub(crate) fn start_on_disk(size: u32) -> Result<Self, (&'static str, String)> {
        Self::start_with(&size.to_string()).map_err(|why| {
            let missing = if why.starts_with("tmpfs") {
                "tmpfs"
            } else {
                "postgres"
            };
            (missing, why)
        })
    }

    /// Starts an empty cluster in an empty folder of a disk with power cuts.
    ///
    /// # Errors
    /// The reason why there is none.
    pub(crate) fn start_in(folder: &Path) -> Result<Self, String> {
        Self::start_with(folder.to_str().expect("a path of text"))
    }

    fn start_with(argument: &str) -> Result<Self, String> {
        let script = include_str!("postgres_cluster.sh");
        let mut child = Command::new("setsid")
            .args(["--wait", "sh", "-c", script, "cluster", argument])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("setsid cannot be run: {error}"))?;
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let (lines, answers) = channel();
        // Ends with the shell.
        std::thread::spawn(move || {
            let mut lines_of_shell = output.lines().map_while(Result::ok);
            lines_of_shell.try_for_each(|line| lines.send(line))
        });
        match answers.recv_timeout(PATIENCE) {
            Ok(folder) if folder.starts_with('/') => Ok(Self {
                folder: folder.into(),
                shell: Mutex::new((input, answers)),
                _child: child,
            }),
            Ok(error) => Err(error),
            Err(error) => Err(format!("the shell does not answer: {error}")),
        }
    }

    /// The cluster that the tests of this process share.
    ///
    /// # Errors
    /// The reason why there is none.
    pub(crate) fn shared() -> Result<&'static Self, &'static str> {
        static SHARED: OnceLock<Result<Cluster, String>> = OnceLock::new();
        SHARED
            .get_or_init(Self::start)
            .as_ref()
            .map_err(String::as_str)
    }

    /// The folder of the server's socket, as the host of a URL.
    fn host(&self) -> String {
        self.folder.display().to_string().replace('/', "%2F")
    }

    /// The URL of the database that every cluster has.
    pub(crate) fn url(&self) -> String {
        format!("postgresql://postgres@{}/postgres", self.host())
    }

    /// The server's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join(".s.PGSQL.5432")
    }

    /// The URL of the primary and of its standby, whichever is writable.
    pub(crate) fn url_of_both(&self) -> String {
        let host = self.host();
        format!(
            "postgresql://postgres@{host}:5432,{host}:5433/postgres?target_session_attrs=read-write"
        )
    }

    /// Runs a command of `postgres_cluster.sh`.
    pub(crate) fn ctl(&self, command: &str) {
        let mut shell = self.shell.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(shell.0, "{command}").expect("a running shell");
        let answer = shell.1.recv_timeout(PATIENCE);
        assert_eq!(answer.as_deref(), Ok(command), "the answer of the shell");
    }
}
