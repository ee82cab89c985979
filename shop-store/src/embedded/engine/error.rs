//! Maps errors of SQLite and of the file system to [`shop_core::Error`].

use std::io;
use std::path::Path;
use std::str::FromStr;

use rusqlite::types::Type;
use rusqlite::{ErrorCode, Row};
use shop_core::{Error, ErrorKind, Outcome, Result};

/// Returns an error with the origin `embedded database`.
pub(in crate::embedded) fn database_error(kind: ErrorKind, message: impl Into<String>) -> Error {
    Error::new(kind, message).with_origin("embedded database")
}

/// Converts an error of SQLite about the file at `path`. The outcome is `NotApplied`, which a
/// failed COMMIT must correct: see `outcome_of_commit`.
///
/// Reference of the codes: <https://www.sqlite.org/rescode.html>.
pub fn sqlite_error(error: rusqlite::Error, path: &Path) -> Error {
    let (kind, message) = classify(&error);
    database_error(kind, message)
        .with_outcome(Outcome::NotApplied)
        .with_context("file", path.display())
        .with_source(error)
}

use ErrorKind::{Corrupt, Internal, TooLarge, Unavailable};

/// The kind and the message of the error of a full disk.
const DISK_FULL: (ErrorKind, &str) = (
    Unavailable,
    "the disk is full, or the file has reached its maximum size: free disk space or raise the limit",
);

/// Returns the kind and the message for an error of SQLite.
fn classify(error: &rusqlite::Error) -> (ErrorKind, &'static str) {
    let rusqlite::Error::SqliteFailure(failure, _) = error else {
        return (
            Corrupt,
            "a stored value cannot be read: a later version has written it, or the disk has changed it",
        );
    };
    // This I/O error means that the disk has no space for the shared memory of the write-ahead log.
    if failure.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE {
        return DISK_FULL;
    }
    match failure.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => (
            Unavailable,
            "another program has locked the file: stop it, or wait",
        ),
        ErrorCode::DiskFull => DISK_FULL,
        ErrorCode::ReadOnly => (
            Unavailable,
            "the file cannot be written: grant this user write access to it and its folder",
        ),
        ErrorCode::PermissionDenied
        | ErrorCode::AuthorizationForStatementDenied
        | ErrorCode::CannotOpen => (
            Unavailable,
            "the file cannot be opened: grant this user read and write access to it and its folder",
        ),
        ErrorCode::SystemIoFailure => (Unavailable, "the disk reported an I/O error"),
        ErrorCode::FileLockingProtocolFailed | ErrorCode::NoLargeFileSupport => (
            Unavailable,
            "the file system does not support locks or large files: use a local disk",
        ),
        ErrorCode::OutOfMemory => (Unavailable, "the machine has no memory left"),
        ErrorCode::OperationInterrupted
        | ErrorCode::OperationAborted
        | ErrorCode::SchemaChanged => (Unavailable, "the operation was interrupted"),
        ErrorCode::NotADatabase => (
            Corrupt,
            "the file is not a database of this program: move it, or set another data folder",
        ),
        ErrorCode::DatabaseCorrupt => (
            Corrupt,
            "the database is damaged: restore it from a backup, or recover it with the sqlite3 tool",
        ),
        ErrorCode::TooBig => (TooLarge, "the row is too large"),
        // An error of a constraint, a type or a parameter is a defect of this program.
        _ => (Internal, "the database rejected an operation"),
    }
}

/// Returns a function that converts an error about the value in `column` into an error of SQLite,
/// for `map_err`.
pub fn unreadable<E>(column: usize) -> impl FnOnce(E) -> rusqlite::Error
where
    E: std::error::Error + Send + Sync + 'static,
{
    move |error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

/// Parses the text in `column` of a row.
///
/// # Errors
/// The error of [`unreadable`] if the text is not valid, or the error of SQLite.
pub fn parse_column<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    row.get_ref(column)?
        .as_str()?
        .parse()
        .map_err(unreadable(column))
}

/// Returns the error of SQLite from which `error` was converted, if there is one.
fn sqlite_source(error: &Error) -> Option<&rusqlite::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

/// Returns whether `error` is about one write, such as a value that is too large, so that other
/// writes can still be applied.
pub(in crate::embedded) fn is_about_write(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Corrupt | ErrorKind::Internal | ErrorKind::TooLarge
    )
}

/// Returns whether `error` reports a damaged file, and not only a value that this version cannot
/// read.
pub(in crate::embedded) fn is_damage(error: &Error) -> bool {
    let code = sqlite_source(error).and_then(rusqlite::Error::sqlite_error_code);
    matches!(
        code,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

/// Returns whether `error` reports that the disk is full, or that the file reached its maximum
/// size.
pub(in crate::embedded) fn is_disk_full(error: &Error) -> bool {
    sqlite_source(error).is_some_and(|error| classify(error) == DISK_FULL)
}

/// Returns whether `error` reports that a sync of a file (`fsync`) failed.
pub(in crate::embedded) fn is_failed_sync(error: &rusqlite::Error) -> bool {
    error
        .sqlite_error()
        .is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_FSYNC)
}

/// Returns the outcome of a failed COMMIT. After an I/O error, the transaction may be on the disk, so
/// the outcome is unknown. After all other errors, SQLite has rolled the transaction back.
pub(in crate::embedded) fn outcome_of_commit(failed: &rusqlite::Error) -> Outcome {
    match failed.sqlite_error_code() {
        Some(ErrorCode::SystemIoFailure) => Outcome::Unknown,
        _ => Outcome::NotApplied,
    }
}

/// Converts an error of the operating system about `path`.
pub(in crate::embedded) fn from_io(error: io::Error, path: &Path) -> Error {
    let message = match error.kind() {
        io::ErrorKind::PermissionDenied => "no permission: let this user read and write there",
        io::ErrorKind::ReadOnlyFilesystem => {
            "the file system is read-only: set another data folder"
        }
        io::ErrorKind::StorageFull => "the disk is full: free disk space",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "there is a file where a folder is needed: move it, or set another data folder"
        }
        _ => "the data folder cannot be used",
    };
    database_error(ErrorKind::Unavailable, message)
        .with_context("path", path.display())
        .with_source(error)
}

/// Extends the result of an operation on a file or a folder, to add the path to its error.
pub(in crate::embedded) trait AtPath<T> {
    /// Converts the error of this result into an error that names `path`.
    fn at(self, path: &Path) -> Result<T>;
}

impl<T> AtPath<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T> {
        self.map_err(|error| from_io(error, path))
    }
}

impl<T> AtPath<T> for rusqlite::Result<T> {
    fn at(self, path: &Path) -> Result<T> {
        self.map_err(|error| sqlite_error(error, path))
    }
}
