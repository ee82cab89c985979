//! The schema of a log's file.

use crate::embedded::clock;
use crate::embedded::engine::database::FileSchema;
use crate::embedded::integrity::check_log_rows;

/// The statements that create the tables of a log.
///
/// | table | content |
/// |---|---|
/// | `log` | one row: the id of the log, and its generation |
/// | `records` | the records by offset |
/// | `groups` | the position `next`, the epoch and the fed store of each group |
/// | `dead_letters` | the pending dead letters |
/// | `settled_letters` | the resolutions of dead letters that are no longer pending |
///
/// - The command `restore` replaces the generation, so that cursors from before the restore are
///   recognized.
/// - AUTOINCREMENT ensures that offsets are never reused, even if the newest records are deleted.
/// - The records from `stored_from` to before `stored_to` were appended in the transactions that
///   stored their purchases.
/// - A dead letter is identified by the position and the time of its record, and a gap by its
///   position and its headers, which contain the lost offsets.
/// - A resolution is identified by the offset and the record id of its dead letter. The column
///   `place` contains the record id.
const TABLES: &str = "
    CREATE TABLE log (cluster TEXT NOT NULL, generation TEXT) STRICT;
    CREATE TABLE records (
        offset INTEGER PRIMARY KEY AUTOINCREMENT,
        time INTEGER NOT NULL,
        key BLOB,
        headers BLOB NOT NULL,
        value BLOB,
        checksum INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE groups (
        name TEXT PRIMARY KEY,
        epoch INTEGER NOT NULL,
        next INTEGER NOT NULL,
        feeds TEXT,
        stored_from INTEGER NOT NULL DEFAULT 0,
        stored_to INTEGER NOT NULL DEFAULT 0
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE dead_letters (
        topic TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL, time INTEGER NOT NULL,
        key BLOB, headers BLOB NOT NULL, value BLOB, checksum INTEGER NOT NULL,
        reason TEXT NOT NULL, detail TEXT NOT NULL, attempts INTEGER NOT NULL, version TEXT NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX by_record ON dead_letters
        (topic, partition, offset, CASE reason WHEN 'gap' THEN headers ELSE time END);
    CREATE TABLE settled_letters (
        topic TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
        place TEXT NOT NULL, purchase TEXT, settlement TEXT NOT NULL,
        PRIMARY KEY (offset, place)
    ) STRICT;
";

/// The schema of a log's file. The application id is `ShoL` in ASCII, which the `file` command
/// shows.
pub(crate) const LOG: FileSchema = FileSchema {
    application_id: 0x5368_6f4c,
    migrations: &[&[TABLES, clock::TABLE]],
    tables: &["log records sqlite_sequence groups dead_letters settled_letters clock"],
    check_rows: check_log_rows,
};
