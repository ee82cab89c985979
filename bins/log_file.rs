//! The log file of a service.

use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Access, OFlags, access, fcntl_setfl};

use crate::{CliError, Result};

/// The time between two checks that the file is still at its path.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// A file that lines are appended to. After it was renamed or deleted, as logrotate does, the next lines are written to a
/// new one at the same path.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: File,
    checked: Instant,
    check_every: Duration,
}

impl LogFile {
    /// Opens the file, or creates it.
    ///
    /// # Errors
    /// When it cannot be written, with the setting that names it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = open(path).map_err(|error| unusable(path, error))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            checked: Instant::now(),
            check_every: CHECK_EVERY,
        })
    }

    /// Whether the file can be written, or created. Creates nothing.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn check(path: &Path) -> Result<()> {
        let refused = |error| unusable(path, error);
        if path.is_dir() {
            return Err(unusable(path, io::ErrorKind::IsADirectory));
        }
        if path.exists() {
            return access(path, Access::WRITE_OK).map_err(refused);
        }
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(refused)
    }

    fn is_at_its_path(&self) -> bool {
        let [Ok(there), Ok(opened)] = [fs::metadata(&self.path), self.file.metadata()] else {
            return false;
        };
        (there.dev(), there.ino()) == (opened.dev(), opened.ino())
    }

    fn file(&mut self) -> &mut File {
        if self.checked.elapsed() >= self.check_every {
            self.checked = Instant::now();
            if !self.is_at_its_path()
                && let Ok(file) = open(&self.path)
            {
                self.file = file;
            }
        }
        &mut self.file
    }
}

fn open(path: &Path) -> io::Result<File> {
    // A named pipe without a reader is an error. Writes to one wait for its reader.
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

fn unusable(path: &Path, error: impl Display) -> CliError {
    CliError::new(format!(
        "SHOP_LOG_FILE: {} cannot be written: {error}",
        path.display()
    ))
}

/// Removes what `written`, the end of `file`, has behind its last whole line. Returns the number of bytes that are left.
fn remove_half_line(file: &mut File, written: &[u8]) -> io::Result<usize> {
    let half = written
        .iter()
        .rev()
        .take_while(|byte| **byte != b'\n')
        .count();
    // A pipe has no position, and keeps what it has taken. So does a file that another process has appended to.
    if half > 0
        && let Ok(end) = file.stream_position()
        && file.metadata()?.len() == end
    {
        file.set_len(end - half as u64)?;
        return Ok(written.len() - half);
    }
    Ok(written.len())
}

impl Write for LogFile {
    /// Writes whole lines: what a full disk has accepted of the next one is removed again.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let file = self.file();
        let written = file.write(bytes)?;
        remove_half_line(file, &bytes[..written])
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
            check_every: Duration::ZERO,
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
            let mut file = open(&path).unwrap();
            file.write_all(written.as_bytes()).unwrap();
            assert_eq!(
                remove_half_line(&mut file, written.as_bytes()).unwrap(),
                left.len()
            );
            assert_eq!(
                fs::read_to_string(&path).unwrap(),
                format!("before\n{left}")
            );
        }
        // The bytes of another process stay.
        let mut file = open(&path).unwrap();
        file.write_all(b"one\ntwo").unwrap();
        open(&path).unwrap().write_all(b"other\n").unwrap();
        assert_eq!(remove_half_line(&mut file, b"one\ntwo").unwrap(), 7);
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
