//! The schema of `shop.db`, the file of purchases: the tables of a log, and the tables of a store.
//!
//! Each constant is a migration, which upgrades a file by one version. A program of an earlier
//! version may still have the file open. So a migration that such a program would not respect
//! renames a column, and the old program fails.

use super::database::FileSchema;
use super::log::schema::LOG;

/// The name of the file of purchases, without its extension.
pub const FILE: &str = "shop";

/// The schema of the file. The application id is `Shop` in ASCII, which the `file` command shows.
pub(super) const SHOP: FileSchema = FileSchema {
    application_id: 0x5368_6f70,
    // The log and the store share the table of the clock, which a migration of the log creates.
    migrations: &[
        LOG.migrations[0],
        LOG.migrations[1],
        TABLES,
        LOG.migrations[2],
        CHECKSUMS,
        DETAILS,
        REFUNDS,
        QUARTERS,
        WAITING_INDEXES,
    ],
    tables: &[
        LOG.tables[0],
        "purchases buyers unfolded days quarters erased waiting_refunds settings",
    ],
};

/// The tables of the store.
///
/// - `buyers`: a buyer is a pair of a user's id and name, interned to one integer, which the other
///   tables use in place of the texts. The row also contains the sums of the buyer's purchases.
///   Buyer 0 stands for all buyers.
/// - `purchases`: clustered by buyer, so that a page of a user's listing is one range of the table.
///   The index `by_time` contains all columns of a purchase, because SQLite appends the rest of the
///   primary key to each index of such a table.
/// - `unfolded`: the purchases that were not yet added to the sums per buyer (in `buyers`), per UTC
///   day and buyer (in `days`), and per quarter of an hour. The first row stands for all purchases
///   that were added before. Its sequence is the watermark. A sequence is never reused.
/// - `days`: the sums of each UTC day and buyer.
/// - `erased`: the ids of erased purchases, which must not be inserted again.
///
/// The modules `rows`, `buyers`, `sums` and `fold` of the store show examples of the rows, with the
/// columns of the later migrations.
const TABLES: &str = "
    CREATE TABLE buyers (
        buyer INTEGER PRIMARY KEY,
        userid TEXT NOT NULL,
        username TEXT NOT NULL,
        count INTEGER NOT NULL DEFAULT 0,
        high INTEGER NOT NULL DEFAULT 0,
        low INTEGER NOT NULL DEFAULT 0,
        UNIQUE (userid, username)
    ) STRICT;
    CREATE INDEX by_name ON buyers (username);
    INSERT INTO buyers (buyer, userid, username) VALUES (0, '', '');
    CREATE TABLE purchases (
        buyer INTEGER NOT NULL,
        timestamp INTEGER NOT NULL,
        id BLOB NOT NULL,
        price TEXT NOT NULL,
        PRIMARY KEY (buyer, timestamp, id)
    ) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX by_id ON purchases (id);
    CREATE INDEX by_time ON purchases (timestamp, id, price);
    CREATE TABLE unfolded (
        sequence INTEGER PRIMARY KEY,
        buyer INTEGER NOT NULL,
        timestamp INTEGER NOT NULL,
        price TEXT NOT NULL
    ) STRICT;
    INSERT INTO unfolded VALUES (1, 0, 0, '');
    CREATE TABLE days (
        day INTEGER NOT NULL,
        buyer INTEGER NOT NULL,
        count INTEGER NOT NULL DEFAULT 0,
        high INTEGER NOT NULL DEFAULT 0,
        low INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (day, buyer)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE erased (
        id BLOB PRIMARY KEY
    ) STRICT, WITHOUT ROWID;
";

/// The migration that adds checksums: each purchase gets a checksum over its values and its buyer's
/// texts, and each row of sums a residue.
///
/// A program of the previous version that still uses the file fails at the new name of a column. It
/// would otherwise leave residues as they are.
const CHECKSUMS: &str = "
    ALTER TABLE purchases ADD COLUMN checksum INTEGER;
    DROP INDEX by_time;
    CREATE INDEX by_time ON purchases (timestamp, id, price, checksum);
    ALTER TABLE unfolded ADD COLUMN checksum INTEGER;
    ALTER TABLE unfolded RENAME COLUMN price TO addend;
    ALTER TABLE buyers ADD COLUMN residue INTEGER NOT NULL DEFAULT 0;
    UPDATE buyers SET residue = (count + low + high % 2147483647 * 617454333) % 2147483647;
    ALTER TABLE days ADD COLUMN residue INTEGER NOT NULL DEFAULT 0;
    UPDATE days SET residue = (count + low + high % 2147483647 * 617454333) % 2147483647;
";

/// The migration that adds the optional members of a purchase, as a JSON object in `details`.
///
/// The reference among them is also stored in a column of its own, because an index on a text
/// within the object could not be maintained for a damaged row. A program of the previous version
/// that still uses the file fails at the new name of a column. It would otherwise drop these
/// members.
const DETAILS: &str = "
    ALTER TABLE purchases ADD COLUMN details TEXT;
    ALTER TABLE purchases ADD COLUMN reference TEXT;
    CREATE INDEX by_reference ON purchases (reference, timestamp, id) WHERE reference IS NOT NULL;
    DROP INDEX by_time;
    ALTER TABLE purchases RENAME COLUMN checksum TO hash;
    CREATE INDEX by_time ON purchases (timestamp, id, price, hash, details);
";

/// The migration that adds the refunds that wait for their purchase, as the values of their
/// records, and the settings that the store keeps.
///
/// The row of a buyer stores a checksum of its integer and texts. Buyers without a checksum, which
/// an earlier version wrote, are not checked. The residue of a day covers its key too. A program of
/// the previous version that still uses the file fails at the new name of a column: it would store
/// refunds as purchases of their own, and leave residues as they are.
pub(super) const REFUNDS: &str = "
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
    CREATE TABLE settings (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    ALTER TABLE buyers ADD COLUMN texts_hash INTEGER;
    UPDATE days SET residue = (residue + (((day % 2147483647 + 2147483647) % 2147483647) * 48271
    + ((buyer % 2147483647 + 2147483647) % 2147483647) * 16807) % 2147483647) % 2147483647;
    ALTER TABLE unfolded RENAME COLUMN addend TO amount;
";

/// The migration that adds the sums of all buyers per quarter of an hour, of which the days and the
/// hours of every time zone consist.
///
/// The sums are filled from the purchases after these statements. A program of the previous version
/// that still uses the file fails at the new name of a column. It would otherwise leave these sums
/// as they are.
const QUARTERS: &str = "
    CREATE TABLE quarters (
        quarter INTEGER PRIMARY KEY,
        count INTEGER NOT NULL DEFAULT 0,
        high INTEGER NOT NULL DEFAULT 0,
        low INTEGER NOT NULL DEFAULT 0,
        residue INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    ALTER TABLE unfolded RENAME COLUMN amount TO added;
";

/// The migration that adds indexes to the waiting refunds: by time, for retention and for their
/// summary, and of the refused ones, which ingest reads every second while refunds wait.
const WAITING_INDEXES: &str = "
    CREATE INDEX waiting_by_time ON waiting_refunds (timestamp, refusal);
    CREATE INDEX waiting_refused ON waiting_refunds (sequence) WHERE refusal IS NOT NULL;
";
