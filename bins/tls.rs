//! Certificates, by the settings.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use shop_client::{ShopClient, ShopClientBuilder};
use shop_core::{Clock as _, ErrorKind, SystemClock};
use shop_http::{FileSource, Refreshed, Tls};

use crate::settings::Settings;
use crate::{CliError, Result};

/// The certificate of this service; `None` if it serves plain HTTP.
///
/// # Errors
/// When a file cannot be read, or is invalid. When it is only checked: when the certificate has expired.
pub(crate) async fn of_listener(settings: &Settings) -> Result<Option<Tls>> {
    let (Some(certificate), Some(key)) = (&settings.tls_cert_file, &settings.tls_key_file) else {
        return Ok(None);
    };
    let tls = Tls::from_files(certificate, key, settings.tls_client_ca_file.clone())
        .await
        .map_err(CliError::about(
            "SHOP_TLS_CERT_FILE, SHOP_TLS_KEY_FILE, SHOP_TLS_CLIENT_CA_FILE",
        ))?;
    if let Some(end) = tls.not_after().await {
        let days = (end.as_millis() - SystemClock.now().as_millis()).div_euclid(DAY_MILLIS);
        let expires = if days < 0 { "has expired" } else { "expires" };
        let text = format!("SHOP_TLS_CERT_FILE: the certificate {expires} on {end}");
        if days < 0 && settings.check_config {
            return Err(CliError::new(text));
        }
        if days < WARNING_DAYS {
            tracing::warn!("{text}");
        }
    }
    Ok(Some(tls))
}

/// For so many days before its end, a certificate causes a warning.
const WARNING_DAYS: i64 = 14;
const DAY_MILLIS: i64 = 86_400_000;

/// `client`, with the certificates for calls of other services, which are read again when they change.
///
/// # Errors
/// When a file cannot be read, or is invalid.
pub(crate) async fn for_services(
    client: ShopClientBuilder,
    settings: &Settings,
) -> Result<ShopClientBuilder> {
    let mut files = [
        &settings.service_ca_file,
        &settings.service_cert_file,
        &settings.service_key_file,
    ]
    .into_iter()
    .flatten();
    let Some(first) = files.next() else {
        return Ok(client);
    };
    let source = files.fold(FileSource::new(first), FileSource::and);
    let http = Arc::new(Refreshed::new(
        source,
        http_client,
        MAX_AGE,
        Arc::new(SystemClock),
    ));
    let about = "SHOP_SERVICE_CA_FILE, SHOP_SERVICE_CERT_FILE, SHOP_SERVICE_KEY_FILE";
    http.try_read().await.map_err(CliError::about(about))?;
    Ok(client.http_client_provider(move || {
        let http = Arc::clone(&http);
        async move {
            // There is one since the start.
            http.get().await.as_deref().cloned().ok_or_else(|| {
                shop_core::Error::new(ErrorKind::Unavailable, "there is no certificate")
            })
        }
    }))
}

/// The files are read again by the first call after this time.
const MAX_AGE: Duration = Duration::from_secs(1);

/// An HTTP client with the texts of the file of authorities, if there is one, and of a certificate and its key, if there
/// are these.
fn http_client(text: &str) -> shop_core::Result<reqwest::Client> {
    let mut client = ShopClient::builder("https://localhost").gzip(false);
    let mut files: Vec<&str> = text.split(FileSource::SEPARATOR).collect();
    if files.len() != 2 {
        client = client.ca_certificates(files.remove(0).as_bytes());
    }
    if !files.is_empty() {
        client = client.client_certificate(files.join("\n").as_bytes());
    }
    client.build_http_client()
}

/// An HTTP client for the service with these settings on this machine; `None` if it serves plain HTTP.
///
/// It does not verify the certificate, which need not be for the loopback address, and presents the client certificate
/// of the settings, or else the certificate of the service itself.
///
/// # Errors
/// When a file cannot be read, or is invalid.
pub(crate) fn client_of_own_service(settings: &Settings) -> Result<Option<reqwest::Client>> {
    let (Some(certificate), Some(key)) = (&settings.tls_cert_file, &settings.tls_key_file) else {
        return Ok(None);
    };
    let mut client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .tls_danger_accept_invalid_certs(true);
    if settings.tls_client_ca_file.is_some() {
        let (certificate, key) = settings
            .service_cert_file
            .as_ref()
            .zip(settings.service_key_file.as_ref())
            .unwrap_or((certificate, key));
        let pem = [read(certificate)?, read(key)?].join(&b'\n');
        client = client.identity(reqwest::Identity::from_pem(&pem).map_err(CliError::new)?);
    }
    client.build().map(Some).map_err(CliError::new)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path)
        .map_err(|error| CliError::new(format!("failed to read {}: {error}", path.display())))
}
