//! `management backup` and `management restore`: copies of the embedded files, in a folder or as
//! one stream.
//!
//! The folder `-` stands for a stream, which is a tar archive on standard output or standard input.
//! Its files are copied through a [`Scratch`] folder:
//!
//! | command | steps of a stream |
//! |---|---|
//! | `backup -` | data folder → scratch folder → [`write_archive`] → standard output |
//! | `restore -` | standard input → [`extract_databases`] → scratch folder → data folder |
//!
//! The streams are written and read on a thread, because the program at the
//! other end of a pipe may never read or write.

use std::fs::{self, DirBuilder, File};
use std::io::{self, IsTerminal as _, Read, Write, stderr, stdin, stdout};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;
use serde_json::json;
use shop_core::{Clock as _, SystemClock};
use tar::{Archive, Builder, Entry, Header};
use tokio::sync::oneshot;

use super::{print_report, start_progress};
use crate::backend::{Backends, ComponentKind, CopiedFile, components};
use crate::settings::Settings;
use crate::{CliError, Result};

/// The prefix of the names of scratch folders.
const SCRATCH_PREFIX: &str = "stream-";
/// The name of the last entry of an archive, which is empty. Without this entry, a stream that ends
/// early between two files would be an archive, too.
const END_ENTRY: &str = "complete";

/// Copies the embedded files into the folder `target`, or to standard output if `target` is `-`.
///
/// # Errors
/// - a usage error if standard output is a terminal, or if the settings select no embedded files
/// - the errors of the files, of the folder and of standard output
pub(super) async fn backup(backends: &Backends<'_>, target: &Path) -> Result<()> {
    let settings = backends.settings;
    let is_stream = target == Path::new("-");
    if is_stream && stdout().is_terminal() {
        return Err(CliError::usage(
            "standard output is a terminal: write to a file or a pipe",
        ));
    }

    let scratch = is_stream.then(|| Scratch::for_backup(settings));
    let progress = start_progress();
    progress.set_message(format!("copying {}", settings.data_dir.display()));
    let folder = scratch.as_ref().map_or(target, |scratch| &scratch.folder);
    let copied = backends.backup(folder).await?;

    if is_stream {
        let folder = folder.to_owned();
        let files = copied.clone();
        run_on_thread("standard output", move || {
            write_archive(stdout().lock(), &folder, &files)
        })
        .await?;
    }
    drop(progress);
    print_copied_files(settings, target, &copied, &server_parts(settings))
}

/// Copies the files of a backup into the data folder. The backup is the folder `source`, or the
/// archive on standard input if `source` is `-`.
///
/// # Errors
/// - a usage error if the settings select no embedded files
/// - an error if the archive is not complete, or its files do not fit on the disk
/// - the errors of the files, of the folders and of standard input
pub(super) async fn restore(backends: &Backends<'_>, source: &Path) -> Result<()> {
    let settings = backends.settings;
    let scratch = (source == Path::new("-")).then(|| Scratch::for_restore(settings));
    let progress = start_progress();
    progress.set_message(format!("copying {}", source.display()));
    let folder = scratch.as_ref().map_or(source, |scratch| &scratch.folder);

    if scratch.is_some() {
        let folder = folder.to_owned();
        run_on_thread("standard input", move || {
            extract_databases(stdin().lock(), &folder)
        })
        .await?;
    }
    let copied = backends.restore(folder).await;
    drop(progress);
    // A restore copies all files of the backup.
    let no_server_parts = &[];
    print_copied_files(settings, &settings.data_dir, &copied?, no_server_parts)
}

