//! Buys a stream of purchases, with a limited number of purchases in flight.
//!
//! ```text
//! source ─▶ permit for each purchase ─▶ groups of ready purchases ─▶ calls, run concurrently ─▶ results in order
//!               ▲                                                                                     │
//!               └────────────── the permit returns when the result has been read ─────────────────────┘
//! ```
//!
//! Purchases that are ready at the same time are bought by one call of [`Shop::buy_many`] if they
//! are at least [`MIN_BATCH`], and by one call of [`Shop::buy`] each if they are fewer.

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::unconstrained;

use super::Shop;
use crate::ports::{PublishedPurchase, miscounted_error};
use crate::{NewPurchase, Result};

impl Shop {
    /// Buys all `purchases` of a stream, with at most `max_in_flight` purchases in flight (at least
    /// 1).
    ///
    /// The stream of purchases is polled only while the results are read. The results are in the
    /// order of the purchases, but purchases that are in flight at the same time may reach the log
    /// in another order. An error does not end the results: the result of the next purchase
    /// follows.
    ///
    /// If at least 16 purchases of the stream are ready at the same time, they are bought by one
    /// call of [`buy_many`](Self::buy_many), which is several times faster. One call buys at most
    /// half of `max_in_flight`, and at most 1,000.
    ///
    /// ```
    /// use shop_core::{NewPurchase, Shop, StreamExt, stream};
    ///
    /// # async fn example(shop: Shop, orders: Vec<NewPurchase>) {
    /// let mut results = shop.buy_all(stream::iter(orders), 64);
    /// while let Some(result) = results.next().await {
    ///     match result {
    ///         Ok(bought) => println!("bought: {}", bought.purchase.id),
    ///         Err(error) => println!("not bought: {error}"),
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// Dropping the stream discards the results. Purchases in flight may still be published.
    pub fn buy_all<S>(
        &self,
        purchases: S,
        max_in_flight: usize,
    ) -> impl Stream<Item = Result<PublishedPurchase>> + Send + Unpin + use<S>
    where
        S: Stream<Item = NewPurchase> + Send + 'static,
    {
        let purchases = purchases.map(|purchase| Ok::<_, Infallible>(((), purchase)));
        self.try_buy_all(purchases, max_in_flight)
            .map(|Ok(((), result))| result)
    }

    /// Buys all purchases of a source that can fail, such as a file or a database, as
    /// [`buy_all`](Self::buy_all) does.
    ///
    /// The source yields each purchase with a tag, such as its line number, and the result of the
    /// purchase is returned with this tag. An error of the source is returned in its place among
    /// the results, and does not end them.
    ///
    /// ```
    /// use shop_core::{NewPurchase, Shop, TryStreamExt, stream};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> shop_core::Result<()> {
    /// let lines = "u1;ada;29.99\nu2;eva;1".lines().enumerate().map(|(line, text)| {
    ///     let mut members = text.split(';').map(str::to_owned);
    ///     let mut member = || members.next().unwrap_or_default();
    ///     let new = NewPurchase::for_user(member()).with_user_name(member()).with_price(member())?;
    ///     Ok::<_, shop_core::Error>((line, new))
    /// });
    /// let lines: Vec<_> = lines.collect();
    ///
    /// let shop = Shop::in_memory();
    /// let mut results = shop.try_buy_all(stream::iter(lines), 64);
    /// while let Some((line, result)) = results.try_next().await? {
    ///     println!("line {line}: {}", result?.purchase.id);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// Dropping the stream discards the results. Purchases in flight may still be published.
    pub fn try_buy_all<S, T, E>(
        &self,
        purchases: S,
        max_in_flight: usize,
    ) -> impl Stream<Item = Result<(T, Result<PublishedPurchase>), E>> + Send + Unpin + use<S, T, E>
    where
        S: Stream<Item = Result<(T, NewPurchase), E>> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let shop = self.clone();
        let max_in_flight = max_in_flight.clamp(1, Semaphore::MAX_PERMITS);
        let semaphore = Arc::new(Semaphore::new(max_in_flight));
        let queued_purchases = stream::unfold(
            (purchases.boxed(), semaphore),
            |(mut purchases, semaphore)| async move {
                // The permit is acquired before the source is polled, so that a purchase is read
                // only when it can be bought.
                //
                // Without `unconstrained`, tokio's cooperative budget could report a free permit as
                // pending, and so split a group of ready purchases. The semaphore is never closed,
                // so there is no error.
                let permit = unconstrained(Arc::clone(&semaphore).acquire_owned())
                    .await
                    .ok()?;
                let item = purchases.next().await?;
                Some(((item, permit), (purchases, semaphore)))
            },
        );

