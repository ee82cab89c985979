//! One error for all values that are not valid.

use std::convert::Infallible;

use super::{InvalidKey, InvalidPrice, InvalidPurchaseId, InvalidText, InvalidTimestamp};
use crate::orders::InvalidTotalPrice;
use crate::ports::{InvalidPageLimit, InvalidUtcOffset};
use crate::users::InvalidEmail;
use crate::{Error, ErrorKind};

/// A value that is not valid, and the reason. Every parse error of the domain converts into it, and into an [`Error`] of
/// the kind [`Invalid`](ErrorKind::Invalid), so that `?` works on both.
///
/// ```
/// use shop_core::{ErrorKind, Price, UserId};
///
/// fn parse(user: &str, price: &str) -> shop_core::Result<(UserId, Price)> {
///     Ok((user.try_into()?, price.parse()?))
/// }
///
/// let error = parse(" ", "29.99").unwrap_err();
/// assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, "the user id must not be blank"));
/// assert_eq!(parse("u1", "-1").unwrap_err().message(), "the price must not be negative");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// Not a [`UserId`](crate::UserId).
    #[error("the user id {0}")]
    UserId(InvalidText),
    /// Not a [`UserName`](crate::UserName).
    #[error("the user name {0}")]
    UserName(InvalidText),
    /// Not a valid text.
    #[error("the text {0}")]
    Text(#[from] InvalidText),
    /// Not a [`Price`](crate::Price).
    #[error("the price {0}")]
    Price(#[from] InvalidPrice),
    /// Not a [`Timestamp`](crate::Timestamp).
    #[error("the timestamp {0}")]
    Timestamp(#[from] InvalidTimestamp),
    /// Not an [`IdempotencyKey`](crate::IdempotencyKey).
    #[error(transparent)]
    IdempotencyKey(#[from] InvalidKey),
    /// Not a [`PurchaseId`](crate::PurchaseId).
    #[error(transparent)]
    PurchaseId(#[from] InvalidPurchaseId),
    /// Not a [`PageLimit`](crate::ports::PageLimit).
    #[error("the page limit {0}")]
    PageLimit(#[from] InvalidPageLimit),
    /// Not a [`UtcOffset`](crate::ports::UtcOffset).
    #[error("the offset {0}")]
    UtcOffset(#[from] InvalidUtcOffset),
    /// Not an [`Email`](crate::users::Email).
    #[error("the email address is not valid: {0}")]
    Email(#[from] InvalidEmail),
    /// Not a [`TotalPrice`](crate::orders::TotalPrice).
    #[error("the total price {0}")]
    TotalPrice(#[from] InvalidTotalPrice),
}

impl From<Infallible> for Invalid {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Self::new(ErrorKind::Invalid, invalid.to_string())
    }
}

/// Converts parse errors into an [`Error`].
macro_rules! into_error {
    ($($invalid:ident),+) => {
        $(
            impl From<$invalid> for Error {
                fn from(invalid: $invalid) -> Self {
                    Invalid::from(invalid).into()
                }
            }
        )+
    };
}

into_error!(
    InvalidText,
    InvalidPrice,
    InvalidTimestamp,
    InvalidKey,
    InvalidPurchaseId,
    InvalidPageLimit,
    InvalidUtcOffset,
    InvalidEmail,
    InvalidTotalPrice
);
