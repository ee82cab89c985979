//! Buying a stream of purchases.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, Fuse, FuturesOrdered};
use futures_util::{Stream, StreamExt, stream};

use super::Shop;
use crate::ports::PublishedPurchase;
use crate::{Error, ErrorKind, NewPurchase, Result};

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
        in_flight: usize,
    ) -> impl Stream<Item = Result<PublishedPurchase>> + Send + Unpin + use<S>
    where
        S: Stream<Item = NewPurchase> + Send + 'static,
    {
        let purchases = purchases.map(|purchase| Ok::<_, Infallible>(((), purchase)));
        self.try_buy_all(purchases, in_flight).map(|Ok(((), result))| result)
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
    ///     let new = NewPurchase::of(member()).named(member()).priced(member())?;
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
        let backlog = Backlog {
            shop: self.clone(),
            purchases: purchases.boxed().fuse(),
            room: in_flight.max(1),
            batch: (in_flight / 2).min(MAX_BATCH),
            bought: FuturesOrdered::new(),
            results: VecDeque::new(),
        };
        stream::unfold(backlog, |mut backlog| async move {
            let result = poll_fn(|context| backlog.poll(context)).await?;
            Some((result, backlog))
        })
        .boxed()
    }
}

/// The minimum number of purchases that are bought together.
const MIN_BATCH: usize = 16;
/// The maximum number of purchases that are bought together.
const MAX_BATCH: usize = 1_000;

/// The result of one purchase, with its tag; or an error of the source.
type Tagged<T, E> = Result<(T, Result<PublishedPurchase>), E>;

/// Purchases that are bought one by one, or together while many are ready.
struct Backlog<T, E> {
    shop: Shop,
    purchases: Fuse<BoxStream<'static, Result<(T, NewPurchase), E>>>,
    /// How many more may be in flight.
    room: usize,
    /// The maximum number that is bought together.
    batch: usize,
    bought: FuturesOrdered<BoxFuture<'static, Vec<Tagged<T, E>>>>,
    results: VecDeque<Tagged<T, E>>,
}

impl<T: Send + 'static, E: Send + 'static> Backlog<T, E> {
    /// The next result; `None` at the end.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Tagged<T, E>>> {
        loop {
            if let Some(result) = self.results.pop_front() {
                return Poll::Ready(Some(result));
            }
            let is_over = self.begin(context);
            match self.bought.poll_next_unpin(context) {
                Poll::Ready(Some(results)) => {
                    self.room += results.len();
                    self.results.extend(results);
                }
                Poll::Ready(None) if is_over => return Poll::Ready(None),
                _ => return Poll::Pending,
            }
        }
    }

    /// Begins to buy what is ready, while there is room. Returns whether that was all.
    fn begin(&mut self, context: &mut Context<'_>) -> bool {
        while self.room > 0 {
            let (mut ready, mut state) = (Vec::new(), Poll::Ready(Some(())));
            let most = self.batch.clamp(1, self.room);
            while ready.len() < most && state == Poll::Ready(Some(())) {
                state = self.purchases.poll_next_unpin(context).map(|item| item.map(|item| ready.push(item)));
            }
            self.room -= ready.len();
            self.buy(ready);
            match state {
                Poll::Ready(Some(())) => {}
                Poll::Ready(None) => return true,
                Poll::Pending => return false,
            }
        }
        false
    }

    fn buy(&mut self, ready: Vec<Result<(T, NewPurchase), E>>) {
        if ready.len() < MIN_BATCH {
            for item in ready {
                let shop = self.shop.clone();
                self.bought.push_back(Box::pin(async move {
                    let bought = match item {
                        Ok((tag, purchase)) => Ok((tag, shop.buy(purchase).await)),
                        Err(error) => Err(error),
                    };
                    vec![bought]
                }));
            }
            return;
        }
        let (mut purchases, mut tags) = (Vec::with_capacity(ready.len()), Vec::with_capacity(ready.len()));
        for item in ready {
            tags.push(item.map(|(tag, purchase)| {
                purchases.push(purchase);
                tag
            }));
        }
        let shop = self.shop.clone();
        self.bought.push_back(Box::pin(async move {
            let missing = || Err(Error::new(ErrorKind::Internal, "a sink has miscounted its results"));
            let mut results = shop.buy_many(purchases).await.into_iter();
            tags.into_iter().map(|tag| tag.map(|tag| (tag, results.next().unwrap_or_else(missing)))).collect()
        }));
    }
}
