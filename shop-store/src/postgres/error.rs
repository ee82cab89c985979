//! Converts the driver's errors to [`shop_core::Error`].
//!
//! [`sqlstate`] gives the kind and the message of an error that the server reported. This module
//! adds the outcome: whether the statement may have been applied although it failed.
//!
//! The server's own text may contain the values of a row, which are personal data and must not get
//! into logs. [`describe`] decides which part of the text is kept.

use std::error::Error as _;
use std::io;

use deadpool::managed::PoolError;
use shop_core::{Error, ErrorKind, Outcome};
use tokio_postgres::Error as DriverError;
use tokio_postgres::error::{DbError, Severity, SqlState};

use super::sqlstate;

/// Creates an error with the origin `postgresql`.
pub fn postgres_error(kind: ErrorKind, message: impl Into<String>) -> Error {
    Error::new(kind, message).with_origin("postgresql")
}

/// Creates an error of the kind [`ErrorKind::Unavailable`] for an operation that was certainly not
/// applied, with the outcome [`Outcome::NotApplied`].
pub(super) fn unavailable_error(message: impl Into<String>) -> Error {
    postgres_error(ErrorKind::Unavailable, message).with_outcome(Outcome::NotApplied)
}

/// Converts an error of a statement that was sent to the server.
///
/// An error without a report of the server is taken for a broken connection. Its kind is
/// [`ErrorKind::Unavailable`], and the statement may have been applied.
pub fn from_driver(error: DriverError) -> Error {
    match error.as_db_error() {
        Some(reported) => from_server(reported),
        None => postgres_error(ErrorKind::Unavailable, "the connection to PostgreSQL broke")
            .with_source(error),
    }
}

/// Converts an error of a pool that could not provide a session. No statement was sent.
pub(super) fn from_pool(error: PoolError<Error>) -> Error {
    match error {
        PoolError::Backend(error) => error,
        other => postgres_error(ErrorKind::Internal, "the pool of connections failed")
            .with_source(other)
            .with_outcome(Outcome::NotApplied),
    }
}

/// Converts an error of a session that could not be started.
///
/// No statement was sent, so the outcome is [`Outcome::NotApplied`]. The kind is
/// [`ErrorKind::Unavailable`] if the host cannot be reached, [`ErrorKind::Denied`] if password or
/// TLS do not fit, and the kind of the server's error code if the server rejects the session.
pub(super) fn from_connect(error: DriverError) -> Error {
    let is_io = error
        .source()
        .is_some_and(|source| source.downcast_ref::<io::Error>().is_some());

    let connect_error = match error.as_db_error() {
        Some(reported) => from_server(reported),
        None if is_io || error.is_closed() => {
            postgres_error(ErrorKind::Unavailable, "PostgreSQL cannot be reached")
                .with_source(error)
        }
        // The driver gave up by itself, for example because the server wants a password and the URL
        // contains none, or because `sslmode` requires TLS and the server does not support it.
        None => {
            let message = "the PostgreSQL URL does not fit the server: check password and sslmode";
            postgres_error(ErrorKind::Denied, message).with_source(error)
        }
    };
    connect_error.with_outcome(Outcome::NotApplied)
}

/// An error that the server reported, without the values of a row.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct ServerError {
    code: SqlState,
    text: String,
}

/// The classes of errors about the statement, the session and the server. Their messages have the
/// names of tables, columns, users and settings, but not the values of rows, because the values are
/// parameters of the statement.
///
/// All other classes quote values, such as `invalid input syntax for type numeric: "…"`, or have
/// texts that an operator wrote.
const CLASSES_WITHOUT_VALUES: [&str; 14] = [
    "08", "0A", "25", "26", "28", "3D", "3F", "40", "42", "53", "55", "57", "58", "XX",
];

