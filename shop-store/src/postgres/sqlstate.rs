//! Classifies the server's error codes.
//!
//! Reference: <https://www.postgresql.org/docs/current/errcodes-appendix.html> (appendix A). The first two characters of
//! a code are its class.

use shop_core::{Error, ErrorKind};

use super::error;

/// The kind and the message of an error. Of the server's errors, those about a row that can never be stored as it is are
/// `Invalid`, those of which a retry may succeed `Unavailable`, and an operator has to act for `Denied`.
pub(super) type SqlErrorClass = (ErrorKind, &'static str);

use ErrorKind::{DeadlineExceeded, Denied, Invalid, Unavailable, Unsupported};

pub(super) const UNIQUE_VIOLATION: &str = "23505";

/// The class of codes that are not known.
pub(super) const UNKNOWN: SqlErrorClass =
    (Unavailable, "PostgreSQL cannot serve the operation now");

const ROW: &str = "PostgreSQL rejected the row";
const OTHER_FORM: &str = "this PostgreSQL server or its table does not support the statement";

/// Codes, and then classes, which are the first two characters of the others. All that are not here count as transient: an
/// unknown code must not turn an outage into a dead letter.
const CODES: [(&str, ErrorKind, &str); 16] = [
    // insufficient_privilege.
    (
        "42501",
        Denied,
        "the PostgreSQL user is not authorized: grant it the table, or the right to create it in the schema",
    ),
    // undefined_table: it is being created.
    (
        "42P01",
        Unavailable,
        "the table does not exist in the database, or in the schemas of search_path",
    ),
    // query_canceled: `statement_timeout`, or a cancellation.
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
    // raise_exception, of a trigger.
    ("P0001", Invalid, ROW),
    // with_check_option_violation, of a view or a policy.
    ("44000", Invalid, ROW),
    // disk_full.
    ("53100", Unavailable, "PostgreSQL's disk is full"),
    // too_many_connections.
    ("53300", Unavailable, "PostgreSQL has too many connections"),
    // cannot_connect_now.
    ("57P03", Unavailable, "PostgreSQL is starting or stopping"),
    // Data exception, and integrity constraint violation.
    ("22", Invalid, ROW),
    ("23", Invalid, ROW),
    // Program limit exceeded, such as the size of an index entry.
    ("54", Invalid, ROW),
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
    // Feature not supported; syntax error or access rule violation.
    ("0A", Unsupported, OTHER_FORM),
    ("42", Unsupported, OTHER_FORM),
];

pub(super) fn classify(code: &str) -> SqlErrorClass {
    // Connection exceptions (08), rollbacks (40: serialization failures, deadlocks), resources (53), lock_not_available
    // (55P03), operator intervention (57), system errors (58, XX), and others.
    CODES
        .iter()
        .find(|(start, ..)| code.starts_with(start))
        .map_or(UNKNOWN, |(_, kind, message)| (*kind, *message))
}

/// Whether `error` is about one row of the statement, and not about the server.
pub(super) fn is_about_rows(error: &Error) -> bool {
    error.kind() == Invalid && error::code(error).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_codes_are_transient() {
        for code in [
            "22021",
            "22P05",
            "22003",
            "23502",
            UNIQUE_VIOLATION,
            "23514",
            "54000",
            "P0001",
            "44000",
        ] {
            assert_eq!(classify(code), (Invalid, ROW), "{code}");
        }
        let transient = [
            "08006", "25006", "40001", "40P01", "40003", "3D000", "42P01", "53100", "53200",
            "53300", "55P03", "57P01", "57P02", "57P03", "57P05", "58030", "F0000", "P0000",
            "XX000", "XX001", "99999", "",
        ];
        for code in transient {
            assert_eq!(classify(code).0, Unavailable, "{code}");
        }
        assert_eq!(classify("57014").0, DeadlineExceeded);
        assert_eq!(classify("42501").0, Denied);
        assert_eq!(classify("28P01").0, Denied);
        assert_eq!(classify("42703").0, Unsupported);
    }
}
