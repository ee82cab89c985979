//! Tokens for Kafka from a token endpoint, by client credentials (RFC 6749, section 4.4).
//!
//! A task per [`TokenEndpoint`] requests each token well before the last one expires, and publishes
//! the token, or the error, on a watch channel. The clients of Kafka read the channel, so they wait
//! for the endpoint only until the first response.

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::ExposeSecret as _;
use shop_core::{Clock as _, Error, ErrorKind, Result, SystemClock};
use shop_kafka::{OauthToken, OauthTokenProvider};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::CliError;
use crate::auth::{ISSUER_TIMEOUT, issuer_client, read_limited_text};
use crate::settings::TokenEndpointSettings;

/// The lifetime of a token whose endpoint does not report a lifetime.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(300);
/// The pause after a failed request, and the minimum pause after a successful one.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// The last token, or the error of the last request; `None` before the first response.
type LatestToken = Option<Result<OauthToken>>;

/// A provider of tokens. A task renews the token until the provider is dropped.
#[derive(Debug)]
pub(super) struct TokenEndpoint {
    latest: watch::Receiver<LatestToken>,
    runtime: Handle,
}

impl TokenEndpoint {
    /// Starts the task that requests tokens from the endpoint of the settings.
    ///
    /// # Errors
    /// Returns an error if the HTTP client cannot be created.
    pub(super) fn new(endpoint: &TokenEndpointSettings) -> Result<Self, CliError> {
        Ok(Self::with_credentials(Credentials {
            http: issuer_client()?,
            endpoint: endpoint.clone(),
        }))
    }

    /// Starts the task that requests tokens with `credentials`.
    fn with_credentials(credentials: Credentials) -> Self {
        let no_response_yet = None;
        let (sender, latest) = watch::channel(no_response_yet);
        let runtime = Handle::current();
        runtime.spawn(async move {
            // The channel is closed when this endpoint is dropped, together with the log that uses
            // the endpoint.
            tokio::select! {
                () = renew_token(&credentials, &sender) => {}
                () = sender.closed() => {}
            }
        });
        Self { latest, runtime }
    }
}

impl OauthTokenProvider for TokenEndpoint {
    fn token(&self) -> Result<OauthToken> {
        let mut latest = self.latest.clone();
        // A client of Kafka calls this function on a thread of its own, which may block. The timeout
        // must be created within the runtime, whose timer it uses.
        let first_response = self
            .runtime
            .block_on(async { timeout(ISSUER_TIMEOUT, latest.wait_for(Option::is_some)).await });
        // The outer error is the timeout. The inner one means that the task ended.
        if let Ok(Ok(latest_token)) = first_response
            && let Some(token_or_error) = &*latest_token
        {
            return token_or_error.clone();
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "the token endpoint of Kafka does not respond",
        ))
    }
}

/// Requests tokens forever, and keeps a valid token in `latest`.
async fn renew_token(credentials: &Credentials, latest: &watch::Sender<LatestToken>) {
    loop {
        let pause = match credentials.request_token().await {
            Ok(response) => {
                latest.send_replace(Some(Ok(response.token)));
                // librdkafka asks for the next token after four fifths of the lifetime, so a new
                // token is there by then.
                RETRY_PAUSE.max(response.lifetime / 2)
            }
            Err(error) => {
                tracing::warn!(error = %error.chain(), "failed to get a token for Kafka");
                // A token that is still valid is more useful than the error.
                let has_valid_token = matches!(
                    &*latest.borrow(),
                    Some(Ok(token)) if token.expires_at > SystemClock.now()
                );
                if !has_valid_token {
                    latest.send_replace(Some(Err(error)));
                }
                RETRY_PAUSE
            }
        };
        sleep(pause).await;
    }
}

/// The token endpoint, and the credentials with which tokens are requested.
struct Credentials {
    http: reqwest::Client,
    endpoint: TokenEndpointSettings,
}

/// A token, with the time for which it is valid after the response.
struct TokenResponse {
    token: OauthToken,
    lifetime: Duration,
}

impl Credentials {
    /// Requests a new token.
    ///
    /// # Errors
    /// - [`ErrorKind::Denied`] if the endpoint rejects the request with a 4xx status
    /// - [`ErrorKind::Unavailable`] if the endpoint does not respond, or responds without a token
    async fn request_token(&self) -> Result<TokenResponse> {
        let request = self.token_request().await;
        let response = request.send().await.map_err(endpoint_unavailable)?;
        let status = response.status();
        let text = read_limited_text(response)
            .await
            .map_err(endpoint_unavailable)?;

        if status.is_client_error() {
            return Err(Error::new(
                ErrorKind::Denied,
                "the token endpoint of Kafka refused: check SHOP_KAFKA_OAUTH_CLIENT_ID and its secret",
            )
            .with_context("status", status));
        }
        if status.is_success()
            && let Some(response) = parse_response(&text, &self.endpoint.client_id)
        {
            return Ok(response);
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "the token endpoint of Kafka returned no token",
        )
        .with_context("status", status))
    }

    /// Returns the request for a token, with the secret that is in its file now.
    async fn token_request(&self) -> reqwest::RequestBuilder {
        let endpoint = &self.endpoint;
        let secret = endpoint.client_secret.current().await;
        // Without a scope, the form omits the member `scope`.
        let form = [
            ("grant_type", Some("client_credentials")),
            ("scope", endpoint.scope.as_deref()),
        ];
        self.http.post(&endpoint.url).form(&form).basic_auth(
            percent_encode(&endpoint.client_id),
            Some(percent_encode(secret.expose_secret())),
        )
    }
}

