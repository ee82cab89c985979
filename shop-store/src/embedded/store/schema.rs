//! The schema of the store's file.

use crate::embedded::clock;
use crate::embedded::database::Kind;

/// Clustered by timestamp, so inserts append. SQLite appends the primary key to each index of such a table:
/// `by_user` is (userid, timestamp, id).
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

/// The ids of erased purchases, which are not stored again.
const VERSION_2: &str = "
    CREATE TABLE erased (
        id BLOB PRIMARY KEY
    ) STRICT, WITHOUT ROWID;
";

/// The application id is `ShoS` in ASCII, which the `file` command shows.
pub(in crate::embedded) const STORE: Kind = Kind {
    application_id: 0x5368_6f53,
    migrations: &[VERSION_1, VERSION_2, clock::TABLE],
    check_queries: &[&[
        "SELECT max(timestamp) FROM purchases",
        "SELECT max(id) FROM purchases INDEXED BY by_id",
        "SELECT max(userid) FROM purchases INDEXED BY by_user",
        "SELECT max(username) FROM purchases INDEXED BY by_name",
        "SELECT kind FROM totals LIMIT 1",
        "SELECT max(id) FROM erased",
        "SELECT seen FROM clock",
    ]],
};
