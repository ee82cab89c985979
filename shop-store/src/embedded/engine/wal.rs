//! Finds damage in a write-ahead log before SQLite opens it. SQLite ends a log at its first invalid
//! frame and overwrites the rest, so acknowledged writes behind the damage would be lost without an
//! error.
//!
//! A log is a header and then frames, one for each page that was written:
//!
//! ```text
//! header (32 bytes) │ frame │ frame, commit │ frame │ frame, commit │ frames of an earlier generation
//! ```
//!
//! The salts in the header name a generation of the log: SQLite changes them when it starts to
//! overwrite the log from its beginning. A frame repeats the salts, and its checksum continues the
//! checksum of the frame before.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

use rusqlite::ffi::{Error as Code, SQLITE_CORRUPT};
use shop_core::{ErrorKind, Result};

use super::error::{AtPath as _, database_error};
use super::lock::FileLock;

/// The size in bytes of a page of a database file.
pub(super) const PAGE_BYTES: u32 = 4_096;
/// The size in bytes of the header of a log.
const HEADER_BYTES: usize = 32;
/// The size in bytes of a frame: the header of the frame, and a page.
const FRAME_BYTES: usize = 24 + PAGE_BYTES as usize;

/// Returns the size in bytes of a log with this number of pages.
pub(super) const fn log_bytes(pages: u32) -> u64 {
    HEADER_BYTES as u64 + pages as u64 * FRAME_BYTES as u64
}

/// The number of bytes that are read from the log at once.
const BUFFER_BYTES: usize = 1 << 20;

/// Checks the log at `path` for damage. No process must write to the log meanwhile. A missing log
/// is sound.
///
/// An invalid frame alone is no damage, because a power cut leaves such frames. Any part of the
/// frames that were not synced may be on the disk, such as a commit without the frame before it.
/// Frames of an earlier generation, which were overwritten only in part, follow the last frame.
///
/// An invalid frame is damage if a later commit proves that the frame was on the disk:
///
/// 1. Each commit is synced together with all earlier frames (`synchronous=FULL`). After a failed
///    sync or a start, the log is written again before frames are added.
/// 2. So the first frame of a transaction is written only when the commit before it is on the disk.
/// 3. A frame whose checksum continues the checksum of a commit therefore proves that this commit,
///    and all frames before it, were on the disk. If one of these frames is invalid now, the disk
///    lost acknowledged writes.
///
/// The header, which is in one sector, was synced before its first frame, so an invalid header is
/// judged in the same way.
///
/// Damage to the last transaction, and to the commit before it, is not found, because it looks like
/// a crash.
///
/// # Errors
/// [`Corrupt`](ErrorKind::Corrupt) if the log is damaged, or the error of reading the log.
pub(in crate::embedded) fn check_log(path: &Path) -> Result<()> {
    let mut log = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened.at(path)?,
    };
    if !is_damaged(&mut log).at(path)? {
        return Ok(());
    }
    let message = "the write-ahead log is damaged, and acknowledged writes follow the damage: copy the folder, then \
                   restore a backup, or open the database once with the sqlite3 tool, which drops what follows";
    Err(database_error(ErrorKind::Corrupt, message)
        .with_context("file", path.display())
        .with_source(rusqlite::Error::SqliteFailure(
            Code::new(SQLITE_CORRUPT),
            None,
        )))
}

/// Checks the log of the database `file` as [`check_log`] does, unless another process holds the
/// lock of the file.
///
/// A process that holds the lock has checked the log already, and may write to the log at this
/// moment. A missing lock file is not created.
///
/// # Errors
/// The errors of [`check_log`], and the error of the lock file.
pub(in crate::embedded) fn check_idle(file: &Path) -> Result<()> {
    let log = file.with_extension("db-wal");
    let lock_path = file.with_extension("lock");
    if !lock_path.exists() {
        return check_log(&log);
    }

    let file_lock = FileLock::open(&lock_path)?;
    // The lock is shared, so that two checks at the same time do not take each other for a process
    // that writes. It is held until the log is checked, so that no process begins to write.
    match file_lock.try_lock_shared()? {
        Some(_guard) => check_log(&log),
        None => Ok(()),
    }
}

