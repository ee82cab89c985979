//! Purchases, before and after an id is assigned.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::convert::signed;
use super::identity::id_from_key;
use super::{
    Details, IdempotencyKey, IntoValid, Invalid, NewPurchaseDraft, Price, PurchaseId, RecordOrigin,
    RequestContext, Timestamp, UserId, UserName,
};
use crate::{Error, Result};

/// A validated purchase without an id. Its JSON is that of a purchase in a request.
///
/// ```
/// use shop_core::NewPurchase;
///
/// let new = NewPurchase::for_user("u1").with_user_name("ada").with_price("29.99")?.with_key("order-7")?;
/// assert_eq!((new.user_id.as_str(), new.user_name.as_str()), ("u1", "ada"));
/// # Ok::<(), shop_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NewPurchase {
    /// The idempotency key. Without one, every call creates a purchase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<IdempotencyKey>,
    /// The buyer's id.
    #[serde(rename = "userid")]
    pub user_id: UserId,
    /// The buyer's name.
    #[serde(rename = "username")]
    pub user_name: UserName,
    /// The price.
    pub price: Price,
    /// When it was made. Defaults to the time of receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
    /// What else it has.
    #[serde(flatten, deserialize_with = "no_refund")]
    pub details: Details,
}

/// Reads the details that a client gives.
fn no_refund<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Details, D::Error> {
    let details = Details::deserialize(deserializer)?;
    if details.of.is_none() && details.reason.is_none() {
        Ok(details)
    } else {
        Err(serde::de::Error::custom("of and reason belong to a refund"))
    }
}

impl NewPurchase {
    /// A purchase of the user with this id, from text or from values: the name and the price follow.
    pub fn for_user(user_id: impl IntoValid<UserId>) -> NewPurchaseDraft<UserId> {
        NewPurchaseDraft::new(user_id)
    }

    /// A purchase of `price` by the user, made now, without a key.
    ///
    /// The arguments are values of their types. Text is parsed by [`for_user`](Self::for_user), which names each member: the type of
    /// a `parse` in these positions is not inferred, so that an id and a name cannot be confused.
    ///
    /// ```compile_fail,E0283
    /// # fn main() -> Result<(), shop_core::Invalid> {
    /// let new = shop_core::NewPurchase::new("ada".parse()?, "u1".parse()?, "29.99".parse()?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn new(
        user_id: impl Into<UserId>,
        user_name: impl Into<UserName>,
        price: impl Into<Price>,
    ) -> Self {
        Self {
            key: None,
            user_id: user_id.into(),
            user_name: user_name.into(),
            price: price.into(),
            timestamp: None,
            details: Details::default(),
        }
    }

    /// The same purchase with an idempotency key. [`Shop::buy`](crate::Shop::buy) takes the result as it is.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for text that is not a key.
    pub fn with_key(mut self, key: impl IntoValid<IdempotencyKey>) -> Result<Self> {
        self.key = Some(key.into_valid()?);
        Ok(self)
    }

    /// The same purchase, made at `timestamp`. A service rejects one that is more than 5 minutes ahead of its clock, or
    /// older than its retention.
    #[must_use]
    pub const fn with_timestamp(mut self, timestamp: Timestamp) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// The same purchase with these details.
    #[must_use]
    pub fn with_details(mut self, details: Details) -> Self {
        self.details = details;
        self
    }

    /// Assigns the id.
    ///
    /// `received` is used if the purchase has no timestamp. `fresh` creates the id of a purchase without a key, a
    /// UUIDv7 outside of tests; it is called only then. The id of a refund is derived from that of its purchase.
    pub fn into_purchase(self, received: Timestamp, fresh: impl FnOnce() -> Uuid) -> Purchase {
        let Self {
            key,
            user_id,
            user_name,
            price,
            timestamp,
            details,
        } = self;
        let id = match (&details.of, &key) {
            (Some(of), _) => of.refund_id(),
            (None, Some(key)) => id_from_key(&user_id, key),
            (None, None) => fresh().into(),
        };
        Purchase {
            id,
            user_name,
            user_id,
            price,
            timestamp: timestamp.unwrap_or(received),
            details,
            context: None,
        }
    }
}

