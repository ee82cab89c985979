//! The port that publishes purchases to a log, with its receipts.
//!
//! A [`PurchaseSink`] publishes a [`Purchase`], and acknowledges it with a [`Receipt`]: from then
//! on the purchase is as durable as the [`Durability`] in the receipt states. A publish of a new
//! purchase also assigns its id and its time, and returns both as a [`PublishedPurchase`].

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use super::idempotent::is_recent;
use crate::log::{LogFaults, RecordPosition};
use crate::{
    Clock, NewPurchase, Purchase, PurchaseId, RequestContext, Result, SystemClock, UserId,
};

/// Publishes purchases durably to a log.
///
/// Every call completes within a time that the implementation bounds.
///
/// A [`Shop`](crate::Shop) is the usual caller. A sink around another one, which refuses large
/// purchases:
///
/// ```
/// use std::time::Duration;
///
/// use shop_core::ports::{Durability, PurchaseSink, Receipt};
/// use shop_core::{Decimal, Error, ErrorKind, Purchase, Result, async_trait};
///
/// #[derive(Debug)]
/// struct Limited<S>(S, Decimal);
///
/// #[async_trait]
/// impl<S: PurchaseSink> PurchaseSink for Limited<S> {
///     async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
///         if *purchase.price.as_decimal() > self.1 {
///             return Err(Error::new(ErrorKind::Denied, "this purchase needs an approval"));
///         }
///         self.0.publish(purchase).await
///     }
///
///     fn durability(&self) -> Durability {
///         self.0.durability()
///     }
///
///     async fn check(&self) -> Result<()> {
///         self.0.check().await
///     }
///
///     async fn close(&self, deadline: Duration) -> Result<()> {
///         self.0.close(deadline).await
///     }
/// }
/// ```
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - `publish` returns `Ok` only when the purchase is as durable as the receipt states
///   (`log::published_records_are_delivered`).
/// - The receipt contains the purchase's id (`log::receipts_name_their_purchase`).
/// - A receipt states at least the durability that `durability` returned before the publish
///   (`log::receipts_state_the_durability`).
/// - `publish_new` assigns the id, which a key determines (`log::a_new_purchase_has_the_id_of_its_key`).
/// - Publishing a purchase again is harmless: the log may contain it twice, with the same id
///   (`log::publishing_again_keeps_the_id`).
/// - The record contains user, name, price with its scale, and time; its headers contain the request's context
///   (`log::published_records_are_unchanged`).
/// - Purchases of one user are delivered in the order in which they were acknowledged
///   (`log::one_users_records_keep_their_order`).
/// - Dropping the future of a publish after its first poll does not cancel the publish
///   (`log::a_dropped_publish_may_still_complete`).
/// - `publish_many` returns one result per purchase, in their order (`log::a_batch_has_one_result_per_purchase`).
/// - `publish_new_many` assigns the ids, as `publish_new` does (`log::new_purchases_have_the_ids_of_their_keys`).
/// - A purchase that fails does not affect the others of its batch
///   (`log::a_failed_purchase_does_not_fail_its_batch`).
/// - Purchases of one user are delivered in the order of their batch (`log::a_batch_keeps_the_order_of_each_user`).
/// - A batch may contain a purchase twice: both have receipts, with the same id
///   (`log::a_batch_may_repeat_a_purchase`).
/// - Dropping the future of `publish_many` leaves each purchase published or not, and the batch can be published again
///   (`log::a_dropped_batch_can_be_published_again`).
/// - After `close`, `publish` and `publish_many` return [`Closed`](crate::ErrorKind::Closed), and acknowledged purchases stay
///   (`log::a_closed_sink_rejects_publishes`).
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait PurchaseSink: Debug + Send + Sync + 'static {
    /// Publishes a purchase durably.
    ///
    /// The first poll of the future enqueues the purchase. A full queue is an immediate error.
    ///
    /// # Errors
    /// - [`Overloaded`](crate::ErrorKind::Overloaded) if the queue is full
    /// - [`Unavailable`](crate::ErrorKind::Unavailable) if the log cannot be reached or written
    /// - [`TooLarge`](crate::ErrorKind::TooLarge) if the log rejects the size of the record
    ///
    /// The [`outcome`](crate::Error::outcome) of the error states whether the purchase may be in
    /// the log.
    ///
    /// # Cancel safety
    /// Dropping the future before its first poll publishes nothing. Dropping it later does not
    /// cancel the publish, and loses only the receipt.
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt>;

    /// Publishes many purchases durably, faster than one by one.
    ///
    /// Returns one result per purchase, in the order of `purchases`. Each result is the one that
    /// [`publish`](Self::publish) would return. A full queue delays the batch, and is an error only
    /// after the time that a single publish may take.
    ///
    /// By default, the purchases of one user are published one after the other, and the purchases
    /// of up to 64 users concurrently.
    ///
    /// ```
    /// use shop_core::memory::InMemoryLog;
    /// use shop_core::ports::PurchaseSink;
    /// use shop_core::{Clock, NewPurchase, SystemClock};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> shop_core::Result<()> {
    /// let sink = InMemoryLog::default().sink();
    /// let new = NewPurchase::for_user("u1").with_user_name("ada").with_price("29.99")?;
    /// let purchase = new.into_purchase(SystemClock.now(), || SystemClock.fresh_id());
    /// let receipts = sink.publish_many(&[purchase]).await;
    /// assert_eq!(receipts.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// Dropping the future loses the receipts. Each purchase may be published or not.
    async fn publish_many(&self, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        publish_each(self, purchases).await
    }

    /// Assigns an id and a time to a new purchase, and publishes the purchase.
    ///
    /// `context` describes the request that the purchase came with. By default this function
    /// assigns the id: the id is derived from the key of the purchase, and generated without a key.
    /// A sink that is [idempotent](Self::is_idempotent) answers a repetition with the first
    /// purchase and its time.
    ///
    /// # Errors
    /// - [`Conflict`](crate::ErrorKind::Conflict) if the sink knows that the key was used for
    ///   another purchase
    /// - [`Erased`](crate::ErrorKind::Erased) if the sink knows that the purchase of the key was
    ///   erased
    /// - The errors of [`publish`](Self::publish)
    ///
    /// # Cancel safety
    /// Dropping the future leaves the purchase published or not, as for [`publish`](Self::publish).
    async fn publish_new(
        &self,
        new: NewPurchase,
        context: Option<Box<RequestContext>>,
    ) -> Result<PublishedPurchase> {
        // The context is published in the headers of the record, but it is no part of the purchase
        // that is returned.
        let mut purchase = new.into_purchase(SystemClock.now(), || SystemClock.fresh_id());
        purchase.context = context;
        let receipt = self.publish(&purchase).await?;
        Ok(PublishedPurchase::new(purchase.without_context(), receipt))
    }

    /// Assigns ids and times to many new purchases, and publishes the purchases.
    ///
    /// Returns one result per purchase, in the order of `new`. Each result is the one that
    /// [`publish_new`](Self::publish_new) would return. `context` describes the request that all of
    /// them came with.
    ///
    /// # Cancel safety
    /// Dropping the future loses the results. Each purchase may be published or not.
    async fn publish_new_many(
        &self,
        new: Vec<NewPurchase>,
        context: Option<Box<RequestContext>>,
    ) -> Vec<Result<PublishedPurchase>> {
        let now = SystemClock.now();
        let purchases = new.into_iter().map(|new| {
            let mut purchase = new.into_purchase(now, || SystemClock.fresh_id());
            purchase.context.clone_from(&context);
            purchase
        });
        let purchases: Vec<Purchase> = purchases.collect();
        let receipts = self.publish_many(&purchases).await;
        purchases
            .into_iter()
            .zip(receipts)
            .map(|(purchase, receipt)| {
                Ok(PublishedPurchase::new(purchase.without_context(), receipt?))
            })
            .collect()
    }

    /// Returns whether `publish_new` and `publish_new_many` recognize repetitions and conflicts
    /// (default `false`).
    ///
    /// An [`IdempotentSink`](super::IdempotentSink) does, and so does a sink that calls another
    /// service. A sink around such a sink forwards these three methods, because the inner sink
    /// assigns the id of a key.
    fn is_idempotent(&self) -> bool {
        false
    }

    /// Returns whether an acknowledged purchase is in the store already (default `false`).
    ///
    /// The result of a publish is then the decision of the store, which tells a new purchase from a
    /// repetition. A sink around another one forwards this method.
    fn is_storing(&self) -> bool {
        false
    }

    /// Returns whether the purchase with the id `id` may be acknowledged without being in the store
    /// yet.
    ///
    /// A caller that needs the purchase, such as a [refund](crate::Shop::refund), then waits until
    /// the purchase is stored. This function does not ask the store.
    ///
    /// By default it returns `true` if the id is a UUIDv7 whose time is at most 30 s from now. A
    /// sink that remembers its acknowledged purchases implements it.
    fn may_be_unstored(&self, id: &PurchaseId) -> bool {
        is_recent(id, SystemClock.now())
    }

    /// Returns the minimum durability of a receipt, as far as the sink currently knows.
    ///
    /// This function does not block and makes no request.
    fn durability(&self) -> Durability;

    /// Returns the known faults of a log that can be reached, such as partitions without a leader
    /// (default: none).
    ///
    /// This function does not block and makes no request. A sink around another one forwards it.
    fn faults(&self) -> LogFaults {
        LogFaults::default()
    }

    /// Checks whether a purchase can be published now. Writes nothing.
    ///
    /// # Errors
    /// Returns the reason why no purchase can be published.
    async fn check(&self) -> Result<()>;

    /// Rejects new purchases, and waits for at most `deadline` until all queued purchases are
    /// durable.
    ///
    /// # Errors
    /// [`DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded) if some queued purchases were not
    /// durable in time.
    async fn close(&self, deadline: Duration) -> Result<()>;
}

