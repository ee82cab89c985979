//! Buys and refunds purchases.

use super::Shop;
use crate::domain::RefundReason;
use crate::ports::{Lookup, PublishedPurchase};
#[cfg(doc)]
use crate::ports::{PurchasePublisher, PurchaseQuery, PurchaseSink, REFUND_TIMEOUT};
use crate::{
    Error, ErrorKind, Invalid, NewPurchase, Outcome, Price, Purchase, PurchaseId, RequestContext,
    Result,
};

impl Shop {
    /// Buys the purchase `new`, and returns it with its id, its time and the receipt of the log.
    ///
    /// The idempotency key of the purchase makes the call repeatable: the purchase is stored once,
    /// however often it is bought with this key. A repeated call returns the first purchase with
    /// its time, and is [`replayed`](PublishedPurchase::replayed). Without a key, one is generated
    /// for this call.
    ///
    /// The argument may be the [`Result`] of a call that makes a purchase, such as
    /// [`with_key`](NewPurchase::with_key). The call makes one attempt. Over HTTP, a `ShopClient`
    /// repeats attempts that fail.
    ///
    /// ```
    /// use shop_core::{NewPurchase, Shop};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> shop_core::Result<()> {
    /// # let shop = Shop::in_memory();
    /// let order = NewPurchase::for_user("u1").with_user_name("ada").with_price("29.99")?.with_key("order-7")?;
    /// let bought = shop.buy(order).await?;
    /// println!("purchase {} survives: {:?}", bought.purchase.id, bought.receipt.durability);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns the errors of [`PurchasePublisher::publish_new`], and the error of an argument that
    /// is not a valid purchase. The [`outcome`](crate::Error::outcome) of the error tells apart a
    /// purchase that was not recorded and a purchase that may have been recorded. Repeat the
    /// purchase with the [`idempotency_key`](crate::Error::idempotency_key) of the error.
    ///
    /// # Cancel safety
    /// Once the future was polled, the purchase may be published even if the future is dropped.
    pub async fn buy(
        &self,
        new: impl TryInto<NewPurchase, Error: Into<Error>>,
    ) -> Result<PublishedPurchase> {
        let purchase: NewPurchase = new.try_into().map_err(Into::<Error>::into)?;
        self.buy_for_request(purchase, self.context.clone()).await
    }

    /// Buys the purchase `new` on behalf of the request `context`, in place of the request of this
    /// shop.
    ///
    /// The result is that of [`buy`](Self::buy) on the shop that
    /// [`with_request`](Self::with_request) returns. A service calls this function for each request,
    /// because it copies neither the shop nor the context.
    ///
    /// # Errors
    /// The errors of [`PurchasePublisher::publish_new`].
    ///
    /// # Cancel safety
    /// Dropping the future before its first poll publishes nothing. Dropping it later leaves the
    /// purchase published or not.
    pub fn buy_for_request(
        &self,
        new: NewPurchase,
        context: Option<Box<RequestContext>>,
    ) -> impl Future<Output = Result<PublishedPurchase>> + Send {
        self.ports.publisher.publish_new(new, context)
    }

    /// Buys all `purchases` together, and returns one result per purchase, in the same order.
    ///
    /// Each purchase is bought as [`buy`](Self::buy) does. The purchases of one user are recorded
    /// in their order. Use [`buy_all`](Self::buy_all) to buy a stream of purchases.
    ///
    /// ```
    /// use shop_core::{NewPurchase, Shop};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> shop_core::Result<()> {
    /// # let shop = Shop::in_memory();
    /// let cart = ["29.99", "5"].map(|price| NewPurchase::for_user("u1").with_user_name("ada").with_price(price));
    /// let results = shop.buy_many(cart.into_iter().collect::<Result<_, _>>()?).await;
    /// assert!(results.len() == 2 && results.iter().all(Result::is_ok));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// Dropping the future loses the results. Each purchase may be published or not, as with
    /// [`PurchaseSink::publish_many`].
    pub async fn buy_many(&self, purchases: Vec<NewPurchase>) -> Vec<Result<PublishedPurchase>> {
        self.ports
            .publisher
            .publish_new_many(purchases, self.context.clone())
            .await
    }

