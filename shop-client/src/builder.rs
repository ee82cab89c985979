//! The builder of a client.

mod environment;
mod headers;

use std::fmt;
use std::future::ready;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Proxy, Url};
use tokio::sync::Semaphore;

use crate::client::ShopClient;
use crate::error::client_error;
use crate::observer::{CallEvent, CallObserver};
use crate::tokens::Tokens;
use crate::transport::{HttpProvider, Timeouts, Transport};
use crate::{ErrorKind, Result, RetryPolicy};

pub(crate) use headers::further_header;

/// How long an unused connection is kept.
const IDLE_CONNECTION: Duration = Duration::from_secs(20);

/// Builds a [`ShopClient`].
///
/// ```
/// use std::time::Duration;
///
/// use shop_client::ShopClient;
///
/// # fn example() -> Result<(), shop_client::Error> {
/// let client = ShopClient::builder("http://localhost:3000")
///     .user_agent("checkout/1.4")
///     .bearer_token("s3cret")
///     .timeout(Duration::from_secs(10))
///     .retries(3)
///     .build()?;
/// # Ok(())
/// # }
/// # example().unwrap();
/// ```
#[must_use = "a builder does nothing until it builds"]
pub struct ShopClientBuilder {
    base_url: String,
    /// The caller's, in place of that of `client`.
    http: Option<HttpProvider>,
    client: ClientBuilder,
    user_agent: Option<String>,
    headers: Vec<(String, String)>,
    #[cfg(feature = "rustls")]
    ca: Option<Vec<u8>>,
    /// The client's certificate and its key.
    #[cfg(feature = "rustls")]
    identity: Option<Vec<u8>>,
    timeouts: Timeouts,
    tokens: Result<Tokens>,
    retries: RetryPolicy,
    max_in_flight: usize,
    observer: CallObserver,
}

/// High enough for a busy program, low enough to bound the sockets that abandoned calls hold while a service hangs.
const DEFAULT_MAX_IN_FLIGHT: usize = 1_000;

/// Slightly more than the service's own 5 s, so that the service reports the outcome.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(7);

/// The default user agent.
const DEFAULT_USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("shop-client/", env!("CARGO_PKG_VERSION")));

impl ShopClient {
    /// Returns a builder of a client for the service at `base_url`, such as `http://localhost:3000`, or
    /// `https://shop.example/purchases` behind a path prefix.
    ///
    /// ```
    /// use shop_client::ShopClient;
    ///
    /// let client = ShopClient::builder("http://localhost:3000").build()?;
    /// # Ok::<(), shop_client::Error>(())
    /// ```
    pub fn builder(base_url: impl Into<String>) -> ShopClientBuilder {
        let timeouts = Timeouts {
            buy: DEFAULT_TIMEOUT,
            query: DEFAULT_TIMEOUT,
            check: Duration::from_secs(3),
        };
        let client = Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(2))
            // A purchase is sent to the configured address only.
            .redirect(Policy::none())
            // Retries are made here, within the budget.
            .retry(reqwest::retry::never())
            // Shorter than the idle time-out of the services: a request on a connection that is being closed fails.
            .pool_idle_timeout(IDLE_CONNECTION)
            .tcp_nodelay(true);
        ShopClientBuilder {
            base_url: base_url.into(),
            http: None,
            client,
            user_agent: None,
            headers: Vec::new(),
            #[cfg(feature = "rustls")]
            ca: None,
            #[cfg(feature = "rustls")]
            identity: None,
            timeouts,
            tokens: Ok(Tokens::default()),
            retries: RetryPolicy::default(),
            max_in_flight: DEFAULT_MAX_IN_FLIGHT,
            observer: CallObserver::default(),
        }
    }
}

impl ShopClientBuilder {
    /// Uses this HTTP client, with its pool, proxies, compression and certificates; those set here are ignored, as is
    /// the connect time-out. Its other time-outs apply in addition to those set here. Disable its redirects and
    /// retries: this client rejects the former and does the latter.
    ///
    /// It is the way to another TLS backend or provider of cryptography: disable the default features of this crate,
    /// and enable those in your dependency on [`reqwest`].
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
    pub fn http_client(self, client: Client) -> Self {
        self.http_client_provider(move || ready(Ok(client.clone())))
    }

    /// Sends each request with the HTTP client that `provider` returns for it, such as one with certificates that
    /// change: the same one, until they do. See [`http_client`](Self::http_client) and
    /// [`build_http_client`](Self::build_http_client).
    ///
    /// When it returns an error, the request is not sent, and the call fails with it.
    pub fn http_client_provider<F, T>(mut self, provider: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<Client>> + Send + 'static,
    {
        self.http = Some(Box::new(move || Box::pin(provider())));
        self
    }

    /// Sends requests through this proxy, if it is for the address of the service. The first that is applies. By default
    /// no proxy is used, whatever the environment says: a purchase is sent to the configured address only.
    ///
    /// ```
    /// use shop_client::{ShopClient, reqwest::Proxy};
    ///
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let proxy = Proxy::all("http://proxy.example:3128")?;
    /// let client = ShopClient::builder("http://shop.example").proxy(proxy).build()?;
    /// # Ok(())
    /// # }
    /// # example().unwrap();
    /// ```
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.client = self.client.proxy(proxy);
        self
    }

