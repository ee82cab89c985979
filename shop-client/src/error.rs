//! The errors of this crate, and the responses that caused them.
//!
//! [`client_error`] creates the errors of this crate. The source of an error that a response caused
//! is an [`ErrorResponse`]: the status of the response, and its [`Problem`], if there is one.
//! Callers read both through [`HttpErrorExt`], because the type of the error belongs to
//! `shop-core`, which knows no HTTP.

use std::error::Error as StdError;
use std::fmt;

use serde::Deserialize;
use shop_api::{ProblemError, ProblemMembers};

use crate::{Error, ErrorKind, Outcome};

/// The access to the response that caused an [`Error`] of a [`ShopClient`](crate::ShopClient).
///
/// ```
/// use shop_client::{ErrorKind, HttpErrorExt, ShopClient};
///
/// let error = ShopClient::builder("localhost:3000").build().unwrap_err();
/// assert_eq!((error.kind(), error.status()), (ErrorKind::Invalid, None));
/// ```
pub trait HttpErrorExt {
    /// Returns the status of the last response, if there was a response.
    fn status(&self) -> Option<u16>;

    /// Returns the problem in the last response, if there is one.
    fn problem(&self) -> Option<&Problem>;
}

impl HttpErrorExt for Error {
    fn status(&self) -> Option<u16> {
        Some(find_response(self)?.status)
    }

    fn problem(&self) -> Option<&Problem> {
        find_response(self)?.problem.as_ref()
    }
}

/// Returns the response that caused `error`, if the cause is a response.
fn find_response(error: &Error) -> Option<&ErrorResponse> {
    error.source()?.downcast_ref()
}

/// Creates an error of `kind` with this crate as its origin.
pub(crate) fn client_error(kind: ErrorKind, message: impl Into<String>) -> Error {
    Error::new(kind, message).with_origin("shop-client")
}

/// The error because of which a response could not be read.
pub(crate) type ResponseCause = Box<dyn StdError + Send + Sync>;

/// A response that caused an error, and is the source of this error.
#[derive(Debug)]
pub(crate) struct ErrorResponse {
    pub(crate) status: u16,
    pub(crate) problem: Option<Problem>,
    /// The error because of which the response could not be read, if it could not.
    pub(crate) cause: Option<ResponseCause>,
}

impl fmt::Display for ErrorResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the response has status {}", self.status)
    }
}

impl StdError for ErrorResponse {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(self.cause.as_deref()?)
    }
}

/// A problem of [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) in an error response.
///
/// Do not trust the texts of a problem: they come from the server at the address of the client.
///
/// ```no_run
/// use shop_client::HttpErrorExt;
///
/// # fn example(error: shop_client::Error) {
/// if let Some(field) = error.problem().and_then(|problem| problem.field.as_deref()) {
///     println!("{field} is wrong");
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Problem {
    /// The type of the problem, such as `/problems/conflict`, from the member `type`.
    #[serde(rename = "type")]
    pub uri: Option<String>,
    /// The title that all problems of this type share, for people.
    pub title: Option<String>,
    /// The reason for the problem in this request, for people.
    pub detail: Option<String>,
    /// The first invalid member or parameter of the request.
    pub field: Option<String>,
    /// All invalid parts of the request, if the service lists them.
    pub errors: Vec<ProblemError>,
    /// The name of the outcome of a write, if the service reports the outcome.
    outcome: Option<String>,
}

impl Problem {
    /// Returns the outcome of a write, if the service reports the outcome. An unrecognized name
    /// means an unknown outcome.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        let name = self.outcome.as_ref()?;
        if name == ProblemMembers::outcome_name(Outcome::NotApplied) {
            return Some(Outcome::NotApplied);
        }
        Some(Outcome::Unknown)
    }
}
