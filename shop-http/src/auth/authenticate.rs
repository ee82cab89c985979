//! Bearer tokens: identifies the sender of a request before its body is read.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use axum::http::{HeaderMap, header};

use super::authorize::Principal;

/// Identifies the sender of a request by its bearer token. See
/// [`RouterBuilder::authenticate`](crate::RouterBuilder::authenticate).
///
/// It is called for every request with a token, so an implementation keeps what it has verified.
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
    /// The sender with this token.
    ///
    /// # Errors
    /// [`Rejection::Invalid`] if the token is not valid, [`Rejection::Unavailable`] if that cannot be determined now.
    async fn principal(&self, token: &str) -> Result<Principal, Rejection>;
}

#[async_trait]
impl<T: Authenticate + ?Sized> Authenticate for Arc<T> {
    async fn principal(&self, token: &str) -> Result<Principal, Rejection> {
        (**self).principal(token).await
    }
}

/// The reason why a request has no principal.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejection {
    /// The token is not valid. The response is 401. The text completes the sentence "The token …".
    Invalid(Cow<'static, str>),
    /// The token cannot be verified now, such as without the keys of its issuer. The response is 503.
    Unavailable,
}

impl Rejection {
    /// The token is not valid, for this reason: the end of the sentence "The token …".
    pub fn invalid(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid(reason.into())
    }
}

/// Accepts a token that one of several accepts.
#[derive(Debug, Clone, Default)]
pub struct AnyOf(Vec<Arc<dyn Authenticate>>);

impl AnyOf {
    /// Tries these in order. The last one's rejection is that of all.
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
                // That a token is unknown elsewhere does not say that it is invalid.
                Err(rejected) if rejection != Rejection::Unavailable => rejection = rejected,
                Err(_) => {}
            }
        }
        Err(rejection)
    }
}

/// The longest token that is looked at, in bytes. Tokens with many claims have 2 to 4 KiB.
const MAX_TOKEN_BYTES: usize = 8 << 10;

/// What a request was authenticated with. It is an extension of requests for a stream, which may outlive it.
#[derive(Clone)]
pub(crate) struct Credential {
    pub(crate) authenticate: Arc<dyn Authenticate>,
    pub(crate) token: String,
}

/// The token of a request, if there is one.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<Result<&str, &'static str>> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return Some(Err("is sent in several Authorization headers"));
    }
    // The name of the scheme is case-insensitive.
    let token = value.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| token.trim_start_matches(' '))
    });
    Some(match token {
        None | Some("") => Err("is missing: Authorization must be Bearer and a token"),
        Some(token) if token.len() > MAX_TOKEN_BYTES => Err("is too long"),
        Some(token) => Ok(token),
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

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

    #[test]
    fn only_bearer_tokens_are_accepted() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            bearer(&headers).map(|token| token.map(str::to_owned).map_err(|_reason| ()))
        };
        assert_eq!(of(&[]), None);
        for value in ["Bearer abc", "bearer abc", "BEARER   abc"] {
            assert_eq!(of(&[value]), Some(Ok("abc".into())), "{value}");
        }
        for value in ["", "Bearer", "Bearer ", "abc", "Basic YTpi"] {
            assert_eq!(of(&[value]), Some(Err(())), "{value}");
        }
        assert_eq!(of(&["Bearer a", "Bearer a"]), Some(Err(())));
        assert_eq!(
            of(&[&format!("Bearer {}", "a".repeat(MAX_TOKEN_BYTES + 1))]),
            Some(Err(()))
        );
    }
}
