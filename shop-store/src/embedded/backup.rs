//! Operations on the whole files of a data folder: [`backup`], [`restore`] and [`vacuum`].
//!
//! A backup holds the write locks of all files only for the moment in which it begins a read
//! transaction on each file. From then on, the transactions keep the files as they were at that
//! moment, while other processes write. Each copy is named `*.partial` until all copies are
//! complete.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use shop_core::{ErrorKind, Result};
use uuid::Uuid;

use super::engine::database::{open_to_read, read_pragma};
use super::engine::error::{AtPath as _, database_error};
use super::engine::file_record::FileRecord;
use super::engine::lock::{FileLock, LOCK_TIMEOUT};
use super::engine::permissions::{create_file, create_folder, parent_folder};
use super::engine::thread::blocking;
use super::file::SqliteFile;
use super::schema::{FILE, SHOP};

/// A file that was copied by [`backup`] or [`restore`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopiedFile {
    /// The name of the file, such as `shop.db`.
    pub name: String,
    /// The size of the file in bytes.
    pub bytes: u64,
}

/// Copies the files in `folder` into `backup_folder`, while other processes use them.
///
/// All copies are of one moment: for an instant, the write locks of all files are held together.
/// Everything that was acknowledged before the call is in the copies. The files are copied while
/// the processes continue to write; until then their write-ahead logs are not truncated. Each copy
/// is checked and synced.
///
/// # Errors
/// - [`Unavailable`](ErrorKind::Unavailable) if a folder cannot be used, `folder` contains no
///   files, or `backup_folder` contains files of a database already, such as a write-ahead log
///   alone
/// - [`Corrupt`](ErrorKind::Corrupt) if a file is damaged
///
/// After an error, unfinished copies named `*.partial` may be left.
///
/// # Cancel safety
/// Dropping the future does not cancel the backup.
pub async fn backup(
    folder: impl AsRef<Path>,
    backup_folder: impl AsRef<Path>,
) -> Result<Vec<CopiedFile>> {
    let folder = folder.as_ref().to_owned();
    let backup_folder = backup_folder.as_ref().to_owned();
    // The folder is not created again if it is removed in the meantime, such as by an unmount.
    let missing_folder = if backup_folder.exists() {
        MissingFolder::Refuse
    } else {
        MissingFolder::Create
    };
    blocking(move || copy_files(&folder, &backup_folder, missing_folder, CopyPurpose::Backup)).await
}

/// Copies the files of the backup in `backup_folder` into `folder`, which must not contain files of
/// a database.
///
/// A service that is started on `folder` meanwhile waits, or fails. The restored log gets a new
/// generation, an id that is part of each cursor of purchase events. So cursors from before the
/// restore are refused, because their offsets may belong to other records now.
///
/// # Errors
/// The errors of [`backup`], and [`Unavailable`](ErrorKind::Unavailable) if another process uses
/// `folder`.
///
/// # Cancel safety
/// Dropping the future does not cancel the restore.
pub async fn restore(
    backup_folder: impl AsRef<Path>,
    folder: impl AsRef<Path>,
) -> Result<Vec<CopiedFile>> {
    let backup_folder = backup_folder.as_ref().to_owned();
    let folder = folder.as_ref().to_owned();
    blocking(move || {
        let purpose = CopyPurpose::Restore;
        copy_files(&backup_folder, &folder, MissingFolder::Create, purpose)
    })
    .await
}

/// The first three bytes of the application ids of our files: `Sho`.
const APPLICATION_PREFIX: i32 = 0x53_686f;
/// The number of pages that are copied at a time.
const PAGES_PER_STEP: i32 = 1_024;
/// The name of the file of purchases. It gets its name last of all copies, so a folder that contains
/// this file is complete.
const PURCHASES_FILE: &str = "shop.db";

/// What the copies of the files are for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CopyPurpose {
    /// The copies are kept, and no service opens them.
    Backup,
    /// Services open the copies in place of the files that were lost.
    Restore,
}

/// What happens if the folder of the copies does not exist.
#[derive(Clone, Copy, PartialEq, Eq)]
enum MissingFolder {
    /// The folder is created.
    Create,
    /// The missing folder is an error: it existed at the call, and was deleted since.
    Refuse,
}

