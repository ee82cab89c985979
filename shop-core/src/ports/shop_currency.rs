//! What a process knows about the currency of its shop, and which purchases it accepts therefore.
//!
//! The settings of a process may name a currency, and so may its store. The store refuses a purchase
//! in another currency. A process must not acknowledge such a purchase first. So all writes of a
//! process go through one [`ShopCurrency`], and a task of the process asks the store for its
//! currency again and again:
//!
//! | answer of the store | the process is set to EUR | the process is set to no currency |
//! |---|---|---|
//! | none yet | nothing is accepted | only purchases that name no currency, which each store takes |
//! | it has no currency | it adopts EUR; nothing is accepted if it cannot | purchases that name no currency |
//! | EUR | purchases in EUR | the same, as if the process was set to EUR |
//! | USD | nothing is accepted | purchases in USD |

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::CurrencyStore;
use crate::domain::{Currency, Details};
use crate::lock::lock;
use crate::{Error, ErrorKind, Outcome, Result};

/// How long the store may take to answer what its currency is.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause between two questions while nothing, or not everything, is accepted.
const PAUSE_UNTIL_KNOWN: Duration = Duration::from_secs(1);
/// The pause between two questions once the currency is known. The store may be replaced by another
/// one, or get a currency by the settings of another process.
const PAUSE_WHEN_KNOWN: Duration = Duration::from_secs(10);

/// What a process knows about the currency of its shop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CurrencyState {
    /// The store, or the service in front of it, has not answered yet.
    NotYetKnown {
        /// The currency of the settings.
        configured: Option<Currency>,
    },
    /// All purchases of the shop are in this currency, or none of them names a currency.
    Known(Option<Currency>),
    /// The store has another currency than the process.
    Other {
        /// The currency of the store. `None` if the store is behind a service, which has no currency
        /// in its settings.
        stored: Option<Currency>,
        /// The currency of the process.
        configured: Currency,
    },
}

/// Which purchases a process accepts. It is all that a buy reads of the state of the currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Accepted {
    /// Purchases that name no currency.
    WithoutCurrency,
    /// Purchases in the currency of the process, which purchases without a currency get.
    InCurrency,
    Nothing,
}

impl Accepted {
    /// Returns the variant with this number, which an atomic contained.
    const fn from_number(number: u8) -> Self {
        const WITHOUT_CURRENCY: u8 = Accepted::WithoutCurrency as u8;
        const IN_CURRENCY: u8 = Accepted::InCurrency as u8;
        match number {
            WITHOUT_CURRENCY => Self::WithoutCurrency,
            IN_CURRENCY => Self::InCurrency,
            _ => Self::Nothing,
        }
    }
}

/// The currency of a shop, as far as this process knows it. Clones share what they know.
///
/// The default is a shop without a currency, which refuses purchases that name one.
///
/// ```
/// use shop_core::memory::InMemoryStore;
/// use shop_core::ports::{CurrencyState, ShopCurrency};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> shop_core::Result<()> {
/// let (euro, dollar) = ("EUR".parse()?, "USD".parse()?);
/// let store = InMemoryStore::new();
/// let currency = ShopCurrency::not_yet_known(Some(euro));
/// currency.ask(&store).await?;
/// assert_eq!(currency.known()?.unwrap().as_str(), "EUR");
///
/// // The store keeps its currency, and a process with another one accepts nothing.
/// let other = ShopCurrency::not_yet_known(Some(dollar));
/// other.ask(&store).await.unwrap_err();
/// assert!(matches!(other.state(), CurrencyState::Other { .. }));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ShopCurrency(Arc<SharedCurrency>);

/// What the clones of a [`ShopCurrency`] share.
#[derive(Debug)]
struct SharedCurrency {
    /// The currency of the settings.
    configured: Option<Currency>,
    /// The currency that purchases get: that of the settings, or else the first one of the store.
    /// It never changes, because other parts of the process may have used it.
    currency: OnceLock<Currency>,
    state: Mutex<CurrencyState>,
    /// The [`Accepted`] of `state`.
    accepted: AtomicU8,
}

impl ShopCurrency {
    /// Creates the currency of a process whose settings name the currency `configured`, and whose
    /// store was not [asked](Self::ask) yet.
    #[must_use]
    pub fn not_yet_known(configured: Option<Currency>) -> Self {
        let state = CurrencyState::NotYetKnown {
            configured: configured.clone(),
        };
        Self::new(configured, state)
    }

    /// Creates the currency of a shop whose store is known to have this currency, or to have none.
    #[must_use]
    pub fn fixed(currency: Option<Currency>) -> Self {
        Self::new(currency.clone(), CurrencyState::Known(currency))
    }

    /// Creates the currency of a process whose settings name the currency `configured`, in this
    /// `state`.
    fn new(configured: Option<Currency>, state: CurrencyState) -> Self {
        let currency = configured
            .clone()
            .map_or_else(OnceLock::new, OnceLock::from);
        let accepted = AtomicU8::new(state.accepted() as u8);
        Self(Arc::new(SharedCurrency {
            configured,
            currency,
            state: Mutex::new(state),
            accepted,
        }))
    }

