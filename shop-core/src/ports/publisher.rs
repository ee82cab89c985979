//! The port that accepts new purchases: it assigns their ids, and recognizes repetitions.
//!
//! A [`PurchaseSink`] publishes a [`Purchase`] as it is, with its id and its time. A
//! [`PurchasePublisher`] is a sink that also takes a [`NewPurchase`]. It decides whether this is a new
//! purchase, or the repetition of an earlier one. Two types do so, and a [`Shop`](crate::Shop) uses
//! one of them:
//!
//! - an [`IdempotentSink`](super::IdempotentSink) around a sink, by a cache and by look-ups in a
//!   store
//! - a client that calls another service, which decides there

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::idempotent::is_recent;
use super::sink::call_in_order_of_users;
use super::{PurchaseSink, Receipt};
use crate::{NewPurchase, Purchase, PurchaseId, RequestContext, Result, Timestamp};

/// Publishes new purchases once: assigns their ids and times, and recognizes repetitions and
/// conflicts.
///
/// The id of a purchase with a key is derived from the key, and the id of a refund from the id of
/// its purchase. Every other purchase gets a new id.
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it, with a
/// [`Shop`](crate::Shop).
///
/// - An acknowledged purchase is listed, unchanged, with the time that it came with
///   (`shop::a_bought_purchase_is_listed`).
/// - A repetition under a key returns the first purchase with its time, before and after the
///   purchase is stored, also from another process. A key with other content is a
///   [`Conflict`](crate::ErrorKind::Conflict) (`shop::a_repetition_returns_the_first_purchase`,
///   `shop::a_repetition_of_a_new_key_returns_the_first_purchase`).
/// - A key belongs to its user: another user who sends it buys another purchase
///   (`shop::a_key_cannot_be_claimed_by_another_user`).
/// - The key of an erased purchase is refused (`shop::an_erased_key_is_refused`).
/// - `publish_new_many` returns the result that `publish_new` would return, for each purchase
///   (`shop::each_purchase_of_a_batch_has_a_result`).
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait PurchasePublisher: PurchaseSink {
    /// Assigns an id and a time to a new purchase, and publishes the purchase.
    ///
    /// `context` describes the request that the purchase came with. A repetition is answered with
    /// the first purchase and its time, and is [`replayed`](PublishedPurchase::replayed).
    ///
    /// # Errors
    /// - [`Conflict`](crate::ErrorKind::Conflict) if the key was used for another purchase
    /// - [`Erased`](crate::ErrorKind::Erased) if the purchase of the key was erased
    /// - The errors of [`publish`](PurchaseSink::publish)
    ///
    /// An error about a purchase carries the [`idempotency_key`](crate::Error::idempotency_key) with
    /// which the purchase can be repeated, also if the key was generated for this call.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the purchase published or not, as for
    /// [`publish`](PurchaseSink::publish).
    async fn publish_new(
        &self,
        new: NewPurchase,
        context: Option<Box<RequestContext>>,
    ) -> Result<PublishedPurchase>;

    /// Assigns ids and times to many new purchases, and publishes the purchases.
    ///
    /// Returns one result per purchase, in the order of `new`. Each result is the one that
    /// [`publish_new`](Self::publish_new) would return. `context` describes the request that
    /// contained the purchases.
    ///
    /// By default, the purchases of one user are published one after the other, and the purchases
    /// of up to 64 users concurrently.
    ///
    /// # Cancel safety
    /// Dropping the future loses the results. Each purchase may be published or not.
    async fn publish_new_many(
        &self,
        new: Vec<NewPurchase>,
        context: Option<Box<RequestContext>>,
    ) -> Vec<Result<PublishedPurchase>> {
        publish_new_each(self, &new, context.as_deref()).await
    }

    /// Returns the purchase with the id `id` if this publisher acknowledged it recently, so that the
    /// store may not contain it yet.
    ///
    /// A publisher that does not remember purchases returns `None`. This function makes no request.
    fn acknowledged(&self, id: &PurchaseId) -> Option<Purchase>;
}

