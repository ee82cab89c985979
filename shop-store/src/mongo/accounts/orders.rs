//! Orders, and who is known to order.

use std::sync::Arc;

use async_trait::async_trait;
use bson::{Bson, Decimal128, Document, RawDocument, doc, rawdoc};
use serde::Deserialize;
use shop_core::orders::{NewOrder, Order, OrderNumber, OrderStore, Placement};
use shop_core::ports::{InsertOutcome, RecordStore};
use shop_core::users::{User, UserNumber};
use shop_core::{Decimal, Result};

use super::rows::{Added, Row, Rows, Schema};
use super::{integer, unreadable};
use crate::mongo::MongoAccountsOptions;
use crate::mongo::command::{self, Insertable};
use crate::mongo::document::of_decimal;
use crate::mongo::insert::Identified;

const ORDERS: Schema = Schema { rows: "orders", unique: &["key"], known: ("known_users", None) };

/// Orders in a database of MongoDB, shared by whatever processes use it, with an outbox in it.
///
/// Clones share the driver's connections.
#[derive(Debug, Clone)]
pub struct MongoOrders {
    pub(super) rows: Arc<Rows>,
}

impl MongoOrders {
    /// The orders in the database that `options` name. A server that is away now is waited for by whoever calls.
    ///
    /// The first write makes the indexes that it needs, and fails when it has no right to.
    ///
    /// # Errors
    /// As [`MongoStore::open`](crate::mongo::MongoStore::open).
    pub async fn open(options: MongoAccountsOptions) -> Result<Self> {
        Ok(Self { rows: Arc::new(Rows::open(&ORDERS, options).await?) })
    }

    /// Its database and collection, as `database.collection`.
    #[must_use]
    pub fn namespace(&self) -> String {
        self.rows.connection.collection.namespace().to_string()
    }

    async fn is_known(&self, user: UserNumber) -> Result<bool> {
        let found: Vec<Document> = self.rows.look(ORDERS.known.0, doc! { "_id": user.get() }).await?;
        Ok(!found.is_empty())
    }
}

/// An order as it is read.
#[derive(Debug, Deserialize)]
struct Stored {
    #[serde(rename = "_id")]
    id: i64,
    user_id: i64,
    product: String,
    quantity: i32,
    total_price: Decimal128,
}

impl Stored {
    fn order(&self) -> Result<Order> {
        let (id, user) = (OrderNumber::new(self.id), UserNumber::new(self.user_id));
        let product = self.product.parse().map_err(|error| unreadable(self.id, error))?;
        let price = self.total_price.to_string().parse().map_err(|error| unreadable(self.id, error))?;
        Ok(Order::new(id, user, product, self.quantity, price))
    }
}

fn row(new: &NewOrder, number: i64) -> Result<Row> {
    let order = new.numbered(OrderNumber::new(number));
    let document = rawdoc! {
        "_id": number,
        "key": new.key.as_str(),
        "user_id": order.user_id.get(),
        "product": order.product.as_str(),
        "quantity": order.quantity,
        "total_price": of_decimal(Decimal::new(order.total_price.cents(), 2)),
    };
    Ok((document, new.event(&order)?))
}

/// What the order means for `new` that has its key.
fn what_was_first(new: &NewOrder, first: &Stored) -> Result<Placement> {
    let first = first.order()?;
    let is_same = first == new.numbered(first.id);
    Ok(if is_same { Placement::Repeated(first) } else { Placement::KeyTaken })
}

#[async_trait]
impl OrderStore for MongoOrders {
    /// Stored with majority and journal.
    async fn place(&self, new: &NewOrder) -> Result<Placement> {
        let of_key = doc! { "key": new.key.as_str() };
        let found: Vec<Stored> = if self.is_known(new.user_id).await? {
            match self.rows.add(&of_key, |number| row(new, number)).await? {
                Added::Now(number) => return Ok(Placement::Placed(new.numbered(OrderNumber::new(number)))),
                Added::Before(found) => found,
            }
        } else {
            // The key is told first, whatever else is wrong with what comes with it.
            self.rows.look(ORDERS.rows, of_key).await?
        };
        found.first().map_or(Ok(Placement::UnknownUser), |first| what_was_first(new, first))
    }

    async fn order(&self, id: OrderNumber) -> Result<Option<Order>> {
        let found: Vec<Stored> = self.rows.ask(ORDERS.rows, doc! { "_id": id.get() }, doc! {}, 1).await?;
        found.first().map(Stored::order).transpose()
    }

    async fn check_orders(&self) -> Result<()> {
        self.rows.connection.ping().await
    }
}

/// What orders keep of a user.
impl Insertable for User {
    fn size(&self) -> usize {
        48
    }

    fn append_to(&self, bytes: &mut Vec<u8>) {
        command::enclosed(bytes, |bytes| command::integer(bytes, b"_id", self.id.get()));
    }
}

impl Identified for User {
    type Id = UserNumber;

    fn id(&self) -> UserNumber {
        self.id
    }

    fn id_value(id: &UserNumber) -> Bson {
        Bson::Int64(id.get())
    }

    fn readable_id(document: &RawDocument) -> Option<UserNumber> {
        integer(document, "_id").map(UserNumber::new)
    }

    /// Nothing but the number is kept.
    fn has_content_of(&self, _document: &RawDocument) -> bool {
        true
    }
}

#[async_trait]
impl RecordStore<User> for MongoOrders {
    async fn apply(&self, batch: Arc<[User]>) -> Result<Vec<InsertOutcome>> {
        self.rows.apply(&batch).await
    }

    async fn check(&self) -> Result<()> {
        self.rows.connection.ping().await
    }
}
