//! The shop on which commands refund and import.

use shop_core::Shop;

use super::{OpenPort, currency, log_and_purchases};
use crate::Result;
use crate::settings::Settings;

/// Opens the log and the store of the purchases as one shop, which is named after its log.
///
/// # Errors
/// - the errors of the backends
/// - a usage error if the store and the settings specify different currencies
pub(crate) async fn open_shop(settings: &Settings) -> Result<OpenPort<Shop>> {
    let (log, store) = log_and_purchases(settings).await?;
    let store_port = store.port.store;
    let currency = currency::of_shop(settings, &store_port).await?;
    Ok(OpenPort {
        port: Shop::in_currency(currency, log.port.sink(), store_port),
        name: log.name,
        is_missing: log.is_missing || store.is_missing,
        inspection: store.inspection,
    })
}