#[cfg(feature = "mock")]
mockall::mock! {
    /// A mock of a sink that [is idempotent](PurchaseSink::is_idempotent): a [`Shop`](crate::Shop)
    /// calls its `publish_new`, also for each purchase of a batch.
    #[derive(Debug)]
    pub PurchaseSink {
        /// Answers [`PurchaseSink::publish`] by the expectation of the test.
        pub async fn publish(&self, purchase: &Purchase) -> Result<Receipt>;
        /// Answers [`PurchaseSink::publish_new`] by the expectation of the test.
        pub async fn publish_new(
            &self,
            new: NewPurchase,
            context: Option<Box<RequestContext>>,
        ) -> Result<PublishedPurchase>;
        /// Answers [`PurchaseSink::durability`] by the expectation of the test.
        pub fn durability(&self) -> Durability;
        /// Answers [`PurchaseSink::check`] by the expectation of the test.
        pub async fn check(&self) -> Result<()>;
        /// Answers [`PurchaseSink::close`] by the expectation of the test.
        pub async fn close(&self, deadline: Duration) -> Result<()>;
    }
}

#[cfg(feature = "mock")]
#[async_trait]
impl PurchaseSink for MockPurchaseSink {
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        self.publish(purchase).await
    }

    async fn publish_new(
        &self,
        new: NewPurchase,
        context: Option<Box<RequestContext>>,
    ) -> Result<PublishedPurchase> {
        self.publish_new(new, context).await
    }

    async fn publish_new_many(
        &self,
        new: Vec<NewPurchase>,
        context: Option<Box<RequestContext>>,
    ) -> Vec<Result<PublishedPurchase>> {
        publish_new_each(self, &new, context.as_deref()).await
    }

    fn is_idempotent(&self) -> bool {
        true
    }

    fn durability(&self) -> Durability {
        self.durability()
    }

    async fn check(&self) -> Result<()> {
        self.check().await
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        self.close(deadline).await
    }
}

