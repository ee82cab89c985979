//! The publishing port of a log.

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
/// A [`Shop`](crate::Shop) is the usual caller. A sink around another one, which refuses large purchases:
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
    /// The first poll enqueues it. A full queue is an immediate error.
    ///
    /// # Errors
    /// [`Overloaded`](crate::ErrorKind::Overloaded) when the queue is full,
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the log cannot be reached or written,
    /// [`TooLarge`](crate::ErrorKind::TooLarge) when the log rejects the size. The error's
    /// [`outcome`](crate::Error::outcome) states whether the purchase may be in the log.
    ///
    /// # Cancel safety
    /// Dropping the future before its first poll publishes nothing. Afterwards only the receipt is lost.
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt>;

    /// Publishes many purchases durably, faster than one by one.
    ///
    /// Returns one result per purchase, in their order: each is that of a [`publish`](Self::publish). A full queue delays
    /// the batch, and is not an error until the time of a publish has passed. By default several users' purchases are
    /// published concurrently, and those of one user sequentially.
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

    /// Assigns an id and a time to a purchase, and publishes it. `context` is that of the request.
    ///
    /// By default the id and the time are assigned here: the id by the key, if there is one. A sink that is
    /// [idempotent](Self::is_idempotent) returns the first purchase with its time for a repetition.
    ///
    /// # Errors
    /// As [`publish`](Self::publish); [`Conflict`](crate::ErrorKind::Conflict) when the sink knows that the key was
    /// used for another purchase, and [`Erased`](crate::ErrorKind::Erased) when that was erased.
    ///
    /// # Cancel safety
    /// As [`publish`](Self::publish).
    async fn publish_new(
        &self,
        new: NewPurchase,
        context: Option<Box<RequestContext>>,
    ) -> Result<PublishedPurchase> {
        let mut purchase = new.into_purchase(SystemClock.now(), || SystemClock.fresh_id());
        purchase.context = context;
        let receipt = self.publish(&purchase).await?;
        Ok(PublishedPurchase::new(purchase.without_context(), receipt))
    }

    /// Assigns ids and times to many purchases, and publishes them, as [`publish_new`](Self::publish_new) and
    /// [`publish_many`](Self::publish_many) do. `context` is that of all.
    ///
    /// # Cancel safety
    /// As [`publish_many`](Self::publish_many).
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

    /// Whether `publish_new` and `publish_new_many` recognise repetitions and conflicts, as an
    /// [`IdempotentSink`](super::IdempotentSink) and another service do (default `false`). A sink around such a sink
    /// forwards these three methods: the id of a key is assigned behind it.
    fn is_idempotent(&self) -> bool {
        false
    }

    /// Returns whether an acknowledged purchase is stored too, so that the result of a publish is the decision of the store
    /// (default `false`). A sink around such a sink forwards it.
    fn is_storing(&self) -> bool {
        false
    }

    /// Returns whether the purchase with this id may be acknowledged without being in the store yet, as far as that is known
    /// without a query. What needs the purchase, such as a [refund](crate::Shop::refund), then waits for it.
    ///
    /// By default that is so if the id is a UUIDv7 of the last 30 s. A sink that remembers what it has acknowledged knows
    /// more.
    fn may_be_unstored(&self, id: &PurchaseId) -> bool {
        is_recent(id, SystemClock.now())
    }

    /// The minimum durability of a receipt, as currently known. Does not block and makes no request.
    fn durability(&self) -> Durability;

    /// Returns what is wrong with the log although it can be reached, as currently known (default: nothing). Does not
    /// block and makes no request. A sink around another one forwards it.
    fn faults(&self) -> LogFaults {
        LogFaults::default()
    }

    /// Checks whether a purchase can be published now. Writes nothing.
    ///
    /// # Errors
    /// The reason why not.
    async fn check(&self) -> Result<()>;

    /// Rejects new purchases and waits until those in the queue are durable, for at most `deadline`.
    ///
    /// # Errors
    /// [`DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded) when some were not durable in time.
    async fn close(&self, deadline: Duration) -> Result<()>;
}