/// Runs `work` on a thread, and waits for its result. The process can end before the thread.
///
/// # Errors
/// The error of `work`, with the name of the `stream` before it.
async fn run_on_thread(
    stream: &str,
    work: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> Result<()> {
    let (sender, result) = oneshot::channel();
    // The receiver is gone if the command was stopped.
    std::thread::spawn(move || drop(sender.send(work())));
    result
        .await
        .unwrap_or_else(|_panicked| Err(io::ErrorKind::Other.into()))
        .map_err(|error| CliError::new(format!("{stream}: {error}")))
}

/// A folder for the files of a stream. It is in the data folder, on a disk with room for the files.
///
/// The folder is locked while it is in use, and deleted on drop.
struct Scratch {
    folder: PathBuf,
    _lock: Option<File>,
}

impl Scratch {
    /// Creates a scratch folder for a backup. Without a data folder there is nothing to copy, so no
    /// folder is created.
    fn for_backup(settings: &Settings) -> Self {
        let creates_data_folder = false;
        Self::create(settings, DirBuilder::new().recursive(creates_data_folder))
    }

    /// Creates a scratch folder for the files of an archive, and the data folder, if it is missing.
    fn for_restore(settings: &Settings) -> Self {
        let creates_data_folder = true;
        Self::create(settings, DirBuilder::new().recursive(creates_data_folder))
    }

    /// Creates a scratch folder with `builder`, and deletes the scratch folders of processes that
    /// were killed.
    fn create(settings: &Settings, builder: &mut DirBuilder) -> Self {
        remove_abandoned_scratch(settings);
        let name = format!("{SCRATCH_PREFIX}{}", SystemClock.fresh_id());
        let folder = settings.data_dir.join(name);
        // An error is ignored here: the command then fails when it creates the folder or a file in
        // the folder.
        let _result = builder.mode(0o700).create(&folder);
        // Without a lock, another command may delete the folder. The backup or restore then fails.
        let lock_file = File::open(&folder).ok();
        Self {
            folder,
            _lock: lock_file.filter(|file| file.try_lock().is_ok()),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The thread of a backup that was stopped may still write into the folder. The folder is
        // renamed first, so that the thread fails, and adds no file during the deletion.
        let renamed_folder = self.folder.with_extension("gone");
        // An error is ignored: the next backup or restore deletes a folder that is left.
        let _result = fs::rename(&self.folder, &renamed_folder)
            .and_then(|()| fs::remove_dir_all(renamed_folder));
    }
}

/// Deletes the scratch folders of `backup -` and `restore -` that were killed.
pub(super) fn remove_abandoned_scratch(settings: &Settings) {
    let Ok(entries) = fs::read_dir(&settings.data_dir) else {
        return;
    };
    for entry in entries.flatten() {
        // The lock of a process that was killed is free.
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with(SCRATCH_PREFIX)
            && File::open(entry.path()).is_ok_and(|folder| folder.try_lock().is_ok())
        {
            let _missing = fs::remove_dir_all(entry.path());
        }
    }
}

/// Returns the names of the parts that are on servers. A backup does not contain them.
fn server_parts(settings: &Settings) -> Vec<&'static str> {
    let mut names = Vec::new();
    for component in components(settings) {
        if component.file.is_none() {
            names.push(match component.kind {
                ComponentKind::Log(_) => "log",
                _ => component.label,
            });
        }
    }
    names.dedup();
    names
}

/// Prints the files that were copied into `folder`, and `server_parts`, the names of the parts that
/// a backup does not contain.
///
/// The report is on standard error if `folder` is `-`, because the archive is on standard output.
///
/// # Errors
/// Returns an error if the report cannot be written.
fn print_copied_files(
    settings: &Settings,
    folder: &Path,
    copied: &[CopiedFile],
    server_parts: &[&str],
) -> Result<()> {
    let mut lines = Vec::new();
    let mut files = Vec::new();
    for (name, bytes) in copied {
        let path = folder.join(name).display().to_string();
        lines.push(format!("{path}  {bytes} bytes"));
        files.push(json!({ "path": path, "bytes": bytes }));
    }
    if !server_parts.is_empty() {
        lines.push(format!(
            "on servers, not in the backup: {}",
            server_parts.join(", ")
        ));
    }

    let mut text = lines.join("\n");
    let report = json!({ "files": files, "left_out": server_parts });
    if folder != Path::new("-") {
        return print_report(settings.process.json, text, &report);
    }

    if settings.process.json {
        text = report.to_string();
    }
    writeln!(stderr(), "{text}").map_err(CliError::new)
}

/// Writes the `files` in `folder` to `output` as a tar archive, which other programs can read.
fn write_archive(output: impl Write, folder: &Path, files: &[CopiedFile]) -> io::Result<()> {
    let mut archive = Builder::new(output);
    // A sparse entry is no plain file, and `restore` accepts only plain files.
    archive.sparse(false);
    for (name, _) in files {
        archive.append_path_with_name(folder.join(name), name)?;
    }

    let mut end = Header::new_gnu();
    end.set_size(0);
    archive.append_data(&mut end, END_ENTRY, io::empty())?;
    archive.into_inner()?.flush()
}

/// Extracts the database files of an archive into `folder`. All other entries are skipped.
///
/// # Errors
/// - [`io::ErrorKind::UnexpectedEof`] if the archive is not complete
/// - [`io::ErrorKind::StorageFull`] if a file does not fit on the disk
/// - [`io::ErrorKind::Other`] if a database file is a link, or of another special kind
/// - the errors of `input` and of the files
fn extract_databases(input: impl Read, folder: &Path) -> io::Result<()> {
    let mut archive = Archive::new(input);
    let mut is_complete = false;
    for entry in archive.entries()? {
        let entry = entry?;
        // Only the last part of the path is used, so that no file is written outside of the folder.
        let path = entry.path()?.into_owned();
        let name = path.file_name().unwrap_or_default();
        if name == END_ENTRY {
            is_complete = true;
        }
        if name.to_string_lossy().ends_with(".db") {
            extract_file(entry, &folder.join(name))?;
        }
    }

    if !is_complete {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("the archive is not complete: it has no entry {END_ENTRY}"),
        ));
    }
    Ok(())
}