    /// Returns what this process knows about the currency.
    #[must_use]
    pub fn state(&self) -> CurrencyState {
        lock(&self.0.state).clone()
    }

    /// Returns whether some purchases are accepted.
    #[must_use]
    pub fn accepts_purchases(&self) -> bool {
        self.accepted() != Accepted::Nothing
    }

    /// Returns the currency of all purchases of the shop, or `None` for a shop without a currency.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) with the outcome [`NotApplied`](Outcome::NotApplied)
    /// if the currency is not known yet, or the store has another one.
    pub fn known(&self) -> Result<Option<Currency>> {
        match self.state() {
            CurrencyState::Known(currency) => Ok(currency),
            state => Err(unavailable(&state)),
        }
    }

    /// Checks that the shop accepts a purchase with these `details`, and adds the currency of the
    /// shop to details without a currency.
    ///
    /// # Errors
    /// The errors of [`check`](Self::check).
    pub(crate) fn admit(&self, details: &mut Details) -> Result<()> {
        if let Some(currency) = self.currency_to_add(details)? {
            details.currency = Some(currency.clone());
        }
        Ok(())
    }

    /// Checks that the shop accepts a purchase with these details.
    ///
    /// # Errors
    /// - [`Invalid`](ErrorKind::Invalid) if the details name another currency than the shop. In a
    ///   shop without a currency, the details of a purchase must not name any. Those of a refund may,
    ///   because the store decides about the currency of a refund there.
    /// - [`Unavailable`](ErrorKind::Unavailable) with the outcome [`NotApplied`](Outcome::NotApplied)
    ///   if the currency is not known yet, or the store has another one
    pub fn check(&self, details: &Details) -> Result<()> {
        self.currency_to_add(details).map(drop)
    }

    /// Returns which purchases are accepted now.
    fn accepted(&self) -> Accepted {
        Accepted::from_number(self.0.accepted.load(Ordering::Acquire))
    }

    /// Checks that the shop accepts a purchase with these `details`, and returns the currency to add
    /// to them: that of the shop, if the shop has one and the details name none.
    ///
    /// # Errors
    /// The errors of [`check`](Self::check).
    fn currency_to_add(&self, details: &Details) -> Result<Option<&Currency>> {
        let is_refund = details.of.is_some();
        // The currency is set before `accepted`, so it is read after it.
        let accepted = self.accepted();
        let shop_currency = self.0.currency.get();
        match (accepted, &details.currency) {
            (Accepted::WithoutCurrency, None) => Ok(None),
            // The store decides about the currency of a refund.
            (Accepted::WithoutCurrency, Some(_)) if is_refund => Ok(None),
            (Accepted::InCurrency, None) => Ok(shop_currency),
            (Accepted::InCurrency, named) if named.as_ref() == shop_currency => Ok(None),
            (Accepted::WithoutCurrency | Accepted::InCurrency, Some(_))
            | (Accepted::Nothing, _) => Err(self.refusal(details)),
        }
    }

    /// Returns the error of a purchase with these `details`, which is not accepted.
    fn refusal(&self, details: &Details) -> Error {
        let state = self.state();
        // `adopt_currency` fails with the reason. It is called on a clone, because only the reason is
        // needed.
        if let CurrencyState::Known(currency) = &state
            && let Err(reason) = details.clone().adopt_currency(currency.as_ref())
        {
            return Error::new(ErrorKind::Invalid, format!("currency {reason}"));
        }
        unavailable(&state)
    }

    /// Asks `store` for its currency, and records the answer as the state of this currency. A store
    /// without a currency adopts the currency of the settings.
    ///
    /// # Errors
    /// - [`Conflict`](ErrorKind::Conflict) if the store has another currency than this process. The
    ///   process then accepts nothing until the store gives another answer
    /// - The error of the store if it does not answer. The state stays as it was
    pub async fn ask(&self, store: &dyn CurrencyStore) -> Result<()> {
        let answer = timeout(ANSWER_TIMEOUT, self.ask_without_limit(store)).await;
        let store_currency = answer.unwrap_or_else(|_elapsed| {
            let message = format!("no answer within {ANSWER_TIMEOUT:?}");
            Err(Error::new(ErrorKind::DeadlineExceeded, message))
        })?;

        self.record_store_currency(store_currency);
        match self.state() {
            CurrencyState::Other {
                stored: Some(stored),
                configured,
            } => Err(other_currency(&stored, &configured)),
            _ => Ok(()),
        }
    }

