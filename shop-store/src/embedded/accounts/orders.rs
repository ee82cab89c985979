//! Orders in `orders.db`.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};
use shop_core::Result;
use shop_core::orders::{NewOrder, Order, OrderNumber, OrderStore, Placement, TotalPrice};
use shop_core::ports::{InsertOutcome, RecordStore};
use shop_core::users::{User, UserNumber};

use super::{AccountFile, outbox, unreadable, unwritable};
use crate::embedded::EmbeddedStoreOptions;
use crate::embedded::database::Kind;

/// `Shop` and a letter, as the `file` command shows it.
const ORDERS: Kind = Kind {
    application_id: 0x5368_6f4f,
    migrations: &[VERSION_1, outbox::TABLE],
    checkpoint_pages: None,
    touch: &[
        "SELECT max(id) FROM orders",
        "SELECT max(key) FROM orders",
        "SELECT max(id) FROM known_users",
        "SELECT max(id) FROM outbox",
        "SELECT seq FROM sqlite_sequence",
    ],
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

const COLUMNS: &str = "id, user_id, product, quantity, total_cents";

/// Orders in a file, durable on the local disk, shared by the processes of one machine.
///
/// Clones share the file's writer and readers.
#[derive(Debug, Clone)]
pub struct EmbeddedOrders {
    pub(super) file: AccountFile,
}

impl EmbeddedOrders {
    /// Opens the orders in `folder`; makes folder and file if they are missing.
    ///
    /// # Errors
    /// As [`EmbeddedStore::open`](crate::embedded::EmbeddedStore::open).
    pub async fn open(folder: impl AsRef<Path>, options: EmbeddedStoreOptions) -> Result<Self> {
        Ok(Self { file: AccountFile::open(&ORDERS, folder.as_ref(), "orders", &options).await? })
    }

    /// Completes when all clones of this store are gone, what they have begun has ended, and the file is closed.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        self.file.file.writer.ending().wait()
    }
}

/// All within the caller's transaction, so that nobody else writes meanwhile.
fn place(connection: &Connection, new: &NewOrder) -> rusqlite::Result<Placement> {
    let by_key = format!("SELECT {COLUMNS} FROM orders WHERE key = ?1");
    let first = connection.prepare_cached(&by_key)?.query_row([new.key.as_str()], order).optional()?;
    if let Some(first) = first {
        let same = first == new.numbered(first.id);
        return Ok(if same { Placement::Repeated(first) } else { Placement::KeyTaken });
    }
    let mut known = connection.prepare_cached("SELECT 1 FROM known_users WHERE id = ?1")?;
    if !known.exists([new.user_id.get()])? {
        return Ok(Placement::UnknownUser);
    }
    let last: Option<i64> =
        connection.prepare_cached("SELECT max(id) FROM orders")?.query_row([], |row| row.get(0))?;
    let order = new.numbered(last.map_or(OrderNumber::FIRST, |last| OrderNumber::new(last).next()));
    let sql = format!("INSERT INTO orders ({COLUMNS}, key) VALUES (?1, ?2, ?3, ?4, ?5, ?6)");
    connection.prepare_cached(&sql)?.execute(params![
        order.id.get(),
        order.user_id.get(),
        order.product.as_str(),
        order.quantity,
        order.total_price.cents(),
        new.key.as_str(),
    ])?;
    outbox::write(connection, &new.event(&order).map_err(unwritable)?)?;
    Ok(Placement::Placed(order))
}

fn order(row: &Row<'_>) -> rusqlite::Result<Order> {
    let (id, user) = (OrderNumber::new(row.get(0)?), UserNumber::new(row.get(1)?));
    let product = row.get_ref(2)?.as_str()?.parse().map_err(|error| unreadable(2, error))?;
    let price = TotalPrice::from_cents(row.get(4)?).map_err(|error| unreadable(4, error))?;
    Ok(Order::new(id, user, product, row.get(3)?, price))
}

fn by_number(connection: &Connection, id: OrderNumber) -> rusqlite::Result<Option<Order>> {
    let sql = format!("SELECT {COLUMNS} FROM orders WHERE id = ?1");
    connection.prepare_cached(&sql)?.query_row([id.get()], order).optional()
}

fn apply(connection: &Connection, batch: &[User]) -> rusqlite::Result<Vec<InsertOutcome>> {
    let sql = "INSERT INTO known_users (id) VALUES (?1) ON CONFLICT DO NOTHING";
    let mut insert = connection.prepare_cached(sql)?;
    let mut apply = |user: &User| {
        let is_new = insert.execute([user.id.get()])? == 1;
        Ok(if is_new { InsertOutcome::Inserted } else { InsertOutcome::Duplicate })
    };
    batch.iter().map(&mut apply).collect()
}

#[async_trait]
impl OrderStore for EmbeddedOrders {
    async fn place(&self, new: &NewOrder) -> Result<Placement> {
        let new = new.clone();
        self.file.file.writer.write(move |connection| place(connection, &new)).await
    }

    async fn order(&self, id: OrderNumber) -> Result<Option<Order>> {
        self.file.file.read(move |connection| by_number(connection, id)).await
    }

    async fn check_orders(&self) -> Result<()> {
        self.file.file.writer.check().await
    }
}

#[async_trait]
impl RecordStore<User> for EmbeddedOrders {
    async fn apply(&self, batch: Arc<[User]>) -> Result<Vec<InsertOutcome>> {
        self.file.file.writer.write(move |connection| apply(connection, &batch)).await
    }

    async fn check(&self) -> Result<()> {
        self.file.file.writer.check().await
    }
}