/// A purchase that a sink has acknowledged, with its receipt.
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
    /// Whether this is a refund that is in the log, but about which the store has not decided in
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
    #[doc(hidden)]
    #[must_use]
    pub const fn into_replayed(mut self) -> Self {
        self.replayed = true;
        self
    }

    /// Returns this refund, marked as one about which the store has not decided yet.
    #[doc(hidden)]
    #[must_use]
    pub const fn into_pending(mut self) -> Self {
        self.pending = true;
        self
    }

    /// Returns this purchase with the number of `attempts` that its publish took.
    #[doc(hidden)]
    #[must_use]
    pub const fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }
}

/// The acknowledgement of a durable purchase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "ReceiptJson", into = "ReceiptJson")]
#[non_exhaustive]
pub struct Receipt {
    /// The id of the purchase.
    pub id: PurchaseId,
    /// The durability of the purchase.
    pub durability: Durability,
    /// The position in the log, if the sink knows it.
    pub position: Option<RecordPosition>,
    /// Whether the sink already had the purchase. Only a sink that writes into a store knows.
    pub is_duplicate: bool,
    /// The first purchase with this id, if the sink already had it and has read it.
    pub first_purchase: Option<Box<Purchase>>,
}

impl Receipt {
    /// Creates the receipt of a new purchase, without a position in the log.
    #[must_use]
    pub const fn new(id: PurchaseId, durability: Durability) -> Self {
        Self {
            id,
            durability,
            position: None,
            is_duplicate: false,
            first_purchase: None,
        }
    }

