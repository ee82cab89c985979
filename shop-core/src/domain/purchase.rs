//! Purchases before and after an id is assigned, and refunds.
//!
//! A [`NewPurchase`] is what a client gives. [`NewPurchase::into_purchase`] assigns an id and a
//! time, and so makes a [`Purchase`], which the log and the store contain. A refund is a `Purchase`
//! too: its price is negative, and its details name the purchase that it pays back.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::details::{NewPurchaseJson, PurchaseJson};
use super::identity::id_from_key;
use super::{
    Details, IdempotencyKey, Invalid, NewPurchaseDraft, Price, PurchaseId, RecordOrigin,
    RequestContext, Timestamp, UserId, UserName,
};
use crate::{Error, Result};

/// A validated purchase without an id. Its JSON is the JSON of a purchase in a request.
///
/// ```
/// use shop_core::NewPurchase;
///
/// let new = NewPurchase::for_user("u1").with_user_name("ada").with_price("29.99")?.with_key("order-7")?;
/// assert_eq!((new.user_id.as_str(), new.user_name.as_str()), ("u1", "ada"));
/// # Ok::<(), shop_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "NewPurchaseJson")]
#[non_exhaustive]
pub struct NewPurchase {
    /// The id, if the purchase has one already, for example in an export. By default the id follows
    /// from the key, or is generated. It is not part of the JSON: over HTTP, only a batch gives ids.
    #[serde(skip)]
    pub id: Option<PurchaseId>,
    /// The idempotency key. Without one, every call creates a purchase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<IdempotencyKey>,
    /// The id of the buyer.
    #[serde(rename = "userid")]
    pub user_id: UserId,
    /// The name of the buyer.
    #[serde(rename = "username")]
    pub user_name: UserName,
    /// The price.
    pub price: Price,
    /// The time of the purchase; `None` for the time at which the purchase is received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
    /// The optional members of the purchase, such as its item.
    #[serde(flatten)]
    pub details: Details,
}

impl NewPurchase {
    /// Begins a purchase of the user with this id, from text or from values. The name and the price
    /// follow.
    pub fn for_user(
        user_id: impl TryInto<UserId, Error: Into<Invalid>>,
    ) -> NewPurchaseDraft<UserId> {
        NewPurchaseDraft::new(user_id)
    }

    /// Creates a purchase of `price` by the user, made now, without a key.
    ///
    /// The arguments are values of their types. Use [`for_user`](Self::for_user) for text: it names
    /// each member. A call of `parse` as an argument does not compile, so that an id and a name
    /// cannot be confused.
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
            id: None,
            key: None,
            user_id: user_id.into(),
            user_name: user_name.into(),
            price: price.into(),
            timestamp: None,
            details: Details::default(),
        }
    }

    /// Sets the idempotency key. [`Shop::buy`](crate::Shop::buy) accepts the returned [`Result`] as
    /// it is.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for text that is not a key.
    pub fn with_key(
        mut self,
        key: impl TryInto<IdempotencyKey, Error: Into<Invalid>>,
    ) -> Result<Self> {
        self.key = Some(key.try_into().map_err(Into::<Invalid>::into)?);
        Ok(self)
    }

    /// Sets the id of a purchase that has one already.
    #[must_use]
    pub const fn with_id(mut self, id: PurchaseId) -> Self {
        self.id = Some(id);
        self
    }

    /// Sets the time of the purchase.
    ///
    /// A service rejects a time that is more than 5 minutes ahead of its clock, or older than its
    /// retention.
    #[must_use]
    pub const fn with_timestamp(mut self, timestamp: Timestamp) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// Replaces the details.
    #[must_use]
    pub fn with_details(mut self, details: Details) -> Self {
        self.details = details;
        self
    }

    /// Assigns the id, and makes a purchase for the log and the store.
    ///
    /// - The id of a refund follows from the id of its purchase, so there is at most one refund of
    ///   a purchase.
    /// - A purchase that has an id keeps it.
    /// - The id of a purchase with a key follows from the user id and the key, so a repeated call
    ///   results in the same id.
    /// - `generate_id` creates the id of a purchase without a key. Outside of tests it is a UUIDv7.
    ///
    /// A purchase without a timestamp gets the time `received_at`.
    pub fn into_purchase(
        self,
        received_at: Timestamp,
        generate_id: impl FnOnce() -> Uuid,
    ) -> Purchase {
        let Self {
            id,
            key,
            user_id,
            user_name,
            price,
            timestamp,
            details,
        } = self;
        let id = match (&details.of, id, &key) {
            (Some(refunded_id), _, _) => refunded_id.refund_id(),
            (None, Some(id), _) => id,
            (None, None, Some(key)) => id_from_key(&user_id, key),
            (None, None, None) => generate_id().into(),
        };
        Purchase {
            id,
            user_name,
            user_id,
            price,
            timestamp: timestamp.unwrap_or(received_at),
            details,
            context: None,
        }
    }
}

/// Removes the id of a purchase, for another service that assigns its own id.
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
            id: None,
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

    /// Returns `result` as it is, so that a function that takes a purchase also takes the result of
    /// a draft.
    fn try_from(result: Result<Self>) -> Result<Self> {
        result
    }
}

