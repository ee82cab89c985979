//! `management backup` and `management restore`: copies of the embedded files.

use std::fs;
use std::io::{IsTerminal as _, Write as _, stderr, stdin, stdout};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::archive;
use super::output::{Progress, print_report};
use crate::backend::{self, CopiedFile};
use crate::settings::Settings;
use crate::{CliError, Result};

pub(super) async fn backup(settings: &Settings, into: &Path) -> Result<()> {
    let is_stream = into == Path::new("-");
    if is_stream && stdout().is_terminal() {
        return Err(CliError::new("standard output is a terminal: write to a file or a pipe").usage());
    }
    let scratch = is_stream.then(|| Scratch::new(settings));
    let progress = Progress::begin();
    progress.show(format!("copying {}", settings.data_dir.display()));
    let folder = scratch.as_ref().map_or(into, |Scratch(folder)| folder);
    let copied = backend::for_files(settings).backup(folder).await?;
    if is_stream {
        let written = archive::write(stdout().lock(), folder, copied.iter().map(|file| &*file.name));
        written.map_err(|error| CliError::new(format!("standard output: {error}")))?;
    }
    drop(progress);
    report(settings, into, &copied, &left_out(settings))
}

pub(super) async fn restore(settings: &Settings, from: &Path) -> Result<()> {
    let scratch = (from == Path::new("-")).then(|| Scratch::new(settings));
    let progress = Progress::begin();
    progress.show(format!("copying {}", from.display()));
    if let Some(Scratch(folder)) = &scratch {
        let read = archive::read(stdin().lock(), folder);
        read.map_err(|error| CliError::new(format!("standard input: {error}")))?;
    }
    let from = scratch.as_ref().map_or(from, |Scratch(folder)| folder);
    let copied = backend::for_files(settings).restore(from).await;
    drop(progress);
    report(settings, &settings.data_dir, &copied?, &[])
}

/// A folder in the data folder, whose disk has room for it. It is deleted on drop.
struct Scratch(PathBuf);

impl Scratch {
    fn new(settings: &Settings) -> Self {
        let folder = settings.data_dir.join(format!("stream-{}", std::process::id()));
        // Of a process with the same number that was killed.
        let _missing = fs::remove_dir_all(&folder);
        Self(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _missing = fs::remove_dir_all(&self.0);
    }
}

/// What is not in a backup: it is on servers.
fn left_out(settings: &Settings) -> Vec<&'static str> {
    let (keeps_users, keeps_orders) = settings.keeps();
    let has_rows = settings.postgres_url.is_some();
    let all = [
        ("log", settings.kafka_bootstrap_servers.is_some()),
        ("store", settings.has_store_server()),
        ("users", has_rows && keeps_users),
        ("orders", has_rows && keeps_orders),
    ];
    all.into_iter().filter_map(|(what, is_left_out)| is_left_out.then_some(what)).collect()
}

/// Prints what was copied into `folder`. Standard output has nothing but an archive.
fn report(settings: &Settings, folder: &Path, copied: &[CopiedFile], left_out: &[&str]) -> Result<()> {
    let path = |file: &CopiedFile| folder.join(&file.name).display().to_string();
    let mut text: Vec<_> =
        copied.iter().map(|file| format!("{}  {} bytes", path(file), file.bytes)).collect();
    if !left_out.is_empty() {
        text.push(format!("on servers, not in the backup: {}", left_out.join(", ")));
    }
    let files = copied.iter().map(|file| json!({ "path": path(file), "bytes": file.bytes }));
    let report = json!({ "files": files.collect::<Vec<_>>(), "left_out": left_out });
    if folder != Path::new("-") {
        return print_report(settings.json, &[], text.join("\n"), &report);
    }
    let text = if settings.json { report.to_string() } else { text.join("\n") };
    writeln!(stderr(), "{text}").map_err(CliError::new)
}