/// Sets a new generation of the log in the restored file `path`, if the file contains a log, and
/// removes all triggers.
///
/// This product uses no triggers. A trigger in a backup was added by another program, and its
/// statements would run with the writes of the services.
fn prepare_restored_file(path: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open(path)?;
    let sql = "SELECT coalesce(group_concat(format('DROP TRIGGER \"%w\";', name), ''), '')
                    FROM sqlite_schema WHERE type = 'trigger'";
    let drop_triggers: String = connection.query_row(sql, [], |row| row.get(0))?;
    connection.execute_batch(&drop_triggers)?;

    let sql = "SELECT count(*) FROM pragma_table_info('log') WHERE name = 'generation'";
    let generation_columns: i64 = connection.query_row(sql, [], |row| row.get(0))?;
    if generation_columns == 1 {
        connection.execute(
            "UPDATE log SET generation = ?1",
            [Uuid::now_v7().to_string()],
        )?;
    }
    Ok(())
}

/// Copies all database files of the folder `source_folder` into the folder `target_folder`, and
/// returns the copied files.
///
/// The files of a restore are locked until this function returns, so that no service opens them too
/// early, and are [prepared](prepare_restored_file) for the services.
///
/// # Errors
/// The errors of [`backup`], and of [`lock_restored_file`] for a restore. Unfinished copies named
/// `*.partial` are left, and the next call overwrites them.
fn copy_files(
    source_folder: &Path,
    target_folder: &Path,
    missing_folder: MissingFolder,
    purpose: CopyPurpose,
) -> Result<Vec<CopiedFile>> {
    let snapshots = open_snapshots(source_folder)?;
    if missing_folder == MissingFolder::Create {
        create_folder(target_folder).at(target_folder)?;
    }
    check_is_unused(target_folder)?;

    let mut restore_locks = Vec::new();
    if purpose == CopyPurpose::Restore {
        for (name, _) in &snapshots {
            let file_lock = lock_restored_file(&target_folder.join(name))?;
            restore_locks.push((name, file_lock));
        }
    }
    // A service may have created a file before its lock was taken above.
    check_is_unused(target_folder)?;

    let mut copied_files = Vec::new();
    for (name, snapshot) in &snapshots {
        let partial = partial_path(target_folder, name);
        copy_snapshot(snapshot, &partial)?;
        if purpose == CopyPurpose::Restore {
            prepare_restored_file(&partial).at(target_folder)?;
        }
        let bytes = fs::metadata(partial).at(target_folder)?.len();
        copied_files.push(CopiedFile {
            name: name.clone(),
            bytes,
        });
    }

    // The copies get their names only after all of them are complete, so a copy that fails leaves
    // no folder that looks like a backup.
    for CopiedFile { name, .. } in &copied_files {
        fs::rename(partial_path(target_folder, name), target_folder.join(name))
            .at(target_folder)?;
    }
    // `copy_snapshot` has checked the pages. A record in the lock file says this, so that the
    // service that opens the file need not check them again.
    for (name, file_lock) in &restore_locks {
        let record = FileRecord::from_path(&target_folder.join(name))?;
        record.write(file_lock)?;
        file_lock.sync()?;
    }
    File::open(target_folder)
        .and_then(|folder| folder.sync_all())
        .at(target_folder)?;
    Ok(copied_files)
}

/// Checks that `folder` contains no database file, and no part of one.
///
/// SQLite would apply a write-ahead log or a journal that is left from another file to the copy.
///
/// # Errors
/// [`Unavailable`](ErrorKind::Unavailable) if the folder contains such a file, or cannot be read.
fn check_is_unused(folder: &Path) -> Result<()> {
    if list_files(folder, &[".db", ".db-wal", ".db-shm", ".db-journal"])?.is_empty() {
        return Ok(());
    }
    let message =
        "the folder has a log or a store already, or a part of one: choose an empty folder";
    Err(database_error(ErrorKind::Unavailable, message).with_context("path", folder.display()))
}

/// Takes the lock of the file that is restored at `path`, and holds it until the returned value is
/// dropped.
///
/// # Errors
/// [`Unavailable`](ErrorKind::Unavailable) if another process holds the lock.
fn lock_restored_file(path: &Path) -> Result<FileLock> {
    let held_lock = FileLock::open(&path.with_extension("lock"))?.try_hold()?;
    held_lock.ok_or_else(|| {
        let message = "another process uses the folder: stop it, or choose an empty folder";
        let folder = parent_folder(path);
        database_error(ErrorKind::Unavailable, message).with_context("path", folder.display())
    })
}

