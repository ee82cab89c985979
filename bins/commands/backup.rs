//! `management backup` and `management restore`: copies of the embedded files, in a folder or as one stream.

use std::fs::{self, DirBuilder, File};
use std::io::{self, IsTerminal as _, Read, Write, stderr, stdin, stdout};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::fs::statvfs;
use serde_json::json;
use shop_core::{Clock as _, SystemClock};
use tar::{Archive, Builder, Header};
use tokio::sync::oneshot;

use super::output::{print_report, progress};
use crate::backend::{self, ComponentKind, CopiedFile, places};
use crate::settings::Settings;
use crate::{CliError, Result};

pub(super) async fn backup(settings: &Settings, into: &Path) -> Result<()> {
    let is_stream = into == Path::new("-");
    if is_stream && stdout().is_terminal() {
        return Err(CliError::usage(
            "standard output is a terminal: write to a file or a pipe",
        ));
    }
    let scratch = is_stream.then(|| Scratch::new(settings, false));
    let progress = progress();
    progress.set_message(format!("copying {}", settings.data_dir.display()));
    let folder = scratch.as_ref().map_or(into, |scratch| &scratch.folder);
    let copied = backend::for_files(settings).backup(folder).await?;
    if is_stream {
        let folder = folder.to_owned();
        let names: Vec<_> = copied.iter().map(|(name, _)| name.clone()).collect();
        let write = move || write_archive(stdout().lock(), &folder, &names);
        piped("standard output", write).await?;
    }
    drop(progress);
    report(settings, into, &copied, &left_out(settings))
}

pub(super) async fn restore(settings: &Settings, from: &Path) -> Result<()> {
    let scratch = (from == Path::new("-")).then(|| Scratch::new(settings, true));
    let progress = progress();
    progress.set_message(format!("copying {}", from.display()));
    let mut source = from;
    if let Some(scratch) = &scratch {
        source = &scratch.folder;
        let folder = source.to_owned();
        piped("standard input", move || {
            read_archive(stdin().lock(), &folder)
        })
        .await?;
    }
    let copied = backend::for_files(settings).restore(source).await;
    drop(progress);
    report(settings, &settings.data_dir, &copied?, &[])
}

/// Runs `work` on a thread that the end of the process does not wait for, as the other end of a pipe may never go on.
async fn piped(what: &str, work: impl FnOnce() -> io::Result<()> + Send + 'static) -> Result<()> {
    let (sender, done) = oneshot::channel();
    thread::spawn(move || drop(sender.send(work())));
    done.await
        .unwrap_or_else(|_panicked| Err(io::ErrorKind::Other.into()))
        .map_err(|error| CliError::new(format!("{what}: {error}")))
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
        // What uses the folder reports an error.
        let lock = DirBuilder::new()
            .recursive(creates)
            .mode(0o700)
            .create(&folder)
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
        if folder.file_name().to_string_lossy().starts_with(SCRATCH)
            && File::open(folder.path()).is_ok_and(|left| left.try_lock().is_ok())
        {
            let _missing = fs::remove_dir_all(folder.path());
        }
    }
}

/// Returns the names of the parts that are on servers, and so not in a backup.
fn left_out(settings: &Settings) -> Vec<&'static str> {
    let mut names = Vec::new();
    for place in places(settings) {
        if place.file.is_none() {
            names.push(match place.kind {
                ComponentKind::Log(_) => "log",
                _ => place.what,
            });
        }
    }
    names.dedup();
    names
}

/// Prints the files that were copied into `folder`: to standard error if standard output carries an archive.
fn report(
    settings: &Settings,
    folder: &Path,
    copied: &[CopiedFile],
    left_out: &[&str],
) -> Result<()> {
    let mut lines = Vec::new();
    let mut files = Vec::new();
    for (name, bytes) in copied {
        let path = folder.join(name).display().to_string();
        lines.push(format!("{path}  {bytes} bytes"));
        files.push(json!({ "path": path, "bytes": bytes }));
    }
    if !left_out.is_empty() {
        lines.push(format!(
            "on servers, not in the backup: {}",
            left_out.join(", ")
        ));
    }

    let mut text = lines.join("\n");
    let report = json!({ "files": files, "left_out": left_out });
    if folder != Path::new("-") {
        return print_report(settings.json, &[], text, &report);
    }

    if settings.json {
        text = report.to_string();
    }
    writeln!(stderr(), "{text}").map_err(CliError::new)
}

/// The name of the last entry, which is empty: a stream that ends early at the end of a file is an archive, too.
const END: &str = "complete";

/// Writes the files `names` of `folder` as one stream: a tar archive, as other programs read it.
fn write_archive(output: impl Write, folder: &Path, names: &[impl AsRef<Path>]) -> io::Result<()> {
    let mut archive = Builder::new(output);
    archive.sparse(false);
    for name in names {
        archive.append_path_with_name(folder.join(name), name)?;
    }
    let mut end = Header::new_gnu();
    end.set_size(0);
    archive.append_data(&mut end, END, io::empty())?;
    archive.into_inner()?.flush()
}

/// Reads the database files of an archive into `folder`.
fn read_archive(input: impl Read, folder: &Path) -> io::Result<()> {
    let mut archive = Archive::new(input);
    let mut is_complete = false;
    for entry in archive.entries()? {
        let mut entry = entry?;
        // Only the last part: an archive must not write elsewhere.
        let path = entry.path()?.into_owned();
        let name = path.file_name().unwrap_or_default();
        is_complete |= name == END;
        if !name.to_string_lossy().ends_with(".db") {
            continue;
        }
        // A sparse one writes any amount of zeros.
        if !entry.header().entry_type().is_file() {
            return Err(io::Error::other(format!(
                "{} is not a plain file",
                name.display()
            )));
        }
        // The file is copied once more.
        let free = statvfs(folder)?;
        if entry.size() > free.f_bavail.saturating_mul(free.f_frsize) / 2 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let copied = io::copy(&mut entry, &mut File::create_new(folder.join(name))?)?;
        if copied < entry.size() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    if !is_complete {
        let message = format!("the archive is not complete: it has no entry {END}");
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
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
        write_archive(&mut output, folder.path(), &["shop.db"]).unwrap();
        output
    }

    fn restored(archive: &[u8]) -> io::Result<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        read_archive(archive, folder.path())?;
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
            read_archive(
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
        for name in ["../../shop.db", END] {
            let mut header = Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(0);
            header.set_cksum();
            outside.append(&header, io::empty()).unwrap();
        }
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        read_archive(&*outside.into_inner().unwrap(), &folder.path().join("a/b")).unwrap();
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