    /// Whether responses may be compressed (default yes). Within one network, no compression takes less time.
    #[cfg(feature = "gzip")]
    pub fn gzip(mut self, enable: bool) -> Self {
        self.client = self.client.gzip(enable);
        self
    }

    /// Trusts these certificate authorities only, in place of the system's: one or several certificates, PEM.
    ///
    /// ```
    /// use shop_client::ShopClient;
    ///
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = ShopClient::builder("https://shop.internal")
    ///     .ca_certificates(&std::fs::read("ca.crt")?)
    ///     .client_certificate(&[std::fs::read("tls.crt")?, std::fs::read("tls.key")?].concat())
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "rustls")]
    pub fn ca_certificates(mut self, pem: &[u8]) -> Self {
        self.ca = Some(pem.to_vec());
        self
    }

    /// Presents this certificate to a service that asks for one: the certificate with its chain and its private key,
    /// PEM.
    #[cfg(feature = "rustls")]
    pub fn client_certificate(mut self, pem: &[u8]) -> Self {
        self.identity = Some(pem.to_vec());
        self
    }

    /// Calls `observer` for every retry and at the end of every call, for metrics. It runs within the call and must not
    /// block.
    ///
    /// ```
    /// use shop_client::{CallEvent, CallState, ShopClient};
    ///
    /// # fn example() -> Result<(), shop_client::Error> {
    /// let observer = |event: &CallEvent<'_>| match event.state {
    ///     CallState::Succeeded => println!("{} took {:?}", event.call, event.duration),
    ///     CallState::Failed(error) => println!("{} failed: {:?}", event.call, error.kind()),
    ///     _ => println!("{} failed {} times", event.call, event.attempts),
    /// };
    /// let client = ShopClient::builder("http://localhost:3000").observer(observer).build()?;
    /// # Ok(())
    /// # }
    /// # example().unwrap();
    /// ```
    pub fn observer(mut self, observer: impl Fn(&CallEvent<'_>) + Send + Sync + 'static) -> Self {
        self.observer = CallObserver::new(observer);
        self
    }

    /// The maximum of concurrent writes: buys, also those of a [stream](crate::Shop::buy_all), registrations and orders
    /// (default 1,000, at least 1). Writes whose callers no longer wait count as well. A write beyond the limit waits
    /// for its turn; after the [total time-out](RetryPolicy::total_timeout) it fails with
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

    /// How failed calls are retried (default [`RetryPolicy::default`]): a policy, or the maximum number of retries.
    pub fn retries(mut self, retries: impl Into<RetryPolicy>) -> Self {
        let before = std::mem::replace(&mut self.retries, retries.into());
        self.retries.timeout = before.timeout;
        self
    }

    /// The maximum duration of a call with all attempts and pauses, in place of the [total
    /// time-out](RetryPolicy::total_timeout) of the retries (default 20 s).
    pub const fn timeout(mut self, time: Duration) -> Self {
        self.retries.timeout = Some(time);
        self
    }

    /// The time-out for opening a connection (default 2 s).
    pub fn connect_timeout(mut self, time: Duration) -> Self {
        self.client = self.client.connect_timeout(time);
        self
    }

    /// The time-out for one attempt to buy, to register a user or to place an order (default 7 s). The service itself
    /// gives up after 5 s and reports the outcome.
    pub const fn buy_timeout(mut self, time: Duration) -> Self {
        self.timeouts.buy = time;
        self
    }

    /// The time-out for one attempt to read: a page, a sum, or one purchase, user or order (default 7 s).
    pub const fn query_timeout(mut self, time: Duration) -> Self {
        self.timeouts.query = time;
        self
    }

    /// The time-out for a check (default 3 s).
    pub const fn check_timeout(mut self, time: Duration) -> Self {
        self.timeouts.check = time;
        self
    }

    /// Builds the client. It opens no connection yet.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) when the address is not that of a service, or the user agent, a default header,
    /// the bearer token or a certificate is not valid; [`Unsupported`](ErrorKind::Unsupported) when no certificates are
    /// found to verify `https` with, or this build has no TLS: enable the feature `rustls`, or pass an HTTP client.
    pub fn build(mut self) -> Result<ShopClient> {
        let base = self.parsed_url()?;
        let headers = self.default_headers()?;
        let http = match self.http.take() {
            Some(http) => http,
            None => {
                let client = self.http_client_for(&base)?;
                Box::new(move || -> BoxFuture<'static, _> { Box::pin(ready(Ok(client.clone()))) })
            }
        };
        let transport = Transport {
            http,
            base,
            headers,
            timeouts: self.timeouts,
            tokens: self.tokens?,
            budget: self.retries.shared_budget(),
            observer: self.observer,
        };
        Ok(ShopClient::with_transport(
            transport,
            self.retries,
            self.max_in_flight,
        ))
    }

    /// Builds the HTTP client alone: the one that [`build`](Self::build) creates if none is passed.
    ///
    /// # Errors
    /// Those of [`build`](Self::build).
    pub fn build_http_client(mut self) -> Result<Client> {
        self.http_client_for(&self.parsed_url()?)
    }

    fn http_client_for(&mut self, base: &Url) -> Result<Client> {
        let agent = self.user_agent_header()?.unwrap_or(DEFAULT_USER_AGENT);
        let builder = std::mem::take(&mut self.client).user_agent(agent);
        self.with_tls(builder, base)?.build().map_err(|error| {
            let message = "cannot create an HTTP client: https needs the system's CA certificates (on Debian: \
                           apt-get install ca-certificates), or pass a client of your own";
            client_error(ErrorKind::Unsupported, message).with_source(error)
        })
    }

    #[cfg(feature = "rustls")]
    fn with_tls(&self, mut builder: ClientBuilder, base: &Url) -> Result<ClientBuilder> {
        if base.scheme() == "http" {
            // Plain HTTP needs no certificates on the machine.
            return Ok(builder.tls_certs_only([]));
        }
        let invalid = |what: &str, error| {
            client_error(ErrorKind::Invalid, format!("{what} not valid PEM")).with_source(error)
        };
        if let Some(pem) = &self.ca {
            let all = reqwest::Certificate::from_pem_bundle(pem)
                .map_err(|error| invalid("the CA certificates are", error))?;
            if all.is_empty() {
                return Err(client_error(
                    ErrorKind::Invalid,
                    "there is no CA certificate in the PEM",
                ));
            }
            builder = builder.tls_certs_only(all);
        }
        if let Some(pem) = &self.identity {
            let identity = reqwest::Identity::from_pem(pem)
                .map_err(|error| invalid("the client certificate is", error))?;
            builder = builder.identity(identity);
        }
        Ok(builder)
    }

    /// A build without TLS.
    #[cfg(not(feature = "rustls"))]
    fn with_tls(&self, builder: ClientBuilder, base: &Url) -> Result<ClientBuilder> {
        if base.scheme() == "http" {
            return Ok(builder);
        }
        let message = "https needs the feature rustls of shop-client, or an http_client with TLS";
        Err(client_error(ErrorKind::Unsupported, message))
    }

    fn parsed_url(&self) -> Result<Url> {
        let wrong = |problem: &str| {
            client_error(
                ErrorKind::Invalid,
                format!("the address of the service {problem}"),
            )
        };
        let mut url: Url = self.base_url.parse().map_err(|error| {
            wrong("is not a URL: use one such as http://localhost:3000").with_source(error)
        })?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong("must start with http:// or https:// and have a host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong(
                "must not contain a user name or a password: use bearer_token, or an http_client that sends them",
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("must not have a query or a fragment"));
        }
        // Paths are appended, so a service behind a prefix can be reached.
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        Ok(url)
    }
}

