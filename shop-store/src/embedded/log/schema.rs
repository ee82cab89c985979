//! The schema of a log's file.

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

/// The application id is `ShoL` in ASCII, which the `file` command shows.
pub(super) const LOG: Kind = Kind {
    application_id: 0x5368_6f4c,
    migrations: &[VERSION_1, VERSION_2],
    checkpoint_pages: None,
    check_queries: &[
        "SELECT cluster FROM log",
        "SELECT max(offset) FROM records",
        "SELECT seq FROM sqlite_sequence",
        "SELECT next FROM groups LIMIT 1",
        "SELECT max(rowid) FROM dead_letters",
        "SELECT 1 FROM dead_letters ORDER BY topic, partition, offset LIMIT 1",
        "SELECT max(rowid) FROM settled_letters",
        "SELECT 1 FROM settled_letters ORDER BY offset, partition, topic LIMIT 1",
    ],
};
