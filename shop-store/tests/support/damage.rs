//! A file that a failing disk damages, one table or index after the other.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use shop_core::{ErrorKind, Result};
use shop_store::embedded::rusqlite::Connection;

/// Every table and every index of a file, with the number of its first page.
fn trees(file: &Path) -> Vec<(String, u32)> {
    let connection = Connection::open(file).unwrap();
    let mut query = connection
        .prepare("SELECT name, rootpage FROM sqlite_schema WHERE rootpage > 0")
        .unwrap();
    let rows = query
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    rows.map(Result::unwrap).collect()
}

/// The size of a page in bytes, which is SQLite's default.
const PAGE: usize = 4_096;

fn damage(file: &Path, page: u32) {
    let file = OpenOptions::new().write(true).open(file).unwrap();
    let start = u64::from(page - 1) * PAGE as u64;
    file.write_all_at(&[0xff; PAGE], start).unwrap();
}

/// Damages each table and each index of the file `name`, each in a copy of the file, and asserts that `check` of the
/// copy's folder finds it.
pub(crate) async fn assert_damage_is_detected(
    name: &str,
    check: impl AsyncFn(&Path) -> Result<()>,
) {
    let sound = tempfile::tempdir().unwrap();
    check(sound.path()).await.unwrap();
    let file = format!("{name}.db");
    // Checkpoints the write-ahead log of a file that is not closed yet.
    let connection = Connection::open(sound.path().join(&file)).unwrap();
    connection
        .pragma_update_and_check(None, "wal_checkpoint", "truncate", |_| Ok(()))
        .unwrap();
    drop(connection);
    for (tree, page) in trees(&sound.path().join(&file)) {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join(&file);
        std::fs::copy(sound.path().join(&file), &copy).unwrap();
        damage(&copy, page);
        let error = check(folder.path()).await.expect_err(&tree);
        assert_eq!(
            error.kind(),
            ErrorKind::Corrupt,
            "{name} {tree}: {}",
            error.chain()
        );
    }
}