/// Returns whether a purchase with the id `id` may have been acknowledged that is not in the store
/// yet.
///
/// `publisher` knows the purchases that this process acknowledged. Another process may have
/// acknowledged a purchase whose id is a UUIDv7 of the last 30 s. A publisher that writes into the
/// store acknowledges only stored purchases.
pub(crate) fn may_be_unstored<P: PurchasePublisher + ?Sized>(
    publisher: &P,
    id: &PurchaseId,
    now: Timestamp,
) -> bool {
    let may_be_acknowledged = publisher.acknowledged(id).is_some() || is_recent(id, now);
    may_be_acknowledged && !publisher.info().is_storing
}

#[cfg(feature = "mock")]
mockall::mock! {
    /// A mock of a publisher, for [`Shop::from_publisher`](crate::Shop::from_publisher). Its
    /// `publish_new_many` calls the expectation of `publish_new` for each purchase of the batch.
    #[derive(Debug)]
    pub PurchasePublisher {}

    #[async_trait]
    impl PurchaseSink for PurchasePublisher {
        async fn publish(&self, purchase: &Purchase) -> Result<Receipt>;
        fn info(&self) -> super::SinkInfo;
        async fn check(&self) -> Result<()>;
        async fn close(&self, deadline: std::time::Duration) -> Result<()>;
    }

    #[async_trait]
    impl PurchasePublisher for PurchasePublisher {
        async fn publish_new(
            &self,
            new: NewPurchase,
            context: Option<Box<RequestContext>>,
        ) -> Result<PublishedPurchase>;
        fn acknowledged(&self, id: &PurchaseId) -> Option<Purchase>;
    }
}

/// A purchase that a sink acknowledged, with its receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PublishedPurchase {
    /// The purchase, with its id and its timestamp.
    pub purchase: Purchase,
    /// The receipt, with the durability of the purchase and its position in the log.
    pub receipt: Receipt,
    /// The number of attempts that the publish took. Above 1, the service may have failed, or a
    /// response was lost.
    ///
    /// This field is not serialized, because it is a fact about the call and not about the
    /// purchase. A deserialized value is 1.
    #[serde(skip, default = "first_attempt")]
    pub attempts: u32,
    /// Whether the purchase was published before under the same key. Then `purchase` is the first
    /// purchase, with its time.
    ///
    /// This field is not serialized. A deserialized value is `false`.
    #[serde(skip)]
    pub replayed: bool,
    /// Whether this is a refund that is in the log, but about which the store did not decide in
    /// time. The store may still refuse it.
    ///
    /// This field is not serialized. A deserialized value is `false`.
    #[serde(skip)]
    pub pending: bool,
}

/// Returns the number of attempts of a deserialized purchase.
const fn first_attempt() -> u32 {
    1
}

impl PublishedPurchase {
    /// Creates the result of a purchase that was acknowledged with `receipt` at the first attempt.
    #[must_use]
    pub const fn new(purchase: Purchase, receipt: Receipt) -> Self {
        let replayed = receipt.is_duplicate;
        Self {
            purchase,
            receipt,
            attempts: 1,
            replayed,
            pending: false,
        }
    }

    /// Returns this purchase, marked as published before under the same key.
    #[must_use]
    pub const fn into_replayed(mut self) -> Self {
        self.replayed = true;
        self
    }

    /// Returns this purchase with the number of `attempts` that its publish took.
    #[must_use]
    pub const fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }
}

/// Publishes each of the purchases `new` by its own
/// [`publish_new`](PurchasePublisher::publish_new), and returns one result per purchase.
///
/// The purchases of one user are published one after the other, and the purchases of up to 64 users
/// concurrently. `context` describes the request that all purchases came with.
///
/// # Cancel safety
/// Dropping the future loses the results. Each purchase may be published or not.
pub async fn publish_new_each<P: PurchasePublisher + ?Sized>(
    publisher: &P,
    new: &[NewPurchase],
    context: Option<&RequestContext>,
) -> Vec<Result<PublishedPurchase>> {
    let users = new.iter().map(|new_purchase| &new_purchase.user_id);
    call_in_order_of_users(users, |index| {
        publisher.publish_new(new[index].clone(), context.cloned().map(Box::new))
    })
    .await
}
