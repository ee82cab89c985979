//! The log file of a service.
//!
//! [`LogFile`] is a writer of whole lines. When it writes, at most once a second, it checks that
//! its file is still at the path of the setting, and opens a new file if another program renamed or
//! deleted the old one. A line that a full disk accepts only in part is removed again, so that each
//! line of the file is complete.

use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Access, OFlags, access, fcntl_setfl};

use crate::{CliError, Result};

/// The minimum time between two checks that the file is still at its path.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A file to which lines are appended.
///
/// After the file was renamed or deleted, as logrotate does, the next lines are written to a new
/// file at the same path.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: File,
    last_check: Instant,
    check_interval: Duration,
}

impl LogFile {
    /// Opens the file at `path`, or creates it.
    ///
    /// # Errors
    /// Returns an error with the name of the setting if the file cannot be written.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = open_file(path).map_err(|error| unwritable(path, error))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            last_check: Instant::now(),
            check_interval: CHECK_INTERVAL,
        })
    }

    /// Checks that the file at `path` can be written, or created. Creates nothing.
    ///
    /// # Errors
    /// Returns an error with the name of the setting if the file could not be written.
    pub(crate) fn check(path: &Path) -> Result<()> {
        if path.is_dir() {
            return Err(unwritable(path, io::ErrorKind::IsADirectory));
        }

        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let access_result = if path.exists() {
            access(path, Access::WRITE_OK)
        } else {
            access(folder, Access::WRITE_OK | Access::EXEC_OK)
        };
        access_result.map_err(|error| unwritable(path, error))
    }

    /// Returns whether the open file is the one at the path.
    fn is_at_its_path(&self) -> io::Result<bool> {
        let file_at_path = fs::metadata(&self.path)?;
        let open_file = self.file.metadata()?;
        Ok(file_at_path.dev() == open_file.dev() && file_at_path.ino() == open_file.ino())
    }

    /// Returns the file to write to. Once per interval, checks whether another program renamed or
    /// deleted the file, and then opens a new one.
    fn current_file(&mut self) -> &mut File {
        if self.last_check.elapsed() >= self.check_interval {
            self.last_check = Instant::now();
            // An error means that there is no file at the path. If no file can be opened there now,
            // the lines are still written to the old one.
            let is_at_its_path = self.is_at_its_path().unwrap_or(false);
            if !is_at_its_path && let Ok(new_file) = open_file(&self.path) {
                self.file = new_file;
            }
        }
        &mut self.file
    }
}

/// Opens the file at `path` to append lines, or creates the file.
fn open_file(path: &Path) -> io::Result<File> {
    // With this flag, a named pipe without a reader is an error, and does not block. The flag is
    // removed below, so that writes wait for the reader.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(flags)
        .open(path)?;
    fcntl_setfl(&file, OFlags::APPEND)?;
    Ok(file)
}

/// Returns the error of a log file that cannot be written.
fn unwritable(path: &Path, error: impl Display) -> CliError {
    CliError::new(format!(
        "SHOP_LOG_FILE: {} cannot be written: {error}",
        path.display()
    ))
}

/// Removes the incomplete line at the end of `written_bytes`, which are the last bytes of `file`.
///
/// Returns the number of `written_bytes` that remain in the file.
fn remove_incomplete_line(file: &mut File, written_bytes: &[u8]) -> io::Result<usize> {
    let incomplete_length = written_bytes
        .iter()
        .rev()
        .take_while(|byte| **byte != b'\n')
        .count();
    // Bytes cannot be removed from a pipe, whose position cannot be read, nor from a file to which
    // another process appended in the meantime.
    if incomplete_length > 0
        && let Ok(end) = file.stream_position()
        && file.metadata()?.len() == end
    {
        file.set_len(end - incomplete_length as u64)?;
        return Ok(written_bytes.len() - incomplete_length);
    }
    Ok(written_bytes.len())
}

impl Write for LogFile {
    /// Writes whole lines: if a full disk accepts only a part of a line, the part is removed again.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let file = self.current_file();
        let written_length = file.write(bytes)?;
        remove_incomplete_line(file, &bytes[..written_length])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renamed_file_is_replaced_and_truncated_file_continues() {
        let folder = tempfile::tempdir().unwrap();
        let (path, rotated) = (folder.path().join("a.log"), folder.path().join("a.log.1"));
        fs::write(&path, "before\n").unwrap();
        let mut log = LogFile {
            check_interval: Duration::ZERO,
            ..LogFile::open(&path).unwrap()
        };
        log.write_all(b"one\n").unwrap();
        fs::rename(&path, &rotated).unwrap();
        log.write_all(b"two\n").unwrap();
        let texts = [&rotated, &path].map(|path| fs::read_to_string(path).unwrap());
        assert_eq!(texts, ["before\none\n", "two\n"]);
        File::create(&path).unwrap();
        log.write_all(b"three\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
        // Without the folder, lines go to the file that is open.
        fs::remove_dir_all(&folder).unwrap();
        log.write_all(b"four\n").unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_pipe_without_a_reader_is_refused() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        assert!(
            LogFile::open(&path)
                .unwrap_err()
                .to_string()
                .starts_with("SHOP_LOG_FILE: ")
        );
    }

    #[test]
    fn half_a_line_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        for (written, left) in [("one\ntwo", "one\n"), ("one\n", "one\n"), ("on", "")] {
            fs::write(&path, "before\n").unwrap();
            let mut file = open_file(&path).unwrap();
            file.write_all(written.as_bytes()).unwrap();
            assert_eq!(
                remove_incomplete_line(&mut file, written.as_bytes()).unwrap(),
                left.len()
            );
            assert_eq!(
                fs::read_to_string(&path).unwrap(),
                format!("before\n{left}")
            );
        }
        // The bytes of another process stay.
        let mut file = open_file(&path).unwrap();
        file.write_all(b"one\ntwo").unwrap();
        open_file(&path).unwrap().write_all(b"other\n").unwrap();
        assert_eq!(remove_incomplete_line(&mut file, b"one\ntwo").unwrap(), 7);
    }

    #[test]
    fn unusable_paths_name_the_setting_and_are_not_created() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing/a.log");
        for path in [folder.path(), &missing] {
            for refused in [LogFile::check(path), LogFile::open(path).map(drop)] {
                let said = refused.unwrap_err().to_string();
                assert!(
                    said.starts_with("SHOP_LOG_FILE: ") && said.contains("cannot be written"),
                    "{said}"
                );
            }
        }
        let path = folder.path().join("a.log");
        LogFile::check(&path).unwrap();
        assert!(!path.exists() && !missing.exists());
        LogFile::open(&path).unwrap();
        LogFile::check(&path).unwrap();
    }
}
