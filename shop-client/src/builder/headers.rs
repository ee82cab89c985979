//! The options for headers and tokens.
//!
//! An option reports no error itself. Building the client checks the address, the user agent, these
//! headers, the certificates and then the bearer token, and fails with the first error.

use std::future::ready;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};

use super::{ShopClientBuilder, invalid_option};
use crate::tokens::Tokens;
use crate::{BearerToken, Error, Result, TokenProvider};

impl ShopClientBuilder {
    /// Sends `name` as the user agent (default `shop-client/<version>`).
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = Some(name.into());
        self
    }

    /// Sends this header with every request, such as a tenant or the key of a gateway.
    ///
    /// The value of the header is not logged. Of several headers with this name, the last one is
    /// sent.
    ///
    /// If the client sends the header itself, building the client fails as
    /// [`Invalid`](crate::ErrorKind::Invalid). Use [`bearer_token`](Self::bearer_token),
    /// [`user_agent`](Self::user_agent), the key of a purchase, or
    /// [`with_context`](crate::ShopClient::with_context) instead.
    ///
    /// ```
    /// use shop_client::ShopClient;
    ///
    /// # fn example() -> Result<(), shop_client::Error> {
    /// let client = ShopClient::builder("http://localhost:3000").default_header("x-tenant", "7").build()?;
    /// # Ok(())
    /// # }
    /// # example().unwrap();
    /// assert!(ShopClient::builder("http://localhost:3000").default_header("accept", "*/*").build().is_err());
    /// ```
    pub fn default_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sends this bearer token with every request. Over plain http, the token can be read on the
    /// network.
    pub fn bearer_token(mut self, token: impl AsRef<str>) -> Self {
        self.tokens =
            BearerToken::new(token).map(|token| Tokens::new(move || ready(Ok(token.clone()))));
        self
    }

    /// Sends the bearer tokens of this provider, and fetches a new token when a token expires or is
    /// rejected. [`TokenProvider`] shows an example.
    pub fn token_provider(mut self, provider: impl TokenProvider) -> Self {
        self.tokens = Ok(Tokens::new(provider));
        self
    }

    /// Returns the user agent as the value of a header, if one was set.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) if the user agent is not visible ASCII.
    pub(super) fn user_agent_header(&self) -> Result<Option<HeaderValue>> {
        let Some(agent) = &self.user_agent else {
            return Ok(None);
        };
        let value = HeaderValue::from_str(agent).map_err(|error| {
            invalid_option("the user agent must be visible ASCII").with_source(error)
        })?;
        Ok(Some(value))
    }

    /// Returns the headers that these options add to every request.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) if the user agent or a header is not valid, or if the
    /// client sends a header itself.
    pub(super) fn default_headers(&self) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        // An HTTP client that was passed keeps its own user agent, unless one was set here.
        if let Some(agent) = self.user_agent_header()? {
            headers.insert(USER_AGENT, agent);
        }
        for (name, value) in &self.headers {
            let replaceable_header = None;
            insert_caller_header(&mut headers, name, value, replaceable_header)?;
        }
        Ok(headers)
    }
}

/// The names of the headers that the client or HTTP itself writes, separated by spaces.
const OWN_HEADERS: &str = "accept accept-encoding authorization connection content-encoding content-length \
    content-type host idempotency-key te traceparent tracestate transfer-encoding upgrade user-agent x-request-id";

/// Inserts a header of the caller into `headers`, in place of an earlier header of this name. The
/// value is marked as sensitive, so it is not logged.
///
/// `replaceable_header` is the one header of the client itself that the caller may replace, if there
/// is such a header.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) if the name or the value is not valid, or if the client
/// sends the header itself.
pub(crate) fn insert_caller_header(
    headers: &mut HeaderMap,
    name: &str,
    value: &str,
    replaceable_header: Option<&HeaderName>,
) -> Result<()> {
    let parsed_name: HeaderName = name
        .parse()
        .map_err(|error| invalid_header(name, "has a name that is not valid").with_source(error))?;
    let is_own_header = OWN_HEADERS
        .split(' ')
        .any(|own_name| parsed_name == own_name);
    if is_own_header && replaceable_header != Some(&parsed_name) {
        return Err(invalid_header(name, "is sent by the client itself"));
    }

    let mut parsed_value: HeaderValue = value.parse().map_err(|error| {
        invalid_header(name, "has a value that is not valid").with_source(error)
    })?;
    parsed_value.set_sensitive(true);
    headers.insert(parsed_name, parsed_value);
    Ok(())
}

/// Returns the error of the caller's header `name`. `problem` continues the sentence "the header
/// NAME ...".
fn invalid_header(name: &str, problem: &str) -> Error {
    invalid_option(format!("the header {} {problem}", name.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, ShopClient};

    #[test]
    fn default_headers_do_not_replace_those_of_the_client() {
        let build = |name: &str, value: &str| {
            ShopClient::builder("http://a")
                .default_header(name, value)
                .build()
        };
        assert!(build("X-Tenant", "7").is_ok());
        let own = OWN_HEADERS
            .split(' ')
            .map(|name| (name, "x", "is sent by the client itself"));
        let others = [
            ("Authorization", "x", "is sent by"),
            ("a b", "x", "name"),
            ("x-a", "a\nb", "value"),
        ];
        for (name, value, problem) in own.chain(others) {
            let error = build(name, value).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
            assert!(error.message().contains(problem), "{error}");
        }
    }
}