#[cfg(feature = "mock")]
mockall::mock! {
    /// A mock of a sink that [is idempotent](PurchaseSink::is_idempotent): a [`Shop`](crate::Shop) calls its
    /// `publish_new`, also for each purchase of a batch.
    #[derive(Debug)]
    pub PurchaseSink {
        /// As [`PurchaseSink::publish`].
        pub async fn publish(&self, purchase: &Purchase) -> Result<Receipt>;
        /// As [`PurchaseSink::publish_new`].
        pub async fn publish_new(
            &self,
            new: NewPurchase,
            context: Option<Box<RequestContext>>,
        ) -> Result<PublishedPurchase>;
        /// As [`PurchaseSink::durability`].
        pub fn durability(&self) -> Durability;
        /// As [`PurchaseSink::check`].
        pub async fn check(&self) -> Result<()>;
        /// As [`PurchaseSink::close`].
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

/// An accepted purchase, and the proof of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PublishedPurchase {
    /// The purchase, with its id and its timestamp.
    pub purchase: Purchase,
    /// Its durability, and its position in the log.
    pub receipt: Receipt,
    /// The number of attempts that it took. Above 1 the service may have failed, or a response was lost.
    /// Not serialized, as it is a fact of this call and not of the purchase: read back, it is 1.
    #[serde(skip, default = "first_attempt")]
    pub attempts: u32,
    /// Whether it was published before under the same key. Then `purchase` is the first one, with its time.
    /// Not serialized either: read back, it is false.
    #[serde(skip)]
    pub replayed: bool,
    /// Whether it is a refund that is in the log, and that the store has not decided over in time: it may still be refused.
    /// Not serialized either: read back, it is false.
    #[serde(skip)]
    pub pending: bool,
}

const fn first_attempt() -> u32 {
    1
}

impl PublishedPurchase {
    /// A purchase that was acknowledged with `receipt`, at the first attempt.
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

    /// The same purchase, published before.
    #[doc(hidden)]
    #[must_use]
    pub const fn into_replayed(mut self) -> Self {
        self.replayed = true;
        self
    }

    /// Returns the same refund, over which the store has not decided yet.
    #[doc(hidden)]
    #[must_use]
    pub const fn into_pending(mut self) -> Self {
        self.pending = true;
        self
    }

    /// The same purchase after this number of attempts.
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
    /// The purchase that it had, if it has read it.
    pub first_purchase: Option<Box<Purchase>>,
}

impl Receipt {
    /// A receipt without a position.
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

    /// The same receipt, with the record's position.
    #[must_use]
    pub fn with_position(mut self, position: RecordPosition) -> Self {
        self.position = Some(position);
        self
    }
}

/// The JSON of a [`Receipt`].
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

/// Which failures an acknowledged purchase survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// None: it is in the memory of this process only. For tests.
    Memory,
    /// A crash of the process and of the machine: it is on the machine's disk.
    LocalDisk,
    /// The loss of all but one of the brokers that acknowledged it.
    Broker {
        /// The minimum number of brokers that acknowledge a purchase, as guaranteed by `acks=all`: the smaller of the
        /// topic's `min.insync.replicas` and its number of replicas. `None` when the topic's settings cannot be read.
        replicas: Option<u32>,
    },
    /// The loss of a minority of the store's servers: a majority has it in its journal. With a single server, that
    /// server is the majority.
    Replicated,
}

impl Durability {
    /// The name in JSON, and the number of replicas.
    pub(crate) const fn name(self) -> (&'static str, Option<u32>) {
        match self {
            Self::Memory => ("memory", None),
            Self::LocalDisk => ("local_disk", None),
            Self::Broker { replicas } => ("broker", replicas),
            Self::Replicated => ("replicated", None),
        }
    }
}

/// The number of users whose purchases are published concurrently.
const CONCURRENT_USERS: usize = 64;

/// Publishes each of `purchases` by a [`publish`](PurchaseSink::publish): up to 64 users' concurrently, and those of one
/// user in their order. The default of [`publish_many`](PurchaseSink::publish_many).
///
/// # Cancel safety
/// As [`publish_many`](PurchaseSink::publish_many).
pub async fn publish_each<S: PurchaseSink + ?Sized>(
    sink: &S,
    purchases: &[Purchase],
) -> Vec<Result<Receipt>> {
    let users = purchases.iter().map(|purchase| &purchase.user_id);
    by_user(users, |index| sink.publish(&purchases[index])).await
}

/// As [`publish_each`], by [`publish_new`](PurchaseSink::publish_new).
///
/// # Cancel safety
/// As [`publish_new_many`](PurchaseSink::publish_new_many).
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

/// The results of `publish` for each index of `of_users`, the user ids: sequentially for one user.
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
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Groups `items` by their key, in the order of the first item of each group. Items without a key are groups of their own.
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
