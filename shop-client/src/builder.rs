//! Builds clients.
//!
//! A [`ShopClientBuilder`] collects the options, and checks those that are used when the client is
//! built. The client sends its requests with an HTTP client that is passed, or else with one that
//! is created here with TLS for https, no redirects and no retries of its own.
//!
//! - `headers`: the options for headers and tokens
//! - `environment`: a client that is configured by environment variables

mod environment;
mod headers;

use std::fmt;
use std::future::ready;
use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Proxy, Url};
use tokio::sync::Semaphore;

use crate::client::ShopClient;
use crate::error::client_error;
use crate::observer::{CallEvent, CallObserver};
use crate::tokens::Tokens;
use crate::transport::{HttpProvider, Timeouts, Transport};
use crate::{Error, ErrorKind, Result, RetryPolicy};

pub(crate) use headers::insert_caller_header;

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
    /// The provider that the caller passed, in place of the HTTP client of `client_builder`.
    http_provider: Option<HttpProvider>,
    client_builder: ClientBuilder,
    user_agent: Option<String>,
    headers: Vec<(String, String)>,
    /// The certificates of the trusted authorities, as PEM.
    #[cfg(feature = "rustls")]
    ca_certificates: Option<Vec<u8>>,
    /// The client's certificate with its chain and its private key, as PEM.
    #[cfg(feature = "rustls")]
    client_certificate: Option<Vec<u8>>,
    timeouts: Timeouts,
    tokens: Result<Tokens>,
    retries: RetryPolicy,
    max_in_flight: usize,
    observer: CallObserver,
}

/// The default time-out of an attempt: slightly more than the service's own 5 s, so that the
/// service reports the outcome.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(7);

/// The default user agent, which names this crate and its version.
const DEFAULT_USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("shop-client/", env!("CARGO_PKG_VERSION")));

impl ShopClient {
    /// Returns a builder of a client for the service at `base_url`.
    ///
    /// The address is one such as `http://localhost:3000`, or `https://shop.example/purchases` for
    /// a service behind a path prefix.
    ///
    /// ```
    /// use shop_client::ShopClient;
    ///
    /// let client = ShopClient::builder("http://localhost:3000").build()?;
    /// # Ok::<(), shop_client::Error>(())
    /// ```
    pub fn builder(base_url: impl Into<String>) -> ShopClientBuilder {
        let client_builder = Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(2))
            // A purchase is sent to the configured address only.
            .redirect(Policy::none())
            // This crate retries by itself, within the budget.
            .retry(reqwest::retry::never())
            // The services keep idle connections for longer. A request on a connection that the
            // service is closing would fail.
            .pool_idle_timeout(Duration::from_secs(20))
            .tcp_nodelay(true);
        ShopClientBuilder {
            base_url: base_url.into(),
            http_provider: None,
            client_builder,
            user_agent: None,
            headers: Vec::new(),
            #[cfg(feature = "rustls")]
            ca_certificates: None,
            #[cfg(feature = "rustls")]
            client_certificate: None,
            timeouts: Timeouts {
                buy: DEFAULT_TIMEOUT,
                query: DEFAULT_TIMEOUT,
                check: Duration::from_secs(3),
            },
            tokens: Ok(Tokens::default()),
            retries: RetryPolicy::default(),
            // High enough for a busy program, and low enough to bound the sockets that abandoned
            // calls hold while a service hangs.
            max_in_flight: 1_000,
            observer: CallObserver::default(),
        }
    }
}

impl ShopClientBuilder {
    /// Sends requests with this HTTP client, and with its pool, proxies, compression and
    /// certificates.
    ///
    /// The proxies, compression, certificates and connect time-out of this builder are ignored. The
    /// other time-outs of the HTTP client apply in addition to the time-outs of this builder.
    /// Disable redirects and retries of the HTTP client: a [`ShopClient`] rejects redirects, and
    /// retries by itself.
    ///
    /// An HTTP client of your own is the way to another TLS backend or provider of cryptography:
    /// disable the default features of this crate, and enable the TLS features in your dependency
    /// on [`reqwest`].
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

    /// Sends each request with the HTTP client that `provider` returns for the request.
    ///
    /// So the certificates of an HTTP client can change: `provider` returns the same HTTP client
    /// until the certificates change, and then another one. See [`http_client`](Self::http_client)
    /// and [`build_http_client`](Self::build_http_client).
    ///
    /// If `provider` returns an error, the request is not sent, and the call fails with this error.
    pub fn http_client_provider<F, T>(mut self, provider: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<Client>> + Send + 'static,
    {
        self.http_provider = Some(Box::new(move || Box::pin(provider())));
        self
    }

    /// Sends requests through this proxy, if the proxy is for the address of the service.
    ///
    /// Of several proxies for the address, the first one is used. By default no proxy is used,
    /// whatever the environment says: a purchase is sent to the configured address only.
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
        self.client_builder = self.client_builder.proxy(proxy);
        self
    }

