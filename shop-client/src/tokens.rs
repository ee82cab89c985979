//! Bearer tokens, fetched when needed.

use std::time::Duration;
use std::{fmt, io};

use async_trait::async_trait;
use reqwest::header::HeaderValue;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::error::client_error;
use crate::{ErrorKind, Outcome, Result};

/// The reason why a provider has no token.
pub type TokenError = Box<dyn std::error::Error + Send + Sync>;

/// Provides bearer tokens.
///
/// The client keeps a token until it is about to expire or is rejected with 401. It never fetches two at the same time.
/// A function that returns a token is a provider as well:
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
    /// When there is no token. The call that needs it fails as [`Unavailable`](ErrorKind::Unavailable) and is retried.
    ///
    /// # Cancel safety
    /// Dropped when the call that needs the token times out.
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

/// A bearer token of RFC 6750. `Debug` does not show its text.
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
    header: HeaderValue,
    ends_in: Option<Duration>,
}

impl BearerToken {
    /// A token that is valid until it is rejected.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) when it is empty, or contains anything but visible ASCII.
    pub fn new(token: impl AsRef<str>) -> Result<Self> {
        let token = token.as_ref();
        let fits = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        let mut header = HeaderValue::try_from(format!("Bearer {token}"))
            .ok()
            .filter(|_| fits)
            .ok_or_else(|| {
                client_error(
                    ErrorKind::Invalid,
                    "a bearer token must be visible ASCII without spaces",
                )
            })?;
        header.set_sensitive(true);
        Ok(Self {
            header,
            ends_in: None,
        })
    }

    /// The same token, which expires after `time` from now.
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

/// How long before it expires a token is replaced: at most this, or a tenth of a short lifetime.
const MAX_MARGIN: Duration = Duration::from_secs(30);

/// The tokens of a provider, if there is one.
#[derive(Default)]
pub(crate) struct Tokens {
    provider: Option<Box<dyn TokenProvider>>,
    /// The token in use, and when it was fetched.
    held: Mutex<Option<(BearerToken, Instant)>>,
}

impl Tokens {
    pub(crate) fn new(provider: impl TokenProvider) -> Self {
        Self {
            provider: Some(Box::new(provider)),
            held: Mutex::default(),
        }
    }

    /// The header to send, if there is one other than `refused`.
    pub(crate) async fn header(
        &self,
        refused: Option<&HeaderValue>,
        limit: Duration,
    ) -> Result<Option<HeaderValue>> {
        let Some(provider) = &self.provider else {
            return Ok(None);
        };
        let token = timeout(limit, self.valid(&**provider, refused))
            .await
            .unwrap_or_else(|_elapsed| {
                let late = client_error(ErrorKind::DeadlineExceeded, "no bearer token in time");
                Err(late.with_outcome(Outcome::NotApplied))
            })?;
        Ok(Some(token).filter(|token| Some(token) != refused))
    }

    /// The cached token, or a new one of `provider` when that is `refused` or about to expire.
    async fn valid(
        &self,
        provider: &dyn TokenProvider,
        refused: Option<&HeaderValue>,
    ) -> Result<HeaderValue> {
        // Concurrent callers wait here for the same fetch.
        let mut held = self.held.lock().await;
        let now = Instant::now();
        let is_valid = |(token, fetched): &&(BearerToken, Instant), margin: Duration| {
            token
                .ends_in
                .is_none_or(|life| (now - *fetched) + margin.min(life / 10) < life)
        };
        let usable = held
            .as_ref()
            .filter(|(token, _)| Some(&token.header) != refused);
        if let Some((token, _)) = usable.filter(|held| is_valid(held, MAX_MARGIN)) {
            return Ok(token.header.clone());
        }
        match provider.fetch().await {
            Ok(token) => Ok(held.insert((token, Instant::now())).0.header.clone()),
            Err(error) => match usable.filter(|held| is_valid(held, Duration::ZERO)) {
                // Still valid for a moment.
                Some((token, _)) => Ok(token.header.clone()),
                None => Err(
                    client_error(ErrorKind::Unavailable, "no bearer token available")
                        .with_outcome(Outcome::NotApplied)
                        .with_source(io::Error::other(error)),
                ),
            },
        }
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
                Ok(BearerToken::new(format!("token-{number}"))?
                    .expires_in(Duration::from_secs(100)))
            }
        };
        (Tokens::new(fetch), count)
    }

    async fn now(tokens: &Tokens) -> String {
        tokens
            .header(None, LIMIT)
            .await
            .unwrap()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_fetched_once_and_renewed_before_it_expires() {
        let (tokens, count) = counted(2);
        let (first, second) = tokio::join!(now(&tokens), now(&tokens));
        assert_eq!(
            (first.as_str(), second.as_str()),
            ("Bearer token-1", "Bearer token-1")
        );
        advance(Duration::from_secs(89)).await;
        assert_eq!(now(&tokens).await, "Bearer token-1");
        advance(Duration::from_secs(2)).await;
        assert_eq!(now(&tokens).await, "Bearer token-2");
        assert_eq!(count.load(Ordering::Relaxed), 2);
        // The issuer is unavailable: the old token is used until it expires, and not after.
        advance(Duration::from_secs(95)).await;
        assert_eq!(now(&tokens).await, "Bearer token-2");
        advance(Duration::from_secs(6)).await;
        let error = tokens.header(None, LIMIT).await.unwrap_err();
        assert!(
            error.is_retryable() && error.outcome() == Outcome::NotApplied,
            "{error}"
        );
        assert_eq!(
            std::error::Error::source(&error).unwrap().to_string(),
            "the issuer is unavailable"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_rejected_token_is_replaced_once_for_all_callers() {
        let (tokens, count) = counted(2);
        let refused = tokens.header(None, LIMIT).await.unwrap().unwrap();
        let (first, second) = tokio::join!(
            tokens.header(Some(&refused), LIMIT),
            tokens.header(Some(&refused), LIMIT)
        );
        assert_eq!(first.unwrap().unwrap(), "Bearer token-2");
        assert_eq!(second.unwrap().unwrap(), "Bearer token-2");
        assert_eq!(count.load(Ordering::Relaxed), 2);
        let fixed = Tokens::new(|| std::future::ready(BearerToken::new("t").map_err(Into::into)));
        let refused = fixed.header(None, LIMIT).await.unwrap().unwrap();
        assert_eq!(fixed.header(Some(&refused), LIMIT).await.unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_provider_times_out() {
        let tokens = Tokens::new(std::future::pending::<Result<BearerToken, TokenError>>);
        let error = tokens.header(None, LIMIT).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::DeadlineExceeded, Outcome::NotApplied)
        );
    }

    #[test]
    fn invalid_tokens_are_rejected() {
        for text in ["", "a b", "a\n", "ä"] {
            assert_eq!(
                BearerToken::new(text).unwrap_err().kind(),
                ErrorKind::Invalid,
                "{text:?}"
            );
        }
    }
}
