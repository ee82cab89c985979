//! The authentication of requests, as the settings select it.
//!
//! API keys come from a file. The keys of an issuer of tokens come from a file or from the issuer.
//! Both are read again while they are in use.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shop_core::{ErrorKind, SystemClock};
use shop_http::{
    AnyOf, ApiKeys, Authenticate, FileSource, KeySet, Metrics, Refreshed, TextSource, TokenVerifier,
};

use crate::settings::{Auth, HostPort, IssuerKeys, Settings};
use crate::{CliError, Result};

/// The age after which a request reads a file again.
const FILE_MAX_AGE: Duration = Duration::from_secs(1);
/// The age after which a request fetches the keys of an issuer again, so that a withdrawn key is
/// noticed.
const JWKS_MAX_AGE: Duration = Duration::from_secs(600);
/// The time limit of a request to an issuer.
pub(crate) const ISSUER_TIMEOUT: Duration = Duration::from_secs(5);
/// The maximum size of an issuer's response.
const ISSUER_MAX_BYTES: usize = 1 << 20;

/// Refuses to listen on an address that other machines can reach, unless the settings say who may
/// send requests.
///
/// # Errors
/// An error that lists the settings to choose from.
pub(crate) async fn require_auth_if_reachable(settings: &Settings) -> Result<()> {
    match settings.auth {
        Auth::Off | Auth::Keys(_) | Auth::Jwt(_) => return Ok(()),
        Auth::LoopbackOnly => {}
    }
    let mut listeners = vec![("SHOP_HOST", settings.listen())];
    if let Some(listener) = &settings.process.admin_addr {
        listeners.push(("SHOP_ADMIN_ADDR", listener.clone()));
    }
    for (setting, HostPort { host, port }) in listeners {
        // An address that does not resolve is an error when the service listens on it.
        if let Ok(mut addresses) = tokio::net::lookup_host((host.as_str(), port)).await
            && addresses.any(|address| !address.ip().to_canonical().is_loopback())
        {
            return Err(CliError::new(format!(
                "{setting} {host} can be reached from other machines, and SHOP_AUTH is not set: set SHOP_AUTH=jwt or \
                 SHOP_AUTH=keys to authenticate requests, or SHOP_AUTH=off if everybody may read and write everything"
            )));
        }
    }
    Ok(())
}

/// Creates the authenticator of requests, or returns `None` if requests need no authentication.
/// `metrics` then report the age of its keys.
///
/// # Errors
/// - an error if a file cannot be read, or is invalid
/// - with `--check-config`, an error if the keys of the issuer cannot be fetched. A service starts
///   without these keys
pub(crate) async fn authenticator(settings: &Settings, metrics: &Metrics) -> Result<Option<AnyOf>> {
    let mut authenticators = Vec::<Arc<dyn Authenticate>>::new();
    if let Some(path) = settings.auth.api_keys_file() {
        // `parse_known` refuses scopes that the default policy does not know.
        let parse = |text: &str| Ok(ApiKeys::parse_known(text)?);
        let keys = read_files(FileSource::new(path), parse, "SHOP_API_KEYS_FILE").await?;
        metrics.watch("api_keys", &keys);
        authenticators.push(Arc::new(keys));
    }
    match &settings.auth {
        Auth::Jwt(jwt) => {
            let keys = issuer_keys(settings, &jwt.issuer_keys).await?;
            metrics.watch("issuer_keys", &keys);
            authenticators.push(Arc::new(TokenVerifier::new(
                keys,
                jwt.issuer.clone(),
                jwt.audience.clone(),
                Arc::new(SystemClock),
            )));
        }
        Auth::Off => tracing::warn!(
            "SHOP_AUTH is off: everybody who can reach this service may read and write everything"
        ),
        // The API keys were added above.
        Auth::Keys(_) => {}
        // `require_auth_if_reachable` has refused every address that other machines can reach.
        Auth::LoopbackOnly => {}
    }

    if authenticators.is_empty() {
        return Ok(None);
    }
    // A request needs to satisfy only one of them.
    Ok(Some(AnyOf::new(authenticators)))
}

