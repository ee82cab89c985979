//! `--healthcheck`: whether the service with these settings is ready, for images without a shell or `curl`.

use shop_client::ShopClient;

use crate::settings::Settings;
use crate::{CliError, Result, tls};

/// Requests the state of the service that listens on HOST and PORT.
///
/// # Errors
/// When it does not respond, or is not ready.
pub(crate) async fn run(settings: &Settings) -> Result<()> {
    let url = settings.url_from_here();
    let mut client = ShopClient::builder(&url);
    if let Some(own) = tls::client_of_own_service(settings)? {
        client = client.http_client(own);
    }
    let checked = match client.build() {
        Ok(client) => client.check_process().await,
        Err(error) => Err(error),
    };
    checked.map_err(|error| CliError::new(format!("{url} is not ready: {error}")))
}
