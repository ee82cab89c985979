//! The schema of a log's file.

use crate::embedded::clock;
use crate::embedded::database::Kind;

/// AUTOINCREMENT: offsets are never reused, even if the newest records are deleted.
const VERSION_1: &str = "
    CREATE TABLE log (cluster TEXT NOT NULL) STRICT;
    CREATE TABLE records (
        offset INTEGER PRIMARY KEY AUTOINCREMENT,
        time INTEGER NOT NULL,
        key BLOB,
        headers BLOB NOT NULL,
        value BLOB
    ) STRICT;
    CREATE TABLE groups (
        name TEXT PRIMARY KEY,
        epoch INTEGER NOT NULL,
        next INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE dead_letters (
        topic TEXT NOT NULL,
        partition INTEGER NOT NULL,
        offset INTEGER NOT NULL,
        time INTEGER NOT NULL,
        key BLOB,
        headers BLOB NOT NULL,
        value BLOB,
        reason TEXT NOT NULL,
        detail TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        version TEXT NOT NULL,
        PRIMARY KEY (topic, partition, offset)
    ) STRICT;
";

/// The resolutions of deleted dead letters.
const VERSION_2: &str = "
    CREATE TABLE settled_letters (
        topic TEXT NOT NULL,
        partition INTEGER NOT NULL,
        offset INTEGER NOT NULL,
        place TEXT NOT NULL,
        purchase TEXT,
        settlement TEXT NOT NULL,
        PRIMARY KEY (offset, partition, topic)
    ) STRICT;
";

/// A dead letter is identified by position and time, a gap by its headers, which have its offsets. A resolution is
/// identified by the record id (`place`).
const VERSION_3: &str = "
    ALTER TABLE dead_letters RENAME TO old_letters;
    CREATE TABLE dead_letters (
        topic TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL, time INTEGER NOT NULL,
        key BLOB, headers BLOB NOT NULL, value BLOB,
        reason TEXT NOT NULL, detail TEXT NOT NULL, attempts INTEGER NOT NULL, version TEXT NOT NULL
    ) STRICT;
    INSERT INTO dead_letters SELECT * FROM old_letters ORDER BY rowid;
    DROP TABLE old_letters;
    CREATE UNIQUE INDEX by_record ON dead_letters
        (topic, partition, offset, CASE reason WHEN 'gap' THEN headers ELSE time END);
    ALTER TABLE settled_letters RENAME TO old_letters;
    CREATE TABLE settled_letters (
        topic TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
        place TEXT NOT NULL, purchase TEXT, settlement TEXT NOT NULL,
        PRIMARY KEY (offset, place)
    ) STRICT;
    INSERT INTO settled_letters SELECT * FROM old_letters ORDER BY rowid;
    DROP TABLE old_letters;
";

/// What `restore` replaces, by which cursors and the like of the time before are recognized. The store that a group feeds.
/// The offsets from `stored_from` to before `stored_to` were appended in the transactions that stored their purchases.
const VERSION_5: &str = "
    ALTER TABLE log ADD COLUMN generation TEXT;
    ALTER TABLE groups ADD COLUMN feeds TEXT;
    ALTER TABLE groups ADD COLUMN stored_from INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE groups ADD COLUMN stored_to INTEGER NOT NULL DEFAULT 0;
";

/// The application id is `ShoL` in ASCII, which the `file` command shows.
pub(in crate::embedded) const LOG: Kind = Kind {
    application_id: 0x5368_6f4c,
    migrations: &[VERSION_1, VERSION_2, VERSION_3, clock::TABLE, VERSION_5],
    check_queries: &[&[
        "SELECT cluster, generation FROM log",
        "SELECT max(offset) FROM records",
        "SELECT seq FROM sqlite_sequence",
        "SELECT next FROM groups LIMIT 1",
        "SELECT max(rowid) FROM dead_letters",
        "SELECT 1 FROM dead_letters INDEXED BY by_record ORDER BY topic, partition, offset LIMIT 1",
        "SELECT max(rowid) FROM settled_letters",
        "SELECT 1 FROM settled_letters ORDER BY offset, place LIMIT 1",
        "SELECT seen FROM clock",
    ]],
};

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn an_older_file_keeps_its_dead_letters_and_resolutions() {
        let file = Connection::open_in_memory().unwrap();
        file.execute_batch(&LOG.migrations[..2].concat()).unwrap();
        let letter = |offset: i64, reason: &str| {
            let values = "('t', 0, ?1, 7, NULL, x'00', NULL, ?2, 'why', 1, '0')";
            file.execute(&format!("INSERT INTO dead_letters VALUES {values}"), (offset, reason)).unwrap();
        };
        letter(9, "gap");
        letter(3, "refused");
        file.execute("INSERT INTO settled_letters VALUES ('t', 0, 4, 'id', NULL, 'dropped')", []).unwrap();
        file.execute_batch(&LOG.migrations[2..].concat()).unwrap();
        let rows = |sql: &str| -> Vec<String> {
            let mut rows = file.prepare(sql).unwrap();
            rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        assert_eq!(rows("SELECT offset || reason FROM dead_letters ORDER BY rowid"), ["9gap", "3refused"]);
        assert_eq!(rows("SELECT offset || place || settlement FROM settled_letters"), ["4iddropped"]);
        LOG.check(&file).unwrap();
    }
}
