//! The tables of users in `users.db`, and the tables of orders in `orders.db`.

use std::path::Path;

use async_trait::async_trait;
use shop_core::Result;
use shop_store::embedded::file::{FileSchema, SqliteFile, parse_column, unreadable};
use shop_store::embedded::rusqlite::types::Value;
use shop_store::embedded::rusqlite::{self, Connection, Row, params};
use shop_store::limits::row_limit;

use super::outbox;
use super::store::{self, EmbeddedEntities, SqliteEntity};
use crate::orders::{Order, OrderNumber, TotalPrice};
use crate::users::{MAX_LISTED_ORDERS, User, UserErase, UserNumber, UserOrders};

/// The schema of `users.db`. The application id is `ShoU` in ASCII, which the `file` command shows.
pub(super) const USERS: FileSchema = FileSchema {
    application_id: 0x5368_6f55,
    migrations: &[&[USERS_TABLES, outbox::TABLE]],
    tables: &["users orders_of_users outbox sqlite_sequence"],
    // No row needs a check beyond the schema.
    check_rows: |_connection| Ok(Vec::new()),
};

/// The tables of `users.db` beside the outbox: the users, and the known orders of each user.
const USERS_TABLES: &str = "
    CREATE TABLE users (
        id INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        email TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL
    ) STRICT;
    CREATE TABLE orders_of_users (
        id INTEGER PRIMARY KEY,
        user_id INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX by_user ON orders_of_users (user_id);
";

/// Users in `users.db`.
///
/// ```
/// use shop_accounts::embedded::EmbeddedUsers;
/// use shop_accounts::entity::EntityStore;
/// use shop_accounts::users::{NewUser, UserNumber};
/// use shop_store::embedded::EmbeddedStoreOptions;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let users = EmbeddedUsers::open(folder.path(), EmbeddedStoreOptions::default()).await?;
/// users.insert(&NewUser::new("sign-up-7".parse()?, "ada@example.com".parse()?, "Ada".parse()?)).await?;
/// assert!(users.get(UserNumber::new(1)).await?.is_some());
/// # Ok(())
/// # }
/// ```
pub type EmbeddedUsers = EmbeddedEntities<User>;

impl SqliteEntity for User {
    const FILE: &'static FileSchema = &USERS;
    const NAME: &'static str = "users";
    const COLUMNS: &'static str = "id, email, name";
    const INSERT_REFERENCE: &'static str =
        "INSERT INTO orders_of_users (id, user_id) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    /// The condition that a user was not erased. An erased user keeps its row, so that its number
    /// is not used again, with a text without `@` in place of the address.
    const PRESENT: &'static str = "instr(email, '@') > 0";
    const OWNER: &'static str = "SELECT user_id FROM orders_of_users WHERE id = ?1";

    fn values(&self) -> Vec<Value> {
        vec![
            self.id.get().into(),
            self.email.to_string().into(),
            self.name.to_string().into(),
        ]
    }

    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self::new(
            UserNumber::new(row.get(0)?),
            parse_column(row, 1)?,
            parse_column(row, 2)?,
        ))
    }
}

/// Rewrites `users.db` in `folder` without its unused parts, which may contain copies of erased
/// users. Other processes may use the file at the same time.
///
/// Does nothing if there is no such file. See [`vacuum`](shop_store::embedded::vacuum()) for the file of
/// purchases, and for the cost.
///
/// # Errors
/// The errors of [`vacuum`](shop_store::embedded::vacuum()).
///
/// # Cancel safety
/// Dropping the future does not cancel the rewriting.
pub async fn vacuum_users(folder: impl AsRef<Path>) -> Result<()> {
    SqliteFile::vacuum(folder.as_ref(), User::NAME, &USERS).await
}

/// Returns the numbers of the known orders of a user in ascending order, or `None` if there is no
/// such user.
fn orders_of(
    connection: &Connection,
    id: UserNumber,
) -> rusqlite::Result<Option<Vec<OrderNumber>>> {
    if store::find::<User>(connection, "id", id.get())?.is_none() {
        return Ok(None);
    }
    let sql = "SELECT id FROM orders_of_users WHERE user_id = ?1 ORDER BY id LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let numbers = statement.query_map(params![id.get(), row_limit(MAX_LISTED_ORDERS)], |row| {
        row.get(0).map(OrderNumber::new)
    })?;
    numbers.collect::<rusqlite::Result<_>>().map(Some)
}

/// Erases the personal data and the pending event of a user, within the caller's transaction.
/// Returns whether there was such a user that was not erased yet.
fn erase(connection: &Connection, id: UserNumber) -> rusqlite::Result<bool> {
    let sql = "UPDATE users SET key = 'erased ' || id, email = 'erased ' || id, name = ''
               WHERE id = ?1 AND instr(email, '@') > 0";
    let is_erased = connection.prepare_cached(sql)?.execute([id.get()])? == 1;
    let mut delete_events = connection.prepare_cached("DELETE FROM outbox WHERE key = ?1")?;
    delete_events.execute([id.to_string().as_bytes()])?;
    Ok(is_erased)
}

#[async_trait]
impl UserErase for EmbeddedUsers {
    async fn erase_user(&self, id: UserNumber) -> Result<bool> {
        self.file
            .write(move |connection| erase(connection, id))
            .await
    }
}

#[async_trait]
impl UserOrders for EmbeddedUsers {
    async fn orders_of(&self, id: UserNumber) -> Result<Option<Vec<OrderNumber>>> {
        self.file
            .read(move |connection| orders_of(connection, id))
            .await
    }
}

/// The schema of `orders.db`. The application id is `ShoO` in ASCII, which the `file` command
/// shows.
pub(super) const ORDERS: FileSchema = FileSchema {
    application_id: 0x5368_6f4f,
    migrations: &[&[ORDERS_TABLES, outbox::TABLE]],
    tables: &["orders known_users outbox sqlite_sequence"],
    // No row needs a check beyond the schema.
    check_rows: |_connection| Ok(Vec::new()),
};

/// The tables of `orders.db` beside the outbox: the orders, and the users whose events were received.
const ORDERS_TABLES: &str = "
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

impl SqliteEntity for Order {
    const FILE: &'static FileSchema = &ORDERS;
    const NAME: &'static str = "orders";
    const COLUMNS: &'static str = "id, user_id, product, quantity, total_cents";
    const INSERT_REFERENCE: &'static str =
        "INSERT INTO known_users (id) VALUES (?1) ON CONFLICT DO NOTHING";
    const OWNER: &'static str = "SELECT NULL FROM known_users WHERE id = ?1";

    fn values(&self) -> Vec<Value> {
        vec![
            self.id.get().into(),
            self.user_id.get().into(),
            self.product.to_string().into(),
            self.quantity.into(),
            self.total_price.cents().into(),
        ]
    }

    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self::new(
            OrderNumber::new(row.get(0)?),
            UserNumber::new(row.get(1)?),
            parse_column(row, 2)?,
            row.get(3)?,
            TotalPrice::from_cents(row.get(4)?).map_err(unreadable(4))?,
        ))
    }
}
