//! Orders in `orders.db`.

use std::path::Path;

use rusqlite::Row;
use rusqlite::types::Value;
use shop_core::Result;
use shop_core::orders::{Order, OrderNumber, TotalPrice};
use shop_core::users::UserNumber;

use super::store::{self, EmbeddedEntities, Table};
use crate::embedded::database::Kind;
use crate::embedded::error::unreadable;
use crate::embedded::options::EmbeddedStoreOptions;
use crate::embedded::outbox::table;

/// The application id is `ShoO` in ASCII, which the `file` command shows.
pub(in crate::embedded) const ORDERS: Kind = Kind {
    application_id: 0x5368_6f4f,
    migrations: &[VERSION_1, table::TABLE],
    check_queries: &[&[
        "SELECT max(id) FROM orders",
        "SELECT max(key) FROM orders",
        "SELECT max(id) FROM known_users",
        "SELECT max(id) FROM outbox",
        "SELECT seq FROM sqlite_sequence",
    ]],
};

const VERSION_1: &str = "
    CREATE TABLE orders (
        id INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        user_id INTEGER NOT NULL,
        product TEXT NOT NULL,
        quantity INTEGER NOT NULL,
        total_cents INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE known_users (
        id INTEGER PRIMARY KEY
    ) STRICT;
";

/// Orders in `orders.db`.
pub type EmbeddedOrders = EmbeddedEntities<Order>;

impl EmbeddedOrders {
    /// Opens the orders in `folder`. A missing folder or file is created if the options say so.
    ///
    /// # Errors
    /// As [`EmbeddedStore::open`](crate::embedded::EmbeddedStore::open).
    pub async fn open(folder: impl AsRef<Path>, options: EmbeddedStoreOptions) -> Result<Self> {
        store::open(folder.as_ref(), &options).await
    }
}

impl Table for Order {
    const FILE: &'static Kind = &ORDERS;
    const NAME: &'static str = "orders";
    const COLUMNS: &'static str = "id, user_id, product, quantity, total_cents";
    const INSERT_REFERENCE: &'static str = "INSERT INTO known_users (id) VALUES (?1) ON CONFLICT DO NOTHING";
    const OWNER: &'static str = "SELECT NULL FROM known_users WHERE id = ?1";

    fn values(&self) -> Vec<Value> {
        let Self { id, user_id, product, quantity, total_price, .. } = self;
        let (id, user, product) = (id.get().into(), user_id.get().into(), product.to_string().into());
        vec![id, user, product, (*quantity).into(), total_price.cents().into()]
    }

    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let (id, user) = (OrderNumber::new(row.get(0)?), UserNumber::new(row.get(1)?));
        let product = row.get_ref(2)?.as_str()?.parse().map_err(|error| unreadable(2, error))?;
        let price = TotalPrice::from_cents(row.get(4)?).map_err(|error| unreadable(4, error))?;
        Ok(Self::new(id, user, product, row.get(3)?, price))
    }
}
