//! Maps the driver's errors to [`shop_core::Error`].
//!
//! The messages of the server are never printed. A server puts whole commands into them ("not
//! authorized on shop to execute command { insert: …"), the values of keys and rejected documents,
//! which are personal data. [`describe`] is the only function that reads the text of an error of
//! the driver. It returns the code and its name for an error of the server, and the driver's own
//! words for an error of the driver.

use std::error::Error as _;

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
#[expect(clippy::needless_pass_by_value, reason = "callers pass it to map_err")]
pub(super) fn driver_error(error: DriverError) -> Error {
    convert(&error, Unavailable)
}

/// Converts an error of the driver about the connection string.
#[expect(clippy::needless_pass_by_value, reason = "callers pass it to map_err")]
pub(super) fn uri_error(error: DriverError) -> Error {
    convert(&error, Invalid)
}

/// Converts an error of the driver. An error about an option of the URI gets the kind
/// `invalid_uri_kind`.
fn convert(error: &DriverError, invalid_uri_kind: ErrorKind) -> Error {
    let (mut kind, message, outcome) = classify(error);
    if kind == Invalid {
        kind = invalid_uri_kind;
    }
    mongo_error(kind, message)
        .with_outcome(outcome)
        .with_source(Cause::new(error))
}

/// What is known about an error of the driver. It contains no text of the server.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Cause {
    text: String,
    origin: CauseOrigin,
}

/// The part that reported an error.
#[derive(Debug)]
enum CauseOrigin {
    /// The server, with this code in its response to a command, which may be about the collation of
    /// the command.
    Server { code: i32, is_about_collation: bool },
    /// The driver, which found no server for the call.
    ServerSelection,
    /// The driver, for any other reason.
    Driver,
}

impl Cause {
    /// Creates the cause for an error of the driver.
    fn new(error: &DriverError) -> Self {
        let origin = match &*error.kind {
            DriverErrorKind::Command(command) => CauseOrigin::Server {
                code: command.code,
                is_about_collation: command.message.contains("collation"),
            },
            DriverErrorKind::ServerSelection { .. } => CauseOrigin::ServerSelection,
            _ => CauseOrigin::Driver,
        };
        Self {
            text: describe(error),
            origin,
        }
    }
}

/// Returns the text of an error of the driver, without anything that the server has written.
pub(super) fn describe(error: &DriverError) -> String {
    let text = match &*error.kind {
        DriverErrorKind::Command(error) => return describe_code(error.code, &error.code_name),
        DriverErrorKind::Write(WriteFailure::WriteConcernError(error)) => {
            return describe_code(error.code, &error.code_name);
        }
        DriverErrorKind::Write(WriteFailure::WriteError(error)) => {
            return describe_code(error.code, error.code_name.as_deref().unwrap_or_default());
        }
        // These kinds are about the URI, the network and the machine, in the driver's words.
        kind @ (DriverErrorKind::InvalidArgument { .. }
        | DriverErrorKind::DnsResolve { .. }
        | DriverErrorKind::InvalidTlsConfig { .. }
        | DriverErrorKind::IncompatibleServer { .. }
        | DriverErrorKind::SessionsNotSupported
        | DriverErrorKind::Shutdown
        | DriverErrorKind::Io(_)) => kind.to_string(),
        // The text after these words quotes the errors of the servers.
        DriverErrorKind::ServerSelection { message, .. } => text_before(message, ", Error: "),
        // The text after this word may quote the server. The text before it names the mechanism.
        DriverErrorKind::Authentication { message, .. } => text_before(message, " failure: "),
        // These kinds quote values of documents or errors of the server.
        DriverErrorKind::Bson(_)
        | DriverErrorKind::BsonDeserialization(_)
        | DriverErrorKind::BsonSerialization(_) => "not the expected BSON".to_owned(),
        DriverErrorKind::InvalidResponse { .. } => "not the expected response".to_owned(),
        DriverErrorKind::ConnectionPoolCleared { .. } => {
            "an earlier call failed with an error of the network or of the server".to_owned()
        }
        _ => "an error of a kind that this program does not know".to_owned(),
    };
    // Some kinds print the errors that they contain, with their kinds and labels.
    text_before(&text.replace("Kind: ", ""), ", labels: ")
}

/// Returns the part of `text` before the first `separator`, or all of `text` if it does not contain
/// the separator.
fn text_before(text: &str, separator: &str) -> String {
    text.split(separator).next().unwrap_or_default().to_owned()
}

/// Returns the text for an error of the server: the name of its code and the code, or the code alone
/// if `name` does not look like the name of a code.
fn describe_code(code: i32, name: &str) -> String {
    let is_name = !name.is_empty()
        && name.len() <= MAX_CODE_NAME_BYTES
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_name {
        format!("{name} (code {code})")
    } else {
        format!("code {code}")
    }
}

