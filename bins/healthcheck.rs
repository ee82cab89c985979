//! `--healthcheck`: asks the running service whether it is ready.
//!
//! The check is a mode of the binaries themselves, for container images without a shell or `curl`.
//! It reads the settings of the service, and requests the readiness at the address that follows
//! from them. `management status` uses the same client.

use shop_client::{ShopClient, ShopClientBuilder};

use crate::settings::Settings;
use crate::{CliError, Result, tls};

/// Requests the readiness of the service that listens on SHOP_ADMIN_ADDR, or else on SHOP_HOST and
/// SHOP_PORT.
///
/// # Errors
/// - an error with the address of the service if the service does not respond, or is not ready
/// - the errors of [`client_builder`]
pub(crate) async fn run(settings: &Settings) -> Result<()> {
    let url = settings.probe_url();
    let client = client_builder(settings, &url)?.build();
    // An error of the client, such as for an invalid URL, is reported with the same text as an
    // error of the service.
    let readiness = async { client?.check_process().await }.await;

    readiness.map_err(|error| CliError::new(format!("{url} is not ready: {error}")))
}

/// Returns a builder for a client that probes our own service at `url`, see
/// [`Settings::probe_url`].
///
/// # Errors
/// An error if the service uses TLS, and a file for its client cannot be read, or is invalid.
pub(crate) fn client_builder(settings: &Settings, url: &str) -> Result<ShopClientBuilder> {
    let builder = ShopClient::builder(url);

    // With an admin listener, `url` is its address, and it has no TLS.
    if settings.process.admin_addr.is_none()
        && let Some(http_client) = tls::client_of_own_service(settings)?
    {
        return Ok(builder.http_client(http_client));
    }
    Ok(builder)
}
