//! How a client is made.

use std::fmt;
use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use tokio::sync::Semaphore;

use crate::client::ShopClient;
use crate::retries::Retrier;
use crate::tokens::Tokens;
use crate::transport::{Timeouts, Transport};
use crate::{BearerToken, Error, ErrorKind, Result, RetryPolicy, TokenProvider};

/// How long a connection that is not used is kept.
const IDLE_CONNECTION: Duration = Duration::from_secs(20);

/// Makes a [`ShopClient`].
///
/// ```
/// use std::time::Duration;
///
/// use shop_client::{BearerToken, RetryPolicy, ShopClient};
///
/// # fn example() -> Result<(), shop_client::Error> {
/// let client = ShopClient::builder("http://localhost:3000")
///     .user_agent("checkout/1.4")
///     .bearer_token(BearerToken::new("s3cret")?)
///     .buy_timeout(Duration::from_secs(3))
///     .retries(RetryPolicy::default().within(Duration::from_secs(10)))
///     .build()?;
/// # Ok(())
/// # }
/// # example().unwrap();
/// ```
#[must_use = "a builder does nothing until it builds"]
pub struct ShopClientBuilder {
    base_url: String,
    http: Option<Client>,
    user_agent: Option<String>,
    connect_timeout: Duration,
    timeouts: Timeouts,
    tokens: Tokens,
    retries: RetryPolicy,
    max_in_flight: usize,
}

/// More than a program needs whose callers wait, and few enough sockets when a service hangs and they have gone away.
const DEFAULT_MAX_IN_FLIGHT: usize = 1_000;

/// A little more than the service's own 5 s, so that it is the service that says what became of it.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(7);

/// What the client calls itself unless it is told.
const DEFAULT_USER_AGENT: &str = concat!("shop-client/", env!("CARGO_PKG_VERSION"));

impl ShopClient {
    /// A builder of a client of the service at `base_url`, such as `http://localhost:3000`, or
    /// `https://shop.example/purchases` where it stands behind a prefix.
    ///
    /// ```
    /// use shop_client::ShopClient;
    ///
    /// let client = ShopClient::builder("http://localhost:3000").build()?;
    /// # Ok::<(), shop_client::Error>(())
    /// ```
    pub fn builder(base_url: impl Into<String>) -> ShopClientBuilder {
        ShopClientBuilder::new(base_url.into())
    }
}

impl ShopClientBuilder {
    fn new(base_url: String) -> Self {
        let timeouts = Timeouts {
            buy: DEFAULT_TIMEOUT,
            page: DEFAULT_TIMEOUT,
            summary: DEFAULT_TIMEOUT,
            get: DEFAULT_TIMEOUT,
            check: Duration::from_secs(3),
        };
        Self {
            base_url,
            http: None,
            user_agent: None,
            connect_timeout: Duration::from_secs(2),
            timeouts,
            tokens: Tokens::None,
            retries: RetryPolicy::default(),
            max_in_flight: DEFAULT_MAX_IN_FLIGHT,
        }
    }

