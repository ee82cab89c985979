//! `management backup` and `management restore`: copies of the embedded files.

use std::fs::{self, DirBuilder, File};
use std::io::{self, IsTerminal as _, Write as _, stderr, stdin, stdout};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use serde_json::json;
use shop_core::{Clock as _, SystemClock};
use tokio::sync::oneshot;

use super::archive;
use super::output::{print_report, progress};
use crate::backend::{self, CopiedFile, Kind, Place, places};
use crate::settings::Settings;
use crate::{CliError, Result};

pub(super) async fn backup(settings: &Settings, into: &Path) -> Result<()> {
    let is_stream = into == Path::new("-");
    if is_stream && stdout().is_terminal() {
        return Err(
            CliError::new("standard output is a terminal: write to a file or a pipe").usage(),
        );
    }
    let scratch = is_stream.then(|| Scratch::new(settings, false));
    let progress = progress();
    progress.set_message(format!("copying {}", settings.data_dir.display()));
    let folder = scratch.as_ref().map_or(into, |scratch| &scratch.folder);
    let copied = backend::for_files(settings).backup(folder).await?;
    if is_stream {
        let (folder, names): (_, Vec<_>) = (
            folder.to_owned(),
            copied.iter().map(|(name, _)| name.clone()).collect(),
        );
        let write =
            move || archive::write(stdout().lock(), &folder, names.iter().map(String::as_str));
        piped("standard output", write).await?;
    }
    drop(progress);
    report(settings, into, &copied, &left_out(settings))
}

pub(super) async fn restore(settings: &Settings, from: &Path) -> Result<()> {
    let scratch = (from == Path::new("-")).then(|| Scratch::new(settings, true));
    let progress = progress();
    progress.set_message(format!("copying {}", from.display()));
    if let Some(Scratch { folder, .. }) = &scratch {
        let folder = folder.clone();
        piped("standard input", move || {
            archive::read(stdin().lock(), &folder)
        })
        .await?;
    }
    let from = scratch.as_ref().map_or(from, |scratch| &scratch.folder);
    let copied = backend::for_files(settings).restore(from).await;
    drop(progress);
    report(settings, &settings.data_dir, &copied?, &[])
}

/// Runs `work` on a thread that the end of the process does not wait for, as the other end of a pipe may never go on.
async fn piped(what: &str, work: impl FnOnce() -> io::Result<()> + Send + 'static) -> Result<()> {
    let (sender, done) = oneshot::channel();
    thread::spawn(move || drop(sender.send(work())));
    let done = done
        .await
        .unwrap_or_else(|_panicked| Err(io::ErrorKind::Other.into()));
    done.map_err(|error| CliError::new(format!("{what}: {error}")))
}

/// A folder in the data folder, whose disk has room for it. It is locked, and deleted on drop.
struct Scratch {
    folder: PathBuf,
    _lock: Option<File>,
}

const SCRATCH: &str = "stream-";

impl Scratch {
    /// Without a data folder none is made, unless it `creates` that.
    fn new(settings: &Settings, creates: bool) -> Self {
        remove_left_copies(settings);
        let folder = settings
            .data_dir
            .join(format!("{SCRATCH}{}", SystemClock.fresh_id()));
        let made = DirBuilder::new()
            .recursive(creates)
            .mode(0o700)
            .create(&folder);
        // What uses the folder reports an error.
        let lock = made
            .and_then(|()| File::open(&folder))
            .ok()
            .filter(|lock| lock.try_lock().is_ok());
        Self {
            folder,
            _lock: lock,
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A backup that was stopped goes on until it misses the folder.
        let gone = self.folder.with_extension("gone");
        let _missing = fs::rename(&self.folder, &gone).and_then(|()| fs::remove_dir_all(gone));
    }
}

/// Removes the copies of `backup -` and `restore -` that were killed.
pub(super) fn remove_left_copies(settings: &Settings) {
    for folder in fs::read_dir(&settings.data_dir)
        .into_iter()
        .flatten()
        .flatten()
    {
        let is_left = || File::open(folder.path()).is_ok_and(|left| left.try_lock().is_ok());
        if folder.file_name().to_string_lossy().starts_with(SCRATCH) && is_left() {
            let _missing = fs::remove_dir_all(folder.path());
        }
    }
}

/// What is not in a backup: it is on servers.
fn left_out(settings: &Settings) -> Vec<&'static str> {
    let on_servers = places(settings).filter(|place| place.file.is_none());
    let mut names: Vec<_> = on_servers
        .map(|Place { what, kind, .. }| if let Kind::Log(_) = kind { "log" } else { what })
        .collect();
    names.dedup();
    names
}

/// Prints what was copied into `folder`. Standard output has nothing but an archive.
fn report(
    settings: &Settings,
    folder: &Path,
    copied: &[CopiedFile],
    left_out: &[&str],
) -> Result<()> {
    let copied = copied
        .iter()
        .map(|(name, bytes)| (folder.join(name).display().to_string(), bytes));
    let mut text: Vec<_> = copied
        .clone()
        .map(|(path, bytes)| format!("{path}  {bytes} bytes"))
        .collect();
    if !left_out.is_empty() {
        text.push(format!(
            "on servers, not in the backup: {}",
            left_out.join(", ")
        ));
    }
    let files = copied.map(|(path, bytes)| json!({ "path": path, "bytes": bytes }));
    let report = json!({ "files": files.collect::<Vec<_>>(), "left_out": left_out });
    if folder != Path::new("-") {
        return print_report(settings.json, &[], text.join("\n"), &report);
    }
    let text = if settings.json {
        report.to_string()
    } else {
        text.join("\n")
    };
    writeln!(stderr(), "{text}").map_err(CliError::new)
}
