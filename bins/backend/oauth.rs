//! Tokens for Kafka from a token endpoint, by client credentials (RFC 6749, section 4.4).

use std::time::Duration;

use secrecy::ExposeSecret as _;
use shop_core::{Clock as _, Error, ErrorKind, SystemClock};
use shop_kafka::{OauthToken, OauthTokenProvider};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::auth::{ISSUER_TIMEOUT, text_of};
use crate::settings::{Secret, Settings, encoded};
use crate::{CliError, Result};

/// The lifetime of a token whose endpoint does not say it.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(300);
/// The time until the next request after one has failed.
const RETRY: Duration = Duration::from_secs(2);

/// A token endpoint, with the last token. A task replaces the token in time, so that clients of Kafka wait only for the
/// first one.
#[derive(Debug)]
pub(super) struct TokenEndpoint {
    latest: watch::Receiver<Option<shop_core::Result<OauthToken>>>,
    runtime: Handle,
}

impl TokenEndpoint {
    /// The endpoint of the settings, if there is one. Requests the first token.
    pub(super) fn from_settings(settings: &Settings) -> Result<Option<Self>> {
        let (Some(url), Some(client_id), Some(secret)) = (
            &settings.kafka_oauth_token_url,
            &settings.kafka_oauth_client_id,
            &settings.kafka_oauth_client_secret,
        ) else {
            return Ok(None);
        };
        let credentials = Credentials {
            http: reqwest::Client::builder()
                .timeout(ISSUER_TIMEOUT)
                .build()
                .map_err(CliError::new)?,
            url: url.clone(),
            client_id: client_id.clone(),
            secret: settings.secret("SHOP_KAFKA_OAUTH_CLIENT_SECRET", secret),
            scope: settings.kafka_oauth_scope.clone(),
        };
        Ok(Some(Self::new(credentials)))
    }

    fn new(credentials: Credentials) -> Self {
        let (sender, latest) = watch::channel(None);
        let runtime = Handle::current();
        runtime.spawn(async move {
            // Ends when the endpoint is dropped, with the log that uses it.
            tokio::select! {
                () = renew(&credentials, &sender) => {}
                () = sender.closed() => {}
            }
        });
        Self { latest, runtime }
    }
}

impl OauthTokenProvider for TokenEndpoint {
    fn token(&self) -> shop_core::Result<OauthToken> {
        let mut latest = self.latest.clone();
        let known = self.runtime.block_on(async {
            // On the runtime, which has the timers.
            timeout(ISSUER_TIMEOUT, latest.wait_for(Option::is_some)).await
        });
        if let Ok(Ok(known)) = known
            && let Some(token) = &*known
        {
            return token.clone();
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "the token endpoint of Kafka does not respond",
        ))
    }
}

/// Keeps a valid token in `latest`.
async fn renew(
    credentials: &Credentials,
    latest: &watch::Sender<Option<shop_core::Result<OauthToken>>>,
) {
    loop {
        let fetched = credentials.fetch().await;
        let wait = match &fetched {
            // librdkafka asks for the next one after four fifths of the lifetime.
            Ok((_, lifetime)) => *lifetime / 2,
            Err(error) => {
                tracing::warn!(error = %error.chain(), "failed to get a token for Kafka");
                RETRY
            }
        };
        let keeps = fetched.is_err()
            && matches!(&*latest.borrow(), Some(Ok(token)) if token.expires_at > SystemClock.now());
        if !keeps {
            latest.send_replace(Some(fetched.map(|(token, _)| token)));
        }
        sleep(wait.max(RETRY)).await;
    }
}

/// The endpoint and the credentials with which tokens are requested.
struct Credentials {
    http: reqwest::Client,
    url: String,
    client_id: String,
    secret: Secret,
    scope: Option<String>,
}

impl Credentials {
    /// Requests a new token, and returns it with its lifetime.
    async fn fetch(&self) -> shop_core::Result<(OauthToken, Duration)> {
        let unavailable = |error: reqwest::Error| {
            Error::new(
                ErrorKind::Unavailable,
                "the token endpoint of Kafka is unavailable",
            )
            .with_source(error.without_url())
        };
        let response = self.request().send().await.map_err(unavailable)?;
        let status = response.status();
        let text = text_of(response).await.map_err(unavailable)?;
        if status.is_client_error() {
            let message = "the token endpoint of Kafka refused: check SHOP_KAFKA_OAUTH_CLIENT_ID and its secret";
            return Err(Error::new(ErrorKind::Denied, message).with_context("status", status));
        }
        if status.is_success()
            && let Some(token) = parse(&text, &self.client_id)
        {
            return Ok(token);
        }
        let message = "the token endpoint of Kafka returned no token";
        Err(Error::new(ErrorKind::Unavailable, message).with_context("status", status))
    }

    fn request(&self) -> reqwest::RequestBuilder {
        let secret = self.secret.current();
        // Without a scope, the form has no member for it.
        let form = [
            ("grant_type", Some("client_credentials")),
            ("scope", self.scope.as_deref()),
        ];
        self.http.post(&self.url).form(&form).basic_auth(
            encoded(&self.client_id),
            Some(encoded(secret.expose_secret())),
        )
    }
}

/// The token in the response of an endpoint, and its lifetime.
fn parse(text: &str, client_id: &str) -> Option<(OauthToken, Duration)> {
    let response: serde_json::Value = serde_json::from_str(text).ok()?;
    let token = response["access_token"]
        .as_str()
        .filter(|token| !token.is_empty())?;
    let lifetime = response["expires_in"]
        .as_u64()
        .map_or(DEFAULT_LIFETIME, Duration::from_secs);
    let expires_at = SystemClock.now().saturating_add(lifetime);
    Some((OauthToken::new(token, client_id, expires_at), lifetime))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

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
        let (client_id, scope) = ("shop:1".to_owned(), Some("kafka write".to_owned()));
        Credentials {
            http,
            url,
            client_id,
            secret,
            scope,
        }
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
        let (token, lifetime) = credentials.fetch().await.unwrap();
        assert_eq!(
            (token.token.expose_secret(), lifetime),
            ("abc", Duration::from_secs(60))
        );
        for kind in [
            ErrorKind::Denied,
            ErrorKind::Unavailable,
            ErrorKind::Unavailable,
        ] {
            assert_eq!(credentials.fetch().await.unwrap_err().kind(), kind);
        }
        std::fs::write(file.path(), "second\n").unwrap();
        credentials.fetch().await.unwrap();
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
        let endpoint = Arc::new(TokenEndpoint::new(credentials(url, secret)));
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