/// A purchase or a refund with an id, as the log and the store contain it. Its JSON is the JSON of
/// the HTTP API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "PurchaseJson")]
#[non_exhaustive]
pub struct Purchase {
    /// The id, which is the primary key in every store.
    pub id: PurchaseId,
    /// The name of the buyer.
    #[serde(rename = "username")]
    pub user_name: UserName,
    /// The id of the buyer.
    #[serde(rename = "userid")]
    pub user_id: UserId,
    /// The price, or the negative amount of a refund.
    pub price: Price,
    /// The time of the purchase or refund.
    pub timestamp: Timestamp,
    /// The optional members of the purchase, such as its item.
    #[serde(flatten)]
    pub details: Details,
    /// The context of the request, which is transmitted in the headers of the log, but not stored.
    #[serde(skip)]
    pub context: Option<Box<RequestContext>>,
}

impl Purchase {
    /// Creates a purchase without details.
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

    /// Replaces the details.
    #[must_use]
    pub fn with_details(mut self, details: Details) -> Self {
        self.details = details;
        self
    }

    /// Makes a refund of this purchase: of `amount`, or of the whole price without an amount.
    ///
    /// The refund is a further entry of the same user. Its price is negative, and is added to all
    /// sums.
    /// The id of the refund follows from the id of the purchase, so that a purchase is refunded at
    /// most once.
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
    /// [`Invalid`](crate::ErrorKind::Invalid) if the amount is 0 or more than the price, or if this
    /// is a refund itself.
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
            // The time of the purchase may be ahead of the clock. A refund must not be listed
            // before its purchase.
            timestamp.max(self.timestamp),
        );
        refund.details.currency.clone_from(&self.details.currency);
        refund.details.reference.clone_from(&self.details.reference);
        refund.details.of = Some(self.id);
        refund.context.clone_from(&self.context);
        Ok(refund)
    }

    /// Removes the context, so that the purchase is as a store returns it.
    #[must_use]
    pub fn without_context(mut self) -> Self {
        self.context = None;
        self
    }

    /// Returns a copy without the context, which saves cloning the context.
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

    /// Checks whether two purchases with the same id have the same content.
    ///
    /// The content is the same if user id, user name, details, and the value of the price are equal.
    /// A second purchase with the same content is a duplicate. One with other content is a conflict.
    ///
    /// - Times are not compared, because a repeated call gets a new time of receipt.
    /// - An absent currency equals every currency: a shop uses only one.
    /// - A refund takes its user name, its currency and its reference from its purchase, so these
    ///   members are not compared for refunds.
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
        let has_same_name = self.is_refund() || *user_name == other.user_name;
        has_same_name
            && *user_id == other.user_id
            && *price == other.price
            && details.same_content(&other.details)
    }

    /// Returns the position of the log record from which this refund was decoded, if it was decoded
    /// from a record.
    pub(crate) fn origin(&self) -> Option<&RecordOrigin> {
        self.context.as_ref()?.origin.as_ref()
    }

    /// Checks whether this entry is the refund of a purchase.
    #[must_use]
    pub fn is_refund(&self) -> bool {
        self.details.of.is_some()
    }

    /// Returns this refund as a store keeps it, if it is a valid refund of `purchase`.
    ///
    /// The user name, the currency and the reference are taken from the purchase. So the stored row
    /// does not depend on these members of the record. The time of the refund is kept.
    ///
    /// A refund that is earlier than `purchase` belongs to an earlier purchase with the same id,
    /// which retention has deleted. So a refund that waited before the purchase was made never
    /// refunds this purchase.
    ///
    /// A store calls this function once it contains the purchase of a refund, and rejects the
    /// refund with the error.
    ///
    /// # Errors
    /// [`Invalid`] if this refund contradicts `purchase`: another user, another id, an amount above
    /// the price, an earlier time, or a refund of a refund.
    pub fn as_refund_of(&self, purchase: &Self) -> Result<Self, Invalid> {
        // A refund under another id than the derived one could be a second refund of the same
        // purchase.
        let names_purchase = self.id == purchase.id.refund_id()
            && self.details.of == Some(purchase.id)
            && self.user_id == purchase.user_id
            && !purchase.is_refund();
        if !names_purchase || !self.price.is_negative() {
            return Err(Invalid::malformed(
                "the refund",
                "is not of a purchase of its user",
            ));
        }
        if self.price.negated() > purchase.price {
            return Err(Invalid::malformed(
                "the refund",
                "is above the price of its purchase",
            ));
        }
        if self.timestamp < purchase.timestamp {
            return Err(Invalid::malformed(
                "the refund",
                "is earlier than its purchase",
            ));
        }

        let mut stored_refund = self.clone_stored();
        stored_refund.user_name.clone_from(&purchase.user_name);
        let stored_details = &mut stored_refund.details;
        stored_details
            .currency
            .clone_from(&purchase.details.currency);
        stored_details
            .reference
            .clone_from(&purchase.details.reference);
        Ok(stored_refund)
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
    fn a_fresh_id_is_generated_only_without_a_key() {
        let purchase = buy("u1", "ada", "1").into_purchase(at(5), fresh);
        assert_eq!((purchase.id, purchase.timestamp), (fresh().into(), at(5)));

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
        let content_of = |new: NewPurchase, millis| new.into_purchase(at(millis), fresh);
        let base = content_of(buy("u1", "ada", "29.90"), 5);
        assert!(base.same_content(&content_of(buy("u1", "ada", "29.9"), 9)));
        for other in [
            buy("u2", "ada", "29.9"),
            buy("u1", "eva", "29.9"),
            buy("u1", "ada", "29.91"),
        ] {
            assert!(!base.same_content(&content_of(other, 5)));
        }
    }
}