/// Returns the text of an error that the server reported, without the values of a row.
///
/// The details of an error, such as `Key (userid)=(u1) already exists` and `Failing row contains (…)`,
/// are never part of the text. The message is left out if it may contain values. A function of an
/// operator, such as a trigger, can put values into each member of the error, so only the code and the
/// name of the function are kept for an error in a function.
fn describe(error: &DbError) -> String {
    let code = error.code().code();
    // The context of an error mostly tells in which function it occurred. The words are in the language
    // of the server, so any context counts as that of a function.
    if let Some(context) = error.where_() {
        return match function_in(context) {
            Some(function) => format!("{code}, in the function {function}"),
            None => code.to_owned(),
        };
    }
    if CLASSES_WITHOUT_VALUES.contains(&code.get(..2).unwrap_or_default()) {
        return format!("{code}: {}", error.message());
    }

    let mut text = code.to_owned();
    for (object_word, name) in [
        ("constraint", error.constraint()),
        ("column", error.column()),
        ("table", error.table()),
    ] {
        if let Some(name) = name {
            text.push_str(&format!(", {object_word} {name}"));
        }
    }
    text
}

/// Returns the name of the innermost function in the context of an error, such as `PL/pgSQL function
/// check_user() line 3 at RAISE`. Returns `None` if the context names no function, or a name that
/// contains other characters than letters, digits, `_` and `.`.
fn function_in(context: &str) -> Option<&str> {
    let name_and_rest = context
        .lines()
        .find_map(|line| line.strip_prefix("PL/pgSQL function "))?;
    let name = name_and_rest.split(['(', ' ']).next()?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_.".contains(&byte);
    name.bytes().all(is_name).then_some(name)
}

/// Returns the SQLSTATE code of an error that the server reported, such as `23505`.
///
/// Returns `None` for an error of another origin, such as a broken connection.
pub(super) fn code(error: &Error) -> Option<&str> {
    error
        .source()?
        .downcast_ref::<ServerError>()
        .map(|reported| reported.code.code())
}

/// Converts an error that the server reported.
fn from_server(error: &DbError) -> Error {
    // A severity that the server does not state is taken for one that ends the session.
    let may_end_session = error.parsed_severity() != Some(Severity::Error);
    let (kind, message) = match sqlstate::classify(error.code().code()) {
        // The kind `Invalid` makes a record a dead letter. A severity above `ERROR` ends the
        // session, so the error is about the server and not about a row, even with the code of a
        // row. An example is 22023 for files that the server cannot read.
        (ErrorKind::Invalid, _) if may_end_session => sqlstate::UNKNOWN,
        class => class,
    };

    // After an `ERROR`, the transaction is rolled back. A session that ends by a higher severity
    // may have committed before.
    let outcome = if may_end_session || *error.code() == SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN
    {
        Outcome::Unknown
    } else {
        Outcome::NotApplied
    };

    let reported = ServerError {
        code: error.code().clone(),
        text: describe(error),
    };
    postgres_error(kind, message)
        .with_outcome(outcome)
        .with_source(reported)
}

/// Returns whether the session must leave its pool after `error`.
///
/// This is so if the connection broke, if the server ended the session, or if the server is
/// read-only: the next session may be with another server, which takes writes.
pub(super) fn is_broken(error: &DriverError) -> bool {
    error.as_db_error().is_none_or(|reported| {
        reported.parsed_severity() != Some(Severity::Error)
            || *reported.code() == SqlState::READ_ONLY_SQL_TRANSACTION
    })
}

/// Returns whether an idempotent statement can be repeated within the same call after `error`.
pub(super) fn is_retryable(error: &Error) -> bool {
    error.kind() == ErrorKind::Unavailable && error.is_retryable()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_function_is_a_name() {
        for (context, name) in [
            (
                "PL/pgSQL function check_user() line 3 at RAISE",
                Some("check_user"),
            ),
            (
                "PL/pgSQL function shop.f(text) line 1 at SQL statement",
                Some("shop.f"),
            ),
            (
                "PL/pgSQL function inline_code_block line 1",
                Some("inline_code_block"),
            ),
            ("PL/pgSQL function \"u1 it's\"() line 3", None),
            ("SQL statement \"insert into log values ('u1')\"", None),
            (
                "SQL statement \"select 'u1'\"\nPL/pgSQL function f() line 1 at PERFORM\nPL/pgSQL function g()",
                Some("f"),
            ),
            ("JSON data, line 1: {u1", None),
        ] {
            assert_eq!(function_in(context), name, "{context}");
        }
    }
}
