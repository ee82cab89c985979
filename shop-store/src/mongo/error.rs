//! Maps the driver's errors to [`shop_core::Error`].

use std::error::Error as _;
use std::fmt;

use mongodb::error::{Error as DriverError, ErrorKind as DriverErrorKind, WriteFailure};
use shop_core::{Error, ErrorKind, Outcome};

use ErrorKind::{
    Closed, Corrupt, DeadlineExceeded, Denied, Internal, Invalid, TooLarge, Unavailable,
    Unsupported,
};
use Outcome::{NotApplied, Unknown};

/// Creates an error with the origin `mongodb`.
pub(super) fn mongo_error(kind: ErrorKind, message: impl Into<String>) -> Error {
    Error::new(kind, message).with_origin("mongodb")
}

/// Converts an error of a call of the driver.
///
/// The driver rejects some options of the URI only during a call. Such an error is not [`Invalid`]
/// but [`Unavailable`], because it is not the fault of the caller.
pub(super) fn from_driver(error: DriverError) -> Error {
    convert(error, Unavailable)
}

/// Converts an error of the driver about the connection string.
pub(super) fn from_uri(error: DriverError) -> Error {
    convert(error, Invalid)
}

/// Converts an error of the driver. An error about an option of the URI gets the kind
/// `invalid_uri_kind`.
fn convert(error: DriverError, invalid_uri_kind: ErrorKind) -> Error {
    let (mut kind, message, outcome) = classify(&error);
    if kind == Invalid {
        kind = invalid_uri_kind;
    }
    mongo_error(kind, message)
        .with_outcome(outcome)
        .with_source(RedactedError(error))
}

/// An error of the driver that prints only its message and code.
///
/// The driver's own text also contains labels and the server's response, which may contain values
/// of documents.
#[derive(Debug)]
struct RedactedError(DriverError);

impl std::error::Error for RedactedError {}

impl fmt::Display for RedactedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (message, code) = match &*self.0.kind {
            DriverErrorKind::Command(error) => (&error.message, error.code),
            DriverErrorKind::Write(WriteFailure::WriteError(error)) => (&error.message, error.code),
            DriverErrorKind::Write(WriteFailure::WriteConcernError(error)) => {
                (&error.message, error.code)
            }
            // Some kinds print the errors that they contain, with their kinds and labels.
            kind => {
                let text = kind.to_string().replace("Kind: ", "");
                return f.write_str(text.split(", labels: ").next().unwrap_or_default());
            }
        };
        write!(f, "{message} (code {code})")
    }
}

/// Returns whether the server reported a transient error. Network errors are not included, because
/// the driver itself retries queries after them.
pub(super) fn is_retryable(error: &Error) -> bool {
    error.kind() == ErrorKind::Unavailable
        && matches!(driver_error_kind(error), Some(DriverErrorKind::Command(_)))
}

/// Returns whether the driver found no server for the call.
pub(super) fn is_server_selection(error: &Error) -> bool {
    matches!(
        driver_error_kind(error),
        Some(DriverErrorKind::ServerSelection { .. })
    )
}

/// Returns the kind of the driver's error that was converted to `error`.
fn driver_error_kind(error: &Error) -> Option<&DriverErrorKind> {
    let source = error.source()?.downcast_ref::<RedactedError>()?;
    Some(&*source.0.kind)
}