/// Returns the error of an endpoint that cannot be reached. The error does not contain the URL of
/// the endpoint, which may be secret.
fn endpoint_unavailable(error: reqwest::Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the token endpoint of Kafka is unavailable",
    )
    .with_source(error.without_url())
}

/// Reads the token and its lifetime from the text of a response.
///
/// Returns `None` if the text is not JSON, or contains no token.
fn parse_response(text: &str, client_id: &str) -> Option<TokenResponse> {
    let response: serde_json::Value = text.parse().ok()?;
    let token = response["access_token"]
        .as_str()
        .filter(|token| !token.is_empty())?;
    let lifetime = response["expires_in"]
        .as_u64()
        .map_or(DEFAULT_LIFETIME, Duration::from_secs);
    let expires_at = SystemClock.now().saturating_add(lifetime);
    Some(TokenResponse {
        token: OauthToken::new(token, client_id, expires_at),
        lifetime,
    })
}

/// Percent-encodes all characters of `text`, except for the unreserved characters of a URI.
fn percent_encode(text: &str) -> String {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::settings::Secret;

    /// An endpoint that gives these responses in turn. Returns its address, and what was sent.
    async fn endpoint(
        responses: Vec<(u16, &'static str)>,
    ) -> (String, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let mut requests = Vec::new();
            for (status, body) in responses {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = String::new();
                while !request.contains("grant_type") {
                    let mut part = [0; 4_096];
                    let length = stream.read(&mut part).await.unwrap();
                    request.push_str(std::str::from_utf8(&part[..length]).unwrap());
                }
                requests.push(request);
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
                );
                stream.write_all((head + body).as_bytes()).await.unwrap();
            }
            requests
        });
        (url, served)
    }

    fn credentials(url: String, secret: Secret) -> Credentials {
        let http = reqwest::Client::builder()
            .tls_certs_only([])
            .build()
            .unwrap();
        let endpoint = TokenEndpointSettings {
            url,
            client_id: "shop:1".to_owned(),
            client_secret: secret,
            scope: Some("kafka write".to_owned()),
        };
        Credentials { http, endpoint }
    }

    #[tokio::test]
    async fn a_token_is_requested_with_the_secret_in_the_file() {
        let token = r#"{"access_token":"abc","token_type":"bearer","expires_in":60}"#;
        let responses = vec![
            (200, token),
            (401, "{}"),
            (200, "{}"),
            (500, ""),
            (200, token),
        ];
        let (url, served) = endpoint(responses).await;
        let file = tempfile::NamedTempFile::new().unwrap();
        let credentials = credentials(
            url,
            Secret {
                at_start: "first".into(),
                file: Some(file.path().into()),
            },
        );
        let response = credentials.request_token().await.unwrap();
        assert_eq!(
            (response.token.token.expose_secret(), response.lifetime),
            ("abc", Duration::from_secs(60))
        );
        for kind in [
            ErrorKind::Denied,
            ErrorKind::Unavailable,
            ErrorKind::Unavailable,
        ] {
            assert_eq!(
                credentials.request_token().await.err().unwrap().kind(),
                kind
            );
        }
        std::fs::write(file.path(), "second\n").unwrap();
        credentials.request_token().await.unwrap();
        let requests = served.await.unwrap();
        // shop%3A1:first
        assert!(
            requests[0].contains("authorization: Basic c2hvcCUzQTE6Zmlyc3Q=\r\n"),
            "{}",
            requests[0]
        );
        assert!(
            requests[0].ends_with("grant_type=client_credentials&scope=kafka+write"),
            "{}",
            requests[0]
        );
        // shop%3A1:second
        assert!(
            requests[4].contains("authorization: Basic c2hvcCUzQTE6c2Vjb25k\r\n"),
            "{}",
            requests[4]
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn clients_get_the_first_token_and_its_successors() {
        let responses = vec![
            (503, ""),
            (200, r#"{"access_token":"first","expires_in":1}"#),
            (200, r#"{"access_token":"second","expires_in":3600}"#),
        ];
        let (url, served) = endpoint(responses).await;
        let secret = Secret {
            at_start: "secret".into(),
            file: None,
        };
        let endpoint = Arc::new(TokenEndpoint::with_credentials(credentials(url, secret)));
        let token = || {
            let endpoint = Arc::clone(&endpoint);
            tokio::task::spawn_blocking(move || endpoint.token())
        };
        assert_eq!(
            token().await.unwrap().unwrap_err().kind(),
            ErrorKind::Unavailable
        );
        served.await.unwrap();
        while token()
            .await
            .unwrap()
            .is_ok_and(|token| token.token.expose_secret() != "second")
        {}
        let latest = token().await.unwrap().unwrap();
        assert_eq!(
            (latest.token.expose_secret(), latest.principal.as_str()),
            ("second", "shop:1")
        );
    }
}