/// The purchase without its id, for another service, which assigns one.
impl From<Purchase> for NewPurchase {
    fn from(purchase: Purchase) -> Self {
        let Purchase {
            id: _,
            user_name,
            user_id,
            price,
            timestamp,
            details,
            context: _,
        } = purchase;
        Self {
            key: None,
            user_id,
            user_name,
            price,
            timestamp: Some(timestamp),
            details,
        }
    }
}

impl TryFrom<Result<Self>> for NewPurchase {
    type Error = Error;

    fn try_from(built: Result<Self>) -> Result<Self> {
        built
    }
}

/// A purchase with an id, as written to the log and the store. Its JSON is that of the HTTP API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Purchase {
    /// The primary key in every store.
    pub id: PurchaseId,
    /// The buyer's name.
    #[serde(rename = "username")]
    pub user_name: UserName,
    /// The buyer's id.
    #[serde(rename = "userid")]
    pub user_id: UserId,
    /// The price, or the negative amount of a refund.
    #[serde(deserialize_with = "signed")]
    pub price: Price,
    /// When it was made.
    pub timestamp: Timestamp,
    /// What else it has.
    #[serde(flatten)]
    pub details: Details,
    /// The context of the request: transmitted in the log's headers, not stored.
    #[serde(skip)]
    pub context: Option<Box<RequestContext>>,
}

impl Purchase {
    /// A purchase without details.
    #[must_use]
    pub const fn new(
        id: PurchaseId,
        user_id: UserId,
        user_name: UserName,
        price: Price,
        timestamp: Timestamp,
    ) -> Self {
        Self {
            id,
            user_name,
            user_id,
            price,
            timestamp,
            details: Details::NONE,
            context: None,
        }
    }

    /// The same purchase with these details.
    #[must_use]
    pub fn with_details(mut self, details: Details) -> Self {
        self.details = details;
        self
    }

    /// The refund of `amount`, or of the whole price: a further entry of the same user, whose negative price is added to
    /// all sums. Its id is derived from that of the purchase, so a purchase is refunded once.
    ///
    /// ```
    /// use shop_core::{NewPurchase, Timestamp, Uuid};
    ///
    /// let at: Timestamp = "2026-03-01T09:00:00Z".parse()?;
    /// let bought = NewPurchase::for_user("u1").with_user_name("ada").with_price("29.99")?.into_purchase(at, Uuid::now_v7);
    /// let refund = bought.refund(Some("9.99".parse()?), at)?;
    /// assert_eq!((refund.price.to_string(), refund.details.of), ("-9.99".to_owned(), Some(bought.id)));
    /// assert_eq!(refund.id, bought.refund(None, at)?.id);
    /// assert!(bought.refund(Some("30".parse()?), at).is_err() && refund.refund(None, at).is_err());
    /// # Ok::<(), shop_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for nothing, for more than the price, and for a refund.
    pub fn refund(&self, amount: Option<Price>, timestamp: Timestamp) -> Result<Self> {
        let amount = amount.unwrap_or(self.price);
        if amount.as_decimal().is_zero() || amount > self.price || self.details.of.is_some() {
            let reason = "must be more than 0, and not more than the price of a purchase";
            return Err(Invalid::malformed("the amount of a refund", reason).into());
        }
        let mut refund = Self::new(
            self.id.refund_id(),
            self.user_id.clone(),
            self.user_name.clone(),
            amount.negated(),
            // A listing has it behind its purchase, whose time may be ahead.
            timestamp.max(self.timestamp),
        );
        refund.details.currency.clone_from(&self.details.currency);
        refund.details.reference.clone_from(&self.details.reference);
        refund.details.of = Some(self.id);
        refund.context.clone_from(&self.context);
        Ok(refund)
    }

    /// The purchase without the context, as a store returns it.
    #[must_use]
    pub fn without_context(mut self) -> Self {
        self.context = None;
        self
    }