/// The kind and the message of an error, and whether a write may have been applied.
type MongoErrorClass = (ErrorKind, &'static str, Outcome);

/// Returns the class of an error of the driver, which may contain an error of the server.
fn classify(error: &DriverError) -> MongoErrorClass {
    match &*error.kind {
        DriverErrorKind::InvalidArgument { .. } => (
            Invalid,
            "the MongoDB URI or one of its options is invalid",
            NotApplied,
        ),
        DriverErrorKind::Authentication { .. } => (
            Denied,
            "MongoDB rejected the login: check user, password and authentication database of SHOP_MONGODB_URI",
            NotApplied,
        ),
        DriverErrorKind::DnsResolve { .. } => (
            Unavailable,
            "MongoDB's host name cannot be resolved",
            NotApplied,
        ),
        DriverErrorKind::ServerSelection { .. } => (
            Unavailable,
            "MongoDB cannot be reached, or has no primary",
            NotApplied,
        ),
        DriverErrorKind::InvalidTlsConfig { .. } => (
            Invalid,
            "the TLS options of the MongoDB URI are invalid",
            NotApplied,
        ),
        DriverErrorKind::Io(_) | DriverErrorKind::ConnectionPoolCleared { .. } => {
            (Unavailable, "the connection to MongoDB broke", Unknown)
        }
        DriverErrorKind::Command(command) if is_over_quota(command.code, &command.message) => {
            OVER_QUOTA
        }
        DriverErrorKind::Command(command) => classify_code(command.code),
        DriverErrorKind::Write(WriteFailure::WriteConcernError(_)) => (
            Unavailable,
            "MongoDB did not confirm the write by a majority",
            Unknown,
        ),
        DriverErrorKind::Write(WriteFailure::WriteError(error))
            if is_over_quota(error.code, &error.message) =>
        {
            OVER_QUOTA
        }
        DriverErrorKind::Write(WriteFailure::WriteError(error)) => classify_code(error.code),
        DriverErrorKind::IncompatibleServer { .. } | DriverErrorKind::SessionsNotSupported => (
            Unsupported,
            "this version of the MongoDB server is not supported",
            NotApplied,
        ),
        DriverErrorKind::Bson(_)
        | DriverErrorKind::BsonDeserialization(_)
        | DriverErrorKind::BsonSerialization(_) => {
            (Corrupt, "a document cannot be read or written", NotApplied)
        }
        DriverErrorKind::InvalidResponse { .. } => {
            (Unavailable, "MongoDB sent an invalid response", Unknown)
        }
        DriverErrorKind::Shutdown => (Closed, "the client was closed", NotApplied),
        // Errors of insert_many, GridFS, transactions and change streams, which are not used here.
        _ => (Internal, "MongoDB's driver failed", Unknown),
    }
}

/// The code of all errors of Atlas' proxy: a missing right, and a cluster that is over its quota.
/// Only the message tells them apart.
const ATLAS_ERROR: i32 = 8000;

/// The class of the error of a cluster that is over its quota, such as "you are over your space
/// quota, using 512 MB of 512 MB". Atlas refuses the write before the server gets it.
const OVER_QUOTA: MongoErrorClass = (
    Unavailable,
    "the cluster of MongoDB Atlas is over its quota: free space, or choose a larger tier",
    NotApplied,
);

/// Returns whether Atlas refuses a write because the cluster is over its quota.
fn is_over_quota(code: i32, message: &str) -> bool {
    code == ATLAS_ERROR && message.contains("quota")
}

/// Returns the class of an error code of the server.
///
/// Reference: <https://github.com/mongodb/mongo/blob/r7.0.0/src/mongo/base/error_codes.yml>.
const fn classify_code(code: i32) -> MongoErrorClass {
    match code {
        // Unauthorized and AuthenticationFailed.
        13 | 18 => (
            Denied,
            "the MongoDB user is not authorized: grant the role readWrite on the database",
            NotApplied,
        ),
        ATLAS_ERROR => (
            Denied,
            "MongoDB Atlas refused the operation, usually for a missing role: see the cause",
            NotApplied,
        ),
        // BSONObjectTooLarge.
        10334 => (
            TooLarge,
            "the documents are too large for MongoDB",
            NotApplied,
        ),
        // CommandNotFound, CommandNotSupported, NotImplemented, FeatureNotSupported, and an option
        // that an old server does not know. Servers that only speak the protocol return them.
        59 | 115 | 238 | 303 | 40415 => (
            Unsupported,
            "this MongoDB server does not support the operation",
            NotApplied,
        ),
        // MaxTimeMSExpired.
        50 => (
            DeadlineExceeded,
            "MongoDB exceeded the time limit of the operation",
            NotApplied,
        ),
        // OutOfDiskSpace.
        14031 => (Unavailable, "MongoDB's disk is full", Unknown),
        // Not primary, stepping down, interrupted, shutting down, and other transient errors.
        _ => (
            Unavailable,
            "MongoDB cannot serve the operation now",
            Unknown,
        ),
    }
}

/// The class of the server's error about a single document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DocumentError {
    /// A document with the same key exists.
    Duplicate,
    /// The document can never be stored.
    Final,
    /// A retry may succeed.
    Transient,
}

