//! Moves the files of an earlier layout, `log.db` and `store.db`, into one.

use std::fs::{self, File};
use std::path::Path;

use rusqlite::Connection;
use shop_core::{ErrorKind, Result};

use super::backup::{CopiedFile, copy, is_ours, open, partial};
use super::error::{database_error, from_io, from_sqlite};
use super::permissions::create_file;
use super::schema::{FILE, SHOP};
use super::store::fold;
use super::thread::blocking;

const OLD: [&str; 2] = ["log.db", "store.db"];

/// Moves the rows of an attached store to the tables of this version. Its first versions had no marks and no clock.
const MOVE_PURCHASES: &str = "
    CREATE TABLE IF NOT EXISTS old.erased (id);
    CREATE TABLE IF NOT EXISTS old.clock (seen);
    BEGIN;
    INSERT INTO main.buyers (userid, username) SELECT DISTINCT userid, username FROM old.purchases;
    INSERT INTO main.purchases (buyer, timestamp, id, price)
        SELECT buyer, timestamp, id, price FROM old.purchases CROSS JOIN main.buyers USING (userid, username);
    INSERT INTO main.unfolded (buyer, timestamp, price)
        SELECT buyer, timestamp, price FROM main.purchases;
    INSERT INTO main.erased SELECT id FROM old.erased;
    INSERT INTO main.clock (rowid, seen) SELECT 2, seen FROM old.clock;
";

/// Moves the log and the store of an earlier version in `folder` into one file. No process may use the folder. The old
/// files stay, as `log.db.old` and `store.db.old`. Returns the new file; none if there is nothing to move.
///
/// # Errors
/// [`Unavailable`](ErrorKind::Unavailable) if a file cannot be used; [`Corrupt`](ErrorKind::Corrupt) if one is damaged.
/// It can be called again.
///
/// # Cancel safety
/// Dropping the future does not cancel it.
pub async fn upgrade(folder: impl AsRef<Path>) -> Result<Vec<CopiedFile>> {
    let folder = folder.as_ref().to_owned();
    blocking(move || upgrade_in(&folder)).await
}

/// Whether `file` is the missing file of purchases, and its folder has those of an earlier version: it is to be
/// [upgraded](upgrade). Blocks while it reads a page.
#[must_use]
pub fn needs_upgrade(file: impl AsRef<Path>) -> bool {
    let file = file.as_ref();
    file.file_stem().is_some_and(|name| name == FILE) && file.parent().is_some_and(is_due)
}

/// Whether `folder` has a file of the earlier layout, and none of this one.
fn is_due(folder: &Path) -> bool {
    let is_old = |name: &&str| open(&folder.join(name)).is_ok_and(|file| is_ours(&file).unwrap_or_default());
    !folder.join(format!("{FILE}.db")).exists() && OLD.iter().any(is_old)
}

/// Checks that `folder` has this layout.
pub(super) fn check(folder: &Path) -> Result<()> {
    if !is_due(folder) {
        return Ok(());
    }
    let message =
        "the folder has the log and the store of an earlier version in two files: run `management migrate`";
    Err(database_error(ErrorKind::Corrupt, message).with_context("folder", folder.display()))
}

fn upgrade_in(folder: &Path) -> Result<Vec<CopiedFile>> {
    if !is_due(folder) {
        return Ok(Vec::new());
    }
    let name = format!("{FILE}.db");
    let (path, new) = (folder.join(&name), partial(folder, &name));
    let [log, store] = OLD.map(|name| folder.join(name));
    drop(fs::remove_file(&new));
    // The tables of a log are the first ones of the file.
    let made = if log.exists() {
        copy(&open(&log)?, &new)
    } else {
        create_file(&new).map_err(|error| from_io(error, &new))
    };
    made?;
    let copied = store.exists().then(|| partial(folder, "store.db"));
    copied.iter().try_for_each(|copied| copy(&open(&store)?, copied))?;
    complete(&new, copied.as_deref()).map_err(|error| from_sqlite(error, &new))?;
    let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all());
    sync(&new).and_then(|()| fs::rename(&new, &path)).map_err(|error| from_io(error, &path))?;
    for name in OLD {
        // What is left of them is found by its name, and does no harm.
        for suffix in ["-wal", "-shm", ".partial"] {
            drop(fs::remove_file(folder.join(format!("{name}{suffix}"))));
        }
        drop(fs::rename(folder.join(name), folder.join(format!("{name}.old"))));
    }
    sync(folder).map_err(|error| from_io(error, folder))?;
    let bytes = fs::metadata(&path).map_err(|error| from_io(error, &path))?.len();
    Ok(vec![CopiedFile { name, bytes }])
}

