//! Maps the driver's errors to [`shop_core::Error`].

use std::error::Error as _;
use std::io;

use deadpool::managed::PoolError;
use shop_core::{Error, ErrorKind, Outcome};
use tokio_postgres::Error as DriverError;
use tokio_postgres::error::{DbError, Severity, SqlState};

use super::sqlstate;

/// An error with the origin `postgresql`.
pub(super) fn postgres_error(kind: ErrorKind, message: impl Into<String>) -> Error {
    Error::new(kind, message).with_origin("postgresql")
}

/// Converts an error of a statement that was sent.
pub(super) fn from_driver(error: DriverError) -> Error {
    match error.as_db_error() {
        Some(reported) => from_server(reported),
        None => postgres_error(ErrorKind::Unavailable, "the connection to PostgreSQL broke")
            .with_source(error),
    }
}

/// Converts an error of a pool. No statement was sent.
pub(super) fn from_pool(error: PoolError<Error>) -> Error {
    match error {
        PoolError::Backend(error) => error,
        other => postgres_error(ErrorKind::Internal, "the pool of connections failed")
            .with_source(other)
            .with_outcome(Outcome::NotApplied),
    }
}

/// Converts an error of a connection that was not established. No statement was sent.
pub(super) fn from_connect(error: DriverError) -> Error {
    let is_io = error
        .source()
        .is_some_and(|source| source.downcast_ref::<io::Error>().is_some());
    let converted = match error.as_db_error() {
        Some(reported) => from_server(reported),
        None if is_io || error.is_closed() => {
            postgres_error(ErrorKind::Unavailable, "PostgreSQL cannot be reached")
                .with_source(error)
        }
        // Without a password, or without TLS where it is required.
        None => {
            let message = "the PostgreSQL URL does not fit the server: check password and sslmode";
            postgres_error(ErrorKind::Denied, message).with_source(error)
        }
    };
    converted.with_outcome(Outcome::NotApplied)
}

/// An error that the server has reported, without the details: they contain the values of a rejected row.
#[derive(Debug, thiserror::Error)]
#[error("{}: {message}", .code.code())]
struct ServerError {
    code: SqlState,
    message: String,
}

/// The code of an error that the server has reported.
pub(super) fn code(error: &Error) -> Option<&str> {
    error
        .source()?
        .downcast_ref::<ServerError>()
        .map(|reported| reported.code.code())
}

fn from_server(error: &DbError) -> Error {
    let (kind, message) = match sqlstate::classify(error.code().code()) {
        // It ends the session: files that cannot be read have a code of a row (22023).
        (ErrorKind::Invalid, _) if error.parsed_severity() != Some(Severity::Error) => {
            sqlstate::UNKNOWN
        }
        class => class,
    };
    // After an error the transaction is rolled back. A session that ends may have committed before.
    let is_rolled_back = error.parsed_severity() == Some(Severity::Error)
        && *error.code() != SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN;
    let outcome = if is_rolled_back {
        Outcome::NotApplied
    } else {
        Outcome::Unknown
    };
    let reported = ServerError {
        code: error.code().clone(),
        message: error.message().to_owned(),
    };
    postgres_error(kind, message)
        .with_outcome(outcome)
        .with_source(reported)
}

/// Whether the next connection may be to a better server.
pub(super) fn is_broken(error: &DriverError) -> bool {
    error.as_db_error().is_none_or(|reported| {
        reported.parsed_severity() != Some(Severity::Error)
            || *reported.code() == SqlState::READ_ONLY_SQL_TRANSACTION
    })
}

/// Whether an idempotent statement is repeated at once.
pub(super) fn is_retryable(error: &Error) -> bool {
    error.kind() == ErrorKind::Unavailable && error.is_retryable()
}
