//! PostgreSQL servers of the tests.

#![allow(
    clippy::expect_used,
    dead_code,
    reason = "a test that cannot be set up has failed; each takes its part"
)]

use std::io::{BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

/// A private cluster of the machine's PostgreSQL. It ends with its owner, also when that is killed.
#[derive(Debug)]
pub(crate) struct Cluster {
    folder: PathBuf,
    shell: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    _child: Child,
}

impl Cluster {
    /// Starts an empty cluster.
    ///
    /// # Errors
    /// The reason why there is none.
    pub(crate) fn start() -> Result<Self, String> {
        Self::start_with(&[])
    }

    /// Starts an empty cluster on its own disk of `size` MiB.
    ///
    /// # Errors
    /// What is missing, and why: `tmpfs` without the rights of root.
    pub(crate) fn start_on_disk(size: u32) -> Result<Self, (&'static str, String)> {
        Self::start_with(&[&size.to_string()]).map_err(|why| {
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
        Self::start_with(&[folder.to_str().expect("a path of text")])
    }

    fn start_with(arguments: &[&str]) -> Result<Self, String> {
        let mut command = Command::new("setsid");
        command
            .args([
                "--wait",
                "sh",
                "-c",
                include_str!("postgres_cluster.sh"),
                "cluster",
            ])
            .args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|error| format!("setsid cannot be run: {error}"))?;
        let input = child.stdin.take().expect("a pipe");
        let output = child.stdout.take().expect("a pipe");
        let mut output = BufReader::new(output);
        match line(&mut output) {
            folder if folder.starts_with('/') => Ok(Self {
                folder: folder.into(),
                shell: Mutex::new((input, output)),
                _child: child,
            }),
            error => Err(error),
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

    /// The URL of the database that every cluster has.
    pub(crate) fn url(&self) -> String {
        let folder = self.folder.display().to_string().replace('/', "%2F");
        format!("postgresql://postgres@{folder}/postgres")
    }

    /// The server's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        Path::new(&self.folder).join(".s.PGSQL.5432")
    }

    /// The URL of the primary and of its standby, whichever is writable.
    pub(crate) fn url_of_both(&self) -> String {
        let folder = self.folder.display().to_string().replace('/', "%2F");
        format!(
            "postgresql://postgres@{folder}:5432,{folder}:5433/postgres?target_session_attrs=read-write"
        )
    }

    /// A command of `postgres_cluster.sh`.
    pub(crate) fn ctl(&self, command: &str) {
        let mut shell = self.shell.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(shell.0, "{command}").expect("a running shell");
        assert_eq!(line(&mut shell.1), command, "the answer of the shell");
    }
}

fn line(output: &mut impl std::io::BufRead) -> String {
    let mut line = String::new();
    output.read_line(&mut line).expect("a line of the shell");
    line.trim_end().to_owned()
}
