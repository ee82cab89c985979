//! The options of headers and tokens.

use std::future::ready;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};

use super::ShopClientBuilder;
use crate::error::client_error;
use crate::tokens::Tokens;
use crate::{BearerToken, ErrorKind, Result, TokenProvider};

impl ShopClientBuilder {
    /// The user agent (default `shop-client/<version>`).
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = Some(name.into());
        self
    }

    /// Sends this header with every request, such as a tenant or the key of a gateway. Its value is
    /// not logged. The last value of a name is sent.
    ///
    /// A header that the client sends itself is [`Invalid`](ErrorKind::Invalid) when the client is
    /// built: use [`bearer_token`](Self::bearer_token), [`user_agent`](Self::user_agent), the key
    /// of a purchase, or [`with_context`](crate::ShopClient::with_context).
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

    /// Sends this bearer token with every request. Over plain http it can be read on the network.
    pub fn bearer_token(mut self, token: impl AsRef<str>) -> Self {
        self.tokens =
            BearerToken::new(token).map(|token| Tokens::new(move || ready(Ok(token.clone()))));
        self
    }

    /// Sends the bearer tokens of this provider, and fetches a new one when a token expires or is
    /// rejected. [`TokenProvider`] has an example.
    pub fn token_provider(mut self, provider: impl TokenProvider) -> Self {
        self.tokens = Ok(Tokens::new(provider));
        self
    }

    pub(super) fn user_agent_header(&self) -> Result<Option<HeaderValue>> {
        self.user_agent
            .as_deref()
            .map(HeaderValue::from_str)
            .transpose()
            .map_err(|error| {
                client_error(ErrorKind::Invalid, "the user agent must be visible ASCII")
                    .with_source(error)
            })
    }

    pub(super) fn default_headers(&self) -> Result<HeaderMap> {
        // A passed HTTP client keeps its own user agent unless one was set here.
        let agent = self.user_agent_header()?;
        let mut headers: HeaderMap = agent.map(|agent| (USER_AGENT, agent)).into_iter().collect();
        for (name, value) in &self.headers {
            let (name, value) = further_header(name, value, None)?;
            headers.insert(name, value);
        }
        Ok(headers)
    }
}

/// The headers that the client or HTTP itself writes.
const OWN_HEADERS: &str = "accept accept-encoding authorization connection content-encoding content-length \
    content-type host idempotency-key te traceparent tracestate transfer-encoding upgrade user-agent x-request-id";

/// A header of the caller, if it is none of the client's own but this one.
pub(crate) fn further_header(
    name: &str,
    value: &str,
    except: Option<&HeaderName>,
) -> Result<(HeaderName, HeaderValue)> {
    let invalid = |problem: &str| {
        client_error(
            ErrorKind::Invalid,
            format!("the header {} {problem}", name.escape_debug()),
        )
    };
    let parsed: HeaderName = name
        .parse()
        .map_err(|error| invalid("has a name that is not valid").with_source(error))?;
    if OWN_HEADERS.split(' ').any(|own| parsed == own) && except != Some(&parsed) {
        return Err(invalid("is sent by the client itself"));
    }
    let mut value: HeaderValue = value
        .parse()
        .map_err(|error| invalid("has a value that is not valid").with_source(error))?;
    value.set_sensitive(true);
    Ok((parsed, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ShopClient;

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
