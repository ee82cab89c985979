//! The port of the currency of a store.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::Result;
use crate::domain::Currency;
use crate::log::{Reason, ReasonKind};

/// Keeps the currency of a store, so that no sum ever adds two currencies.
///
/// A store has one currency: the first one that a call of [`currency`](Self::currency) gave to it. A
/// purchase never gives its currency to the store, because a single wrong record would decide it for
/// ever. A purchase without a currency is in the currency of the store, even if it was inserted
/// before the store had one.
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - A store keeps the first currency, also for the next process that opens it, and reports it to
///   who would set another one (`currency::the_first_currency_is_kept`).
/// - A purchase in another currency is rejected, and the others of its batch are stored, also those
///   without a currency (`currency::a_purchase_in_another_currency_is_rejected`).
/// - A store without a currency rejects every purchase and every refund that names one, and stays
///   without a currency (`currency::no_record_gives_the_store_a_currency`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait CurrencyStore: Debug + Send + Sync + 'static {
    /// Returns the currency of the store, if one is set.
    ///
    /// A store without a currency first takes the currency `adopted` durably, if it is given. So the
    /// answer to a call with `adopted` is never `None`.
    ///
    /// # Errors
    /// - [`Unavailable`](crate::ErrorKind::Unavailable) if the store cannot be reached
    /// - [`Unsupported`](crate::ErrorKind::Unsupported) with `adopted`, if the store takes its
    ///   currency from another process only
    async fn currency(&self, adopted: Option<Currency>) -> Result<Option<Currency>>;
}

/// Returns the reason why a store rejects a purchase in `purchase_currency`, or `None` if the store
/// accepts it.
///
/// `store_currency` is the currency of the store, if it has one.
#[must_use]
pub fn rejected_currency(
    store_currency: Option<&Currency>,
    purchase_currency: &Currency,
) -> Option<Reason> {
    let detail = match store_currency {
        Some(store_currency) if store_currency == purchase_currency => return None,
        Some(store_currency) => format!(
            "the currency is {purchase_currency}, and the store has purchases in {store_currency}"
        ),
        None => format!(
            "the currency is {purchase_currency}, and the store has no currency: set SHOP_CURRENCY, then replay it"
        ),
    };
    Some(Reason::from_parts(ReasonKind::Refused, detail))
}
