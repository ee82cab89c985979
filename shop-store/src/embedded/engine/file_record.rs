//! [`FileRecord`]: what the lock file of a database records about the database file and its
//! write-ahead log, by which a copy, or a file that another program has overwritten, is recognized.
//!
//! SQLite writes commits to the write-ahead log only. The database file itself changes by
//! *checkpoints* alone, which copy pages of the log into it. Every checkpoint and every commit of
//! this product records the length and the modification time that it left. So any other difference
//! was made by another program, or by a process that died before it could record its write.
//!
//! The record is one line of the lock file. These are its words:
//!
//! | word | example | meaning |
//! |---|---|---|
//! | version | `1` | of this line |
//! | inode | `131085` | of the database file |
//! | created | `1767225600000000000` | time of creation of the file, or `-` |
//! | device | `-` | of the file, if the file system has no times of creation |
//! | bytes, modified | `8192 1767225601250000000` | length and modification time of the file after the last checkpoint |
//! | log bytes, log modified | `41232 1767225602500000000` | those of the write-ahead log after the last commit, or `-` |
//! | log salt | `2811713213` | the first salt in the header of the log, or `-` |
//! | overwrites | `0` | how often the file was found overwritten |
//! | pages | `checked` | or `unchecked`: its pages must be checked |
//! | state | `settled` | or `copying`: a checkpoint has begun |
//!
//! Times are in nanoseconds since 1970. The number of the device is the last resort, because it may
//! change when the machine starts.

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use shop_core::Result;

use super::error::AtPath as _;
use super::lock::FileLock;
use super::wal::log_bytes;

/// The version of the line, its first word.
const VERSION: &str = "1";
/// The length of the line in bytes. It is padded with blanks, so that a shorter line leaves nothing
/// of a longer one.
const RECORD_BYTES: usize = 256;

/// The record about a database file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::embedded) struct FileRecord {
    pub(in crate::embedded) origin: FileOrigin,
    /// The database file after the last checkpoint.
    pub(in crate::embedded) content: FileContent,
    /// The write-ahead log after the last commit. `None` if it is unknown.
    pub(in crate::embedded) log: Option<LogContent>,
    /// The number of times that a process found the file overwritten by another program. A process
    /// that opened the file at another number must not write to it.
    pub(in crate::embedded) overwrites: u64,
    /// Whether the file is the one that this product wrote, or all its pages were checked since.
    pub(in crate::embedded) is_checked: bool,
    /// Whether a checkpoint has begun whose end is not recorded, so that `content` is out of date.
    pub(in crate::embedded) has_open_checkpoint: bool,
}

/// The identity of a file, which differs from the identity of a copy of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::embedded) struct FileOrigin {
    inode: u64,
    /// The time of creation in nanoseconds since 1970, if the file system has one.
    created: Option<u64>,
    /// The device, if there is no time of creation.
    device: Option<u64>,
}

/// The properties of a file that a write to the file changes, as `stat(2)` reports them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::embedded) struct FileContent {
    bytes: u64,
    /// The modification time in nanoseconds since 1970.
    modified: u64,
}

impl FileContent {
    /// Returns the length and the modification time in `metadata`.
    fn new(metadata: &Metadata) -> Self {
        Self {
            bytes: metadata.len(),
            modified: metadata.modified().map_or(0, nanos),
        }
    }
}

/// The write-ahead log after a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::embedded) struct LogContent {
    content: FileContent,
    /// The first salt in the header. SQLite adds 1 to it each time that it begins to overwrite the
    /// log from its beginning.
    salt: u32,
}

/// The offset of the salts in the header of a log.
const SALTS_OFFSET: u64 = 16;
/// The offset of the salts in the header of a frame.
const FRAME_SALTS_OFFSET: u64 = 8;
/// The maximum number of times that other processes have begun to overwrite the log between two
/// commits of this process. A salt that is further ahead belongs to another log.
const MAX_RESTARTS: u32 = 1 << 20;

impl LogContent {
    /// Returns the present content of the file `log`, or `None` if it has no header.
    pub(in crate::embedded) fn from_file(log: &File) -> Option<Self> {
        let metadata = log.metadata().ok()?;
        let [salt, _] = read_salts(log, SALTS_OFFSET)?;
        Some(Self {
            content: FileContent::new(&metadata),
            salt,
        })
    }