/// Extracts a database file of an archive into a new file at `target`.
///
/// # Errors
/// - [`io::ErrorKind::UnexpectedEof`] if the archive ends within the file
/// - [`io::ErrorKind::StorageFull`] if the file does not fit on the disk
/// - [`io::ErrorKind::Other`] if the entry is a link, or of another special kind
/// - the errors of the archive and of the file
fn extract_file(mut entry: Entry<'_, impl Read>, target: &Path) -> io::Result<()> {
    // A link could name a file outside of the folder, and a small entry of a sparse file could
    // expand to any number of zeros.
    if !entry.header().entry_type().is_file() {
        let name = target.file_name().unwrap_or_default();
        return Err(io::Error::other(format!(
            "{} is not a plain file",
            name.display()
        )));
    }
    // The disk needs room for the file twice: `restore` copies the file from this folder to the data
    // folder, which is on the same disk.
    let disk = statvfs(target.parent().unwrap_or(target))?;
    let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
    if entry.size() > free_bytes / 2 {
        return Err(io::ErrorKind::StorageFull.into());
    }

    let mut file = File::create_new(target)?;
    let copied_bytes = io::copy(&mut entry, &mut file)?;
    if copied_bytes < entry.size() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tar::EntryType;

    use super::*;

    /// An archive of `shop.db` with this content.
    fn archive(content: &[u8]) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("shop.db"), content).unwrap();
        let mut output = Vec::new();
        write_archive(&mut output, folder.path(), &[("shop.db".to_owned(), 0)]).unwrap();
        output
    }

    fn restored(archive: &[u8]) -> io::Result<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        extract_databases(archive, folder.path())?;
        fs::read(folder.path().join("shop.db"))
    }

    #[test]
    fn a_file_of_any_size_comes_back() {
        for size in [0, 1, 511, 512, 513, 70_000] {
            let content = vec![7; size];
            assert_eq!(restored(&archive(&content)).unwrap(), content);
        }
    }

    #[test]
    fn an_incomplete_archive_is_an_error() {
        let whole = archive(&[7; 1_000]);
        for end in [0, 1, 511, 512, 1_000, 1_536, 1_537] {
            restored(&whole[..end]).unwrap_err();
        }
        let mut damaged = whole;
        damaged[0] = b'S';
        restored(&damaged).unwrap_err();
    }

    #[test]
    fn only_a_plain_file_for_which_there_is_room_is_written() {
        for (kind, size) in [
            (EntryType::GNUSparse, 1 << 30),
            (EntryType::Symlink, 0),
            (EntryType::Regular, 1 << 60),
        ] {
            let mut header = Header::new_gnu();
            header.set_path("shop.db").unwrap();
            header.set_entry_type(kind);
            header.as_gnu_mut().unwrap().set_real_size(1 << 30);
            header.set_size(if kind == EntryType::GNUSparse {
                0
            } else {
                size
            });
            header.set_cksum();
            let folder = tempfile::tempdir().unwrap();
            extract_databases(
                &[header.as_bytes().as_slice(), &[0; 1_024]].concat()[..],
                folder.path(),
            )
            .unwrap_err();
            assert!(!folder.path().join("shop.db").exists(), "{kind:?}");
        }
    }

    #[test]
    fn no_file_is_written_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let mut outside = Builder::new(Vec::new());
        for name in ["../../shop.db", END_ENTRY] {
            let mut header = Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(0);
            header.set_cksum();
            outside.append(&header, io::empty()).unwrap();
        }
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        extract_databases(&*outside.into_inner().unwrap(), &folder.path().join("a/b")).unwrap();
        assert!(
            folder.path().join("a/b/shop.db").exists() && !folder.path().join("shop.db").exists()
        );
    }

    #[test]
    fn the_program_tar_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("x.tar"), archive(b"content")).unwrap();
        let mut tar = std::process::Command::new("tar");
        assert!(
            tar.current_dir(&folder)
                .args(["xf", "x.tar"])
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(fs::read(folder.path().join("shop.db")).unwrap(), b"content");
    }
}
