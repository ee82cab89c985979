//! Certificates, by the settings.

use std::fs;
use std::path::Path;

use shop_client::ShopClientBuilder;
use shop_http::Tls;

use crate::settings::Settings;
use crate::{CliError, Result};

/// The certificate of this service; `None` if it serves plain HTTP.
///
/// # Errors
/// When a file cannot be read, or is invalid.
pub(crate) async fn of_listener(settings: &Settings) -> Result<Option<Tls>> {
    let (Some(certificate), Some(key)) = (&settings.tls_cert_file, &settings.tls_key_file) else {
        return Ok(None);
    };
    let tls = Tls::from_files(certificate, key, settings.tls_client_ca_file.clone()).await;
    tls.map(Some).map_err(CliError::about("SHOP_TLS_CERT_FILE, SHOP_TLS_KEY_FILE, SHOP_TLS_CLIENT_CA_FILE"))
}

/// How this service serves, in words.
pub(crate) fn describe(settings: &Settings) -> String {
    let certificate = settings.tls_cert_file.as_ref().map(|path| format!("certificate {}", path.display()));
    let clients = settings.tls_client_ca_file.as_ref();
    let clients = clients.map(|path| format!("clients with a certificate of {}", path.display()));
    let all: Vec<_> = certificate.into_iter().chain(clients).collect();
    if all.is_empty() { "off".to_owned() } else { all.join(", ") }
}

/// `client`, with the certificates for calls of other services.
///
/// # Errors
/// When a file cannot be read, or is invalid.
pub(crate) fn for_services(mut client: ShopClientBuilder, settings: &Settings) -> Result<ShopClientBuilder> {
    if let Some(path) = &settings.service_ca_file {
        client = client.ca_certificates(&read("SHOP_SERVICE_CA_FILE", path)?);
    }
    if let Some(pem) = client_certificate(settings)? {
        client = client.client_certificate(&pem);
    }
    Ok(client)
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
    let mut client =
        reqwest::Client::builder().no_proxy().tls_certs_only([]).tls_danger_accept_invalid_certs(true);
    if settings.tls_client_ca_file.is_some() {
        let pem = match client_certificate(settings)? {
            Some(pem) => pem,
            None => pair(("SHOP_TLS_CERT_FILE", certificate), ("SHOP_TLS_KEY_FILE", key))?,
        };
        client = client.identity(reqwest::Identity::from_pem(&pem).map_err(CliError::new)?);
    }
    client.build().map(Some).map_err(CliError::new)
}

/// The certificate for calls of other services, and its key.
fn client_certificate(settings: &Settings) -> Result<Option<Vec<u8>>> {
    let (Some(certificate), Some(key)) = (&settings.service_cert_file, &settings.service_key_file) else {
        return Ok(None);
    };
    pair(("SHOP_SERVICE_CERT_FILE", certificate), ("SHOP_SERVICE_KEY_FILE", key)).map(Some)
}

fn pair(certificate: (&str, &Path), key: (&str, &Path)) -> Result<Vec<u8>> {
    let mut pem = read(certificate.0, certificate.1)?;
    pem.push(b'\n');
    pem.extend(read(key.0, key.1)?);
    Ok(pem)
}

fn read(setting: &str, path: &Path) -> Result<Vec<u8>> {
    fs::read(path)
        .map_err(|error| CliError::new(format!("{setting}: failed to read {}: {error}", path.display())))
}
