//! The shop on which commands refund and import.

use std::sync::Arc;

use shop_core::Shop;

use super::{Backends, OpenPort, currency};
use crate::Result;

/// Opens the log and the store of the purchases as one shop. The opened port has the name of the
/// log.
///
/// # Errors
/// - the errors of the backends
/// - a usage error if the store and the settings specify different currencies
pub(crate) async fn open_shop(backends: &Backends<'_>) -> Result<OpenPort<Shop>> {
    let (log, store) = backends.log_and_purchases().await?;
    let currency = currency::read_shop_currency(backends.settings, &store.port).await?;
    let sink = Arc::clone(log.port.require_sink()?);
    let query = Arc::clone(store.port.require_query()?);
    Ok(log.map(|_log| Shop::in_currency(currency, sink, query)))
}
