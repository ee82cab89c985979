//! A checkout: the code of a shop, which does not know where purchases are stored.

use shop_core::{NewPurchase, Outcome, PurchaseId, Result, Shop};

/// Sells to customers.
#[derive(Debug, Clone)]
pub struct Checkout {
    shop: Shop,
}

/// What the customer reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The purchase is durable.
    Bought(PurchaseId),
    /// Nothing was bought: the customer may try again.
    TryAgain,
    /// The purchase may have been recorded. Paying again for the same order is safe.
    Unclear,
}

impl Checkout {
    /// A checkout on `shop`.
    pub fn new(shop: Shop) -> Self {
        Self { shop }
    }

    /// Buys. The number of the order is the key: an order that is paid twice is one purchase.
    ///
    /// # Errors
    /// When a member is not valid, or the order was paid at another price.
    pub async fn pay(&self, order: u32, user: &str, name: &str, price: &str) -> Result<Answer> {
        let purchase = NewPurchase::for_user(user)
            .with_user_name(name)
            .with_price(price)?
            .with_key(format!("order-{order}"))?;
        match self.shop.buy(purchase).await {
            Ok(bought) => Ok(Answer::Bought(bought.purchase.id)),
            Err(error) if error.outcome() == Outcome::Unknown => Ok(Answer::Unclear),
            Err(error) if error.is_retryable() => Ok(Answer::TryAgain),
            Err(error) => Err(error),
        }
    }

    /// Whether the user has bought something before.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn is_known(&self, user: &str) -> Result<bool> {
        Ok(self.shop.user(user).summary().await?.count > 0)
    }
}
