//! One error for all values that are not valid.

use std::convert::Infallible;

use crate::{Error, ErrorKind};

/// A value that is not valid: the error of every conversion of this crate from text or numbers into
/// a value.
///
/// It converts into an [`Error`] of the kind [`Invalid`](ErrorKind::Invalid), so that `?` works in
/// functions that return either error.
///
/// An argument `impl TryInto<T, Error: Into<Invalid>>` is a `T`, a reference to a `T`, or its text as
/// `&str`, `String` or `&String`.
///
/// ```
/// use shop_core::{ErrorKind, InvalidKind, Price, UserId};
///
/// fn parse(user: &str, price: &str) -> shop_core::Result<(UserId, Price)> {
///     Ok((user.parse()?, price.try_into()?))
/// }
///
/// let error = parse(" ", "29.99").unwrap_err();
/// assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, "the user id must not be blank"));
/// let price = "-1".parse::<Price>().unwrap_err();
/// assert_eq!((price.kind(), price.reason()), (InvalidKind::Negative, "must not be negative"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{subject} {reason}")]
pub struct Invalid {
    kind: InvalidKind,
    pub(crate) subject: &'static str,
    reason: &'static str,
}

/// The kind of fault of a value that is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InvalidKind {
    /// A value does not match the form of its type, or is out of the range of its type.
    Malformed,
    /// A text is empty or white space only.
    Blank,
    /// A text contains too many characters.
    TooLong,
    /// A text contains a control character, such as a line feed or NUL.
    ControlCharacter,
    /// A text is not a decimal number.
    NotANumber,
    /// A number is an infinity or NaN, where these are distinguished from other text.
    NotFinite,
    /// A number is negative.
    Negative,
    /// A number is above the maximum.
    TooLarge,
    /// A number has too many decimals.
    TooManyDecimals,
}

impl Invalid {
    /// Creates the error of the value `subject`, such as `the price`, with a `reason` such as
    /// `must not be negative`.
    #[must_use]
    pub const fn new(kind: InvalidKind, subject: &'static str, reason: &'static str) -> Self {
        Self {
            kind,
            subject,
            reason,
        }
    }

    /// Creates the error of a value that does not match the form of its type.
    #[must_use]
    pub const fn malformed(subject: &'static str, reason: &'static str) -> Self {
        Self::new(InvalidKind::Malformed, subject, reason)
    }

    /// Returns the kind of the fault of the value.
    #[must_use]
    pub const fn kind(&self) -> InvalidKind {
        self.kind
    }

    /// Returns the reason without the name of the value, such as `must not be blank`.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        self.reason
    }
}

impl From<Infallible> for Invalid {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Self::new(ErrorKind::Invalid, invalid.to_string())
    }
}
