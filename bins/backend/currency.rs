//! The currency of the shop, on which the settings and the store must agree.
//!
//! The store keeps one currency, so that no sum adds prices in two currencies. A service asks the
//! store at its start: with another currency in its settings it does not start. If the store is
//! unavailable then, the service starts, and refuses what the store may refuse until the store has
//! answered: see [`ShopCurrency`]. A command with another currency in its settings is refused as
//! well.

use shop_core::ports::{CurrencyStore, ShopCurrency, other_currency};
use shop_core::{Backend, ErrorKind};

use super::Backends;
use crate::settings::Settings;
use crate::{CliError, Result};

/// Asks the store of `backend`, or the service in front of the store, for its currency. Returns the
/// currency of the shop, which is not known yet if the store does not answer.
///
/// A store without a currency adopts the currency of the settings.
///
/// # Errors
/// A usage error if the store and the settings specify different currencies.
pub(crate) async fn read_shop_currency(
    settings: &Settings,
    backend: &Backend,
) -> Result<ShopCurrency> {
    let currency = ShopCurrency::not_yet_known(settings.process.currency.clone());
    let Some(currency_store) = &backend.currency_store else {
        return Ok(currency);
    };
    match currency.ask(&**currency_store).await {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::Conflict => return Err(setting_error(&error)),
        Err(error) => {
            tracing::warn!(
                error = %error.chain(),
                "the store does not answer what its currency is: purchases that depend on it are refused until it does"
            );
        }
    }
    Ok(currency)
}

/// Checks that the currency of `store` does not contradict the settings. Writes nothing.
///
/// # Errors
/// - a usage error if the store and the settings specify different currencies
/// - the errors of [`CurrencyStore::currency`]
pub(crate) async fn check(settings: &Settings, store: &dyn CurrencyStore) -> Result<()> {
    let Some(configured_currency) = &settings.process.currency else {
        return Ok(());
    };
    // A check must not let a store without a currency adopt one.
    let currency_to_adopt = None;
    match store.currency(currency_to_adopt).await? {
        Some(stored_currency) if stored_currency != *configured_currency => Err(setting_error(
            &other_currency(&stored_currency, configured_currency),
        )),
        _ => Ok(()),
    }
}

/// Checks that the currency of the store of purchases does not contradict the settings of a command,
/// before the command opens anything.
///
/// A store that is missing or unavailable does not contradict the settings. A command that needs
/// the store then fails by itself.
///
/// # Errors
/// A usage error if the store and the settings specify different currencies.
pub(crate) async fn check_command(backends: &Backends<'_>) -> Result<()> {
    if backends.settings.process.currency.is_none() {
        return Ok(());
    }
    let Ok(opened) = backends.purchases().await else {
        return Ok(());
    };
    let Some(store) = opened.port.currency_store else {
        return Ok(());
    };
    match check(backends.settings, &*store).await {
        Err(error) if error.is_usage() => Err(error),
        // Other errors are errors of the store.
        _ => Ok(()),
    }
}

/// Returns `error` as a usage error of the setting SHOP_CURRENCY.
fn setting_error(error: &shop_core::Error) -> CliError {
    CliError::usage(format!("SHOP_CURRENCY: {}", error.message()))
}
