//! Tokens for OAUTHBEARER.

use std::fmt;

use secrecy::SecretString;
use shop_core::{Result, Timestamp};

/// A token for the mechanism [`OauthBearer`](crate::SaslMechanism::OauthBearer).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct OauthToken {
    /// The token.
    pub token: SecretString,
    /// The name of its holder, for logs of the client.
    pub principal: String,
    /// When it expires. It is replaced when four fifths of the time until then have passed.
    pub expires_at: Timestamp,
}

impl OauthToken {
    /// A token of `principal`.
    pub fn new(token: impl Into<SecretString>, principal: impl Into<String>, expires_at: Timestamp) -> Self {
        Self { token: token.into(), principal: principal.into(), expires_at }
    }
}

/// Provides tokens to the clients of a log. See [`KafkaLogOptions::oauth`](crate::KafkaLogOptions::oauth).
///
/// ```
/// use shop_core::{Clock, Result, SystemClock, Timestamp};
/// use shop_kafka::{OauthToken, OauthTokenProvider};
///
/// #[derive(Debug)]
/// struct Issuer;
///
/// impl OauthTokenProvider for Issuer {
///     fn token(&self) -> Result<OauthToken> {
///         // Here your own way to a token.
///         let expires_at = Timestamp::from_millis(SystemClock.now().as_millis() + 300_000).unwrap_or(Timestamp::MAX);
///         Ok(OauthToken::new("eyJhbGciOiJSUzI1NiJ9…", "shop", expires_at))
///     }
/// }
/// ```
pub trait OauthTokenProvider: fmt::Debug + Send + Sync + 'static {
    /// A token that is valid now. Each client calls this at its start and before its token expires, on a thread that
    /// delivers records and acknowledgements: keep a token at hand, and do not wait long for a new one. Not called from
    /// an async task.
    ///
    /// # Errors
    /// When there is no token. It is requested again after 10 s.
    fn token(&self) -> Result<OauthToken>;
}