/// Returns the path of the unfinished copy of the file `name`.
fn partial_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.partial"))
}

/// Opens all database files of the folder, each in a read transaction, and returns their names and
/// connections.
///
/// All transactions begin while no process writes, so together they see the files as of one moment.
///
/// # Errors
/// - [`Unavailable`](ErrorKind::Unavailable) if the folder contains no file of this product, a file
///   cannot be read, or another process holds a lock for longer than [`LOCK_TIMEOUT`]
/// - [`Corrupt`](ErrorKind::Corrupt) if a file is damaged
fn open_snapshots(folder: &Path) -> Result<Vec<(String, Connection)>> {
    let mut locks = Vec::new();
    let mut snapshots = Vec::new();
    for name in list_files(folder, &[".db"])? {
        let path = folder.join(&name);
        // A file without a lock file needs no lock, because no process has written to it.
        let lock_path = path.with_extension("lock");
        if lock_path.exists() {
            locks.push(FileLock::open(&lock_path)?);
        }

        let connection = open_to_read(&path)?;
        let application_id: i32 = read_pragma(&connection, "application_id").at(&path)?;
        // The last byte of an application id distinguishes our kinds of files. A file of another
        // program is not copied.
        if application_id >> 8 == APPLICATION_PREFIX {
            snapshots.push((name, connection));
        }
    }
    if snapshots.is_empty() {
        let message = "there is no log and no store here: name the folder that has them";
        return Err(database_error(ErrorKind::Unavailable, message)
            .with_context("missing", folder.display()));
    }

    // Taking several locks cannot cause a deadlock, because each writer holds only one lock at a
    // time.
    let _guards = locks
        .iter()
        .map(|lock| lock.lock(LOCK_TIMEOUT))
        .collect::<Result<Vec<_>>>()?;
    for (name, connection) in &snapshots {
        // `BEGIN` alone takes no snapshot. The first read does.
        connection
            .execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema")
            .at(&folder.join(name))?;
    }
    Ok(snapshots)
}

/// Returns the names of the files in `folder` with one of the `endings`, sorted by name, but with
/// [`PURCHASES_FILE`] at the end, because the copies are renamed in this order.
///
/// # Errors
/// [`Unavailable`](ErrorKind::Unavailable) if the folder cannot be read.
fn list_files(folder: &Path, endings: &[&str]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).at(folder)? {
        let file_name = entry.at(folder)?.file_name();
        // A name that is not UTF-8 is passed over: our files have ASCII names.
        if let Some(name) = file_name.to_str()
            && endings.iter().any(|ending| name.ends_with(ending))
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    // The sort is stable, and `false` comes before `true`.
    names.sort_by_key(|name| name == PURCHASES_FILE);
    Ok(names)
}

/// Copies the file that `snapshot` reads to a new file at `path`, checks the copy for damage, and
/// syncs it. Replaces an unfinished copy at `path`.
///
/// # Errors
/// - [`Corrupt`](ErrorKind::Corrupt) if the copy is damaged, which means that the source is damaged
/// - the error of SQLite or of the file system
fn copy_snapshot(snapshot: &Connection, path: &Path) -> Result<()> {
    if path.exists() {
        fs::remove_file(path).at(path)?;
    }
    create_file(path).at(path)?;

    let copy_and_check = || {
        let mut target = Connection::open(path)?;
        let backup = Backup::new(snapshot, &mut target)?;
        while backup.step(PAGES_PER_STEP)? != StepResult::Done {}
        drop(backup);
        // Without a write-ahead log, the copy can be read on a medium without write access. A
        // service switches the log on again when it opens the file.
        target.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))?;
        read_pragma(&target, "quick_check")
    };
    let check_result: String = copy_and_check().at(path)?;
    if check_result != "ok" {
        let message = "the file is damaged: its copy cannot be used";
        return Err(database_error(ErrorKind::Corrupt, message)
            .with_context("copy", path.display())
            .with_context("found", check_result));
    }

    File::open(path).and_then(|file| file.sync_all()).at(path)
}

