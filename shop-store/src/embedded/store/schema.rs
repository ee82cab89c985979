//! The tables of the store's file.

use crate::embedded::database::Kind;

/// Clustered by time, so that inserts append; SQLite ends each index of such a table with its primary key,
/// so `by_user` is (userid, timestamp, id).
const VERSION_1: &str = "
    CREATE TABLE purchases (
        timestamp INTEGER NOT NULL,
        id BLOB NOT NULL,
        userid TEXT NOT NULL,
        username TEXT NOT NULL,
        price TEXT NOT NULL,
        PRIMARY KEY (timestamp, id)
    ) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX by_id ON purchases (id);
    CREATE INDEX by_user ON purchases (userid);
    CREATE INDEX by_name ON purchases (username);
    CREATE TABLE totals (
        kind INTEGER NOT NULL,
        text TEXT NOT NULL,
        count INTEGER NOT NULL,
        high INTEGER NOT NULL,
        low INTEGER NOT NULL,
        PRIMARY KEY (kind, text)
    ) STRICT, WITHOUT ROWID;
";

/// `Shop` and a letter, as the `file` command shows it.
pub(super) const STORE: Kind = Kind {
    application_id: 0x5368_6f53,
    migrations: &[VERSION_1],
    // 64 MB. A batch changes many pages, and the same ones again and again: with 14,000 purchases in a second nine of
    // ten were in a listing within 3.0 ms at 1,000 pages, and are within 1.7 so. A log, whose pages are new, loses by
    // it: until its write-ahead log is so long, every commit makes that longer, which costs a sync more.
    checkpoint_pages: Some(16_000),
    touch: &[
        "SELECT max(timestamp) FROM purchases",
        "SELECT max(id) FROM purchases INDEXED BY by_id",
        "SELECT max(userid) FROM purchases INDEXED BY by_user",
        "SELECT max(username) FROM purchases INDEXED BY by_name",
        "SELECT kind FROM totals LIMIT 1",
    ],
};
