//! The port of the currency of a store.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::domain::Currency;
use crate::log::{Reason, ReasonKind};
use crate::{Error, ErrorKind, Result};

/// Keeps the currency of a store, so that no sum ever adds two currencies.
///
/// A store has one currency: the first one that [`adopt_currency`](Self::adopt_currency) or an
/// inserted purchase gave to the store. A purchase without a currency is in the currency of the
/// store, even if it was inserted before the store had one.
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - A store keeps the first currency, also for the next process that opens it, and refuses another
///   one (`currency::the_first_currency_is_kept`).
/// - The first purchase with a currency gives it to the store. A purchase in another currency is
///   rejected, and the others of its batch are stored
///   (`currency::a_purchase_gives_the_store_its_currency`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait CurrencyStore: Debug + Send + Sync + 'static {
    /// Returns the currency of the store, if one is set.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) if the store cannot be reached.
    async fn currency(&self) -> Result<Option<Currency>>;

    /// Sets the currency of the store to `currency` durably, unless one is already set.
    ///
    /// # Errors
    /// - [`Conflict`](ErrorKind::Conflict) if another currency is set
    /// - The errors of [`currency`](Self::currency)
    async fn adopt_currency(&self, currency: &Currency) -> Result<()>;
}

/// Returns the error for a store with the currency `kept` that is opened with the currency `given`.
#[must_use]
pub fn other_currency(kept: &Currency, given: &Currency) -> Error {
    let message = format!(
        "the purchases of this store are in {kept}, so it cannot be used with {given}: \
         a sum would add two currencies. Set the currency to {kept}, or use another store"
    );
    Error::new(ErrorKind::Conflict, message)
}

/// Returns the reason why a store with the currency `kept` rejects a purchase in the currency
/// `given`.
#[must_use]
pub fn rejected_currency(kept: &Currency, given: &Currency) -> Reason {
    let detail = format!("the currency is {given}, and the store has purchases in {kept}");
    Reason::from_parts(ReasonKind::Refused, detail)
}
