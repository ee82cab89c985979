//! The clients for calls between the services of this project.

use secrecy::ExposeSecret as _;
use shop_client::{BearerToken, RetryPolicy, ShopClient, ShopClientBuilder};

use crate::settings::Settings;
use crate::{CliError, Result, tls};

/// Creates a client of another service of this project.
///
/// # Errors
/// - an error if the token of the services is invalid
/// - the errors of [`tls::with_service_certificates`] and of the client
pub(crate) async fn create_service_client(url: &str, settings: &Settings) -> Result<ShopClient> {
    let client = with_service_token(ShopClient::builder(url), settings)?;
    Ok(tls::with_service_certificates(client, settings)
        .await?
        .build()?)
}

/// Returns `client` with the options for calls between the services of this project, and with the
/// token of the services, if the settings have one.
///
/// # Errors
/// An error if the token is invalid.
pub(crate) fn with_service_token(
    client: ShopClientBuilder,
    settings: &Settings,
) -> Result<ShopClientBuilder> {
    // The clients of facing retry their requests, so retries by facing would multiply the load.
    // Between the services, responses without compression are faster.
    let client = client.retries(RetryPolicy::none()).gzip(false);
    let Some(secret) = settings.service_calls.token.clone() else {
        return Ok(client);
    };

    let setting = match secret.file {
        Some(_) => "SHOP_SERVICE_TOKEN_FILE",
        None => "SHOP_SERVICE_TOKEN",
    };
    // An invalid token is an error now, and not at the first request.
    BearerToken::new(secret.at_start.expose_secret()).map_err(CliError::about(setting))?;
    // The client keeps a token until a service rejects it, and then reads the secret again.
    Ok(client.token_provider(move || {
        let secret = secret.clone();
        async move {
            let token = BearerToken::new(secret.current().await.expose_secret());
            Ok(token?)
        }
    }))
}