/// Returns whether the log is damaged, for either byte order of its checksums.
///
/// The format: <https://www.sqlite.org/fileformat2.html#walformat>.
fn is_damaged(log: &mut (impl Read + Seek)) -> io::Result<bool> {
    // The header states the byte order in one bit, which may itself be damaged. So both byte orders
    // are tried: with the wrong one, no frame continues another, and no damage is found.
    for is_big_endian in [false, true] {
        log.rewind()?;
        // The log is read in large pieces, because an import may have left hundreds of megabytes.
        let log = BufReader::with_capacity(BUFFER_BYTES, &mut *log);
        if is_damaged_in(log, is_big_endian)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns whether the log is damaged, if its checksums are in this byte order.
fn is_damaged_in(mut log: impl Read, is_big_endian: bool) -> io::Result<bool> {
    let mut header = [0; HEADER_BYTES];
    if !read_full(&mut log, &mut header)? {
        return Ok(false);
    }
    // Whether the header and all frames so far are valid.
    let mut is_sound =
        checksum([0; 2], &header[..24], is_big_endian) == stored_checksum(&header[24..]);
    // Frames of an earlier generation contain other salts. If the header is damaged, the first
    // frame states the salts.
    let mut salts = is_sound.then(|| header[16..24].to_vec());
    let mut last = stored_checksum(&header[24..]);
    // Whether the previous frame is a commit. The frame of a commit states the size of the database
    // in bytes 4 to 7, which are 0 in other frames.
    let mut is_commit = false;
    let mut frame = [0; FRAME_BYTES];
    while read_full(&mut log, &mut frame)? {
        let salts = salts.get_or_insert_with(|| frame[8..16].to_vec());
        let header_checksum = checksum(last, &frame[..8], is_big_endian);
        last = stored_checksum(&frame[16..]);
        // The checksum of a frame covers the first 8 bytes of its header, and its page. It
        // continues the *stored* checksum of the previous frame, so one invalid frame does not make
        // the frames behind it invalid.
        let continues = frame[8..16] == **salts
            && checksum(header_checksum, &frame[24..], is_big_endian) == last;
        // This frame continues a commit, so everything before it was on the disk. If something
        // before it is invalid now, the log is damaged.
        if continues && is_commit && !is_sound {
            return Ok(true);
        }
        is_sound = is_sound && continues;
        is_commit = continues && frame[4..8] != [0; 4];
    }
    Ok(false)
}

/// Fills `buffer` from `log`, and returns whether the log was long enough.
fn read_full(log: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns the checksum, two big-endian words, that is stored at the beginning of `bytes`.
fn stored_checksum(bytes: &[u8]) -> [u32; 2] {
    let mut words = bytes
        .as_chunks()
        .0
        .iter()
        .map(|word| u32::from_be_bytes(*word));
    std::array::from_fn(|_| words.next().unwrap_or_default())
}

/// Continues the checksum `sums` with `bytes`, as SQLite computes it over pairs of words in the
/// log's byte order.
fn checksum(mut sums: [u32; 2], bytes: &[u8], is_big_endian: bool) -> [u32; 2] {
    let word = |bytes| {
        if is_big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    };
    for [first, second] in bytes.as_chunks().0.as_chunks().0 {
        sums[0] = sums[0].wrapping_add(word(*first)).wrapping_add(sums[1]);
        sums[1] = sums[1].wrapping_add(word(*second)).wrapping_add(sums[0]);
    }
    sums
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Cursor;

    use rusqlite::Connection;

    use super::*;

    fn is_damaged(log: &[u8]) -> bool {
        super::is_damaged(&mut Cursor::new(log)).unwrap()
    }

    /// A log with frames of an earlier generation behind four transactions, and the number of their
    /// pages.
    fn log() -> (Vec<u8>, usize) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("test.db");
        let database = Connection::open(&file).unwrap();
        let setup =
            "PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; CREATE TABLE texts (text);";
        database.execute_batch(setup).unwrap();
        let fill = "INSERT INTO texts VALUES (zeroblob(9000));";
        let restart = "PRAGMA wal_checkpoint(RESTART);";
        database
            .execute_batch(&[&fill.repeat(20), restart, &fill.repeat(4)].concat())
            .unwrap();
        let pages = "PRAGMA wal_checkpoint(NOOP)";
        let pages: u32 = database.query_row(pages, [], |row| row.get(1)).unwrap();
        (
            fs::read(file.with_extension("db-wal")).unwrap(),
            pages as usize,
        )
    }

    #[test]
    fn an_invalid_frame_before_a_synced_commit_is_damage() {
        let (log, pages) = log();
        assert!(
            !is_damaged(&log) && log.len() > HEADER_BYTES + pages * FRAME_BYTES,
            "with frames of an earlier generation"
        );
        let commits: Vec<usize> = (0..pages)
            .filter(|page| log[HEADER_BYTES + page * FRAME_BYTES + 4..][..4] != [0; 4])
            .collect();
        let &[.., before_last, last] = &commits[..] else {
            panic!("{commits:?}")
        };
        assert_eq!(last, pages - 1);
        let flipped = |at: usize, bits: u8| {
            let mut flipped = log.clone();
            flipped[at] ^= bits;
            is_damaged(&flipped)
        };
        assert!((0..HEADER_BYTES).all(|at| (0..8).all(|bit| flipped(at, 1 << bit))));
        for (page, within) in
            (0..pages).flat_map(|page| [0, 5, 9, 17, 24, FRAME_BYTES - 1].map(|at| (page, at)))
        {
            // The next frame continues this checksum.
            let invalid = page + usize::from(within == 17);
            assert_eq!(
                flipped(HEADER_BYTES + page * FRAME_BYTES + within, 4),
                invalid < before_last,
                "byte {within} of {page}"
            );
        }
    }

    #[test]
    fn only_a_process_that_writes_keeps_a_log_from_being_checked() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("test.db");
        let (mut log, _pages) = log();
        log[HEADER_BYTES + 5] ^= 4;
        fs::write(file.with_extension("db-wal"), log).unwrap();
        let lock = FileLock::open(&file.with_extension("lock")).unwrap();

        let checks = lock.try_lock_shared().unwrap();
        check_idle(&file).unwrap_err();
        drop(checks);
        let _writes = lock.try_lock().unwrap();
        check_idle(&file).unwrap();
    }

    #[test]
    fn any_part_of_the_last_transaction_is_a_crash() {
        let (log, pages) = log();
        let is_commit = |page: &usize| log[HEADER_BYTES + page * FRAME_BYTES + 4..][..4] != [0; 4];
        let first = (0..pages - 1).rfind(is_commit).unwrap() + 1;
        let (begin, end) = (
            HEADER_BYTES + first * FRAME_BYTES,
            HEADER_BYTES + pages * FRAME_BYTES,
        );
        for lost in 1_usize..1 << (pages - first) {
            let mut torn = log.clone();
            for page in (first..pages).filter(|page| lost >> (page - first) & 1 == 1) {
                torn[HEADER_BYTES + page * FRAME_BYTES..][..FRAME_BYTES].fill(7);
            }
            assert!(!is_damaged(&torn), "{lost:b}");
        }
        assert!(
            [end, begin + 5, begin, HEADER_BYTES, 5, 0]
                .iter()
                .all(|length| !is_damaged(&log[..*length]))
        );
    }
}