    /// Returns whether the file `log` has the length and the modification time of this content.
    pub(in crate::embedded) fn is_in(&self, log: &File) -> bool {
        log.metadata()
            .is_ok_and(|metadata| FileContent::new(&metadata) == self.content)
    }

    /// Returns whether the file `log` continues the log with this content. `pages` is the number of
    /// pages that SQLite has in `log`.
    ///
    /// The file continues the log if it is of the same generation or a later one, and its last page
    /// belongs to the generation of the file. The salts in the header of a log name its generation.
    pub(in crate::embedded) fn is_continued_by(&self, log: &File, pages: u32) -> bool {
        let last_frame_offset = log_bytes(pages.saturating_sub(1));
        let Some(salts) = read_salts(log, SALTS_OFFSET) else {
            return false;
        };
        let is_same_or_later = salts[0].wrapping_sub(self.salt) <= MAX_RESTARTS;
        is_same_or_later && read_salts(log, last_frame_offset + FRAME_SALTS_OFFSET) == Some(salts)
    }
}

/// Reads the two salts at `offset` of a log, or returns `None` if the log is shorter.
fn read_salts(log: &File, offset: u64) -> Option<[u32; 2]> {
    let mut salts = [0; 8];
    log.read_exact_at(&mut salts, offset).ok()?;
    let [a, b, c, d, e, f, g, h] = salts;
    Some([
        u32::from_be_bytes([a, b, c, d]),
        u32::from_be_bytes([e, f, g, h]),
    ])
}

impl FileRecord {
    /// Returns the record of the file that is at `path` now. The record says that the pages are
    /// checked, that no checkpoint runs, and that the log is unknown.
    ///
    /// # Errors
    /// The error of the file system.
    pub(in crate::embedded) fn from_path(path: &Path) -> Result<Self> {
        let metadata = fs::metadata(path).at(path)?;
        let created = metadata.created().ok().map(nanos);
        Ok(Self {
            origin: FileOrigin {
                inode: metadata.ino(),
                created,
                device: created.is_none().then(|| metadata.dev()),
            },
            content: FileContent::new(&metadata),
            log: None,
            overwrites: 0,
            is_checked: true,
            has_open_checkpoint: false,
        })
    }

    /// Reads the record in the lock file. Returns `None` if the file contains no record, or a record
    /// of another version.
    ///
    /// # Errors
    /// The error of the file system.
    pub(in crate::embedded) fn read(file_lock: &FileLock) -> Result<Option<Self>> {
        let mut line = [0; RECORD_BYTES];
        let length = file_lock.read_content(&mut line)?;
        Ok(str::from_utf8(&line[..length]).ok().and_then(Self::parse))
    }

    /// Writes the record into the lock file. The caller must hold the lock of `file_lock`.
    ///
    /// # Errors
    /// The error of the file system.
    pub(in crate::embedded) fn write(&self, file_lock: &FileLock) -> Result<()> {
        file_lock.write_content(&self.to_line())
    }

    /// Returns whether this record must be synced when it replaces `stored_record`, the record in the
    /// lock file.
    ///
    /// The origin, the number of overwrites and the check must survive a power cut. It may undo the
    /// other members, which describe the present content: the next comparison then uses the content
    /// of an earlier moment.
    pub(in crate::embedded) fn must_be_synced_over(&self, stored_record: Option<&Self>) -> bool {
        let Some(stored_record) = stored_record else {
            return true;
        };
        self.origin != stored_record.origin
            || self.overwrites != stored_record.overwrites
            || self.is_checked != stored_record.is_checked
    }

    /// Formats the record as a padded line, without an allocation: each group of commits writes one.
    fn to_line(self) -> [u8; RECORD_BYTES] {
        let log = self.log;
        let mut line = [b' '; RECORD_BYTES];
        line[RECORD_BYTES - 1] = b'\n';
        // The longest record is shorter than the line.
        let _fits = write!(
            &mut line[..RECORD_BYTES - 1],
            "{VERSION} {} {} {} {} {} {} {} {} {} {} {}",
            self.origin.inode,
            Word(self.origin.created),
            Word(self.origin.device),
            self.content.bytes,
            self.content.modified,
            Word(log.map(|log| log.content.bytes)),
            Word(log.map(|log| log.content.modified)),
            Word(log.map(|log| log.salt.into())),
            self.overwrites,
            if self.is_checked {
                "checked"
            } else {
                "unchecked"
            },
            if self.has_open_checkpoint {
                "copying"
            } else {
                "settled"
            },
        );
        line
    }