    /// Returns the currency of `store`, without a limit of time. A store without a currency adopts
    /// the currency of the settings first, if there is one.
    ///
    /// # Errors
    /// The errors of the store.
    async fn ask_without_limit(&self, store: &dyn CurrencyStore) -> Result<Option<Currency>> {
        // `None` reads the currency of the store, and sets none.
        let store_currency = store.currency(None).await?;
        if store_currency.is_some() {
            return Ok(store_currency);
        }
        let Some(configured) = self.0.configured.clone() else {
            return Ok(None);
        };

        match store.currency(Some(configured)).await {
            // The store takes its currency from another process only, such as the service before it.
            Err(error) if error.kind() == ErrorKind::Unsupported => Ok(None),
            adopted_currency => adopted_currency,
        }
    }

    /// Asks `store` for its currency again and again, and records each answer. Never ends.
    ///
    /// Each change is logged. While the store does not answer, what was known before stays, so an
    /// outage of the store does not affect a process that knows its currency.
    pub async fn keep_asking(&self, store: &dyn CurrencyStore) {
        loop {
            let is_known = matches!(self.state(), CurrencyState::Known(_));
            let pause = if is_known {
                PAUSE_WHEN_KNOWN
            } else {
                PAUSE_UNTIL_KNOWN
            };
            sleep(pause).await;

            // `ask` has recorded and logged that the store has another currency.
            if let Err(error) = self.ask(store).await {
                tracing::debug!(error = %error.chain(), "asked the store for its currency");
            }
        }
    }

    /// Records `store_currency`, the answer of the store, and logs the new state if it differs from
    /// the last one.
    fn record_store_currency(&self, store_currency: Option<Currency>) {
        let shared = &*self.0;
        let new_state = match (store_currency, &shared.configured) {
            (None, None) => CurrencyState::Known(None),
            (None, Some(configured)) => CurrencyState::Other {
                stored: None,
                configured: configured.clone(),
            },
            (Some(store_currency), _) => {
                // Without a setting, the first currency of the store is the currency of the process.
                let process_currency = shared.currency.get_or_init(|| store_currency.clone());
                if *process_currency == store_currency {
                    CurrencyState::Known(Some(store_currency))
                } else {
                    CurrencyState::Other {
                        configured: process_currency.clone(),
                        stored: Some(store_currency),
                    }
                }
            }
        };

        let mut state = lock(&shared.state);
        if *state == new_state {
            return;
        }
        match (&new_state, new_state.problem()) {
            (_, Some(problem)) => tracing::error!("no purchase is accepted: {problem}"),
            (CurrencyState::Known(Some(currency)), None) => {
                tracing::info!(%currency, "the currency of the store is known");
            }
            // Most shops have no currency, so their operators need not see this line.
            _ => tracing::debug!("the store has no currency"),
        }
        shared
            .accepted
            .store(new_state.accepted() as u8, Ordering::Release);
        *state = new_state;
    }
}

impl Default for ShopCurrency {
    fn default() -> Self {
        Self::fixed(None)
    }
}

impl CurrencyState {
    /// Returns which purchases are accepted.
    const fn accepted(&self) -> Accepted {
        match self {
            Self::Known(Some(_)) => Accepted::InCurrency,
            // A purchase that names no currency is in the currency of the store, whichever that is.
            Self::Known(None) | Self::NotYetKnown { configured: None } => Accepted::WithoutCurrency,
            Self::NotYetKnown { .. } | Self::Other { .. } => Accepted::Nothing,
        }
    }

    /// Returns the currency of the store, if the store has answered.
    #[must_use]
    pub const fn stored(&self) -> Option<&Currency> {
        match self {
            Self::NotYetKnown { .. } => None,
            Self::Known(stored) | Self::Other { stored, .. } => stored.as_ref(),
        }
    }

    /// Returns why purchases are refused, for operators, or `None` if the currency is known.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        match self {
            Self::Known(_) => None,
            Self::NotYetKnown { .. } => Some(
                "the store, or the service that stores the purchases, has not answered yet what \
                 its currency is"
                    .to_owned(),
            ),
            Self::Other {
                stored: Some(stored),
                configured,
            } => Some(other_currency(stored, configured).message().to_owned()),
            Self::Other {
                stored: None,
                configured,
            } => Some(format!(
                "the service that stores the purchases has no currency, so purchases in \
                 {configured} would be refused there: set its SHOP_CURRENCY to {configured}"
            )),
        }
    }
}

/// Returns the error of a write that is not accepted in `state`.
fn unavailable(state: &CurrencyState) -> Error {
    // A state without a problem is new: the state changed after the write was refused.
    let message = state
        .problem()
        .unwrap_or_else(|| "the currency of the store has just changed".to_owned());
    Error::new(ErrorKind::Unavailable, message).with_outcome(Outcome::NotApplied)
}

/// Returns the error for a store with the currency `stored` that is used with the currency
/// `configured`.
#[must_use]
pub fn other_currency(stored: &Currency, configured: &Currency) -> Error {
    let message = format!(
        "the purchases of this store are in {stored}, so it cannot be used with {configured}: \
         a sum would add two currencies. Set the currency to {stored}, or use another store"
    );
    Error::new(ErrorKind::Conflict, message)
}