impl DocumentError {
    /// Returns the class of an error code about a single document. An unknown code is
    /// [`Transient`](Self::Transient): it must not turn an outage into a dead letter.
    pub(super) const fn from_code(code: i32) -> Self {
        match code {
            // A duplicate value in a unique index: of `insert`, of `update` on old servers, and of
            // capped collections.
            11000 | 11001 | 12582 => Self::Duplicate,
            // BadValue, FailedToParse, TypeMismatch, InvalidBSON, DollarPrefixedFieldName,
            // InvalidIdField, EmptyFieldName, DottedFieldName, DocumentValidationFailure,
            // BSONObjectTooLarge, KeyTooLong.
            2 | 9 | 14 | 22 | 52 | 53 | 56 | 57 | 121 | 10334 | 17280 => Self::Final,
            _ => Self::Transient,
        }
    }
}

#[cfg(test)]
mod tests {
    use mongodb::options::ClientOptions;
    use shop_core::Blame;

    use super::*;

    #[tokio::test]
    async fn a_rejected_uri_is_an_error_of_open_only() {
        let error = ClientOptions::parse("mongodb://h/?w=-1").await.unwrap_err();
        assert_eq!(from_uri(error.clone()).kind(), ErrorKind::Invalid);
        let error = from_driver(error);
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (ErrorKind::Unavailable, true),
            "{error:?}"
        );
    }

    /// The codes of the server by whose fault they are, with the kind of their errors, and whether
    /// a write may have been applied.
    const BLAMES: &[(Blame, ErrorKind, Outcome, &[i32])] = &[
        (Blame::Caller, TooLarge, NotApplied, &[10334]),
        (Blame::Surroundings, Denied, NotApplied, &[13, 18, 8000]),
        (
            Blame::Surroundings,
            Unsupported,
            NotApplied,
            &[59, 115, 238, 303, 40415],
        ),
        (Blame::Surroundings, DeadlineExceeded, NotApplied, &[50]),
        // OutOfDiskSpace, ShutdownInProgress, PrimarySteppedDown, NotWritablePrimary, others, and
        // codes that later versions add.
        (
            Blame::Surroundings,
            Unavailable,
            Unknown,
            &[14031, 91, 189, 10107, 0, -1, 424_242],
        ),
    ];

    /// The codes about a single document: whether a record becomes a dead letter, by the fault of
    /// who sent it.
    const DOCUMENTS: &[(DocumentError, &[i32])] = &[
        (DocumentError::Duplicate, &[11000, 11001, 12582]),
        // The content of the document: it would be refused again, also after a repair.
        (
            DocumentError::Final,
            &[2, 9, 14, 22, 52, 53, 56, 57, 121, 10334, 17280],
        ),
        // Unauthorized, NotWritablePrimary, OutOfDiskSpace, Interrupted, Atlas, and unknown codes:
        // an outage or a setting.
        (
            DocumentError::Transient,
            &[13, 10107, 14031, 11601, 8000, 999_999, 0, -1],
        ),
    ];

    #[test]
    fn each_code_is_the_fault_of_who_can_mend_it() {
        for (blame, kind, outcome, codes) in BLAMES {
            assert_eq!(kind.blame(), *blame, "{kind:?}");
            for code in *codes {
                let (actual_kind, _, actual_outcome) = classify_code(*code);
                assert_eq!((actual_kind, actual_outcome), (*kind, *outcome), "{code}");
            }
        }
        for (class, codes) in DOCUMENTS {
            for code in *codes {
                assert_eq!(DocumentError::from_code(*code), *class, "{code}");
            }
        }
    }

    #[test]
    fn a_full_cluster_of_atlas_is_no_missing_role() {
        let full = "you are over your space quota, using 512 MB of 512 MB";
        assert!(is_over_quota(8000, full));
        assert_eq!(OVER_QUOTA.0.blame(), Blame::Surroundings);
        let denied = "user is not allowed to do action [insert] on [shop.purchases]";
        assert!(!is_over_quota(8000, denied));
    }
}
