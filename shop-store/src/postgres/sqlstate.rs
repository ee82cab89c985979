//! Classifies the server's error codes, which are called SQLSTATE.
//!
//! A code consists of five characters, and the first two are its class. Reference:
//! <https://www.postgresql.org/docs/current/errcodes-appendix.html> (appendix A).

use shop_core::{Error, ErrorKind};

use super::error;

use ErrorKind::{DeadlineExceeded, Denied, Invalid, Unavailable, Unsupported};

/// The kind and the message of an error that the server reported.
///
/// | kind | meaning |
/// |---|---|
/// | `Invalid` | the content of the row is at fault, so its record becomes a dead letter |
/// | `Unavailable` | a retry may succeed |
/// | `DeadlineExceeded` | the server cancelled the statement |
/// | `Denied` | an operator must grant a right, or correct the URL, the table or the database |
/// | `Unsupported` | the server or the table does not support the statement |
pub(super) type SqlErrorClass = (ErrorKind, &'static str);

/// The code of an insert of a value that exists already in a unique index.
const UNIQUE_VIOLATION: &str = "23505";
/// The code of a text that cannot be converted to another type, `invalid_text_representation`.
const INVALID_TEXT: &str = "22P02";
/// The class of syntax errors and access rule violations.
const STATEMENT_CLASS: &str = "42";

/// The kind and the message of all codes that [`CODES`] does not name.
pub(super) const UNKNOWN: SqlErrorClass =
    (Unavailable, "PostgreSQL cannot serve the operation now");

/// The message of errors about a row.
const REJECTED_ROW: &str = "PostgreSQL rejected the row";
/// The message of errors about a statement that the server cannot run.
const UNSUPPORTED_STATEMENT: &str =
    "this PostgreSQL server or its table does not support the statement";

/// The kind and the message for each code, or for the beginning of several codes.
///
/// The first entry that a code begins with decides, so single codes come before their class.
///
/// Codes without an entry count as transient, because an unknown code must not turn an outage into
/// dead letters.
const CODES: [(&str, ErrorKind, &str); 18] = [
    // insufficient_privilege.
    (
        "42501",
        Denied,
        "the PostgreSQL user is not authorized: grant it the table, or the right to create it in the schema",
    ),
    // undefined_table. It is transient, because a background task may be creating the table.
    (
        "42P01",
        Unavailable,
        "the table does not exist in the database, or in the schemas of search_path",
    ),
    // query_canceled, by `statement_timeout` or by an administrator.
    (
        "57014",
        DeadlineExceeded,
        "PostgreSQL cancelled the statement at its timeout",
    ),
    // read_only_sql_transaction.
    (
        "25006",
        Unavailable,
        "PostgreSQL is read-only, such as a standby",
    ),
    // raise_exception, by a trigger.
    ("P0001", Invalid, REJECTED_ROW),
    // with_check_option_violation, by a view or a policy.
    ("44000", Invalid, REJECTED_ROW),
    // disk_full.
    ("53100", Unavailable, "PostgreSQL's disk is full"),
    // too_many_connections.
    ("53300", Unavailable, "PostgreSQL has too many connections"),
    // cannot_connect_now.
    ("57P03", Unavailable, "PostgreSQL is starting or stopping"),
    // not_null_violation. This program leaves no column of its own empty, so the column is one that
    // another program has added: each row is rejected, whatever its content is.
    (
        "23502",
        Denied,
        "the PostgreSQL table has a column that must not be null and that this program does not know: give it a default",
    ),
    // statement_too_complex: the limit is the server's `max_stack_depth`.
    (
        "54001",
        Unavailable,
        "PostgreSQL has too little room for the statement: raise max_stack_depth",
    ),
    // The classes of data exceptions (22) and integrity constraint violations (23).
    ("22", Invalid, REJECTED_ROW),
    ("23", Invalid, REJECTED_ROW),
    // The class of exceeded program limits, such as the size of an index entry.
    ("54", Invalid, REJECTED_ROW),
    (
        "28",
        Denied,
        "PostgreSQL rejected the login: check user and password of the URL",
    ),
    (
        "3D",
        Unavailable,
        "the database in the PostgreSQL URL does not exist: create it",
    ),
    // The classes of unsupported features (0A), and of syntax errors and access rule violations
    // (42).
    ("0A", Unsupported, UNSUPPORTED_STATEMENT),
    ("42", Unsupported, UNSUPPORTED_STATEMENT),
];

/// Returns the kind and the message of the error with `code`.
pub(super) fn classify(code: &str) -> SqlErrorClass {
    // These codes are deliberately not in the table, and so are transient: connection exceptions
    // (08), rollbacks such as serialization failures and deadlocks (40), resources (53),
    // lock_not_available (55P03), operator intervention (57), system errors (58, XX), and others.
    for (prefix, kind, message) in CODES {
        if code.starts_with(prefix) {
            return (kind, message);
        }
    }
    UNKNOWN
}

/// Returns whether the server rejected a row of the statement, so that the other rows may still be
/// inserted.
pub(super) fn is_about_rows(error: &Error) -> bool {
    error.kind() == Invalid && error::code(error).is_some()
}

/// Returns whether the server rejected a statement whatever its parameters are, for example because
/// a table is missing or may not be read.
pub(super) fn is_about_statement(error: &Error) -> bool {
    error::code(error).is_some_and(|code| code.starts_with(STATEMENT_CLASS))
}

/// Returns whether the server could not convert a text to another type. Some statements convert an
/// invalid text on purpose, to end their transaction.
pub fn is_invalid_text(error: &Error) -> bool {
    error::code(error) == Some(INVALID_TEXT)
}

/// Returns whether the server rejected a statement because a value exists already in a unique
/// index.
pub fn is_unique_violation(error: &Error) -> bool {
    error::code(error) == Some(UNIQUE_VIOLATION)
}

#[cfg(test)]
mod tests {
    use shop_core::Blame;

    use super::*;

    /// The codes by whose fault they are, with the kind of their errors.
    const BLAMES: &[(Blame, ErrorKind, &[&str])] = &[
        // The content of the row: a value that does not fit, a rule of a trigger or a view, a key.
        (
            Blame::Caller,
            Invalid,
            &[
                "22001",
                "22003",
                "22021",
                "22P02",
                "22P05",
                "23503",
                UNIQUE_VIOLATION,
                "23514",
                "23P01",
                "54000",
                "P0001",
                "44000",
            ],
        ),
        // A right, the URL, the table or the database.
        (
            Blame::Surroundings,
            Denied,
            &["42501", "28000", "28P01", "23502"],
        ),
        (
            Blame::Surroundings,
            Unsupported,
            &["42703", "42601", "0A000"],
        ),
        (Blame::Surroundings, DeadlineExceeded, &["57014"]),
        // An outage, a full disk, and codes that later versions add.
        (
            Blame::Surroundings,
            Unavailable,
            &[
                "08006", "25006", "40001", "40P01", "40003", "3D000", "42P01", "53100", "53200",
                "53300", "54001", "55P03", "57P01", "57P02", "57P03", "57P05", "58030", "F0000",
                "P0000", "XX000", "XX001", "99999", "",
            ],
        ),
    ];

    #[test]
    fn each_code_is_the_fault_of_who_can_mend_it() {
        for (blame, kind, codes) in BLAMES {
            assert_eq!(kind.blame(), *blame, "{kind:?}");
            for code in *codes {
                assert_eq!(classify(code).0, *kind, "{code}");
            }
        }
    }
}