    /// A copy without the context, which is not cloned.
    pub(crate) fn clone_stored(&self) -> Self {
        Self {
            id: self.id,
            user_name: self.user_name.clone(),
            user_id: self.user_id.clone(),
            price: self.price,
            timestamp: self.timestamp,
            details: self.details.clone(),
            context: None,
        }
    }

    /// Returns whether two purchases with one id have the same content: equal user id, user name, details, and price by
    /// value. They are then a duplicate, otherwise a conflict.
    ///
    /// - Times are not compared, because a repeated call has a new time of receipt.
    /// - An absent currency equals every currency: a shop has only one.
    /// - A refund takes its user name, its currency and its reference from its purchase, so those are not compared for
    ///   refunds.
    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        let Self {
            id: _,
            user_name,
            user_id,
            price,
            timestamp: _,
            details,
            context: _,
        } = self;
        let same_name = self.is_refund() || *user_name == other.user_name;
        same_name
            && *user_id == other.user_id
            && *price == other.price
            && details.same_content(&other.details)
    }

    /// Returns the place of the record that this refund was decoded from, if it was.
    pub(crate) fn origin(&self) -> Option<&RecordOrigin> {
        self.context.as_ref()?.origin.as_ref()
    }

    /// Returns whether this is the refund of a purchase.
    #[must_use]
    pub fn is_refund(&self) -> bool {
        self.details.of.is_some()
    }

    /// Returns this refund as a store keeps it: with the user name, the currency and the reference of `bought`, which is
    /// its purchase, and not earlier than that. So the refund is the same row whatever its producer has written, and is
    /// listed behind its purchase.
    ///
    /// A store that keeps refunds calls this when it has both, and rejects the refund with this error.
    ///
    /// # Errors
    /// [`Invalid`] if this contradicts `bought`: another user, another id, an amount above the price, or a refund of a
    /// refund.
    pub fn as_refund_of(&self, bought: &Self) -> Result<Self, Invalid> {
        let contradiction = |reason| Err(Invalid::malformed("the refund", reason));
        // Under another id it could be a second refund.
        let is_of_purchase = self.id == bought.id.refund_id()
            && self.details.of == Some(bought.id)
            && self.user_id == bought.user_id
            && !bought.is_refund();
        if !is_of_purchase || !self.price.is_negative() {
            return contradiction("is not of a purchase of its user");
        }
        if self.price.negated() > bought.price {
            return contradiction("is above the price of its purchase");
        }

        let mut stored = self.clone_stored();
        stored.user_name.clone_from(&bought.user_name);
        stored.timestamp = self.timestamp.max(bought.timestamp);
        let details = &bought.details;
        stored.details.currency.clone_from(&details.currency);
        stored.details.reference.clone_from(&details.reference);
        Ok(stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buy(user: &str, name: &str, price: &str) -> NewPurchase {
        NewPurchase::for_user(user)
            .with_user_name(name)
            .with_price(price)
            .unwrap()
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis).unwrap()
    }

    fn fresh() -> Uuid {
        Uuid::from_u128(7)
    }

    #[test]
    fn without_a_key_the_id_is_fresh() {
        let purchase = buy("u1", "ada", "1").into_purchase(at(5), fresh);
        assert_eq!((purchase.id, purchase.timestamp), (fresh().into(), at(5)));
    }

    #[test]
    fn with_a_key_no_fresh_id_is_generated() {
        let repeatable = buy("u1", "ada", "1")
            .with_key("order-7")
            .unwrap()
            .with_timestamp(at(3));
        let once = repeatable.clone().into_purchase(at(5), || unreachable!());
        let again = repeatable.into_purchase(at(6), || unreachable!());
        assert_eq!(once, again);
        assert_eq!(once.timestamp, at(3));
    }

    #[test]
    fn content_is_user_name_and_price_by_value() {
        let base = buy("u1", "ada", "29.90").into_purchase(at(5), fresh);
        assert!(base.same_content(&buy("u1", "ada", "29.9").into_purchase(at(9), fresh)));
        for other in [
            buy("u2", "ada", "29.9"),
            buy("u1", "eva", "29.9"),
            buy("u1", "ada", "29.91"),
        ] {
            assert!(!base.same_content(&other.into_purchase(at(5), fresh)));
        }
    }
}
