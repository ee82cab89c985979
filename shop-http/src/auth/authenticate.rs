//! Bearer tokens: identifies the sender of a request before its body is read.
//!
//! [`bearer`] reads the token from the headers, and an implementation of [`Authenticate`] finds its
//! [`Principal`].

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use axum::http::{HeaderMap, HeaderValue, header};

use super::authorize::Principal;

/// Identifies the sender of a request by its bearer token. See
/// [`RouterBuilder::authenticate`](crate::RouterBuilder::authenticate).
///
/// [`principal`](Self::principal) is called for every request with a token, so an implementation
/// should remember the tokens that it verified.
///
/// ```
/// use shop_http::{Authenticate, Principal, Rejection, async_trait};
///
/// /// One secret for everything.
/// #[derive(Debug)]
/// struct Secret;
///
/// #[async_trait]
/// impl Authenticate for Secret {
///     async fn principal(&self, token: &str) -> Result<Principal, Rejection> {
///         // Compare in constant time, as `ApiKeys` does.
///         if token != "correct horse battery staple" {
///             return Err(Rejection::invalid("is unknown"));
///         }
///         Ok(Principal::service("secret").with_scopes(["purchases:write:any", "purchases:read:any"]))
///     }
/// }
/// ```
#[async_trait]
pub trait Authenticate: fmt::Debug + Send + Sync + 'static {
    /// Returns the sender with this token.
    ///
    /// # Errors
    /// - [`Rejection::Invalid`] if the token is not valid
    /// - [`Rejection::Unavailable`] if the token cannot be verified now
    async fn principal(&self, token: &str) -> Result<Principal, Rejection>;
}

#[async_trait]
impl<T: Authenticate + ?Sized> Authenticate for Arc<T> {
    async fn principal(&self, token: &str) -> Result<Principal, Rejection> {
        (**self).principal(token).await
    }
}

/// The reason why a token was rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejection {
    /// The token is not valid. The response is 401. The text completes the sentence "The token …".
    Invalid(Cow<'static, str>),
    /// The token cannot be verified now, for example because the keys of its issuer could not be
    /// read. The response is 503.
    Unavailable,
}

impl Rejection {
    /// Creates the rejection of a token that is not valid. `reason` completes the sentence "The
    /// token …".
    pub fn invalid(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid(reason.into())
    }
}

/// An authenticator that accepts a token if one of several authenticators accepts it.
#[derive(Debug, Clone, Default)]
pub struct AnyOf(Vec<Arc<dyn Authenticate>>);

impl AnyOf {
    /// Creates an authenticator that tries `all` in order.
    ///
    /// A token that no authenticator accepts is rejected as [`Unavailable`](Rejection::Unavailable)
    /// if any authenticator is unavailable, else for the reason of the last one.
    #[must_use]
    pub fn new(all: impl IntoIterator<Item = Arc<dyn Authenticate>>) -> Self {
        Self(all.into_iter().collect())
    }
}

#[async_trait]
impl Authenticate for AnyOf {
    async fn principal(&self, token: &str) -> Result<Principal, Rejection> {
        let mut rejection = Rejection::invalid("is unknown");
        for authenticate in &self.0 {
            match authenticate.principal(token).await {
                Ok(principal) => return Ok(principal),
                // An earlier authenticator was unavailable and may know the token, so a later one
                // cannot reject the token as invalid.
                Err(_) if rejection == Rejection::Unavailable => {}
                Err(latest_rejection) => rejection = latest_rejection,
            }
        }
        Err(rejection)
    }
}

/// The maximum length of a token, in bytes. Tokens with many claims are 2 to 4 KiB long.
const MAX_TOKEN_BYTES: usize = 8 << 10;

/// The token of a request, and the authenticator that accepted it.
///
/// It is an extension of requests for a stream, which may outlive its token: the stream verifies
/// the token again.
#[derive(Clone)]
pub(crate) struct Credential {
    pub(crate) authenticate: Arc<dyn Authenticate>,
    pub(crate) token: String,
}

/// Reads the bearer token of a request. Returns `None` for a request without the header
/// `Authorization`.
///
/// # Errors
/// The reason why the header contains no token that could be valid. The reason completes the sentence
/// "The token …".
pub(crate) fn bearer(headers: &HeaderMap) -> Option<Result<&str, &'static str>> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return Some(Err("is sent in several Authorization headers"));
    }
    Some(parse_bearer(value))
}

/// Parses the value of a header: the scheme `Bearer` and a token. Returns the token.
///
/// # Errors
/// The errors of [`bearer`].
fn parse_bearer(value: &HeaderValue) -> Result<&str, &'static str> {
    const MISSING: &str = "is missing: Authorization must be Bearer and a token";

    let text = value.to_str().map_err(|_not_ascii| MISSING)?;
    let (scheme, token) = text.split_once(' ').ok_or(MISSING)?;
    let token = token.trim_start_matches(' ');

    // The name of the scheme is case-insensitive.
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(MISSING);
    }
    if token.len() > MAX_TOKEN_BYTES {
        return Err("is longer than 8 KiB");
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[async_trait]
    impl Authenticate for Rejection {
        async fn principal(&self, _token: &str) -> Result<Principal, Self> {
            Err(self.clone())
        }
    }

    #[tokio::test]
    async fn a_token_is_not_invalid_while_it_may_be_valid_elsewhere() {
        let [away, invalid] = [Rejection::Unavailable, Rejection::invalid("is unknown")];
        for all in [[away.clone(), invalid.clone()], [invalid, away.clone()]] {
            let all = AnyOf::new(all.map(|rejection| Arc::new(rejection) as _));
            assert_eq!(all.principal("token").await, Err(away.clone()));
        }
    }
}