/// Without the address, which may contain a password until `build` rejects it.
impl fmt::Debug for ShopClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShopClientBuilder")
            .field("user_agent", &self.user_agent)
            .field("timeouts", &self.timeouts)
            .field("retries", &self.retries)
            .field("max_in_flight", &self.max_in_flight)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        for good in [
            "http://localhost:3000",
            "https://shop.example/api/",
            "http://[::1]:3000/prefix",
        ] {
            assert!(ShopClient::builder(good).build().is_ok(), "{good}");
        }
        for bad in [
            "",
            "localhost:3000",
            "ftp://a",
            "http://",
            "http://a?x=1",
            "http://a/#b",
            "/x",
            "http://u:p@a",
        ] {
            let error = ShopClient::builder(bad).build().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}: {error}");
        }
        let builder = || ShopClient::builder("http://a");
        for wrong in [builder().user_agent("a\nb"), builder().bearer_token("a b")] {
            let error = wrong.build().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        }
    }

    #[test]
    fn a_number_of_retries_keeps_the_timeout_in_any_order() {
        let (builder, time) = (|| ShopClient::builder("http://a"), Duration::from_secs(9));
        for options in [
            builder().retries(3).timeout(time),
            builder().timeout(time).retries(3),
        ] {
            let retries = options.build().unwrap().retries;
            assert_eq!(
                (retries.delays().count(), retries.longest(Duration::ZERO)),
                (3, time)
            );
        }
        let never = builder()
            .retries(RetryPolicy::none())
            .timeout(time)
            .build()
            .unwrap();
        assert!(!never.retries.is_enabled());
        let patient = never.with_retries(1).retries;
        assert_eq!(
            (patient.delays().count(), patient.longest(Duration::ZERO)),
            (1, time)
        );
    }
}
