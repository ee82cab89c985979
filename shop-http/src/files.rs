//! Reads the small files that settings name: secrets, keys, certificates.
//!
//! The path in a setting need not be the path of a file. A read of a FIFO waits for a writer, a read
//! of `/dev/zero` never ends, and a network file system may not respond. So a read has limits: the
//! path must lead to a regular file, also by a symbolic link, as in a volume of Kubernetes; the size
//! of the file is limited; and the caller waits for at most [`READ_TIMEOUT`].

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// The maximum size of a file that contains one secret: 64 KiB.
pub const MAX_SECRET_BYTES: u64 = 64 << 10;
/// The maximum size of a file of certificates, keys or settings: 1 MiB. The authorities of an
/// operating system take about 220 KiB.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// The time limit of a read. Files on a local disk take less than a millisecond.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// Reads the text of the regular file at `path`, of at most `max_bytes`. Blocks for at most two
/// seconds.
///
/// A byte order mark at the beginning, which editors on Windows write, is not part of the text.
///
/// # Errors
/// The text of the error completes "the file cannot be read: ".
/// - `path` is not a regular file, or is larger than `max_bytes`
/// - the text is not UTF-8
/// - the file system returns an error, or does not respond in time
pub fn read_small_file(path: &Path, max_bytes: u64) -> io::Result<String> {
    let read_file = move |path: &Path| read_regular_file(path, max_bytes);
    let bytes = within_time_limit(READ_TIMEOUT, path, read_file)?;
    let mut text = String::from_utf8(bytes).map_err(|_invalid| fault("it is not UTF-8"))?;
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    Ok(text)
}

/// Checks that the file at `path` is a regular file of at most `max_bytes`, for a file that another
/// library reads. Blocks for at most two seconds.
///
/// # Errors
/// The errors of [`read_small_file`], except for a text that is not UTF-8.
pub fn check_small_file(path: &Path, max_bytes: u64) -> io::Result<()> {
    let read_file = move |path: &Path| read_regular_file(path, max_bytes);
    within_time_limit(READ_TIMEOUT, path, read_file).map(drop)
}

/// Reads the regular file at `path`, of at most `max_bytes`.
fn read_regular_file(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    // Opening a FIFO waits for a writer, so the kind is checked first.
    if !fs::metadata(path)?.is_file() {
        return Err(fault("it is not a regular file"));
    }

    let mut bytes = Vec::new();
    // A file may grow, and the files of `/proc` state no size. So the bytes are counted, up to one
    // byte too many.
    let mut limited_file = File::open(path)?.take(max_bytes.saturating_add(1));
    limited_file.read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        let kibibytes = max_bytes / 1024;
        return Err(fault(format!("it is larger than {kibibytes} KiB")));
    }
    Ok(bytes)
}

/// Calls `read` with `path` on a thread of its own, and waits for the result for at most
/// `time_limit`.
///
/// A read that takes longer continues on its thread, which ends with the read or with the process.
///
/// # Errors
/// The error of `read`, or an error if `read` takes longer than `time_limit`.
fn within_time_limit<T: Send + 'static>(
    time_limit: Duration,
    path: &Path,
    read: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let path = PathBuf::from(path);
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name("read-file".to_owned())
        .spawn(move || {
            // Sending fails if the caller no longer waits. The result is then not needed.
            let _late_result = sender.send(read(&path));
        })?;
    receiver
        .recv_timeout(time_limit)
        .unwrap_or_else(|_elapsed| Err(fault("it was not read in time")))
}

/// Creates the error of a file that is not read.
fn fault(text: impl Into<String>) -> io::Error {
    io::Error::other(text.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    fn read(path: &Path) -> String {
        match read_small_file(path, MAX_SECRET_BYTES) {
            Ok(text) => format!("{} bytes", text.len()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn only_small_regular_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let write = |name: &str, content: &[u8]| fs::write(path(name), content).unwrap();
        write("secret", "\u{feff}s3cret\n".as_bytes());
        write("largest", &[b'x'; 64 << 10]);
        write("too-large", &[b'x'; (64 << 10) + 1]);
        write("binary", b"\xff\xfe");
        fs::create_dir(path("folder")).unwrap();
        let made = Command::new("mkfifo").arg(path("fifo")).status().unwrap();
        assert!(made.success());
        // A volume of Kubernetes is a folder of links.
        symlink(path("secret"), path("link")).unwrap();
        symlink(path("link"), path("link-to-link")).unwrap();
        symlink("/dev/zero", path("link-to-zero")).unwrap();

        for (name, expected) in [
            ("secret", "7 bytes"),
            ("link-to-link", "7 bytes"),
            ("largest", "65536 bytes"),
            ("too-large", "it is larger than 64 KiB"),
            ("binary", "it is not UTF-8"),
            ("folder", "it is not a regular file"),
            ("fifo", "it is not a regular file"),
            ("link-to-zero", "it is not a regular file"),
            ("/dev/zero", "it is not a regular file"),
            ("missing", "No such file or directory (os error 2)"),
        ] {
            assert_eq!(read(&path(name)), expected, "{name}");
        }
        check_small_file(&path("binary"), MAX_SECRET_BYTES).unwrap();
        let error = check_small_file(&path("fifo"), MAX_SECRET_BYTES).unwrap_err();
        assert_eq!(error.to_string(), "it is not a regular file");
    }

    #[test]
    fn a_read_that_never_ends_is_not_waited_for() {
        let (_never, blocked) = mpsc::channel::<()>();
        let read = within_time_limit(Duration::ZERO, Path::new("x"), move |_path| {
            _ = blocked.recv();
            Ok(())
        });
        assert_eq!(read.unwrap_err().to_string(), "it was not read in time");
    }
}
