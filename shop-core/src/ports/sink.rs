//! The port that publishes purchases to a log.
//!
//! A [`PurchaseSink`] publishes a [`Purchase`], whose id and time are already set, and acknowledges
//! it with a [`Receipt`]: from then on the purchase is as durable as the [`Durability`](super::Durability) in the
//! receipt states. A [`PurchasePublisher`](super::PurchasePublisher) builds on it: it also accepts
//! purchases without an id, and recognizes repetitions.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};

use super::{Receipt, SinkInfo};
use crate::{Purchase, Result, UserId};

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
/// use shop_core::ports::{PurchaseSink, Receipt, SinkInfo};
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
///     fn info(&self) -> SinkInfo {
///         self.0.info()
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
/// - `publish` returns `Ok` only when the purchase is as durable as the receipt states, which is at
///   least the durability that `durability` returned before. The receipt contains the purchase's id.
///   `publish_many` returns one such result per purchase, in their order
///   (`log::published_records_are_delivered`).
/// - Publishing a purchase again is harmless, also in one batch: the log may contain it twice, with
///   the same id (`log::publishing_again_keeps_the_id`).
/// - The record contains user, name, price with its scale, and time; its headers contain the
///   request's context (`log::published_records_are_unchanged`).
/// - Purchases of one user are delivered in the order in which they were acknowledged, and in the
///   order of their batch (`log::one_users_records_keep_their_order`).
/// - Dropping the future of a publish after its first poll does not cancel the publish. Dropping
///   that of `publish_many` leaves each purchase published or not, and the batch can be published
///   again (`log::a_dropped_publish_may_still_complete`).
/// - A purchase that fails does not affect the others of its batch
///   (`log::a_failed_purchase_does_not_fail_its_batch`).
/// - After `close`, `publish` and `publish_many` return [`Closed`](crate::ErrorKind::Closed), and
///   acknowledged purchases stay (`log::a_closed_sink_rejects_publishes`).
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

    /// Publishes a purchase as [`publish`](Self::publish) does, by a future that need not be boxed.
    ///
    /// A sink that wraps a sink of a known type calls this function. By default, it returns the
    /// boxed future of `publish`.
    #[auto_impl(keep_default_for(Arc, Box))]
    fn publish_unboxed<'a>(
        &'a self,
        purchase: &'a Purchase,
    ) -> impl Future<Output = Result<Receipt>> + Send + 'a
    where
        Self: Sized,
    {
        self.publish(purchase)
    }

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

    /// Returns the known state of the sink, and what its receipts mean. A sink around another one
    /// returns the info of the inner one.
    ///
    /// This function does not block and makes no request.
    fn info(&self) -> SinkInfo;

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
    /// A mock of a sink. Its `publish_many` calls the expectation of `publish` for each purchase of
    /// the batch.
    #[derive(Debug)]
    pub PurchaseSink {}

    #[async_trait]
    impl PurchaseSink for PurchaseSink {
        async fn publish(&self, purchase: &Purchase) -> Result<Receipt>;
        fn info(&self) -> SinkInfo;
        async fn check(&self) -> Result<()>;
        async fn close(&self, deadline: Duration) -> Result<()>;
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
    call_in_order_of_users(users, |index| sink.publish(&purchases[index])).await
}

/// Calls `publish` with the index of each purchase of a batch, and returns the results in the order
/// of the batch.
///
/// `users` yields the user of each purchase of the batch. The calls for one user run one after the
/// other, in the order of the batch. The calls for up to [`CONCURRENT_USERS`] users run
/// concurrently.
pub(super) async fn call_in_order_of_users<'a, T: Send>(
    users: impl Iterator<Item = &'a UserId>,
    publish: impl Fn(usize) -> BoxFuture<'a, T> + Send + Sync,
) -> Vec<T> {
    let users: Vec<&UserId> = users.collect();
    let indices_by_user = group_by_key(0..users.len(), |index| Some(users[*index]));
    let publish = &publish;
    let calls_by_user = indices_by_user.into_iter().map(|indices| async move {
        let mut user_results = Vec::with_capacity(indices.len());
        for index in indices {
            user_results.push((index, publish(index).await));
        }
        user_results
    });
    let mut results: Vec<_> = stream::iter(calls_by_user)
        .buffer_unordered(CONCURRENT_USERS)
        .flat_map(stream::iter)
        .collect()
        .await;
    // The calls for different users end in any order.
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Groups `items` by their key, and returns the groups in the order of their first items.
///
/// The items of a group keep their order. An item without a key is a group of its own.
pub fn group_by_key<T, K: Hash + Eq>(
    items: impl IntoIterator<Item = T>,
    key_of: impl Fn(&T) -> Option<K>,
) -> Vec<Vec<T>> {
    let mut groups: Vec<Vec<T>> = Vec::new();
    let mut group_indices: HashMap<K, usize> = HashMap::new();
    for item in items {
        // The first item of a key gets the index of the group that is added below.
        let group_index =
            key_of(&item).map(|key| *group_indices.entry(key).or_insert(groups.len()));
        match group_index.and_then(|index| groups.get_mut(index)) {
            Some(group) => group.push(item),
            None => groups.push(vec![item]),
        }
    }
    groups
}
