//! Orders, and references to users.

use rust_decimal::Decimal;
use shop_core::Result;
use shop_core::orders::{Order, OrderNumber, TotalPrice};
use shop_core::users::UserNumber;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::outbox::outbox_schema;
use super::store::{self, PostgresEntities, Table, UNUSED_NUMBER};
use crate::postgres::PostgresStoreOptions;
use crate::postgres::connection::Parameter;
use crate::postgres::insert;
use crate::postgres::rows::{Unreadable, column, number, parsed, unreadable};
use crate::postgres::schema::Definition;

const ORDERS: Definition = Definition {
    name: "orders",
    unused_id: UNUSED_NUMBER,
    tables: &["orders", "cached_users", "orders_keys", "orders_outbox", "shop_numbers"],
    adoptable: &["orders", "cached_users"],
    changes: &[
        // As SQLAlchemy creates them.
        "create table if not exists orders (
            id bigserial primary key, user_id bigint, product varchar, quantity integer, total_price numeric(10, 2)
         );
         create table if not exists cached_users (id bigint primary key)",
        outbox_schema!("orders"),
    ],
};

/// Orders in a PostgreSQL database.
pub type PostgresOrders = PostgresEntities<Order>;

impl PostgresOrders {
    /// Opens the orders in the database of `options`. Does not wait for the server.
    ///
    /// # Errors
    /// As [`PostgresStore::open`](crate::postgres::PostgresStore::open).
    pub fn open(options: PostgresStoreOptions) -> Result<Self> {
        store::open(options)
    }
}

impl Table for Order {
    const DEFINITION: &'static Definition = &ORDERS;
    const COLUMNS: &'static [&'static str] = &["user_id", "product", "quantity", "total_price"];
    const IS_FREE: &'static str = "exists (select from cached_users where id = $2)";
    const REFERENCES: insert::Table =
        insert::Table { name: "cached_users", columns: "id", types: &["int8"], compared: "1" };

    fn values(&self) -> Vec<Parameter> {
        let Self { user_id, product, quantity, total_price, .. } = self;
        vec![
            (Box::new(user_id.get()), Type::INT8),
            (Box::new(product.to_string()), Type::TEXT),
            (Box::new(*quantity), Type::INT4),
            (Box::new(Decimal::new(total_price.cents(), 2)), Type::NUMERIC),
        ]
    }

    fn from_row(row: &Row) -> Result<Self, Unreadable> {
        let (id, user) = (OrderNumber::new(number(row, "id")?), UserNumber::new(number(row, "user_id")?));
        let (product, quantity) = (parsed(row, "product")?, column(row, "quantity")?);
        let price = TotalPrice::new(column(row, "total_price")?);
        Ok(Self::new(id, user, product, quantity, price.map_err(|error| unreadable("total_price", error))?))
    }
}