        // Half of the permits, so that the next group is collected while the last one is in flight.
        let group_size = (max_in_flight / 2).clamp(1, MAX_BATCH);
        // The permit travels with the result, and is released when the caller reads the result.
        queued_purchases
            .ready_chunks(group_size)
            .flat_map(move |ready_items| stream::iter(shop.buy_calls(ready_items)))
            .buffered(max_in_flight)
            .flat_map(stream::iter)
            .map(|(result, _permit)| result)
            .boxed()
    }

    /// Returns the calls that buy the purchases in `ready_items`, the items of the source that were
    /// ready at the same time.
    ///
    /// At least [`MIN_BATCH`] items become one call together. Fewer items become one call each. An
    /// error of the source among the items keeps its place in the order.
    fn buy_calls<T, E>(&self, ready_items: Vec<QueuedPurchase<T, E>>) -> Vec<BuyCall<T, E>>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        if ready_items.len() < MIN_BATCH {
            return ready_items
                .into_iter()
                .map(|item| self.buy_call(item))
                .collect();
        }
        vec![self.buy_many_call(ready_items)]
    }

    /// Returns a call that buys the purchase of one item.
    fn buy_call<T, E>(&self, (item, permit): QueuedPurchase<T, E>) -> BuyCall<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let shop = self.clone();
        let call = async move {
            let result = match item {
                Ok((tag, purchase)) => Ok((tag, shop.buy(purchase).await)),
                Err(error) => Err(error),
            };
            vec![(result, permit)]
        };
        call.boxed()
    }

    /// Returns a call that buys the purchases of all `items` together.
    fn buy_many_call<T, E>(&self, items: Vec<QueuedPurchase<T, E>>) -> BuyCall<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let shop = self.clone();
        let (purchases, slots) = separate_purchases(items);
        let call = async move {
            let results = shop.buy_many(purchases).await;
            fill_slots(slots, results)
        };
        call.boxed()
    }
}

/// Separates the purchases in `items` from their tags, because `buy_many` takes the purchases alone.
///
/// Returns the purchases, and a slot for each item in the order of the items. The slot of a purchase
/// awaits the result of the purchase. An error of the source has a slot, but no purchase.
fn separate_purchases<T, E>(
    items: Vec<QueuedPurchase<T, E>>,
) -> (Vec<NewPurchase>, Vec<ResultSlot<T, E>>) {
    let mut purchases = Vec::with_capacity(items.len());
    let mut slots = Vec::with_capacity(items.len());
    for (item, permit) in items {
        let tag_or_error = match item {
            Ok((tag, purchase)) => {
                purchases.push(purchase);
                Ok(tag)
            }
            Err(error) => Err(error),
        };
        slots.push((tag_or_error, permit));
    }
    (purchases, slots)
}

/// Fills `slots` with the results of their purchases, which are in the same order.
///
/// A sink that returns too few results violates its contract: the last purchases get an error.
fn fill_slots<T, E>(
    slots: Vec<ResultSlot<T, E>>,
    results: Vec<Result<PublishedPurchase>>,
) -> Vec<(TaggedResult<T, E>, OwnedSemaphorePermit)> {
    let mut results = results.into_iter();
    let mut tagged_results = Vec::with_capacity(slots.len());
    for (tag_or_error, permit) in slots {
        let tagged_result = match tag_or_error {
            Ok(tag) => {
                let result = results.next().unwrap_or_else(|| Err(miscounted_error()));
                Ok((tag, result))
            }
            Err(error) => Err(error),
        };
        tagged_results.push((tagged_result, permit));
    }
    tagged_results
}

/// The minimum number of purchases that are bought by one call.
const MIN_BATCH: usize = 16;
/// The maximum number of purchases that are bought by one call.
const MAX_BATCH: usize = 1_000;

/// An item of the source, which is a purchase with its tag or an error, and the permit of the item.
type QueuedPurchase<T, E> = (Result<(T, NewPurchase), E>, OwnedSemaphorePermit);

/// The place of the result of one item: the tag of its purchase or an error of the source, and the
/// permit of the item, which is held until the result is read.
type ResultSlot<T, E> = (Result<T, E>, OwnedSemaphorePermit);

/// The result of one purchase with the tag of the purchase, or an error of the source.
type TaggedResult<T, E> = Result<(T, Result<PublishedPurchase>), E>;
/// A call that buys one or more purchases, and returns their results in order, each with its
/// permit.
type BuyCall<T, E> = BoxFuture<'static, Vec<(TaggedResult<T, E>, OwnedSemaphorePermit)>>;