    /// Sets whether responses may be compressed (default yes). Within one network, responses
    /// without compression take less time.
    #[cfg(feature = "gzip")]
    pub fn gzip(mut self, enable: bool) -> Self {
        self.client_builder = self.client_builder.gzip(enable);
        self
    }

    /// Trusts only these certificate authorities, in place of the system's: one or several
    /// certificates, as PEM.
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
        self.ca_certificates = Some(pem.to_vec());
        self
    }

    /// Presents this certificate to a service that asks for one: the certificate with its chain and
    /// its private key, as PEM.
    #[cfg(feature = "rustls")]
    pub fn client_certificate(mut self, pem: &[u8]) -> Self {
        self.client_certificate = Some(pem.to_vec());
        self
    }

    /// Calls `observer` for every retry and at the end of every call, for metrics. The observer
    /// runs within the call and must not block.
    ///
    /// ```
    /// use shop_client::{CallEvent, CallState, ShopClient};
    ///
    /// # fn example() -> Result<(), shop_client::Error> {
    /// let observer = |event: &CallEvent<'_>| match event.state {
    ///     CallState::Succeeded => println!("{} took {:?}", event.call, event.duration),
    ///     CallState::Failed(error) => println!("{} failed: {:?}", event.call, error.kind()),
    ///     CallState::Retrying { pause, .. } => println!("{} is retried in {pause:?}", event.call),
    ///     // The enum is non-exhaustive: a later version may add states.
    ///     _ => {}
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

    /// Sets the maximum number of concurrent writes (default 1,000, at least 1).
    ///
    /// Writes are buys, including the buys of a [stream](crate::Shop::buy_all), refunds,
    /// registrations, orders, actions on dead letters, and other requests that are not safe. Writes
    /// whose callers no longer wait count as well. A write beyond the limit waits for its turn.
    /// After the [total time-out](RetryPolicy::total_timeout), the write fails with
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

    /// Sets how failed calls are retried: by a policy, or by the default policy with a maximum
    /// number of retries (default [`RetryPolicy::default`]).
    pub fn retries(mut self, retries: impl Into<RetryPolicy>) -> Self {
        // The time-out is an option of its own, so it stays whichever option is set first.
        let timeout = self.retries.timeout;
        self.retries = retries.into();
        self.retries.timeout = timeout;
        self
    }

    /// Sets the maximum duration of a call with all attempts and pauses, in place of the [total
    /// time-out](RetryPolicy::total_timeout) of the retries (default 20 s).
    pub const fn timeout(mut self, time: Duration) -> Self {
        self.retries.timeout = Some(time);
        self
    }

    /// Sets the time-out for opening a connection (default 2 s).
    pub fn connect_timeout(mut self, time: Duration) -> Self {
        self.client_builder = self.client_builder.connect_timeout(time);
        self
    }

    /// Sets the time-out for one attempt to buy, to register a user or to place an order (default
    /// 7 s). The service itself gives up after 5 s and reports the outcome.
    pub const fn buy_timeout(mut self, time: Duration) -> Self {
        self.timeouts.buy = time;
        self
    }

    /// Sets the time-out for one attempt to read a page, a sum, or one purchase, user or order
    /// (default 7 s).
    pub const fn query_timeout(mut self, time: Duration) -> Self {
        self.timeouts.query = time;
        self
    }

    /// Sets the time-out for a check (default 3 s).
    pub const fn check_timeout(mut self, time: Duration) -> Self {
        self.timeouts.check = time;
        self
    }

    /// Builds the client, which opens no connection yet.
    ///
    /// # Errors
    /// - [`Invalid`](ErrorKind::Invalid) if the address is not the address of a service, or if the
    ///   user agent, a default header, the bearer token or a certificate is not valid
    /// - [`Unsupported`](ErrorKind::Unsupported) if there are no certificates to verify `https`
    ///   with, or if this build does not include TLS: enable the feature `rustls`, or pass an HTTP
    ///   client
    pub fn build(mut self) -> Result<ShopClient> {
        let base_url = self.parse_base_url()?;
        let headers = self.default_headers()?;

        let http_provider: HttpProvider = match self.http_provider.take() {
            Some(provider) => provider,
            None => {
                let client = self.create_http_client(&base_url)?;
                Box::new(move || Box::pin(ready(Ok(client.clone()))))
            }
        };
        let transport = Transport {
            http_provider,
            base_url,
            headers,
            timeouts: self.timeouts,
            tokens: self.tokens?,
            budget: self.retries.new_budget(),
            observer: self.observer,
        };
        Ok(ShopClient::with_transport(
            transport,
            self.retries,
            self.max_in_flight,
        ))
    }

    /// Builds only the HTTP client that [`build`](Self::build) would create, such as for a
    /// [provider](Self::http_client_provider).
    ///
    /// # Errors
    /// Returns the errors of [`build`](Self::build).
    pub fn build_http_client(mut self) -> Result<Client> {
        let base_url = self.parse_base_url()?;
        self.create_http_client(&base_url)
    }

    /// Creates the HTTP client for the service at `base_url`. Uses up the options for the HTTP
    /// client, so a second call would create a client with defaults.
    ///
    /// # Errors
    /// - [`Invalid`](ErrorKind::Invalid) if the user agent or a certificate is not valid
    /// - [`Unsupported`](ErrorKind::Unsupported) if `https` cannot be used: see
    ///   [`build`](Self::build)
    fn create_http_client(&mut self, base_url: &Url) -> Result<Client> {
        let user_agent = self.user_agent_header()?.unwrap_or(DEFAULT_USER_AGENT);
        let builder = std::mem::take(&mut self.client_builder).user_agent(user_agent);
        self.with_tls(builder, base_url)?.build().map_err(|error| {
            let message = "cannot create an HTTP client: https needs the system's CA certificates \
                (on Debian: apt-get install ca-certificates), or pass a client of your own";
            client_error(ErrorKind::Unsupported, message).with_source(error)
        })
    }

    /// Adds the certificates for `https` to the builder of the HTTP client.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) if a certificate or the key is not valid PEM.
    #[cfg(feature = "rustls")]
    fn with_tls(&self, mut builder: ClientBuilder, base_url: &Url) -> Result<ClientBuilder> {
        if base_url.scheme() == "http" {
            // Plain HTTP needs no certificates on the machine.
            return Ok(builder.tls_certs_only([]));
        }

        if let Some(pem) = &self.ca_certificates {
            let certificates = reqwest::Certificate::from_pem_bundle(pem).map_err(|error| {
                invalid_option("the CA certificates are not valid PEM").with_source(error)
            })?;
            if certificates.is_empty() {
                return Err(invalid_option("there is no CA certificate in the PEM"));
            }
            builder = builder.tls_certs_only(certificates);
        }
        if let Some(pem) = &self.client_certificate {
            let identity = reqwest::Identity::from_pem(pem).map_err(|error| {
                invalid_option("the client certificate is not valid PEM").with_source(error)
            })?;
            builder = builder.identity(identity);
        }
        Ok(builder)
    }

    /// Rejects `https`, because this build does not include TLS.
    #[cfg(not(feature = "rustls"))]
    fn with_tls(&self, builder: ClientBuilder, base_url: &Url) -> Result<ClientBuilder> {
        if base_url.scheme() == "http" {
            return Ok(builder);
        }
        let message = "https needs the feature rustls of shop-client, or an http_client with TLS";
        Err(client_error(ErrorKind::Unsupported, message))
    }

    /// Parses and checks the address of the service. Returns an address that ends with a slash.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) if the address is not the `http` or `https` address of a
    /// host, or contains credentials, a query or a fragment.
    fn parse_base_url(&self) -> Result<Url> {
        let mut url: Url = self.base_url.parse().map_err(|error| {
            let message = "the address of the service is not a URL: use one such as \
                http://localhost:3000";
            invalid_option(message).with_source(error)
        })?;

        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(invalid_option(
                "the address of the service must start with http:// or https:// and have a host",
            ));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid_option(
                "the address of the service must not contain a user name or a password: use \
                bearer_token, or an http_client that sends them",
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(invalid_option(
                "the address of the service must not have a query or a fragment",
            ));
        }

        // Paths are appended, so a service behind a prefix can be reached.
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        Ok(url)
    }
}

/// Returns the error of an option that is not valid.
fn invalid_option(message: impl Into<String>) -> Error {
    client_error(ErrorKind::Invalid, message)
}

/// Shows the builder without its address, which may contain a password until `build` rejects it.
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
        let builder = || ShopClient::builder("http://a");
        let time = Duration::from_secs(9);
        let never = builder().retries(RetryPolicy::none()).timeout(time);
        let never = never.build().unwrap();
        assert!(!never.retries.is_enabled());
        for client in [
            builder().retries(3).timeout(time).build().unwrap(),
            builder().timeout(time).retries(3).build().unwrap(),
            never.with_retries(3),
        ] {
            assert_eq!(client.retries.delays().count(), 3);
            assert_eq!(client.retries.max_call_duration(Duration::ZERO), time);
        }
    }
}
