//! Bearer tokens, which are fetched when they are needed.
//!
//! A [`TokenProvider`] fetches tokens, and [`Tokens`] keeps the last one for all calls of a client
//! and its clones. A token is replaced shortly before it expires, or when the service refuses it.
//! Concurrent calls wait for the same fetch.

use std::time::Duration;
use std::{fmt, io};

use async_trait::async_trait;
use reqwest::header::HeaderValue;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::error::client_error;
use crate::{ErrorKind, Outcome, Result};

/// The reason why a provider returns no token.
pub type TokenError = Box<dyn std::error::Error + Send + Sync>;

/// A source of bearer tokens.
///
/// The client keeps a token until the token is about to expire, or is rejected with 401. A client
/// never fetches two tokens at the same time. A function that returns a token is a provider as
/// well:
///
/// ```
/// use std::time::Duration;
///
/// use shop_client::{BearerToken, ShopClient};
///
/// # fn example() -> Result<(), shop_client::Error> {
/// let client = ShopClient::builder("http://localhost:3000")
///     .token_provider(|| async {
///         // Here your own way to a token.
///         Ok(BearerToken::new("s3cret")?.expires_in(Duration::from_secs(300)))
///     })
///     .build()?;
/// # Ok(())
/// # }
/// # example().unwrap();
/// ```
#[async_trait]
pub trait TokenProvider: Send + Sync + 'static {
    /// Fetches a valid token.
    ///
    /// # Errors
    /// Returns the reason why there is no token. The call that needs the token fails with
    /// [`Unavailable`](ErrorKind::Unavailable), and is retried if it may be repeated.
    ///
    /// # Cancel safety
    /// The future is dropped if the call that needs the token times out.
    async fn fetch(&self) -> Result<BearerToken, TokenError>;
}

#[async_trait]
impl<F, T> TokenProvider for F
where
    F: Fn() -> T + Send + Sync + 'static,
    T: Future<Output = Result<BearerToken, TokenError>> + Send,
{
    async fn fetch(&self) -> Result<BearerToken, TokenError> {
        self().await
    }
}

/// A bearer token of RFC 6750. Its `Debug` does not show the text of the token.
///
/// ```
/// use shop_client::BearerToken;
///
/// let token = BearerToken::new("s3cret")?;
/// assert!(!format!("{token:?}").contains("s3cret"));
/// # Ok::<(), shop_client::Error>(())
/// ```
#[derive(Clone)]
pub struct BearerToken {
    /// The value of the header `Authorization`.
    header: HeaderValue,
    /// The lifetime from the fetch of the token on, if it is limited.
    ends_in: Option<Duration>,
}

impl BearerToken {
    /// Creates a token that is valid until the service rejects it.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) if `token` is empty, or contains anything but visible ASCII.
    pub fn new(token: impl AsRef<str>) -> Result<Self> {
        let token = token.as_ref();
        let is_valid = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        match HeaderValue::try_from(format!("Bearer {token}")) {
            Ok(mut header) if is_valid => {
                header.set_sensitive(true);
                Ok(Self {
                    header,
                    ends_in: None,
                })
            }
            _ => Err(client_error(
                ErrorKind::Invalid,
                "a bearer token must be visible ASCII without spaces",
            )),
        }
    }

    /// Returns this token with an end: the token expires `time` after the client fetched it.
    #[must_use]
    pub const fn expires_in(mut self, time: Duration) -> Self {
        self.ends_in = Some(time);
        self
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerToken")
            .field("ends_in", &self.ends_in)
            .finish_non_exhaustive()
    }
}

/// How long before its expiry a token is replaced, unless a tenth of its lifetime is shorter.
const MAX_MARGIN: Duration = Duration::from_secs(30);

/// The tokens of a client: its provider, if there is one, and the last token.
#[derive(Default)]
pub(crate) struct Tokens {
    provider: Option<Box<dyn TokenProvider>>,
    cached: Mutex<Option<CachedToken>>,
}

/// The last token that the provider returned.
struct CachedToken {
    token: BearerToken,
    fetched_at: Instant,
}

impl CachedToken {
    /// Returns whether the token is valid at `now`, and stays valid for `margin`, or for a tenth of
    /// its lifetime if that is shorter.
    fn is_valid(&self, now: Instant, margin: Duration) -> bool {
        self.token
            .ends_in
            .is_none_or(|lifetime| now - self.fetched_at + margin.min(lifetime / 10) < lifetime)
    }
}

impl Tokens {
    pub(crate) fn new(provider: impl TokenProvider) -> Self {
        Self {
            provider: Some(Box::new(provider)),
            cached: Mutex::default(),
        }
    }

