//! From SQLite's errors to the one error of the ports.

use std::path::Path;

use rusqlite::ErrorCode;
use rusqlite::types::Type;
use shop_core::{Error, ErrorKind, Outcome};

/// An error of ours.
pub(super) fn database_error(kind: ErrorKind, message: impl Into<String>) -> Error {
    Error::new(kind, message).with_origin("embedded database")
}

/// What SQLite's `error` about the file at `path` means to a caller.
///
/// The codes and their meaning: <https://www.sqlite.org/rescode.html>.
pub(super) fn from_sqlite(error: rusqlite::Error, path: &Path) -> Error {
    let (kind, message) = meaning(&error);
    Error::new(kind, message)
        .with_outcome(Outcome::NotApplied)
        .with_origin("embedded database")
        .with_context("file", path.display())
        .with_source(error)
}

const DISK_FULL: (ErrorKind, &str) =
    (ErrorKind::Unavailable, "the disk is full, or the file has its largest size: make room");

fn meaning(error: &rusqlite::Error) -> (ErrorKind, &'static str) {
    let rusqlite::Error::SqliteFailure(failure, _) = error else {
        return (ErrorKind::Corrupt, "what is stored is not what this version writes");
    };
    // The shared memory of the write-ahead log found no room.
    if failure.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE {
        return DISK_FULL;
    }
    match failure.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            (ErrorKind::Unavailable, "another program has locked the file: end it, or wait")
        }
        ErrorCode::DiskFull => DISK_FULL,
        ErrorCode::ReadOnly => {
            (ErrorKind::Unavailable, "the file cannot be written: let this user write it and its folder")
        }
        ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied | ErrorCode::CannotOpen => (
            ErrorKind::Unavailable,
            "the file cannot be opened: let this user read and write it and its folder",
        ),
        ErrorCode::SystemIoFailure => (ErrorKind::Unavailable, "the disk does not work"),
        ErrorCode::FileLockingProtocolFailed | ErrorCode::NoLargeFileSupport => {
            (ErrorKind::Unavailable, "the file system does not do what a database needs: use a local disk")
        }
        ErrorCode::OutOfMemory => (ErrorKind::Unavailable, "the machine has no memory left"),
        ErrorCode::OperationInterrupted | ErrorCode::OperationAborted | ErrorCode::SchemaChanged => {
            (ErrorKind::Unavailable, "the operation was interrupted")
        }
        ErrorCode::NotADatabase => (
            ErrorKind::Corrupt,
            "the file is no database of ours: move it away, or choose another data folder",
        ),
        ErrorCode::DatabaseCorrupt => (
            ErrorKind::Corrupt,
            "the database is damaged: restore it from a backup, or recover it with the sqlite3 tool",
        ),
        ErrorCode::TooBig => (ErrorKind::TooLarge, "too many bytes for one row"),
        // A constraint, a type, a parameter: a fault of this program.
        _ => (ErrorKind::Internal, "the database refused an operation"),
    }
}

/// What was read from `column` is not what we write there.
pub(super) fn unreadable(
    column: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

/// Whether `error` says that the file itself is damaged, and not only a row that this version does not understand.
pub(super) fn is_damage(error: &Error) -> bool {
    let code = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<rusqlite::Error>())
        .and_then(rusqlite::Error::sqlite_error_code);
    matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Whether a COMMIT that failed may have reached the disk all the same: a failing disk says nothing about what
/// it has kept, everything else is rolled back.
pub(super) fn outcome_of_commit(failed: &rusqlite::Error) -> Outcome {
    match failed.sqlite_error_code() {
        Some(ErrorCode::SystemIoFailure) => Outcome::Unknown,
        _ => Outcome::NotApplied,
    }
}

/// What an operating system's `error` about `path` means to a caller.
pub(super) fn from_io(error: std::io::Error, path: &Path) -> Error {
    let message = match error.kind() {
        std::io::ErrorKind::PermissionDenied => "no permission: let this user read and write there",
        std::io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only: choose another data folder",
        std::io::ErrorKind::StorageFull => "the disk is full: make room",
        std::io::ErrorKind::NotADirectory | std::io::ErrorKind::AlreadyExists => {
            "there is a file where a folder is needed: move it away, or choose another data folder"
        }
        _ => "the data folder cannot be used",
    };
    database_error(ErrorKind::Unavailable, message).with_context("path", path.display()).with_source(error)
}
