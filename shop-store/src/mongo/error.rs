//! From the driver's errors to the one error of the ports.

use std::error::Error as _;

use mongodb::error::{Error as DriverError, ErrorKind as Driver, WriteFailure};
use shop_core::{Error, ErrorKind, Outcome};

/// An error of ours.
pub(super) fn mongo_error(kind: ErrorKind, message: impl Into<String>) -> Error {
    Error::new(kind, message).with_origin("mongodb")
}

/// What the driver's `error` means to a caller.
pub(super) fn from_driver(error: DriverError) -> Error {
    let (kind, message, outcome) = meaning(&error);
    Error::new(kind, message).with_outcome(outcome).with_origin("mongodb").with_source(error)
}

/// Whether the server itself has answered that it cannot just now. What the driver could not send, or got no
/// answer to, it has tried again already.
pub(super) fn may_pass(error: &Error) -> bool {
    let driver = error.source().and_then(|source| source.downcast_ref::<DriverError>());
    error.kind() == ErrorKind::Unavailable
        && driver.is_some_and(|driver| matches!(&*driver.kind, Driver::Command(_)))
}

/// Nothing was sent, or nobody knows.
type Meaning = (ErrorKind, &'static str, Outcome);

fn meaning(error: &DriverError) -> Meaning {
    use Outcome::{NotApplied, Unknown};
    match &*error.kind {
        Driver::InvalidArgument { .. } => {
            (ErrorKind::Invalid, "MongoDB's address or a setting of it is wrong", NotApplied)
        }
        Driver::Authentication { .. } => (
            ErrorKind::Denied,
            "MongoDB refuses the login: check user, password and authentication database of MONGODB_URI",
            NotApplied,
        ),
        Driver::DnsResolve { .. } => {
            (ErrorKind::Unavailable, "MongoDB's host name cannot be resolved", NotApplied)
        }
        Driver::ServerSelection { .. } => {
            (ErrorKind::Unavailable, "MongoDB cannot be reached, or has no primary", NotApplied)
        }
        Driver::InvalidTlsConfig { .. } => {
            (ErrorKind::Invalid, "the TLS settings of MongoDB's address are wrong", NotApplied)
        }
        Driver::Io(_) | Driver::ConnectionPoolCleared { .. } => {
            (ErrorKind::Unavailable, "the connection to MongoDB broke", Unknown)
        }
        Driver::Command(command) => for_command(command.code),
        Driver::Write(WriteFailure::WriteConcernError(_)) => NOT_YET_DURABLE,
        Driver::Write(WriteFailure::WriteError(error)) => for_command(error.code),
        Driver::InsertMany(_) | Driver::BulkWrite(_) => {
            (ErrorKind::Unavailable, "MongoDB did not take all documents", Unknown)
        }
        Driver::IncompatibleServer { .. } | Driver::SessionsNotSupported => {
            (ErrorKind::Unsupported, "this MongoDB server is too old or too new", NotApplied)
        }
        Driver::Bson(_) | Driver::BsonDeserialization(_) | Driver::BsonSerialization(_) => {
            (ErrorKind::Corrupt, "a document cannot be read or written", NotApplied)
        }
        Driver::InvalidResponse { .. } => {
            (ErrorKind::Unavailable, "MongoDB's answer cannot be understood", Unknown)
        }
        Driver::Shutdown => (ErrorKind::Closed, "the client was closed", NotApplied),
        // Of files, transactions and change streams: nothing that we ask for.
        _ => (ErrorKind::Internal, "MongoDB's driver failed", Unknown),
    }
}

const NOT_YET_DURABLE: Meaning =
    (ErrorKind::Unavailable, "MongoDB did not confirm that a majority has it on disk", Outcome::Unknown);

/// Numbers: <https://github.com/mongodb/mongo/blob/r7.0.0/src/mongo/base/error_codes.yml>.
const fn for_command(code: i32) -> Meaning {
    use Outcome::NotApplied;
    match code {
        // Unauthorized, AuthenticationFailed, and what Atlas says instead.
        13 | 18 | 8000 => (
            ErrorKind::Denied,
            "this user may not do that in MongoDB: it needs the role readWrite on the database",
            NotApplied,
        ),
        // BSONObjectTooLarge.
        10334 => (ErrorKind::TooLarge, "the documents are too large for MongoDB", NotApplied),
        // CommandNotFound, and an option that an old server does not know.
        59 | 40415 => (ErrorKind::Unsupported, "this MongoDB server cannot do that", NotApplied),
        // MaxTimeMSExpired.
        50 => (ErrorKind::DeadlineExceeded, "MongoDB took too long", NotApplied),
        // OutOfDiskSpace.
        14031 => (ErrorKind::Unavailable, "MongoDB's disk is full", Outcome::Unknown),
        // Not primary, stepping down, interrupted, shutting down, and whatever else may pass.
        _ => (ErrorKind::Unavailable, "MongoDB does not serve that now", Outcome::Unknown),
    }
}