    /// Returns the value of the header `Authorization` to send. Waits for the provider for at most
    /// `time_limit`.
    ///
    /// `rejected_header` is the value that the service rejected, if it did. Returns `None` without a
    /// provider, or if the provider returns the token of `rejected_header` again.
    ///
    /// # Errors
    /// - [`DeadlineExceeded`](ErrorKind::DeadlineExceeded) if the provider takes too long
    /// - [`Unavailable`](ErrorKind::Unavailable) if the provider fails
    pub(crate) async fn authorization(
        &self,
        rejected_header: Option<&HeaderValue>,
        time_limit: Duration,
    ) -> Result<Option<HeaderValue>> {
        let Some(provider) = &self.provider else {
            return Ok(None);
        };
        let header = timeout(time_limit, self.valid_header(&**provider, rejected_header))
            .await
            .unwrap_or_else(|_elapsed| {
                let error = client_error(ErrorKind::DeadlineExceeded, "no bearer token in time");
                Err(error.with_outcome(Outcome::NotApplied))
            })?;
        Ok(Some(header).filter(|header| Some(header) != rejected_header))
    }

    /// Returns the header with the cached token, or with a new token of `provider` if the cached
    /// token is about to expire or its header is `rejected_header`.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) if the provider fails and no cached token is usable.
    async fn valid_header(
        &self,
        provider: &dyn TokenProvider,
        rejected_header: Option<&HeaderValue>,
    ) -> Result<HeaderValue> {
        // Concurrent callers wait here for the same fetch.
        let mut cached = self.cached.lock().await;
        let now = Instant::now();
        let no_margin = Duration::ZERO;
        let usable_token = cached.as_ref().filter(|cached| {
            Some(&cached.token.header) != rejected_header && cached.is_valid(now, no_margin)
        });
        if let Some(usable_token) = usable_token
            && usable_token.is_valid(now, MAX_MARGIN)
        {
            return Ok(usable_token.token.header.clone());
        }

        let error = match provider.fetch().await {
            Ok(token) => {
                let header = token.header.clone();
                let fetched_at = Instant::now();
                *cached = Some(CachedToken { token, fetched_at });
                return Ok(header);
            }
            Err(error) => error,
        };
        // The provider failed. A token that is about to expire is still better than none.
        if let Some(usable_token) = usable_token {
            return Ok(usable_token.token.header.clone());
        }
        Err(
            client_error(ErrorKind::Unavailable, "no bearer token available")
                .with_outcome(Outcome::NotApplied)
                .with_source(io::Error::other(error)),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::advance;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    /// Provides `token-1`, `token-2` and so on, each for 100 s, up to a maximum.
    fn counted(max: usize) -> (Tokens, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let fetched = Arc::clone(&count);
        let fetch = move || {
            let number = fetched.fetch_add(1, Ordering::Relaxed) + 1;
            async move {
                tokio::task::yield_now().await;
                if number > max {
                    return Err("the issuer is unavailable".into());
                }
                let token = BearerToken::new(format!("token-{number}"))?;
                Ok(token.expires_in(Duration::from_secs(100)))
            }
        };
        (Tokens::new(fetch), count)
    }

    async fn header(tokens: &Tokens, refused: Option<&HeaderValue>) -> HeaderValue {
        tokens.authorization(refused, LIMIT).await.unwrap().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_fetched_once_and_renewed_before_it_expires() {
        let (tokens, count) = counted(2);
        let both = tokio::join!(header(&tokens, None), header(&tokens, None));
        assert!(both.0 == "Bearer token-1" && both.1 == both.0);
        // At last, the issuer is unavailable: the old token is used until it expires.
        for (seconds, number) in [(89, 1), (2, 2), (95, 2)] {
            advance(Duration::from_secs(seconds)).await;
            assert_eq!(
                header(&tokens, None).await,
                format!("Bearer token-{number}")
            );
            assert!(seconds == 95 || count.load(Ordering::Relaxed) == number);
        }
        advance(Duration::from_secs(6)).await;
        let error = tokens.authorization(None, LIMIT).await.unwrap_err();
        assert!(error.is_retryable() && error.outcome() == Outcome::NotApplied);
        let source = std::error::Error::source(&error).unwrap();
        assert_eq!(source.to_string(), "the issuer is unavailable");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rejected_token_is_replaced_once_for_all_callers() {
        let (tokens, count) = counted(2);
        let refused = header(&tokens, None).await;
        let renew = || header(&tokens, Some(&refused));
        let both = tokio::join!(renew(), renew());
        assert!(both.0 == "Bearer token-2" && both.1 == both.0);
        assert_eq!(count.load(Ordering::Relaxed), 2);
        let fixed = Tokens::new(|| std::future::ready(BearerToken::new("t").map_err(Into::into)));
        let refused = header(&fixed, None).await;
        assert_eq!(
            fixed.authorization(Some(&refused), LIMIT).await.unwrap(),
            None
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_provider_times_out() {
        let tokens = Tokens::new(std::future::pending::<Result<BearerToken, TokenError>>);
        let error = tokens.authorization(None, LIMIT).await.unwrap_err();
        let found = (error.kind(), error.outcome());
        assert_eq!(found, (ErrorKind::DeadlineExceeded, Outcome::NotApplied));
    }

    #[test]
    fn invalid_tokens_are_rejected() {
        for text in ["", "a b", "a\n", "ä"] {
            let error = BearerToken::new(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{text:?}");
        }
    }
}
