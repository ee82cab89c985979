//! The currency of the shop, which its store keeps.

use std::time::Duration;

use shop_client::ShopClient;
use shop_core::domain::Currency;
use shop_core::ports::{CurrencyStore, other_currency};
use shop_core::{Error, ErrorKind};
use tokio::time::timeout;

use crate::settings::Settings;
use crate::{CliError, Result};

/// How long a start waits for a store that may be unavailable. The store itself rejects purchases in another currency.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);

/// Returns the currency of the shop: the one of its store, which takes that of the settings if it has none.
///
/// # Errors
/// If the settings have another one than the store. A store that cannot be asked is no error.
pub(crate) async fn of_store(
    settings: &Settings,
    store: &dyn CurrencyStore,
) -> Result<Option<Currency>> {
    let Some(given) = &settings.currency else {
        let kept = timeout(TIMEOUT, store.currency()).await;
        return Ok(kept.ok().and_then(shop_core::Result::ok).flatten());
    };
    match timeout(TIMEOUT, store.adopt_currency(given)).await {
        Ok(Err(error)) if error.kind() == ErrorKind::Conflict => return Err(refused(&error)),
        Ok(Err(error)) => {
            tracing::warn!(error = %error.chain(), "the store cannot be asked for its currency");
        }
        Ok(Ok(())) => {}
        Err(_elapsed) => tracing::warn!("the store cannot be asked for its currency in time"),
    }
    Ok(Some(given.clone()))
}

/// Returns the currency of the shop where another service has the store: that of the service, or of the settings.
///
/// # Errors
/// If the settings have another one than the service. A service that cannot be asked is no error.
pub(crate) async fn of_service(
    settings: &Settings,
    management: &ShopClient,
) -> Result<Option<Currency>> {
    let kept = timeout(TIMEOUT, management.currency())
        .await
        .ok()
        .and_then(shop_core::Result::ok)
        .flatten();
    match (&settings.currency, kept) {
        (Some(given), Some(kept)) if *given != kept => Err(refused(&other_currency(&kept, given))),
        (Some(given), _) => Ok(Some(given.clone())),
        (None, kept) => Ok(kept),
    }
}

/// Checks that the settings have no other currency than the store. Writes nothing.
///
/// # Errors
/// If they have another one, and as [`CurrencyStore::currency`].
pub(crate) async fn check(settings: &Settings, store: &dyn CurrencyStore) -> Result<()> {
    let Some(given) = &settings.currency else {
        return Ok(());
    };
    match store.currency().await? {
        Some(kept) if kept != *given => Err(refused(&other_currency(&kept, given))),
        _ => Ok(()),
    }
}

fn refused(error: &Error) -> CliError {
    CliError::new(format!("SHOP_CURRENCY: {}", error.message()))
}
