//! Errors of this crate, and the response and problem that one was made of.

use std::error::Error as StdError;
use std::fmt;

use serde::Deserialize;
use shop_core::api::{ProblemError, ProblemMembers};

use crate::{Error, ErrorKind, Outcome};

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

/// Why a response could not be read.
pub(crate) type ResponseCause = Box<dyn StdError + Send + Sync>;

/// The source of an error that a response caused.
#[derive(Debug)]
pub(crate) struct ErrorResponse {
    pub(crate) status: u16,
    pub(crate) problem: Option<Problem>,
    /// Why the response could not be read.
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

/// The problem in an error response, in the form of RFC 9457. Do not trust its texts: they come
/// from the server at that address.
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
    /// The type of the problem, such as `/problems/conflict`: the member `type`.
    #[serde(rename = "type")]
    pub uri: Option<String>,
    /// The title of all problems of this type, for people.
    pub title: Option<String>,
    /// The cause in this request.
    pub detail: Option<String>,
    /// The first invalid member or parameter of the request.
    pub field: Option<String>,
    /// All invalid parts of the request, if the service lists them.
    pub errors: Vec<ProblemError>,
    outcome: Option<String>,
}

impl Problem {
    /// The outcome of a write, if the service reports it.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.outcome.as_ref()?;
        let mut members = ProblemMembers::default();
        members.outcome.clone_from(&self.outcome);
        Some(members.outcome())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_errors_are_listed() {
        let json = r##"{"detail":"x","errors":[{"pointer":"#/price","detail":"a"},{"parameter":"limit","detail":"b"}]}"##;
        let problem: Problem = serde_json::from_str(json).unwrap();
        let errors: Vec<_> = problem
            .errors
            .iter()
            .map(|error| error.detail.as_str())
            .collect();
        assert_eq!(
            (problem.detail.as_deref(), errors),
            (Some("x"), vec!["a", "b"])
        );
        assert_eq!(problem.errors[0].pointer.as_deref(), Some("#/price"));
        assert_eq!(problem.errors[1].parameter.as_deref(), Some("limit"));
    }
}
