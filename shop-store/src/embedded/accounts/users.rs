//! Users in `users.db`.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};
use shop_core::Result;
use shop_core::orders::{Order, OrderNumber};
use shop_core::ports::{InsertOutcome, RecordStore};
use shop_core::users::{MOST_ORDERS, NewUser, Registration, User, UserNumber, UserStore};

use super::{AccountFile, outbox, unreadable, unwritable};
use crate::embedded::EmbeddedStoreOptions;
use crate::embedded::database::Kind;

/// `Shop` and a letter, as the `file` command shows it.
const USERS: Kind = Kind {
    application_id: 0x5368_6f55,
    migrations: &[VERSION_1, outbox::TABLE],
    checkpoint_pages: None,
    touch: &[
        "SELECT max(id) FROM users",
        "SELECT max(key) FROM users",
        "SELECT max(email) FROM users",
        "SELECT max(id) FROM orders_of_users",
        "SELECT max(user_id) FROM orders_of_users",
        "SELECT max(id) FROM outbox",
        "SELECT seq FROM sqlite_sequence",
    ],
};

const VERSION_1: &str = "
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

/// Users in a file, durable on the local disk, shared by the processes of one machine.
///
/// Clones share the file's writer and readers.
#[derive(Debug, Clone)]
pub struct EmbeddedUsers {
    pub(super) file: AccountFile,
}

impl EmbeddedUsers {
    /// Opens the users in `folder`; makes folder and file if they are missing.
    ///
    /// # Errors
    /// As [`EmbeddedStore::open`](crate::embedded::EmbeddedStore::open).
    pub async fn open(folder: impl AsRef<Path>, options: EmbeddedStoreOptions) -> Result<Self> {
        Ok(Self { file: AccountFile::open(&USERS, folder.as_ref(), "users", &options).await? })
    }

    /// Completes when all clones of this store are gone, what they have begun has ended, and the file is closed.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        self.file.file.writer.ending().wait()
    }
}

/// All within the caller's transaction, so that nobody else writes meanwhile.
fn register(connection: &Connection, new: &NewUser) -> rusqlite::Result<Registration> {
    if let Some(first) = find(connection, "key", new.key.as_str())? {
        let same = first == new.numbered(first.id);
        return Ok(if same { Registration::Repeated(first) } else { Registration::KeyTaken });
    }
    if find(connection, "email", new.email.as_str())?.is_some() {
        return Ok(Registration::EmailTaken);
    }
    let last: Option<i64> =
        connection.prepare_cached("SELECT max(id) FROM users")?.query_row([], |row| row.get(0))?;
    let user = new.numbered(last.map_or(UserNumber::FIRST, |last| UserNumber::new(last).next()));
    let row = params![user.id.get(), new.key.as_str(), user.email.as_str(), user.name.as_str()];
    connection
        .prepare_cached("INSERT INTO users (id, key, email, name) VALUES (?1, ?2, ?3, ?4)")?
        .execute(row)?;
    outbox::write(connection, &new.event(&user).map_err(unwritable)?)?;
    Ok(Registration::Registered(user))
}

fn find(connection: &Connection, column: &str, text: &str) -> rusqlite::Result<Option<User>> {
    let sql = format!("SELECT id, email, name FROM users WHERE {column} = ?1");
    connection.prepare_cached(&sql)?.query_row([text], user).optional()
}

fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    let text = |column: usize| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
    let email = text(1)?.parse().map_err(|error| unreadable(1, error))?;
    let name = text(2)?.parse().map_err(|error| unreadable(2, error))?;
    Ok(User::new(UserNumber::new(row.get(0)?), email, name))
}

fn by_number(connection: &Connection, id: UserNumber) -> rusqlite::Result<Option<User>> {
    let sql = "SELECT id, email, name FROM users WHERE id = ?1";
    connection.prepare_cached(sql)?.query_row([id.get()], user).optional()
}

fn orders_of(connection: &Connection, id: UserNumber) -> rusqlite::Result<Option<Vec<OrderNumber>>> {
    if by_number(connection, id)?.is_none() {
        return Ok(None);
    }
    let sql = "SELECT id FROM orders_of_users WHERE user_id = ?1 ORDER BY id LIMIT ?2";
    let most = i64::try_from(MOST_ORDERS).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(sql)?;
    let numbers = statement.query_map(params![id.get(), most], |row| row.get(0).map(OrderNumber::new))?;
    numbers.collect::<rusqlite::Result<_>>().map(Some)
}

fn apply(connection: &Connection, batch: &[Order]) -> rusqlite::Result<Vec<InsertOutcome>> {
    let sql = "INSERT INTO orders_of_users (id, user_id) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    let mut insert = connection.prepare_cached(sql)?;
    let mut first = connection.prepare_cached("SELECT user_id FROM orders_of_users WHERE id = ?1")?;
    let mut apply = |order: &Order| {
        if insert.execute([order.id.get(), order.user_id.get()])? == 1 {
            return Ok(InsertOutcome::Inserted);
        }
        let known: i64 = first.query_row([order.id.get()], |row| row.get(0))?;
        let same = known == order.user_id.get();
        Ok(if same { InsertOutcome::Duplicate } else { InsertOutcome::Conflict })
    };
    batch.iter().map(&mut apply).collect()
}

#[async_trait]
impl UserStore for EmbeddedUsers {
    async fn register(&self, new: &NewUser) -> Result<Registration> {
        let new = new.clone();
        self.file.file.writer.write(move |connection| register(connection, &new)).await
    }

    async fn user(&self, id: UserNumber) -> Result<Option<User>> {
        self.file.file.read(move |connection| by_number(connection, id)).await
    }

    async fn orders_of(&self, id: UserNumber) -> Result<Option<Vec<OrderNumber>>> {
        self.file.file.read(move |connection| orders_of(connection, id)).await
    }

    async fn check_users(&self) -> Result<()> {
        self.file.file.writer.check().await
    }
}

#[async_trait]
impl RecordStore<Order> for EmbeddedUsers {
    async fn apply(&self, batch: Arc<[Order]>) -> Result<Vec<InsertOutcome>> {
        self.file.file.writer.write(move |connection| apply(connection, &batch)).await
    }

    async fn check(&self) -> Result<()> {
        self.file.file.writer.check().await
    }
}