/// Adds the tables of a store to the file `new`, and the rows of the file `store`.
fn complete(new: &Path, store: Option<&Path>) -> rusqlite::Result<()> {
    let connection = Connection::open(new)?;
    connection.pragma_update(None, "auto_vacuum", "incremental")?;
    let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    SHOP.migrate(&connection, version as usize)?;
    let Some(store) = store else { return Ok(()) };
    connection.execute("ATTACH ?1 AS old", [store.display().to_string()])?;
    connection.execute_batch(MOVE_PURCHASES)?;
    fold(&connection)?;
    connection.execute_batch("COMMIT; DETACH old;")
}

#[cfg(test)]
mod tests {
    use shop_core::log::LogAdmin;
    use shop_core::ports::{PurchaseQuery, Selector};
    use shop_core::{Clock, NewPurchase, SystemClock};

    use super::*;
    use crate::embedded::database::Database;
    use crate::embedded::log::LOG;
    use crate::embedded::{
        EmbeddedLog, EmbeddedLogOptions, EmbeddedShop, EmbeddedStore, EmbeddedStoreOptions,
    };

    fn purchase() -> shop_core::Purchase {
        let new = NewPurchase::of("u1").named("ada").priced("29.99").unwrap();
        new.into_purchase(SystemClock.now(), || SystemClock.fresh_id())
    }

    #[tokio::test]
    async fn two_files_become_one_with_all_rows() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (purchase(), purchase());
        {
            let store = Connection::open(folder.path().join("store.db")).unwrap();
            let schema = "PRAGMA application_id = 0x53686f53; PRAGMA user_version = 1;
                CREATE TABLE purchases (timestamp INTEGER NOT NULL, id BLOB NOT NULL, userid TEXT NOT NULL,
                    username TEXT NOT NULL, price TEXT NOT NULL, PRIMARY KEY (timestamp, id)) STRICT, WITHOUT ROWID;";
            store.execute_batch(schema).unwrap();
            let id = [&[1], &first.id.as_uuid().unwrap().as_bytes()[..]].concat();
            let row = rusqlite::params![first.timestamp.as_millis(), id, "u1", "ada", "29.99"];
            store.execute("INSERT INTO purchases VALUES (?1, ?2, ?3, ?4, ?5)", row).unwrap();
            let (log, _lock) = Database::new(&LOG, folder.path(), "log", None).open_to_write().unwrap();
            let record = shop_core::record::encode(&second).unwrap();
            let sql = "INSERT INTO records (offset, time, key, headers, value) VALUES (?1, 1, ?2, ?3, ?4)";
            for offset in [7, 8] {
                let row = rusqlite::params![
                    offset,
                    record.key.as_deref(),
                    &record.headers.as_bytes()[..],
                    record.value.as_deref()
                ];
                log.execute(sql, row).unwrap();
            }
            let rest = "DELETE FROM records WHERE offset = 8; INSERT INTO log (cluster) VALUES ('cluster');
                INSERT INTO groups (name, epoch, next) VALUES ('purchase-group', 3, 7)";
            log.execute_batch(rest).unwrap();
        }
        let refused = EmbeddedLog::open(folder.path(), EmbeddedLogOptions::default()).await.unwrap_err();
        assert!(refused.to_string().contains("management migrate"), "{refused}");
        EmbeddedStore::open(folder.path(), EmbeddedStoreOptions::default()).await.unwrap_err();

        assert_eq!(upgrade(folder.path()).await.unwrap()[0].name, "shop.db");
        assert_eq!(upgrade(folder.path()).await.unwrap(), []);
        let embedded = EmbeddedShop::open(folder.path()).await.unwrap();
        embedded.monitor().wait_for(|status| status.counters.inserted == 1).await;
        let bought =
            embedded.shop().buy(NewPurchase::of("u1").named("ada").priced("1").unwrap()).await.unwrap();
        assert_eq!(bought.receipt.position.unwrap().offset, 9, "offsets are not reused");
        assert_eq!(embedded.shop().user("u1").summary().await.unwrap().count, 3);
        // Over the gap at 8.
        while embedded.log().usage().await.unwrap().unwrap().groups[0].next_offset < 10 {
            tokio::task::yield_now().await;
        }
        let store = embedded.log().store(&EmbeddedStoreOptions::default()).await.unwrap();
        assert_eq!(store.summary(&Selector::All).await.unwrap().count, 3);
    }
}