    /// Returns this receipt with the position of the record in the log.
    #[must_use]
    pub fn with_position(mut self, position: RecordPosition) -> Self {
        self.position = Some(position);
        self
    }
}

/// The JSON of a [`Receipt`], which names the durability and the number of replicas in two members.
#[derive(Serialize, Deserialize)]
struct ReceiptJson {
    id: PurchaseId,
    durability: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replicas: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<RecordPosition>,
}

impl From<Receipt> for ReceiptJson {
    /// Keeps the members that are written as JSON. Whether the purchase is a duplicate is a fact of
    /// this call, and is not written.
    fn from(
        Receipt {
            id,
            durability,
            position,
            ..
        }: Receipt,
    ) -> Self {
        let (durability, replicas) = durability.name();
        Self {
            id,
            durability: durability.into(),
            replicas,
            position,
        }
    }
}

impl From<ReceiptJson> for Receipt {
    fn from(
        ReceiptJson {
            id,
            durability,
            replicas,
            position,
        }: ReceiptJson,
    ) -> Self {
        let durability = match &*durability {
            "local_disk" => Durability::LocalDisk,
            "broker" => Durability::Broker { replicas },
            "replicated" => Durability::Replicated,
            // A name that only newer services use guarantees nothing.
            _ => Durability::Memory,
        };
        Self {
            position,
            ..Self::new(id, durability)
        }
    }
}

/// The durability of an acknowledged purchase: the failures that the purchase survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// The purchase survives no failure, because it is only in the memory of this process. For
    /// tests.
    Memory,
    /// The purchase survives a crash of the process and of the machine, because it is on a local
    /// disk.
    LocalDisk,
    /// The purchase survives the loss of all but one of the brokers that have acknowledged it.
    Broker {
        /// The minimum number of brokers that acknowledge a purchase, as guaranteed by `acks=all`:
        /// the smaller of the topic's `min.insync.replicas` and its number of replicas. `None` when
        /// the topic's settings cannot be read.
        replicas: Option<u32>,
    },
    /// The purchase survives the loss of a minority of the servers of the store, because a majority
    /// of them contains it in its journal. A single server is its own majority.
    Replicated,
}