/// Rewrites the file of purchases in `folder` without its unused parts, while other processes use
/// it.
///
/// SQLite overwrites what it deletes, but it also moves rows between pages and leaves copies in
/// unused parts of the file. After an erasure, this removes them. Other files of the folder are not
/// rewritten: for users, call `vacuum_users` of `shop-accounts`.
///
/// Writers wait meanwhile, at most 4 seconds for each write, and then fail with transient errors. A
/// file of a million purchases takes seconds. The disk needs free space of twice the size of the
/// file. Logs of events need no rewriting, because SQLite does not move their rows.
///
/// # Errors
/// [`Unavailable`](ErrorKind::Unavailable) if the file cannot be used or the disk is full;
/// [`Corrupt`](ErrorKind::Corrupt) if the file is damaged or of another version. After an error,
/// this function can be called again.
///
/// # Cancel safety
/// Dropping the future does not cancel the rewriting.
pub async fn vacuum(folder: impl AsRef<Path>) -> Result<()> {
    SqliteFile::vacuum(folder.as_ref(), FILE, &SHOP).await
}

#[cfg(test)]
mod tests {
    use super::super::fixture::*;
    use super::*;

    /// The shop in a new folder `data`, and a backup of it in `backup`.
    struct BackedUp {
        folder: TempDir,
        embedded: EmbeddedShop,
    }

    impl BackedUp {
        async fn new() -> Self {
            let folder = fresh_folder();
            let embedded = open_shop(folder.path().join("data")).await;
            let backed_up = Self { folder, embedded };
            backed_up.back_up("backup").await.unwrap();
            backed_up
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        async fn back_up(&self, folder: &str) -> Result<Vec<CopiedFile>> {
            backup(self.path("data"), self.path(folder)).await
        }

        async fn restore(&self, folder: &str) -> Result<Vec<CopiedFile>> {
            restore(self.path("backup"), self.path(folder)).await
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_cursor_from_before_a_restore_is_rejected() {
        let backed_up = BackedUp::new().await;
        let shop = backed_up.embedded.shop();
        let feed = backed_up.embedded.feed();
        let mut events = feed.subscribe(Selector::All, None).await.unwrap();
        shop.buy(new_purchase("1")).await.unwrap();
        let cursor = events.next().await.unwrap().cursor;
        drop(feed.subscribe(Selector::All, Some(&cursor)).await.unwrap());

        backed_up.back_up("again").await.unwrap();
        restore(backed_up.path("again"), backed_up.path("restored"))
            .await
            .unwrap();
        let restored = open_shop(backed_up.path("restored")).await;
        let refused = restored
            .feed()
            .subscribe(Selector::All, Some(&cursor))
            .await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Expired);
    }

    #[tokio::test]
    async fn a_copy_is_not_put_beside_files_of_others_or_under_a_lock() {
        let backed_up = BackedUp::new().await;
        for left in [
            "other.db",
            "shop.db-wal",
            "shop.db-shm",
            "shop.db-journal",
            "shop.lock",
        ] {
            let into = backed_up.path(left);
            fs::create_dir(&into).unwrap();
            fs::write(into.join(left), "left").unwrap();
            let lock = FileLock::open(&into.join("shop.lock"))
                .unwrap()
                .try_hold()
                .unwrap();
            let lock = lock.filter(|_| left == "shop.lock");
            let refused = backed_up.restore(left).await.unwrap_err().to_string();
            let why = match lock {
                Some(_) => "another process uses the folder",
                None => "already",
            };
            assert!(refused.contains(why), "{left}: {refused}");
            let is_backed_up = backed_up.back_up(left).await.is_ok();
            assert_eq!(is_backed_up, lock.is_some(), "{left}");
            assert_eq!(fs::read(into.join(left)).unwrap(), b"left");
        }
    }

    #[tokio::test]
    async fn a_trigger_of_a_restored_file_does_not_run() {
        let backed_up = BackedUp::new().await;
        let hostile = "CREATE TRIGGER \"a \"\" b\" AFTER UPDATE ON log BEGIN DELETE FROM log; END;
                       CREATE TRIGGER b AFTER INSERT ON records BEGIN DELETE FROM records; END;";
        let file = connect(backed_up.path("backup"));
        file.execute_batch(hostile).unwrap();
        backed_up.restore("restored").await.unwrap();
        let restored = open_shop(backed_up.path("restored")).await;
        restored.shop().buy(new_purchase("1")).await.unwrap();
        assert!(restored.log().find(0, 1).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_folder_without_files_is_an_error() {
        let folder = fresh_folder();
        let copy = folder.path().join("backup");
        let error = backup(folder.path(), &copy).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(!copy.exists());
        let _log = open_log(&folder).await;
        assert_eq!(backup(folder.path(), &copy).await.unwrap().len(), 1);
    }
}
