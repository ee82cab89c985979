//! Errors of this crate, and the response that one was made of.

use std::error::Error as StdError;
use std::fmt;

use crate::{Error, ErrorKind, Problem};

/// The response in an [`Error`] of a [`ShopClient`](crate::ShopClient).
///
/// ```
/// use shop_client::{ErrorKind, HttpErrorExt, ShopClient};
///
/// let error = ShopClient::builder("localhost:3000").build().unwrap_err();
/// assert_eq!((error.kind(), error.status()), (ErrorKind::Invalid, None));
/// ```
pub trait HttpErrorExt {
    /// The status of the last response, if there was one.
    fn status(&self) -> Option<u16>;

    /// The problem in the last response, if any.
    fn problem(&self) -> Option<&Problem>;
}

impl HttpErrorExt for Error {
    fn status(&self) -> Option<u16> {
        response_of(self).map(|response| response.status)
    }

    fn problem(&self) -> Option<&Problem> {
        response_of(self)?.problem.as_ref()
    }
}

fn response_of(error: &Error) -> Option<&ErrorResponse> {
    error.source()?.downcast_ref()
}

/// An error of `kind`.
pub(crate) fn client_error(kind: ErrorKind, message: impl Into<String>) -> Error {
    Error::new(kind, message).with_origin("shop-client")
}

/// The source of an error that a response caused.
#[derive(Debug)]
pub(crate) struct ErrorResponse {
    pub(crate) status: u16,
    pub(crate) problem: Option<Problem>,
    /// Why the response could not be read.
    pub(crate) cause: Option<Box<dyn StdError + Send + Sync>>,
}

impl ErrorResponse {
    pub(crate) const fn new(status: u16) -> Self {
        Self { status, problem: None, cause: None }
    }

    /// `error`, caused by this response.
    pub(crate) fn into_source_of(self, error: Error) -> Error {
        error.with_context("status", self.status).with_source(self)
    }
}

impl fmt::Display for ErrorResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the response has status {}", self.status)
    }
}

impl StdError for ErrorResponse {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}