    /// Parses a line of [`to_line`](Self::to_line). Returns `None` for any other text.
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let &[
            VERSION,
            inode,
            created,
            device,
            bytes,
            modified,
            log_bytes,
            log_modified,
            log_salt,
            overwrites,
            pages,
            state,
        ] = words.as_slice()
        else {
            return None;
        };
        // The words of an unknown log are `-`, which is no number.
        let log = log_salt.parse().ok().and_then(|salt| {
            Some(LogContent {
                content: FileContent {
                    bytes: log_bytes.parse().ok()?,
                    modified: log_modified.parse().ok()?,
                },
                salt,
            })
        });
        Some(Self {
            origin: FileOrigin {
                inode: inode.parse().ok()?,
                created: created.parse().ok(),
                device: device.parse().ok(),
            },
            content: FileContent {
                bytes: bytes.parse().ok()?,
                modified: modified.parse().ok()?,
            },
            log,
            overwrites: overwrites.parse().ok()?,
            is_checked: pages == "checked",
            has_open_checkpoint: state == "copying",
        })
    }
}

/// A number that may be unknown, as a word.
struct Word(Option<u64>);

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => number.fmt(f),
            None => f.write_str("-"),
        }
    }
}

/// Returns the nanoseconds from 1970 to `time`, or 0 before 1970.
fn nanos(time: SystemTime) -> u64 {
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_any_other_text_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let lock = FileLock::open(&folder.path().join("test.lock")).unwrap();
        assert_eq!(FileRecord::read(&lock).unwrap(), None);

        let mut record = FileRecord::from_path(folder.path()).unwrap();
        record.overwrites = u64::MAX;
        (record.is_checked, record.has_open_checkpoint) = (false, true);
        record.origin = FileOrigin {
            inode: u64::MAX,
            created: None,
            device: Some(u64::MAX),
        };
        record.content = FileContent {
            bytes: u64::MAX,
            modified: u64::MAX,
        };
        record.log = Some(LogContent {
            content: record.content,
            salt: u32::MAX,
        });
        record.write(&lock).unwrap();
        assert_eq!(FileRecord::read(&lock).unwrap(), Some(record));
        let present = FileRecord::from_path(folder.path()).unwrap();
        present.write(&lock).unwrap();
        assert_eq!(FileRecord::read(&lock).unwrap(), Some(present));

        for text in ["", "left", "2 1 1 - 1 1 - - - 0 checked settled"] {
            fs::write(folder.path().join("test.lock"), text).unwrap();
            assert_eq!(FileRecord::read(&lock).unwrap(), None, "{text}");
        }
    }

    #[test]
    fn a_record_is_synced_unless_only_the_present_content_differs() {
        let folder = tempfile::tempdir().unwrap();
        let stored = FileRecord::from_path(folder.path()).unwrap();
        let log = LogContent {
            content: stored.content,
            salt: 7,
        };
        let other_content = FileContent {
            bytes: stored.content.bytes + 1,
            ..stored.content
        };
        let other_origin = FileOrigin {
            inode: stored.origin.inode + 1,
            ..stored.origin
        };
        for (record, is_synced) in [
            (stored, false),
            (
                FileRecord {
                    content: other_content,
                    ..stored
                },
                false,
            ),
            (
                FileRecord {
                    log: Some(log),
                    ..stored
                },
                false,
            ),
            (
                FileRecord {
                    has_open_checkpoint: true,
                    ..stored
                },
                false,
            ),
            (
                FileRecord {
                    origin: other_origin,
                    ..stored
                },
                true,
            ),
            (
                FileRecord {
                    overwrites: 1,
                    ..stored
                },
                true,
            ),
            (
                FileRecord {
                    is_checked: false,
                    ..stored
                },
                true,
            ),
        ] {
            assert_eq!(
                record.must_be_synced_over(Some(&stored)),
                is_synced,
                "{record:?}"
            );
            assert!(record.must_be_synced_over(None), "nothing is stored yet");
        }
    }
}
