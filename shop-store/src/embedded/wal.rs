//! Finds damage in a write-ahead log before SQLite opens it: SQLite ends a log at its first invalid frame, and
//! overwrites the rest.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

use rusqlite::ffi::{Error as Code, SQLITE_CORRUPT};
use shop_core::{ErrorKind, Result};

use super::error::{AtPath as _, database_error};
use super::lock::FileLock;

/// The sizes in bytes of the header, and of a frame: its header and a page.
const HEADER: usize = 32;
const FRAME: usize = 24 + 4_096;
/// The bytes that are read at once.
const BUFFER: usize = 1 << 20;

/// Checks the log at `path`, to which no process must write meanwhile.
///
/// An invalid frame alone is no damage. After a power cut, of the frames that were not synced any part may be on the
/// disk, such as a commit without the frame before it; and what later frames have overwritten only in part is still
/// behind them. But the checksum of each frame continues that of the frame before, and the first frame of a
/// transaction is written after the commit before it was synced, with all earlier frames: each commit is synced
/// (`synchronous=FULL`), and after a failed sync or a start the log is written again before frames are added. So a
/// commit that a frame continues was on the disk, with all frames before it: if one of those is invalid, the disk has
/// lost what was acknowledged. A header, which is in one sector, was synced before its first frame.
///
/// Damage to the last transaction, and to the commit before it, is not found: it looks like a crash.
///
/// # Errors
/// [`Corrupt`](ErrorKind::Corrupt) for a damaged log; the error of reading it.
pub(super) fn check(path: &Path) -> Result<()> {
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

/// As [`check`], for the database `file`. A process that holds its lock has checked the log, and may write to it.
pub(super) fn check_idle(file: &Path) -> Result<()> {
    let lock = file.with_extension("lock");
    let lock = lock.exists().then(|| FileLock::open(&lock)).transpose()?;
    // Shared, so that two checks at the same time do not take each other for that process.
    match lock.as_ref().map(FileLock::try_lock_shared).transpose()? {
        Some(None) => Ok(()),
        _held_or_unused => check(&file.with_extension("db-wal")),
    }
}

/// The format: <https://www.sqlite.org/fileformat2.html#walformat>.
fn is_damaged(log: &mut (impl Read + Seek)) -> io::Result<bool> {
    // The bit of the header that states the byte order may be the one that is damaged.
    for is_big_endian in [false, true] {
        log.rewind()?;
        // An import may have left a log of hundreds of megabytes.
        let log = BufReader::with_capacity(BUFFER, &mut *log);
        if is_damaged_in(log, is_big_endian)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_damaged_in(mut log: impl Read, is_big_endian: bool) -> io::Result<bool> {
    let mut header = [0; HEADER];
    if !fill(&mut log, &mut header)? {
        return Ok(false);
    }
    let mut is_sound = checksum([0; 2], &header[..24], is_big_endian) == stored(&header[24..]);
    // Frames of an earlier generation have other salts.
    let mut salts = is_sound.then(|| header[16..24].to_vec());
    let mut last = stored(&header[24..]);
    let mut is_commit = false;
    let mut frame = [0; FRAME];
    while fill(&mut log, &mut frame)? {
        let salts = salts.get_or_insert_with(|| frame[8..16].to_vec());
        let begun = checksum(last, &frame[..8], is_big_endian);
        last = stored(&frame[16..]);
        let continues =
            frame[8..16] == **salts && checksum(begun, &frame[24..], is_big_endian) == last;
        if continues && is_commit && !is_sound {
            return Ok(true);
        }
        is_sound = is_sound && continues;
        is_commit = continues && frame[4..8] != [0; 4];
    }
    Ok(false)
}

/// Fills `buffer` from `log`. Returns whether the log was long enough.
fn fill(log: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// The checksum that is stored at the beginning of `bytes`.
fn stored(bytes: &[u8]) -> [u32; 2] {
    let mut words = bytes
        .as_chunks()
        .0
        .iter()
        .map(|word| u32::from_be_bytes(*word));
    std::array::from_fn(|_| words.next().unwrap_or_default())
}

/// Continues a checksum with these bytes.
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

    /// A log with frames of an earlier generation behind four transactions, and the number of their pages.
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
            !is_damaged(&log) && log.len() > HEADER + pages * FRAME,
            "with frames of an earlier generation"
        );
        let commits: Vec<usize> = (0..pages)
            .filter(|page| log[HEADER + page * FRAME + 4..][..4] != [0; 4])
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
        assert!((0..HEADER).all(|at| (0..8).all(|bit| flipped(at, 1 << bit))));
        for (page, within) in
            (0..pages).flat_map(|page| [0, 5, 9, 17, 24, FRAME - 1].map(|at| (page, at)))
        {
            // The next frame continues this checksum.
            let invalid = page + usize::from(within == 17);
            assert_eq!(
                flipped(HEADER + page * FRAME + within, 4),
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
        log[HEADER + 5] ^= 4;
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
        let is_commit = |page: &usize| log[HEADER + page * FRAME + 4..][..4] != [0; 4];
        let first = (0..pages - 1).rfind(is_commit).unwrap() + 1;
        let (begin, end) = (HEADER + first * FRAME, HEADER + pages * FRAME);
        for lost in 1_usize..1 << (pages - first) {
            let mut torn = log.clone();
            for page in (first..pages).filter(|page| lost >> (page - first) & 1 == 1) {
                torn[HEADER + page * FRAME..][..FRAME].fill(7);
            }
            assert!(!is_damaged(&torn), "{lost:b}");
        }
        assert!(
            [end, begin + 5, begin, HEADER, 5, 0]
                .iter()
                .all(|length| !is_damaged(&log[..*length]))
        );
    }
}
