//! `--healthcheck`: whether the service with these settings is ready, for images without a shell or `curl`.

use shop_client::{ShopClient, ShopClientBuilder};

use crate::settings::Settings;
use crate::{CliError, Result, tls};

/// Requests the readiness of the service that listens on SHOP_ADMIN_ADDR, or else on SHOP_HOST and SHOP_PORT.
///
/// # Errors
/// When it does not respond, or is not ready.
pub(crate) async fn run(settings: &Settings) -> Result<()> {
    let url = settings.probe_url();
    let client = client(settings, &url)?.build();
    let checked = async { client?.check_process().await };
    checked
        .await
        .map_err(|error| CliError::new(format!("{url} is not ready: {error}")))
}

/// A client of the service with these settings, at its probes.
pub(crate) fn client(settings: &Settings, url: &str) -> Result<ShopClientBuilder> {
    let client = ShopClient::builder(url);
    // The admin listener has no TLS.
    if settings.admin_addr.is_none()
        && let Some(http) = tls::client_of_own_service(settings)?
    {
        return Ok(client.http_client(http));
    }
    Ok(client)
}