impl Durability {
    /// Returns the name of this durability in JSON, and the number of replicas if it is known.
    pub(crate) const fn name(self) -> (&'static str, Option<u32>) {
        match self {
            Self::Memory => ("memory", None),
            Self::LocalDisk => ("local_disk", None),
            Self::Broker { replicas } => ("broker", replicas),
            Self::Replicated => ("replicated", None),
        }
    }
}

/// The maximum number of users whose purchases are published concurrently.
const CONCURRENT_USERS: usize = 64;

/// Publishes each of `purchases` by its own [`publish`](PurchaseSink::publish), and returns one
/// result per purchase.
///
/// The purchases of one user are published one after the other, so that the log contains them in
/// this order. The purchases of up to 64 users are published concurrently. This is the default of
/// [`publish_many`](PurchaseSink::publish_many).
///
/// # Cancel safety
/// Dropping the future loses the receipts. Each purchase may be published or not.
pub async fn publish_each<S: PurchaseSink + ?Sized>(
    sink: &S,
    purchases: &[Purchase],
) -> Vec<Result<Receipt>> {
    let users = purchases.iter().map(|purchase| &purchase.user_id);
    by_user(users, |index| sink.publish(&purchases[index])).await
}

/// Publishes each of the purchases `new` by its own [`publish_new`](PurchaseSink::publish_new), and
/// returns one result per purchase.
///
/// The order and the concurrency are the ones of [`publish_each`]. `context` describes the request
/// that all purchases came with.
///
/// # Cancel safety
/// Dropping the future loses the results. Each purchase may be published or not.
pub async fn publish_new_each<S: PurchaseSink + ?Sized>(
    sink: &S,
    new: &[NewPurchase],
    context: Option<&RequestContext>,
) -> Vec<Result<PublishedPurchase>> {
    let users = new.iter().map(|new| &new.user_id);
    by_user(users, |index| {
        sink.publish_new(new[index].clone(), context.cloned().map(Box::new))
    })
    .await
}

/// Calls `publish` for each index of a batch, one after the other for each user, and returns the
/// results in the order of the batch.
///
/// `of_users` yields the user of each purchase of the batch. Up to [`CONCURRENT_USERS`] users are
/// served concurrently.
async fn by_user<'a, T: Send>(
    of_users: impl Iterator<Item = &'a UserId>,
    publish: impl Fn(usize) -> BoxFuture<'a, T> + Send + Sync,
) -> Vec<T> {
    let users: Vec<&UserId> = of_users.collect();
    let indices = group_by_key(0..users.len(), |index| Some(users[*index]));
    let publish = &publish;
    let published = indices.into_iter().map(|of_user| async move {
        let mut results = Vec::with_capacity(of_user.len());
        for index in of_user {
            results.push((index, publish(index).await));
        }
        results
    });
    let mut results: Vec<_> = stream::iter(published)
        .buffer_unordered(CONCURRENT_USERS)
        .flat_map(stream::iter)
        .collect()
        .await;
    // The purchases of different users end in any order.
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Groups `items` by their key, and returns the groups in the order of their first items.
///
/// The items of a group keep their order. An item without a key is a group of its own.
pub(crate) fn group_by_key<T, K: Hash + Eq>(
    items: impl IntoIterator<Item = T>,
    key_of: impl Fn(&T) -> Option<K>,
) -> Vec<Vec<T>> {
    let mut groups: Vec<Vec<T>> = Vec::new();
    let mut places: HashMap<K, usize> = HashMap::new();
    for item in items {
        let place = key_of(&item).map(|key| *places.entry(key).or_insert(groups.len()));
        match place.and_then(|place| groups.get_mut(place)) {
            Some(group) => group.push(item),
            None => groups.push(vec![item]),
        }
    }
    groups
}
