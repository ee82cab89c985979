//! The currency of the shop, on which the settings and the store must agree.
//!
//! The store keeps one currency, so that no sum ever adds two. A start compares that currency with
//! the currency of the settings. A store or a service that is unavailable does not prevent the
//! start, because the store itself rejects purchases in another currency later.

use std::time::Duration;

use shop_client::ShopClient;
use shop_core::domain::Currency;
use shop_core::ports::{CurrencyStore, other_currency};
use shop_core::{Error, ErrorKind};
use tokio::time::timeout;

use crate::settings::Settings;
use crate::{CliError, Result};

/// How long a start waits for a store that may be unavailable.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);

/// Returns the currency of the settings. If the settings name none, returns the currency of `store`,
/// if it is known.
///
/// A store without a currency adopts the one of the settings. Errors of the store are not returned,
/// except for a conflict.
///
/// # Errors
/// An error if the store and the settings specify different currencies.
pub(crate) async fn resolve_from_store(
    settings: &Settings,
    store: &dyn CurrencyStore,
) -> Result<Option<Currency>> {
    let Some(configured) = &settings.currency else {
        let read = timeout(TIMEOUT, store.currency()).await;
        return Ok(read.unwrap_or(Ok(None)).unwrap_or_default());
    };

    match timeout(TIMEOUT, store.adopt_currency(configured)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) if error.kind() == ErrorKind::Conflict => return Err(setting_error(&error)),
        Ok(Err(error)) => {
            tracing::warn!(error = %error.chain(), "the store cannot be asked for its currency");
        }
        Err(_elapsed) => tracing::warn!("the store cannot be asked for its currency in time"),
    }
    Ok(Some(configured.clone()))
}

/// Returns the currency of the settings, or else the currency of the service `management`, which
/// owns the store.
///
/// A service that is unavailable is not an error.
///
/// # Errors
/// An error if the service and the settings specify different currencies.
pub(crate) async fn resolve_from_service(
    settings: &Settings,
    management: &ShopClient,
) -> Result<Option<Currency>> {
    let stored = timeout(TIMEOUT, management.currency())
        .await
        .unwrap_or(Ok(None))
        .unwrap_or_default();
    let Some(configured) = &settings.currency else {
        return Ok(stored);
    };

    reject_other_currency(stored, configured)?;
    Ok(Some(configured.clone()))
}

/// Checks that the currency of `store` does not contradict the settings. Writes nothing.
///
/// # Errors
/// - an error if the store and the settings specify different currencies
/// - the errors of [`CurrencyStore::currency`]
pub(crate) async fn check(settings: &Settings, store: &dyn CurrencyStore) -> Result<()> {
    let Some(configured) = &settings.currency else {
        return Ok(());
    };
    reject_other_currency(store.currency().await?, configured)
}

/// Checks that the currency `stored` in the store, if there is one, is `configured`.
///
/// # Errors
/// An error if `stored` is another currency.
fn reject_other_currency(stored: Option<Currency>, configured: &Currency) -> Result<()> {
    match stored {
        Some(stored) if stored != *configured => {
            Err(setting_error(&other_currency(&stored, configured)))
        }
        _ => Ok(()),
    }
}

/// Returns `error` as an error of the setting of the currency.
fn setting_error(error: &Error) -> CliError {
    CliError::new(format!("SHOP_CURRENCY: {}", error.message()))
}
