//! Orders, and references to users.

use async_trait::async_trait;
use bson::{Decimal128, RawDocumentBuf, cstr};
use serde::Deserialize;
use shop_core::orders::{NewOrder, Order, OrderNumber, OrderStore, Placement};
use shop_core::users::UserNumber;
use shop_core::{Decimal, Result};

use super::rows::{self, Collection, MongoRows, Schema};
use super::unreadable;
use crate::mongo::MongoEntityOptions;
use crate::mongo::document::from_decimal;

const ORDERS: Schema = Schema { rows: "orders", unique: &["key"], references: ("known_users", None) };

/// Orders in a database of MongoDB.
pub type MongoOrders = MongoRows<Order>;

impl MongoOrders {
    /// Opens the orders in the database of `options`. Does not wait for the server.
    ///
    /// The first write creates the indexes, and fails if the user is not authorized to.
    ///
    /// # Errors
    /// As [`MongoStore::open`](crate::mongo::MongoStore::open).
    pub async fn open(options: MongoEntityOptions) -> Result<Self> {
        rows::open(options).await
    }
}

/// A stored order.
#[derive(Debug, Deserialize)]
pub(super) struct Stored {
    #[serde(rename = "_id")]
    id: i64,
    /// Missing in an order of another program; read as empty, which no key is.
    #[serde(default)]
    key: String,
    user_id: i64,
    product: String,
    quantity: i32,
    total_price: Decimal128,
}

impl Collection for Order {
    const SCHEMA: &'static Schema = &ORDERS;
    type Stored = Stored;

    fn append_to(&self, document: &mut RawDocumentBuf) {
        document.append(cstr!("user_id"), self.user_id.get());
        document.append(cstr!("product"), self.product.as_str());
        document.append(cstr!("quantity"), self.quantity);
        document.append(cstr!("total_price"), from_decimal(Decimal::new(self.total_price.cents(), 2)));
    }

    fn key_of(stored: &Stored) -> &str {
        &stored.key
    }

    fn from_stored(stored: &Stored) -> Result<Self> {
        let (id, user) = (OrderNumber::new(stored.id), UserNumber::new(stored.user_id));
        let product = stored.product.parse().map_err(|error| unreadable(stored.id, error))?;
        let price = stored.total_price.to_string().parse().map_err(|error| unreadable(stored.id, error))?;
        Ok(Self::new(id, user, product, stored.quantity, price))
    }
}

#[async_trait]
impl OrderStore for MongoOrders {
    /// Writes with majority and journal.
    async fn place(&self, new: &NewOrder) -> Result<Placement> {
        Ok(self.rows.create::<Order>(new).await?.into())
    }

    async fn order(&self, id: OrderNumber) -> Result<Option<Order>> {
        self.rows.get(id.get()).await
    }

    async fn check_orders(&self) -> Result<()> {
        self.rows.connection.ping().await
    }
}