/// The maximum length of the name of a code. The longest ones of MongoDB have about 70 characters.
const MAX_CODE_NAME_BYTES: usize = 100;

/// Returns whether the server reported a transient error. Network errors are not included, because
/// the driver itself retries queries after them.
pub(super) fn is_retryable(error: &Error) -> bool {
    error.kind() == ErrorKind::Unavailable && server_code(error).is_some()
}

/// Returns whether the server refused the collation of a query: Amazon DocumentDB with "option
/// collation is currently not supported", and Atlas Serverless with "collation not allowed in this
/// atlas tier".
///
/// The word `collation` counts only in errors of these two kinds, because MongoDB quotes the whole
/// command, with its collation, in other messages.
pub(super) fn refuses_collations(error: &Error) -> bool {
    match cause_origin(error) {
        Some(CauseOrigin::Server {
            code,
            is_about_collation,
        }) => *is_about_collation && (error.kind() == Unsupported || *code == ATLAS_ERROR),
        _ => false,
    }
}

/// Returns whether the driver found no server for the call.
pub(super) fn is_server_selection(error: &Error) -> bool {
    matches!(cause_origin(error), Some(CauseOrigin::ServerSelection))
}

/// Returns whether the server denied a command to a user who is logged in.
pub(super) fn is_unauthorized(error: &Error) -> bool {
    matches!(server_code(error), Some(UNAUTHORIZED | ATLAS_ERROR))
}

/// Returns whether the server refused a write because it is not the primary.
pub(super) fn is_not_primary(error: &Error) -> bool {
    server_code(error) == Some(NOT_WRITABLE_PRIMARY)
}

/// Returns the code with which the server refused a command, if it did.
fn server_code(error: &Error) -> Option<i32> {
    match cause_origin(error)? {
        CauseOrigin::Server { code, .. } => Some(*code),
        _ => None,
    }
}

