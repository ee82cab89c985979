//! The schema of `shop.db`, the file of purchases: the tables of a log, and the tables of a store.

use super::clock;
use super::engine::database::FileSchema;
use super::integrity::check_shop_rows;
use super::log::schema::LOG;

/// The name of the file of purchases, without its extension.
pub const FILE: &str = "shop";

/// The schema of the file. The application id is `Shop` in ASCII, which the `file` command shows.
///
/// The log and the store share the table of the clock.
pub(super) const SHOP: FileSchema = FileSchema {
    application_id: 0x5368_6f70,
    migrations: &[&[LOG.migrations[0][0], clock::TABLE, STORE_TABLES]],
    tables: &[
        LOG.tables[0],
        "purchases buyers unfolded days quarters refunds erased waiting_refunds settings",
    ],
    check_rows: check_shop_rows,
};

/// The tables of the store.
///
/// - `buyers`: a buyer is a pair of a user's id and name, interned to one integer, which the other
///   tables use in place of the texts. The row also contains the sums of the buyer's purchases.
///   Buyer 0 stands for all buyers. The integer is known after the insert, so the checksum, which
///   covers it, is set by an update.
/// - `purchases`: clustered by buyer, so that a page of a user's listing is one range of the table.
///   The optional members of a purchase are a JSON object in `details`. The reference among them is
///   also a column of its own, because an index on a text within the object could not be maintained
///   for a damaged row. The index `by_time` contains all columns that a listing shows, because
///   SQLite appends the rest of the primary key to each index of such a table.
/// - `unfolded`: the purchases that were not yet added to the sums per buyer (in `buyers`), per UTC
///   day and buyer (in `days`), and per quarter of an hour (in `quarters`), of which the days and
///   the hours of every time zone consist. The first row stands for all purchases that were added
///   before. Its sequence is the watermark. A sequence is never reused.
/// - `refunds`: the ids of the refunds in `purchases` once more, so that a changed bit in the index
///   `by_id` does not hide a refund from the next one.
/// - `erased`: the ids of erased purchases, which must not be inserted again.
/// - `waiting_refunds`: the refunds that wait for their purchase, as the values of their records.
///   Retention and the summary read them by time, and ingest reads the refused ones every second
///   while refunds wait.
/// - `settings`: the settings that the store keeps.
///
/// The checksums of the two rows that are inserted here are those that
/// [`checksum`](super::engine::checksum::checksum) returns for their values. The modules `rows`, `buyers`,
/// `sums` and `fold` of the store show examples of the rows.
const STORE_TABLES: &str = "
    CREATE TABLE buyers (
        buyer INTEGER PRIMARY KEY,
        userid TEXT NOT NULL,
        username TEXT NOT NULL,
        texts_checksum INTEGER NOT NULL DEFAULT 0,
        count INTEGER NOT NULL DEFAULT 0,
        high INTEGER NOT NULL DEFAULT 0,
        low INTEGER NOT NULL DEFAULT 0,
        residue INTEGER NOT NULL DEFAULT 0,
        UNIQUE (userid, username)
    ) STRICT;
    CREATE INDEX by_name ON buyers (username);
    INSERT INTO buyers (buyer, userid, username, texts_checksum) VALUES (0, '', '', 942445914);
    CREATE TABLE purchases (
        buyer INTEGER NOT NULL,
        timestamp INTEGER NOT NULL,
        id BLOB NOT NULL,
        price TEXT NOT NULL,
        details TEXT,
        reference TEXT,
        checksum INTEGER NOT NULL,
        PRIMARY KEY (buyer, timestamp, id)
    ) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX by_id ON purchases (id);
    CREATE INDEX by_time ON purchases (timestamp, id, price, checksum, details);
    CREATE INDEX by_reference ON purchases (reference, timestamp, id) WHERE reference IS NOT NULL;
    CREATE TABLE unfolded (
        sequence INTEGER PRIMARY KEY,
        buyer INTEGER NOT NULL,
        timestamp INTEGER NOT NULL,
        price TEXT NOT NULL,
        checksum INTEGER NOT NULL
    ) STRICT;
    INSERT INTO unfolded VALUES (1, 0, 0, '', 3970129339);
    CREATE TABLE days (
        day INTEGER NOT NULL,
        buyer INTEGER NOT NULL,
        count INTEGER NOT NULL DEFAULT 0,
        high INTEGER NOT NULL DEFAULT 0,
        low INTEGER NOT NULL DEFAULT 0,
        residue INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (day, buyer)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE quarters (
        quarter INTEGER PRIMARY KEY,
        count INTEGER NOT NULL DEFAULT 0,
        high INTEGER NOT NULL DEFAULT 0,
        low INTEGER NOT NULL DEFAULT 0,
        residue INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE refunds (
        id BLOB PRIMARY KEY
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE erased (
        id BLOB PRIMARY KEY
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE waiting_refunds (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        id BLOB NOT NULL,
        purchase BLOB NOT NULL,
        userid TEXT NOT NULL,
        timestamp INTEGER NOT NULL,
        value TEXT NOT NULL,
        origin TEXT,
        refusal TEXT,
        checksum INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX waiting_by_id ON waiting_refunds (id);
    CREATE INDEX waiting_by_purchase ON waiting_refunds (purchase);
    CREATE INDEX waiting_by_user ON waiting_refunds (userid);
    CREATE INDEX waiting_by_time ON waiting_refunds (timestamp, refusal);
    CREATE INDEX waiting_refused ON waiting_refunds (sequence) WHERE refusal IS NOT NULL;
    CREATE TABLE settings (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
";
