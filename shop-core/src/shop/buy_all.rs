//! Buying a stream of purchases.

use futures_util::{Stream, StreamExt};

use super::Shop;
use crate::ports::PublishedPurchase;
use crate::{NewPurchase, Result};

impl Shop {
    /// Buys all of them, with at most `in_flight` in flight (at least 1). The stream is polled only as results are
    /// read.
    ///
    /// The results are in the order of the purchases. Purchases in flight at the same time may reach the log in another
    /// order. An error does not end the stream: the next result follows.
    ///
    /// ```
    /// use futures_util::{StreamExt, stream};
    /// use shop_core::{NewPurchase, Shop};
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
        let shop = self.clone();
        let buy = move |purchase| {
            let shop = shop.clone();
            async move { shop.buy(purchase).await }
        };
        purchases.map(buy).buffered(in_flight.max(1)).boxed()
    }

    /// As [`buy_all`](Self::buy_all), from a source that can fail, such as a file or a database. The result of a
    /// purchase has its `tag`, such as a line number. An error of the source is passed on in its place.
    ///
    /// ```
    /// use futures_util::{TryStreamExt, stream};
    /// use shop_core::{NewPurchase, Shop};
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
        let shop = self.clone();
        let buy = move |item| {
            let shop = shop.clone();
            async move {
                let (tag, purchase) = item?;
                Ok((tag, shop.buy(purchase).await))
            }
        };
        purchases.map(buy).buffered(in_flight.max(1)).boxed()
    }
}