/// Returns the keys of the issuer at `location`, a file or an address. They are read again while
/// they are in use.
///
/// # Errors
/// - an error if the HTTP client cannot be created
/// - an error if the file cannot be read, or is invalid
/// - with `--check-config`, an error if the keys cannot be fetched
async fn issuer_keys(settings: &Settings, location: &IssuerKeys) -> Result<Arc<Refreshed<KeySet>>> {
    let parse = |text: &str| Ok(KeySet::parse(text)?);
    let url = match location {
        IssuerKeys::File(path) => {
            return read_files(FileSource::new(path), parse, "SHOP_AUTH_JWKS_FILE").await;
        }
        IssuerKeys::Url(url) => url,
    };
    if url.starts_with("http://") {
        tracing::warn!(
            "SHOP_AUTH_JWKS_URL is not https: a network in between can replace the keys"
        );
    }
    let source = UrlSource {
        http: issuer_client()?,
        url: url.clone(),
    };
    let keys = Refreshed::new(source, parse, JWKS_MAX_AGE, Arc::new(SystemClock));
    // A service starts without the keys: the issuer may be available for the first request.
    if settings.process.check_config {
        keys.try_read()
            .await
            .map_err(CliError::about("SHOP_AUTH_JWKS_URL"))?;
    }
    Ok(Arc::new(keys))
}

/// Reads the files of `source`, and returns their content, which is read again while it is in use.
///
/// # Errors
/// An error if a file cannot be read, or is invalid. Its text begins with `setting_names`, the
/// settings that name the files.
pub(crate) async fn read_files<T: Send + Sync + 'static>(
    source: FileSource,
    parse: fn(&str) -> shop_core::Result<T>,
    setting_names: &str,
) -> Result<Arc<Refreshed<T>>> {
    let content = Refreshed::new(source, parse, FILE_MAX_AGE, Arc::new(SystemClock));
    content
        .try_read()
        .await
        .map_err(CliError::about(setting_names))?;
    Ok(Arc::new(content))
}

/// The source of the keys at an address.
struct UrlSource {
    http: reqwest::Client,
    url: String,
}

/// Shows the host alone: the path and the query may be secret.
impl fmt::Debug for UrlSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.parse::<reqwest::Url>().ok();
        let host = url.as_ref().and_then(reqwest::Url::host_str);
        f.write_str(host.unwrap_or("an address without a host"))
    }
}

/// Creates the HTTP client for requests to an issuer.
///
/// # Errors
/// Returns an error if the client cannot be created.
pub(crate) fn issuer_client() -> Result<reqwest::Client> {
    let client = reqwest::Client::builder().timeout(ISSUER_TIMEOUT).build();
    client.map_err(CliError::new)
}

/// Reads the text of an issuer's response. A text above [`ISSUER_MAX_BYTES`] is cut off, so that it
/// is invalid where it is parsed.
///
/// # Errors
/// The errors of the connection.
pub(crate) async fn read_limited_text(
    mut response: reqwest::Response,
) -> Result<String, reqwest::Error> {
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
        let fetch = async {
            read_limited_text(self.http.get(&self.url).send().await?.error_for_status()?).await
        };
        fetch.await.map_err(|error| {
            let message = "failed to fetch the keys of the issuer";
            // The path and the query of the address may be secret.
            shop_core::Error::new(ErrorKind::Unavailable, message).with_source(error.without_url())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::settings_test::read;

    /// The public key of RFC 8037, Appendix A.2.
    const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    /// A token of ada for `purchases:read` until 2100, signed with the private key of RFC 8037,
    /// Appendix A.1.
    const TOKEN: &str = "eyJhbGciOiJFZERTQSIsImtpZCI6ImsxIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwiYXVkIjoic2hvcCIsInN1YiI6ImFkYSIsImV4cCI6NDEwMjQ0NDgwMCwic2NvcGUiOiJwdXJjaGFzZXM6cmVhZCJ9.bbtY0JX48Owql-nyGwNqH98zM3H0ouA5CamIs_QbEnMCs4N7Fzqo1OrszPhRyD0bm4wOgp5VXDFCBdmtoye9CQ";

    #[tokio::test]
    async fn a_token_is_verified_with_the_keys_of_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), KEYS).unwrap();
        let settings = read(
            "SHOP_AUTH=jwt SHOP_AUTH_JWKS_FILE=@file SHOP_AUTH_ISSUER=https://issuer.example SHOP_AUTH_AUDIENCE=shop management",
            file.path().to_str().unwrap(),
        )
        .unwrap();

        let authenticator = authenticator(&settings, &Metrics::new()).await.unwrap();
        let principal = authenticator.unwrap().principal(TOKEN).await.unwrap();
        assert_eq!(principal.subject(), Some("ada"));
    }
}
