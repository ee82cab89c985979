//! The certificates of this service, and of its calls of other services.
//!
//! The files are read again while they are in use, so that a renewed certificate needs no restart.

use std::sync::Arc;

use shop_client::{ShopClient, ShopClientBuilder};
use shop_core::{Clock as _, ErrorKind, SystemClock};
use shop_http::{FileSource, MAX_FILE_BYTES, Tls, read_small_file};

use crate::settings::{ServiceCalls, Settings, TlsFiles};
use crate::{CliError, Result, auth};

/// The time before the end of a certificate in which it causes a warning: 14 days.
const WARNING_MILLIS: i64 = 14 * 86_400_000;

/// Reads the certificate of this service. Returns `None` if the service does not use TLS. Logs a
/// warning if the certificate expires soon.
///
/// # Errors
/// - an error if a file cannot be read, or is invalid
/// - with `--check-config`, an error if the certificate has expired
pub(crate) async fn read_listener_tls(settings: &Settings) -> Result<Option<Tls>> {
    let Some(TlsFiles { own, client_ca }) = &settings.tls else {
        return Ok(None);
    };
    let tls = Tls::from_files(&own.certificate, &own.key, client_ca.clone())
        .await
        .map_err(CliError::about(
            "SHOP_TLS_CERT_FILE, SHOP_TLS_KEY_FILE, SHOP_TLS_CLIENT_CA_FILE",
        ))?;

    if let Some(end) = tls.not_after().await {
        let remaining_millis = end.as_millis() - SystemClock.now().as_millis();
        let has_expired = remaining_millis < 0;
        let verb = if has_expired {
            "has expired"
        } else {
            "expires"
        };
        let text = format!("SHOP_TLS_CERT_FILE: the certificate {verb} on {end}");
        if has_expired && settings.process.check_config {
            return Err(CliError::new(text));
        }
        if remaining_millis < WARNING_MILLIS {
            tracing::warn!("{text}");
        }
    }
    Ok(Some(tls))
}

/// Returns `client` with the certificates for calls of other services, which are read again when
/// their files change.
///
/// # Errors
/// An error if a file cannot be read, or is invalid.
pub(crate) async fn with_service_certificates(
    client: ShopClientBuilder,
    settings: &Settings,
) -> Result<ShopClientBuilder> {
    let ServiceCalls {
        ca,
        client: own_certificate,
        ..
    } = &settings.service_calls;
    let own_files = own_certificate
        .iter()
        .flat_map(|own| [&own.certificate, &own.key]);
    let mut files = ca.iter().chain(own_files);
    // Without files, the client uses the authorities of the system.
    let Some(first_file) = files.next() else {
        return Ok(client);
    };

    let source = files.fold(FileSource::new(first_file), FileSource::and);
    let setting_names = "SHOP_SERVICE_CA_FILE, SHOP_SERVICE_CERT_FILE, SHOP_SERVICE_KEY_FILE";
    let http = auth::read_files(source, http_client, setting_names).await?;

    Ok(client.http_client_provider(move || {
        let http = Arc::clone(&http);
        async move {
            // The files were read above, so there is a client.
            http.get().await.as_deref().cloned().ok_or_else(|| {
                shop_core::Error::new(ErrorKind::Unavailable, "there is no certificate")
            })
        }
    }))
}

/// Creates an HTTP client from the texts of the files for calls of other services: the authorities,
/// the certificate and its key. Either the authorities or the other two may be absent.
///
/// # Errors
/// The error of an invalid text.
fn http_client(text: &str) -> shop_core::Result<reqwest::Client> {
    let mut client = ShopClient::builder("https://localhost").gzip(false);
    let mut files: Vec<&str> = text.split(FileSource::SEPARATOR).collect();
    // One or three files begin with the authorities. Two files are a certificate and its key.
    if files.len() != 2 {
        client = client.ca_certificates(files.remove(0).as_bytes());
    }
    if !files.is_empty() {
        client = client.client_certificate(files.join("\n").as_bytes());
    }
    client.build_http_client()
}

/// Creates an HTTP client for the service with these settings on this machine. Returns `None` if
/// the service does not use TLS.
///
/// The client does not verify the certificate, which need not be for the loopback address. It
/// presents the client certificate of the settings, or else the certificate of the service itself.
///
/// # Errors
/// An error if a file cannot be read, or is invalid.
pub(crate) fn client_of_own_service(settings: &Settings) -> Result<Option<reqwest::Client>> {
    let Some(TlsFiles { own, client_ca }) = &settings.tls else {
        return Ok(None);
    };
    let mut client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .tls_danger_accept_invalid_certs(true);

    if client_ca.is_some() {
        let identity = settings.service_calls.client.as_ref().unwrap_or(own);
        let mut pem = String::new();
        for file in [&identity.certificate, &identity.key] {
            let text = read_small_file(file, MAX_FILE_BYTES).map_err(|error| {
                CliError::new(format!("failed to read {}: {error}", file.display()))
            })?;
            pem.push_str(&text);
            pem.push('\n');
        }
        client =
            client.identity(reqwest::Identity::from_pem(pem.as_bytes()).map_err(CliError::new)?);
    }
    client.build().map(Some).map_err(CliError::new)
}