/// Returns the part that reported the error of the driver that was converted to `error`.
fn cause_origin(error: &Error) -> Option<&CauseOrigin> {
    let cause = error.source()?.downcast_ref::<Cause>()?;
    Some(&cause.origin)
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
        DriverErrorKind::Command(command) => classify_command(command.code, &command.message),
        DriverErrorKind::Write(WriteFailure::WriteConcernError(_)) => (
            Unavailable,
            "MongoDB did not confirm the write by a majority",
            Unknown,
        ),
        DriverErrorKind::Write(WriteFailure::WriteError(error)) => {
            classify_command(error.code, &error.message)
        }
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

/// The code BadValue.
const BAD_VALUE: i32 = 2;
/// The code Unauthorized.
const UNAUTHORIZED: i32 = 13;
/// The code NotWritablePrimary.
const NOT_WRITABLE_PRIMARY: i32 = 10_107;

/// Returns the class of an error of the server about a command, from its code and its message.
fn classify_command(code: i32, message: &str) -> MongoErrorClass {
    // Such as "you are over your space quota, using 512 MB of 512 MB". Atlas refuses the write
    // before the server gets it.
    if code == ATLAS_ERROR && message.contains("quota") {
        return (
            Unavailable,
            "the cluster of MongoDB Atlas is over its quota: free space, or choose a larger tier",
            NotApplied,
        );
    }
    // "cannot use 'j' option when a host does not have journaling enabled".
    if code == BAD_VALUE && message.contains("journaling") {
        return (
            Unsupported,
            "the MongoDB server has no journal, so that it loses writes: start it with journaling",
            NotApplied,
        );
    }
    classify_code(code)
}

/// Returns the class of an error code of the server.
///
/// Reference: <https://github.com/mongodb/mongo/blob/r7.0.0/src/mongo/base/error_codes.yml>.
const fn classify_code(code: i32) -> MongoErrorClass {
    match code {
        // Unauthorized and AuthenticationFailed.
        UNAUTHORIZED | 18 => (
            Denied,
            "the MongoDB user is not authorized: grant the role readWrite on the database",
            NotApplied,
        ),
        ATLAS_ERROR => (
            Denied,
            "MongoDB Atlas refused the operation: grant the user the role readWrite on the database",
            NotApplied,
        ),
        // A command that is not well-formed: BadValue, FailedToParse, TypeMismatch, InvalidLength
        // (an empty batch), EmptyArrayOperation, InvalidBSON, ConflictingUpdateOperators,
        // ImmutableField, InvalidPipelineOperator, and IDL's errors of a member that is repeated or
        // is missing. The data of callers was validated earlier, so it is not the cause.
        BAD_VALUE | 9 | 14 | 16 | 21 | 22 | 40 | 66 | 168 | 40413 | 40414 => (
            Internal,
            "MongoDB rejected a command of this program: please report it with the code",
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

/// The class of the server's error about a single document or update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DocumentError {
    /// A unique index contains the same key.
    Duplicate,
    /// The validator of the collection does not accept the document.
    Validator,
    /// The content of the document can never be stored, or the update is not well-formed.
    Content,
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
            // DocumentValidationFailure.
            121 => Self::Validator,
            // BadValue, FailedToParse, TypeMismatch, InvalidBSON, ConflictingUpdateOperators,
            // DollarPrefixedFieldName, InvalidIdField, EmptyFieldName, DottedFieldName,
            // ImmutableField, BSONObjectTooLarge, KeyTooLong.
            BAD_VALUE | 9 | 14 | 22 | 40 | 52 | 53 | 56 | 57 | 66 | 10334 | 17280 => Self::Content,
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
        assert_eq!(uri_error(error.clone()).kind(), ErrorKind::Invalid);
        let error = driver_error(error);
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
        // BadValue, FailedToParse, TypeMismatch, an empty batch, operators that conflict, and other
        // commands that no setting and no purchase can mend.
        (
            Blame::Program,
            Internal,
            NotApplied,
            &[2, 9, 14, 16, 21, 22, 40, 66, 168, 40413, 40414],
        ),
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

    /// The codes about a single document, by the fault of who can mend it.
    const DOCUMENTS: &[(DocumentError, &[i32])] = &[
        (DocumentError::Duplicate, &[11000, 11001, 12582]),
        (DocumentError::Validator, &[121]),
        // The content of the document: it would be refused again, also after a repair.
        (
            DocumentError::Content,
            &[2, 9, 14, 22, 40, 52, 53, 56, 57, 66, 10334, 17280],
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
                let error = mongo_error(actual_kind, "").with_outcome(actual_outcome);
                assert!(
                    !error.is_retryable() || *blame == Blame::Surroundings,
                    "{code} is not retried"
                );
            }
        }
        for (class, codes) in DOCUMENTS {
            for code in *codes {
                assert_eq!(DocumentError::from_code(*code), *class, "{code}");
            }
        }
    }

    /// The driver's errors of the server, with a private text in each member that the server fills.
    fn server_errors(code: i32, private: &str) -> [DriverError; 3] {
        let details = bson::doc! { "userid": private };
        let report = bson::doc! { "code": code, "codeName": "Unauthorized", "errmsg": private,
        "message": private, "errInfo": details };
        let command = bson::deserialize_from_document(report.clone()).unwrap();
        let concern = bson::deserialize_from_document(bson::doc! { "code": code,
        "codeName": private, "errmsg": private, "errInfo": { "userid": private } });
        let write = bson::deserialize_from_document(report).unwrap();
        [
            DriverErrorKind::Command(command),
            DriverErrorKind::Write(WriteFailure::WriteConcernError(concern.unwrap())),
            DriverErrorKind::Write(WriteFailure::WriteError(write)),
        ]
        .map(DriverError::from)
    }

    #[test]
    fn an_error_has_the_code_and_no_text_of_the_server() {
        let private = "not authorized on shop to execute command { insert: \"purchases\", documents: \
                       [ { userid: \"u1\" } ], lsid: { id: UUID(\"1\") } }";
        for code in [2, 13, 121, 8000, 11_000, 424_242] {
            let texts = ["Unauthorized (code ", "code ", "Unauthorized (code "];
            for (error, text) in server_errors(code, private).into_iter().zip(texts) {
                let error = driver_error(error);
                let chain = error.chain().to_string();
                assert!(chain.contains(&format!(": {text}{code}")), "{chain}");
                let debug = format!("{error:?} {:?}", error.source());
                for part in ["execute", "u1", "lsid"] {
                    assert!(!chain.contains(part) && !debug.contains(part), "{debug}");
                }
            }
        }
    }

    #[test]
    fn the_state_of_the_servers_ends_before_their_errors() {
        let message = "Server selection timeout: No available servers. Topology: { Type: \
                       ReplicaSetNoPrimary, Set Name: rs, Servers: [ { Address: a:1, Type: Unknown, \
                       Error: Kind: Command failed: Error code 91 (ShutdownInProgress): u1 } ] }";
        let text = text_before(message, ", Error: ");
        assert!(text.ends_with("{ Address: a:1, Type: Unknown"), "{text}");
    }

    /// Only the message tells whose fault these codes are.
    #[test]
    fn a_full_cluster_is_no_missing_role_and_a_missing_journal_no_defect() {
        let quota = "you are over your space quota, using 512 MB of 512 MB";
        let role = "user is not allowed to do action [insert] on [shop.purchases]";
        let journal = "cannot use 'j' option when a host does not have journaling enabled";
        for (code, message, kind) in [
            (8000, quota, Unavailable),
            (8000, role, Denied),
            (2, journal, Unsupported),
            (2, "unknown top level operator", Internal),
        ] {
            assert_eq!(classify_command(code, message).0, kind, "{message}");
        }
    }
}
