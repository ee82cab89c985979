//! The client as an implementation of the ports: sink, query, and store of users and of orders.

use std::time::Duration;

use async_trait::async_trait;
use shop_core::{Error, Result};

use crate::{
    Durability, ErrorKind, NewOrder, NewPurchase, NewUser, Order, OrderNumber, OrderStore, Page, PageRequest,
    Placement, Purchase, PurchaseId, PurchaseQuery, PurchaseSink, Receipt, Registration, Selector,
    ShopClient, Summary, User, UserNumber, UserPurchases, UserStore,
};

#[async_trait]
impl PurchaseSink for ShopClient {
    /// Sends the purchase with its id as the key. A purchase with the id of a legacy document cannot be sent: the
    /// service derives an id from every key that is not a UUID.
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        let Some(id) = purchase.id.as_uuid() else {
            let message = "a purchase with the id of a legacy document cannot be sent over HTTP";
            return Err(Error::new(ErrorKind::Unsupported, message).with_origin("shop-client"));
        };
        let Purchase { user_id, user_name, price, timestamp, .. } = purchase.clone();
        let new = NewPurchase::new(user_id, user_name, price).with_timestamp(timestamp);
        let (published, _attempts) = self.publish(&new, (*id).into(), purchase.context.as_deref()).await?;
        Ok(published.receipt.into())
    }

    /// Always [`Durability::Memory`], which promises nothing. Only a receipt has the durability of the service that
    /// issued it, and another service may serve the next request.
    fn durability(&self) -> Durability {
        Durability::Memory
    }

    async fn check(&self) -> Result<()> {
        Ok(Self::check(self).await?)
    }

    /// Rejects further writes of this client and its clones, and waits for those in flight.
    async fn close(&self, timeout: Duration) -> Result<()> {
        Ok(Self::close(self, timeout).await?)
    }
}

/// Only management lists and sums the purchases of all users; facing responds with [`Denied`](ErrorKind::Denied).
#[async_trait]
impl PurchaseQuery for ShopClient {
    async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page> {
        Ok(UserPurchases::new(self.clone(), selector.clone()).page(request).await?)
    }

    async fn summary(&self, selector: &Selector) -> Result<Summary> {
        Ok(UserPurchases::new(self.clone(), selector.clone()).summary().await?)
    }

    async fn get(&self, id: &PurchaseId) -> Result<Option<Purchase>> {
        Ok(Self::get(self, id).await?)
    }

    async fn check_reads(&self) -> Result<()> {
        Ok(Self::check(self).await?)
    }
}

/// A dropped call is still sent: the row and its event are written together, or neither is.
#[async_trait]
impl UserStore for ShopClient {
    async fn register(&self, new: &NewUser) -> Result<Registration> {
        Ok(self.users().register(new).await?)
    }

    async fn user(&self, id: UserNumber) -> Result<Option<User>> {
        Ok(self.users().get(id).await?)
    }

    async fn orders_of(&self, id: UserNumber) -> Result<Option<Vec<OrderNumber>>> {
        Ok(self.users().orders_of(id).await?)
    }

    /// Checks whether the service is ready, with all its roles.
    async fn check_users(&self) -> Result<()> {
        Ok(Self::check(self).await?)
    }
}

/// A dropped call is still sent: the row and its event are written together, or neither is.
#[async_trait]
impl OrderStore for ShopClient {
    async fn place(&self, new: &NewOrder) -> Result<Placement> {
        Ok(self.orders().place(new).await?)
    }

    async fn order(&self, id: OrderNumber) -> Result<Option<Order>> {
        Ok(self.orders().get(id).await?)
    }

    /// Checks whether the service is ready, with all its roles.
    async fn check_orders(&self) -> Result<()> {
        Ok(Self::check(self).await?)
    }
}
