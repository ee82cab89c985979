//! Buying a stream of purchases.

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::unconstrained;

use super::Shop;
use crate::ports::{PublishedPurchase, miscounted};
use crate::{NewPurchase, Result};

impl Shop {
    /// Buys all of them, with at most `in_flight` in flight (at least 1). The stream is polled only as results are
    /// read.
    ///
    /// The results are in the order of the purchases. Purchases in flight at the same time may reach the log in another
    /// order. An error does not end the stream: the next result follows.
    ///
    /// While the stream has at least 16 purchases ready, they are bought [together](Self::buy_many), up to half of
    /// `in_flight` and 1,000. That is several times faster.
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

    /// As [`buy_all`](Self::buy_all), from a source that can fail, such as a file or a database. The result of a
    /// purchase has its `tag`, such as a line number. An error of the source is passed on in its place.
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
    /// As [`buy_all`](Self::buy_all).
    pub fn try_buy_all<S, T, E>(
        &self,
        purchases: S,
        in_flight: usize,
    ) -> impl Stream<Item = Result<(T, Result<PublishedPurchase>), E>> + Send + Unpin + use<S, T, E>
    where
        S: Stream<Item = Result<(T, NewPurchase), E>> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let shop = self.clone();
        let in_flight = in_flight.clamp(1, Semaphore::MAX_PERMITS);
        let room = Arc::new(Semaphore::new(in_flight));
        let taken = stream::unfold(
            (purchases.boxed(), room),
            |(mut purchases, room)| async move {
                // Before a purchase is taken, and at once while there is room. The semaphore is never closed.
                let place = unconstrained(Arc::clone(&room).acquire_owned()).await.ok();
                let item = purchases.next().await?;
                Some(((item, place), (purchases, room)))
            },
        );
        let together = (in_flight / 2).clamp(1, MAX_BATCH);
        let calls = taken
            .ready_chunks(together)
            .flat_map(move |ready| stream::iter(shop.calls(ready)));
        // A result has its place until it is read.
        calls
            .buffered(in_flight)
            .flat_map(stream::iter)
            .map(|(result, _place)| result)
            .boxed()
    }

    /// The calls that buy what is `ready`: one for each, or one for all if these are many.
    fn calls<T, E>(&self, ready: Vec<QueuedPurchase<T, E>>) -> Vec<BuyCall<T, E>>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        if ready.len() < MIN_BATCH {
            let one = |(item, place): QueuedPurchase<T, E>| {
                let shop = self.clone();
                let bought = async move {
                    let bought = match item {
                        Ok((tag, purchase)) => Ok((tag, shop.buy(purchase).await)),
                        Err(error) => Err(error),
                    };
                    vec![(bought, place)]
                };
                bought.boxed()
            };
            return ready.into_iter().map(one).collect();
        }
        let mut purchases = Vec::with_capacity(ready.len());
        let mut tags = Vec::with_capacity(ready.len());
        for (item, place) in ready {
            let tag = item.map(|(tag, purchase)| {
                purchases.push(purchase);
                tag
            });
            tags.push((tag, place));
        }
        let shop = self.clone();
        let all = async move {
            let mut results = shop.buy_many(purchases).await.into_iter();
            let mut result = |tag| (tag, results.next().unwrap_or_else(|| Err(miscounted())));
            tags.into_iter()
                .map(|(tag, place)| (tag.map(&mut result), place))
                .collect::<Vec<_>>()
        };
        vec![all.boxed()]
    }
}

/// The minimum number of purchases that are bought together.
const MIN_BATCH: usize = 16;
/// The maximum number of purchases that are bought together.
const MAX_BATCH: usize = 1_000;

/// A purchase of the source with its tag, and its place.
type QueuedPurchase<T, E> = (Result<(T, NewPurchase), E>, InFlightPermit);

/// The result of one purchase, with its tag; or an error of the source.
type TaggedResult<T, E> = Result<(T, Result<PublishedPurchase>), E>;
/// A place among those in flight.
type InFlightPermit = Option<OwnedSemaphorePermit>;
/// Buys purchases.
type BuyCall<T, E> = BoxFuture<'static, Vec<(TaggedResult<T, E>, InFlightPermit)>>;