    /// Refunds `amount`, or the whole price without an amount, of the purchase with this id.
    ///
    /// A refund is an entry of the same user with a negative price, which is added to all sums. It
    /// does not count as a purchase.
    ///
    /// A purchase is refunded at most once. Repeating the call returns the first refund, which is
    /// [`replayed`](PublishedPurchase::replayed) then. Another amount or reason is a
    /// [`Conflict`](crate::ErrorKind::Conflict).
    ///
    /// The call waits twice, for at most [5 s](REFUND_TIMEOUT) each:
    ///
    /// 1. until the purchase is stored, if it [may be on its way](Self::look_up_acknowledged) to the
    ///    store
    /// 2. until the store decides whether the refund is applied. Without a decision in time, the
    ///    refund is in the log, and the returned refund is [`pending`](PublishedPurchase::pending).
    ///
    /// ```
    /// use shop_core::domain::RefundReason;
    /// use shop_core::{ErrorKind, NewPurchase, Shop};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> shop_core::Result<()> {
    /// let shop = Shop::in_memory();
    /// let bought = shop.buy(NewPurchase::for_user("u1").with_user_name("ada").with_price("29.99")?).await?.purchase;
    /// let reason = Some(RefundReason::try_from("broken")?);
    /// let refund = shop.refund(bought.id, Some("9.99".parse()?), reason.clone()).await?;
    /// assert_eq!((refund.purchase.details.of, refund.replayed), (Some(bought.id), false));
    /// let spent = shop.user("u1").summary().await?;
    /// assert_eq!((spent.count, spent.total_spent.to_string()), (1, "20".to_owned()));
    /// assert!(shop.refund(bought.id, Some("9.99".parse()?), reason.clone()).await?.replayed);
    /// let whole = shop.refund(bought.id, None, reason).await;
    /// assert_eq!(whole.unwrap_err().kind(), ErrorKind::Conflict);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`Invalid`](crate::ErrorKind::Invalid) if there is no stored purchase with this id
    /// - the errors of [`Purchase::refund`], such as [`Invalid`](crate::ErrorKind::Invalid) for an
    ///   amount above the price. [`get`](Self::get) tells whether the purchase is stored
    /// - the errors of [`PurchaseQuery::look_up`]: nothing was published then
    /// - the errors of [`PurchasePublisher::publish_new`]
    ///
    /// # Cancel safety
    /// Once the future was polled, the refund may be published even if the future is dropped. The
    /// same call can be repeated.
    pub async fn refund(
        &self,
        id: impl TryInto<PurchaseId, Error: Into<Invalid>>,
        amount: Option<Price>,
        reason: Option<RefundReason>,
    ) -> Result<PublishedPurchase> {
        let id = id.try_into().map_err(Into::<Invalid>::into)?;
        let lookup = self
            .look_up_acknowledged(&id)
            .await
            .map_err(|error| error.with_outcome(Outcome::NotApplied))?;
        let Lookup::Stored(purchase) = lookup else {
            let message = "there is no purchase with this id";
            return Err(Error::new(ErrorKind::Invalid, message));
        };
        self.refund_purchase(&purchase, amount, reason).await
    }

    /// Refunds `amount`, or the whole price without an amount, of the stored `purchase`, as
    /// [`refund`](Self::refund) does.
    ///
    /// This function is for callers that [look up](Self::look_up_acknowledged) the purchase
    /// themselves, for example to decide whether their user may refund it.
    ///
    /// # Errors
    /// - The errors of [`Purchase::refund`], for example for an amount above the price. Their
    ///   [`field`](crate::Error::context) is `amount`
    /// - The errors of [`PurchasePublisher::publish_new`]
    ///
    /// # Cancel safety
    /// As for [`refund`](Self::refund).
    pub async fn refund_purchase(
        &self,
        purchase: &Purchase,
        amount: Option<Price>,
        reason: Option<RefundReason>,
    ) -> Result<PublishedPurchase> {
        let mut refund = purchase
            .refund(amount, self.ports.clock.now())
            .map_err(|error| error.with_context("field", "amount"))?;
        refund.details.reason = reason;
        self.ports
            .publisher
            .publish_new(refund.into(), self.context.clone())
            .await
    }

    /// Returns the purchase with this id if this shop acknowledged it recently. The store may not
    /// contain it yet.
    #[must_use]
    pub fn acknowledged(&self, id: &PurchaseId) -> Option<Purchase> {
        self.ports.publisher.acknowledged(id)
    }
}
