//! Who may send requests, by the settings.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shop_core::{ErrorKind, SystemClock};
use shop_http::{
    AnyOf, ApiKeys, Authenticate, FileSource, KeySet, Metrics, Refreshed, TextSource, TokenVerifier,
};

use crate::settings::{AuthMode, HostPort, Settings};
use crate::{CliError, Result};

/// A file is read again at the first request after this time.
const FILE_MAX_AGE: Duration = Duration::from_secs(1);
/// The keys of an issuer are fetched again at the first request after this time, so that a withdrawn key is noticed.
const JWKS_MAX_AGE: Duration = Duration::from_secs(600);
/// The time limit of a request to an issuer, and the maximum size of its response.
pub(crate) const ISSUER_TIMEOUT: Duration = Duration::from_secs(5);
const ISSUER_MAX_BYTES: usize = 1 << 20;

/// Refuses to listen on an address that other machines can reach, unless the settings say who may send requests.
///
/// # Errors
/// The settings to choose from.
pub(crate) async fn require_choice(settings: &Settings) -> Result<()> {
    if settings.auth.is_some() || settings.api_keys_file.is_some() {
        return Ok(());
    }
    let listeners = [
        Some(("SHOP_HOST", settings.listen())),
        settings
            .admin_addr
            .clone()
            .map(|addr| ("SHOP_ADMIN_ADDR", addr)),
    ];
    for (setting, HostPort { host, port }) in listeners.into_iter().flatten() {
        // An address that does not resolve is an error when the service listens on it.
        let addresses = tokio::net::lookup_host((host.as_str(), port)).await;
        if addresses
            .is_ok_and(|mut all| all.any(|address| !address.ip().to_canonical().is_loopback()))
        {
            return Err(CliError::new(format!(
                "{setting} {host} can be reached from other machines, and SHOP_AUTH is not set: set SHOP_AUTH=jwt or \
                 SHOP_AUTH=keys to authenticate requests, or SHOP_AUTH=off if everybody may read and write everything"
            )));
        }
    }
    Ok(())
}

/// Identifies the senders of requests; `None` if all senders are allowed. `metrics` expose how current the keys are.
///
/// # Errors
/// When a file cannot be read, or is invalid. When this is only a check: when the keys of the issuer cannot be fetched.
pub(crate) async fn authenticator(settings: &Settings, metrics: &Metrics) -> Result<Option<AnyOf>> {
    let mut all = Vec::<Arc<dyn Authenticate>>::new();
    if let Some(path) = &settings.api_keys_file {
        let keys = Arc::new(Refreshed::new(
            FileSource::new(path),
            |text| Ok(ApiKeys::parse_known(text)?),
            FILE_MAX_AGE,
            Arc::new(SystemClock),
        ));
        check("SHOP_API_KEYS_FILE", &*keys).await?;
        metrics.watch("api_keys", &keys);
        all.push(Arc::new(keys));
    }
    if settings.auth == Some(AuthMode::Jwt) {
        let parse = |text: &str| Ok(KeySet::parse(text)?);
        let keys = match (&settings.auth_jwks_file, &settings.auth_jwks_url) {
            (Some(path), _) => {
                let keys = Refreshed::new(
                    FileSource::new(path),
                    parse,
                    FILE_MAX_AGE,
                    Arc::new(SystemClock),
                );
                check("SHOP_AUTH_JWKS_FILE", &keys).await?;
                keys
            }
            (None, Some(url)) => {
                if url.starts_with("http://") {
                    tracing::warn!(
                        "SHOP_AUTH_JWKS_URL is not https: a network in between can replace the keys"
                    );
                }
                let http = reqwest::Client::builder()
                    .timeout(ISSUER_TIMEOUT)
                    .build()
                    .map_err(CliError::new)?;
                let source = UrlSource {
                    http,
                    url: url.clone(),
                };
                let keys = Refreshed::new(source, parse, JWKS_MAX_AGE, Arc::new(SystemClock));
                // For a service, an issuer that is unavailable now may be available for the first request.
                if settings.check_config {
                    check("SHOP_AUTH_JWKS_URL", &keys).await?;
                }
                keys
            }
            (None, None) => {
                return Err(CliError::new(
                    "SHOP_AUTH=jwt requires the keys of the issuer",
                ));
            }
        };
        let issuer = settings.auth_issuer.clone().unwrap_or_default();
        let audience = settings.auth_audience.clone().unwrap_or_default();
        let keys = Arc::new(keys);
        metrics.watch("issuer_keys", &keys);
        all.push(Arc::new(TokenVerifier::new(
            keys,
            issuer,
            audience,
            Arc::new(SystemClock),
        )));
    }
    if settings.auth == Some(AuthMode::Off) {
        tracing::warn!(
            "SHOP_AUTH is off: everybody who can reach this service may read and write everything"
        );
    }
    Ok((!all.is_empty()).then(|| AnyOf::new(all)))
}

/// Reads keys for the first time.
async fn check<T: Send + Sync + 'static>(setting: &str, file: &Refreshed<T>) -> Result<()> {
    file.try_read()
        .await
        .map_err(|error| CliError::new(format!("{setting}: {}", error.chain())))
}

/// The keys at an address.
struct UrlSource {
    http: reqwest::Client,
    url: String,
}

/// Without the path and the query, which may be secret.
impl fmt::Debug for UrlSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self
            .url
            .parse::<reqwest::Url>()
            .ok()
            .and_then(|url| url.host_str().map(str::to_owned));
        f.write_str(host.as_deref().unwrap_or("an address without a host"))
    }
}

/// The text of an issuer's response. A text that is too long is cut off.
pub(crate) async fn text_of(mut response: reqwest::Response) -> Result<String, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > ISSUER_MAX_BYTES {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

#[async_trait]
impl TextSource for UrlSource {
    async fn read(&self) -> shop_core::Result<String> {
        let fetched =
            async { text_of(self.http.get(&self.url).send().await?.error_for_status()?).await };
        fetched.await.map_err(|error| {
            let message = "failed to fetch the keys of the issuer";
            shop_core::Error::new(ErrorKind::Unavailable, message).with_source(error.without_url())
        })
    }
}