    /// Uses this HTTP client, with its pool, proxies and certificates. Its time-outs count besides ours; the
    /// connect time-out set here does not. Let it follow no redirects, and repeat nothing: this client does.
    ///
    /// ```
    /// use shop_client::ShopClient;
    ///
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let http = reqwest::Client::builder().pool_max_idle_per_host(8).build()?;
    /// let client = ShopClient::builder("http://localhost:3000").http_client(http).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn http_client(mut self, client: Client) -> Self {
        self.http = Some(client);
        self
    }

    /// What the client calls itself; `shop-client/<version>` unless chosen.
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = Some(name.into());
        self
    }

    /// Sends this bearer token with every request. Over plain http anybody on the way can read it.
    pub fn bearer_token(mut self, token: BearerToken) -> Self {
        self.tokens = Tokens::fixed(token);
        self
    }

    /// Sends the bearer tokens of this provider, and new ones when they end or are refused. [`TokenProvider`] has an
    /// example.
    pub fn token_provider(mut self, provider: impl TokenProvider) -> Self {
        self.tokens = Tokens::new(provider);
        self
    }

    /// How many buys, and registrations of users and orders, may be in flight at once, those included whose callers
    /// have gone away: the default is 1,000, and there is always room for one. What comes on top fails with
    /// [`Overloaded`](ErrorKind::Overloaded) and is not sent. Clones of a client share the limit.
    ///
    /// ```
    /// use shop_client::ShopClient;
    ///
    /// # fn example() -> Result<(), shop_client::Error> {
    /// let client = ShopClient::builder("http://localhost:3000").max_in_flight(100).build()?;
    /// # Ok(())
    /// # }
    /// # example().unwrap();
    /// ```
    pub fn max_in_flight(mut self, writes: usize) -> Self {
        self.max_in_flight = writes.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// How failed calls are repeated; as [`RetryPolicy::default`] unless chosen.
    pub fn retries(mut self, retries: RetryPolicy) -> Self {
        self.retries = retries;
        self
    }

    /// How long a connection may take to be made; 2 s unless chosen.
    pub const fn connect_timeout(mut self, time: Duration) -> Self {
        self.connect_timeout = time;
        self
    }

    /// How long one attempt of a buy may take, or to register a user or to place an order; 7 s unless chosen: the service
    /// itself gives up after 5 s, and says what became of it.
    pub const fn buy_timeout(mut self, time: Duration) -> Self {
        self.timeouts.buy = time;
        self
    }

    /// How long one attempt to read a page may take; 7 s unless chosen.
    pub const fn page_timeout(mut self, time: Duration) -> Self {
        self.timeouts.page = time;
        self
    }

    /// How long one attempt to read a summary may take; 7 s unless chosen.
    pub const fn summary_timeout(mut self, time: Duration) -> Self {
        self.timeouts.summary = time;
        self
    }

    /// How long one attempt to get a purchase by its id may take, or a user or an order by its number; 7 s unless
    /// chosen.
    pub const fn get_timeout(mut self, time: Duration) -> Self {
        self.timeouts.get = time;
        self
    }

    /// How long a check may take; 3 s unless chosen.
    pub const fn check_timeout(mut self, time: Duration) -> Self {
        self.timeouts.check = time;
        self
    }

    /// The client. Connects to nothing yet.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) when the address is none of a service, or the user agent cannot be sent;
    /// [`Unsupported`](ErrorKind::Unsupported) when there is nothing to verify `https` with.
    pub fn build(self) -> Result<ShopClient> {
        let base = self.parsed_url()?;
        let name = self.user_agent.as_deref();
        let agent = name.map(HeaderValue::from_str).transpose().map_err(|error| {
            Error::new(ErrorKind::Invalid, "the user agent must be visible ASCII").with_source(error)
        })?;
        let (http, user_agent) = match self.http {
            // Its own user agent is as good, unless it is told.
            Some(http) => (http, agent),
            None => {
                let agent = agent.unwrap_or(HeaderValue::from_static(DEFAULT_USER_AGENT));
                (plain_client(&base, agent, self.connect_timeout)?, None)
            }
        };
        let retrier = Retrier::new(self.retries);
        let (timeouts, tokens) = (self.timeouts, self.tokens);
        let transport = Transport { http, base, user_agent, timeouts, tokens, retrier };
        Ok(ShopClient::new(transport, self.max_in_flight))
    }

    fn parsed_url(&self) -> Result<Url> {
        let wrong =
            |problem: &str| Error::new(ErrorKind::Invalid, format!("the address of the service {problem}"));
        let mut url: Url = self.base_url.parse().map_err(|error| {
            wrong("cannot be read: give one such as http://localhost:3000").with_source(error)
        })?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong("must begin with http:// or https:// and name a host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong(
                "must not hold a user name or a password: give a bearer_token, or an http_client that sends them",
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("must not have a query or a fragment"));
        }
        // Paths are appended, so that a service behind a prefix can be reached.
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        Ok(url)
    }
}

/// Never with the address: it may hold a password, which is found out when the client is built.
impl fmt::Debug for ShopClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShopClientBuilder")
            .field("user_agent", &self.user_agent)
            .field("connect_timeout", &self.connect_timeout)
            .field("timeouts", &self.timeouts)
            .field("tokens", &self.tokens)
            .field("retries", &self.retries)
            .field("max_in_flight", &self.max_in_flight)
            .finish_non_exhaustive()
    }
}

fn plain_client(base: &Url, user_agent: HeaderValue, connect_timeout: Duration) -> Result<Client> {
    let builder = Client::builder()
        .user_agent(user_agent)
        .connect_timeout(connect_timeout)
        // A purchase is sent where it was said to be sent, and nowhere else.
        .redirect(Policy::none())
        // A request that is repeated is repeated by us, on our budget.
        .retry(reqwest::retry::never())
        // Nor by way of a proxy that the environment names: whoever needs one passes a client that has it.
        .no_proxy()
        // Less than the services keep an idle connection: a request on one that is just being closed fails.
        .pool_idle_timeout(IDLE_CONNECTION)
        .tcp_nodelay(true);
    // Plain HTTP verifies nothing: no certificates need to be found on the machine.
    let builder = if base.scheme() == "http" { builder.tls_certs_only([]) } else { builder };
    builder.build().map_err(|error| {
        let message = "no HTTP client could be made: https needs the system's CA certificates (on Debian: \
                       apt-get install ca-certificates), or pass a client of your own";
        Error::new(ErrorKind::Unsupported, message).with_source(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        for good in ["http://localhost:3000", "https://shop.example/api/", "http://[::1]:3000/prefix"] {
            assert!(ShopClient::builder(good).build().is_ok(), "{good}");
        }
        for bad in
            ["", "localhost:3000", "ftp://a", "http://", "http://a?x=1", "http://a/#b", "/x", "http://u:p@a"]
        {
            let error = ShopClient::builder(bad).build().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}: {error}");
        }
        let error = ShopClient::builder("http://a").user_agent("a\nb").build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
}
