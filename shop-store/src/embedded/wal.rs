//! Finds damage in a write-ahead log before SQLite opens it: SQLite ends a log at its first invalid frame, and
//! overwrites the rest.

use std::fs;
use std::io;
use std::path::Path;

use rusqlite::ffi::{Error as Code, SQLITE_CORRUPT};
use shop_core::{ErrorKind, Result};

use super::error::{AtPath as _, database_error};
use super::lock::FileLock;

/// The sizes in bytes of the header, and of a frame: its header and a page.
const HEADER: usize = 32;
const FRAME: usize = 24 + 4_096;

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
    let log = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read.at(path)?,
    };
    if !is_damaged(&log) {
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
    match lock.as_ref().map(FileLock::try_lock).transpose()? {
        Some(None) => Ok(()),
        _held_or_unused => check(&file.with_extension("db-wal")),
    }
}

/// The format: <https://www.sqlite.org/fileformat2.html#walformat>.
fn is_damaged(log: &[u8]) -> bool {
    // The bit of the header that states the byte order may be the one that is damaged.
    [false, true]
        .into_iter()
        .any(|is_big_endian| is_damaged_in(log, is_big_endian))
}

fn is_damaged_in(log: &[u8], is_big_endian: bool) -> bool {
    let Some((header, frames)) = log.split_at_checked(HEADER) else {
        return false;
    };
    let mut is_sound = checksum([0; 2], &header[..24], is_big_endian) == stored(&header[24..]);
    // Frames of an earlier generation have other salts.
    let salts = if is_sound {
        &header[16..24]
    } else {
        frames.get(8..16).unwrap_or_default()
    };
    let (mut last, mut is_commit) = (stored(&header[24..]), false);
    for frame in frames.chunks_exact(FRAME) {
        let begun = checksum(last, &frame[..8], is_big_endian);
        last = stored(&frame[16..]);
        let continues =
            frame[8..16] == *salts && checksum(begun, &frame[24..], is_big_endian) == last;
        if continues && is_commit && !is_sound {
            return true;
        }
        (is_sound, is_commit) = (is_sound && continues, continues && frame[4..8] != [0; 4]);
    }
    false
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
    use rusqlite::Connection;

    use super::*;

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
