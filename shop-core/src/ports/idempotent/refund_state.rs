//! The state of a refund: what a store has decided about it.
//!
//! All refunds of a purchase share one id, which is derived from the purchase. So the entry of the
//! store under this id may be another refund than the one that is asked for, and only the content
//! tells.
//!
//! | entry under the id of the refund | its purchase | state |
//! |---|---|---|
//! | a refund with the same content | | applied |
//! | a refund with other content | | conflict |
//! | the mark of an erased refund | | erased |
//! | none, or a waiting refund | is stored, and contradicts the refund | refused |
//! | none, or a waiting refund | was erased | erased |
//! | a waiting refund | is not stored, or just arrived | waiting |
//! | none | is not stored, or permits the refund | undecided |

use super::erased_error;
use super::lookups::look_up_entry;
use crate::ports::{Lookup, PurchaseQuery};
use crate::{Error, ErrorKind, Invalid, Purchase, Result};

/// The state of a refund in a store.
#[derive(Debug, Clone, PartialEq)]
pub enum RefundState {
    /// The store applied the refund. The stored refund may have another time, because the time is
    /// not part of the content.
    Applied(Purchase),
    /// The store keeps a refund of this purchase until the purchase is stored.
    Waiting,
    /// The store has not decided: the refund may be on its way from the log to the store.
    Undecided,
    /// The store applied another refund of the purchase, so it never applies this one.
    Conflict,
    /// The refund contradicts its purchase, for this reason, so the store never applies it.
    Refused(Invalid),
    /// The purchase or its refund was erased, so the store never applies the refund.
    Erased,
}

impl RefundState {
    /// Looks up `refund` and its purchase in the store of `query`.
    ///
    /// # Errors
    /// Returns the errors of the store.
    pub(crate) async fn look_up(query: &dyn PurchaseQuery, refund: &Purchase) -> Result<Self> {
        let refund_entry = look_up_entry(query, &refund.id).await?;
        let state = Self::from_refund_entry(refund_entry, refund);
        let is_decided = !matches!(state, Self::Waiting | Self::Undecided);
        if is_decided {
            return Ok(state);
        }

        // Every refund names its purchase. An entry that names none has nothing to contradict.
        let Some(purchase_id) = &refund.details.of else {
            return Ok(state);
        };

        let purchase_entry = look_up_entry(query, purchase_id).await?;
        Ok(Self::from_purchase_entry(purchase_entry, refund).unwrap_or(state))
    }

    /// Returns the state of `refund` by `entry`, the entry of the store under the id of the refund.
    fn from_refund_entry(entry: Lookup, refund: &Purchase) -> Self {
        match entry {
            Lookup::Stored(stored) if stored.same_content(refund) => Self::Applied(stored),
            Lookup::Stored(_) => Self::Conflict,
            Lookup::Erased => Self::Erased,
            Lookup::Waiting(_) => Self::Waiting,
            Lookup::Missing => Self::Undecided,
        }
    }

    /// Returns the state of `refund` if `entry`, the entry of the store under the id of its purchase,
    /// shows that the store never applies the refund.
    fn from_purchase_entry(entry: Lookup, refund: &Purchase) -> Option<Self> {
        match entry {
            Lookup::Stored(purchase) => {
                let contradiction = refund.as_refund_of(&purchase).err()?;
                Some(Self::Refused(contradiction))
            }
            Lookup::Erased => Some(Self::Erased),
            Lookup::Missing | Lookup::Waiting(_) => None,
        }
    }

    /// Returns the stored refund if the store applied the refund, and `None` if the store has not
    /// decided yet.
    ///
    /// # Errors
    /// - [`Conflict`](ErrorKind::Conflict) if the store applied another refund of the purchase
    /// - [`Erased`](ErrorKind::Erased) if the purchase or its refund was erased
    /// - [`Invalid`](ErrorKind::Invalid) if the refund contradicts its purchase
    pub(super) fn into_decision(self) -> Result<Option<Purchase>> {
        match self {
            Self::Applied(stored) => Ok(Some(stored)),
            Self::Waiting | Self::Undecided => Ok(None),
            Self::Conflict => {
                let message = "the purchase was refunded with another amount or reason";
                Err(Error::new(ErrorKind::Conflict, message))
            }
            Self::Erased => Err(erased_error()),
            Self::Refused(contradiction) => Err(contradiction.into()),
        }
    }
}
