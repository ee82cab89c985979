//! `--healthcheck`: whether the service that these settings started is ready, for images that hold no other program
//! that could ask it.

use shop_client::ShopClient;

use crate::settings::Settings;
use crate::{CliError, Result};

/// Asks the service that listens where the settings say.
///
/// # Errors
/// When it does not answer, or says that it is not ready.
pub(crate) async fn run(settings: &Settings) -> Result<()> {
    let url = settings.url_from_here();
    let asked = match ShopClient::builder(&url).build() {
        Ok(client) => client.check_process().await,
        Err(error) => Err(error),
    };
    asked.map_err(|error| CliError::new(format!("{url} is not ready: {error}")))
}
