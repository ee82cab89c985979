//! Defines the tables of users and of orders, and the statements that only one of the two needs.
//!
//! Users and orders belong to different services, which exchange events. So each database keeps
//! references to the rows of the other service: `cached_orders` lists the orders of each user, and
//! `cached_users` lists the users that exist.

use async_trait::async_trait;
use shop_core::{Decimal, ErrorKind, Result};
use shop_store::postgres::database::{
    SchemaDefinition, SchemaTable, Statement, TargetTable, parse_column, postgres_error,
    read_column,
};
use shop_store::postgres::tokio_postgres::Row;
use shop_store::unreadable::{Unreadable, not_valid};

use super::store::{PostgresEntities, PostgresEntity};
use crate::entity::EntityStore;
use crate::orders::{Order, OrderNumber, TotalPrice};
use crate::users::{MAX_LISTED_ORDERS, User, UserErase, UserNumber, UserOrders};

/// The change that creates the tables of keys and events, and sets the last number in
/// `shop_numbers`.
///
/// Another program may have created rows in adopted tables. So the last number begins at the highest
/// id or at the last value of the sequence, which may be ahead of the ids.
const KEYS_AND_OUTBOX: &str = "
    create table {table}_keys (id bigint primary key, key text collate \"C\" not null unique);
    create table {table}_outbox (
        id bigint primary key, created timestamptz(3) not null, key bytea, headers bytea not null, value bytea
    );
    create table if not exists shop_numbers (name text primary key, last bigint not null);
    insert into shop_numbers select '{table}', greatest(0, (select max(id) from {table}),
        pg_sequence_last_value(pg_get_serial_sequence('{table}', 'id')::regclass))";

/// The tables of users.
pub const USERS: SchemaDefinition = SchemaDefinition {
    name: "users",
    unused_row: "(id, email, name) values (-1 - (random() * 1000000000)::integer, gen_random_uuid(), '')",
    tables: &[
        SchemaTable::new("users", &["id", "email"]),
        SchemaTable::new("cached_orders", &["id"]),
        SchemaTable::new("users_keys", &["id", "key"]),
        SchemaTable::new("users_outbox", &["id"]),
        SchemaTable::new("shop_numbers", &["name"]),
    ],
    adoptable: &["users", "cached_orders"],
    changes: &[
        // These are also the columns and the index of tables that can be adopted.
        "create table if not exists users (id bigserial primary key, email varchar, name varchar);
         create unique index if not exists ix_users_email on users (email);
         create table if not exists cached_orders (id bigint primary key, user_id bigint);
         create index if not exists cached_orders_by_user on cached_orders (user_id, id)",
        KEYS_AND_OUTBOX,
    ],
};

/// A store of users in a PostgreSQL database.
///
/// ```no_run
/// use shop_accounts::entity::EntityStore;
/// use shop_accounts::postgres::PostgresUsers;
/// use shop_accounts::users::NewUser;
/// use shop_store::postgres::PostgresStoreOptions;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let users = PostgresUsers::open(PostgresStoreOptions::new("postgresql://localhost/users_db")).await?;
/// let new = NewUser::new("sign-up-7".parse()?, "ada@example.com".parse()?, "Ada".parse()?);
/// println!("{:?}", users.insert(&new).await?);
/// # Ok(())
/// # }
/// ```
pub type PostgresUsers = PostgresEntities<User>;

/// Reads the integer column `name` of eight or four bytes. Adopted tables may have either.
fn read_number(row: &Row, name: &'static str) -> Result<i64, Unreadable> {
    read_column::<i64>(row, name)
        .or_else(|_other_type| read_column::<i32>(row, name).map(i64::from))
}

impl PostgresEntity for User {
    const DEFINITION: &'static SchemaDefinition = &USERS;
    const COLUMNS: &'static str = "email, name";
    /// The condition of users that are not erased. The row of an erased user stays, so that its
    /// number is not used again, with a text in place of the address that contains no `@`.
    const PRESENT: &'static str = "position('@' in email) > 0";
    const IS_FREE: &'static str = "not exists (select from users where email = $2)";
    const REFERENCES: TargetTable = TargetTable {
        name: "cached_orders",
        columns: "id, user_id",
        arrays: "$1::int8[], $2::int8[]",
        compared: "(stored.user_id is not distinct from rest.user_id)::int",
        stored_details: "null::text",
    };

    fn bind(&self, statement: Statement) -> Statement {
        statement
            .bind(self.email.to_string())
            .bind(self.name.to_string())
    }

    fn from_row(row: &Row) -> Result<Self, Unreadable> {
        Ok(Self::new(
            UserNumber::new(read_number(row, "id")?),
            parse_column(row, "email")?,
            parse_column(row, "name")?,
        ))
    }
}

/// Returns the query of the numbers of a user's orders, the lowest first, up to
/// [`MAX_LISTED_ORDERS`].
pub fn order_numbers_query(id: UserNumber) -> Statement {
    let sql = format!(
        "select id from cached_orders where user_id = $1 order by id limit {MAX_LISTED_ORDERS}"
    );
    Statement::new(sql).bind(id.get())
}

/// Returns the statement that erases a user: it replaces the row by a mark, and deletes the user's
/// idempotency key and unpublished event.
///
/// The answer contains one row, or none if there is no such user or the user is erased already.
pub fn erase_statement(id: UserNumber) -> Statement {
    let sql = "
        with erased as (
            update users set email = 'erased ' || id, name = ''
            where id = $1 and position('@' in email) > 0 returning id
        ), keys as (delete from users_keys where id = $1),
        events as (delete from users_outbox where id = $1)
        select from erased";
    Statement::new(sql).bind(id.get())
}

#[async_trait]
impl UserErase for PostgresUsers {
    /// Erases a user. Returns whether there was such a user that was not erased yet.
    async fn erase_user(&self, id: UserNumber) -> Result<bool> {
        let erased_rows = self.connection.write(erase_statement(id)).await?;
        Ok(!erased_rows.is_empty())
    }
}

#[async_trait]
impl UserOrders for PostgresUsers {
    /// Returns the numbers of the user's orders, or `None` if there is no such user.
    async fn orders_of(&self, id: UserNumber) -> Result<Option<Vec<OrderNumber>>> {
        if self.get(id).await?.is_none() {
            return Ok(None);
        }
        let rows = self.connection.query(order_numbers_query(id)).await?;
        let order_numbers: Result<_, Unreadable> = rows
            .iter()
            .map(|row| read_number(row, "id").map(OrderNumber::new))
            .collect();
        order_numbers.map(Some).map_err(|error| {
            postgres_error(ErrorKind::Corrupt, "a row of cached_orders cannot be read")
                .with_source(error)
        })
    }
}

/// The tables of orders.
const ORDERS: SchemaDefinition = SchemaDefinition {
    name: "orders",
    unused_row: "(id, user_id, product, quantity, total_price)
        values (-1 - (random() * 1000000000)::integer, 0, '', 0, 0)",
    tables: &[
        SchemaTable::new("orders", &["id"]),
        SchemaTable::new("cached_users", &["id"]),
        SchemaTable::new("orders_keys", &["id", "key"]),
        SchemaTable::new("orders_outbox", &["id"]),
        SchemaTable::new("shop_numbers", &["name"]),
    ],
    adoptable: &["orders", "cached_users"],
    changes: &[
        // These are also the columns of tables that can be adopted.
        "create table if not exists orders (
            id bigserial primary key, user_id bigint, product varchar, quantity integer, total_price numeric(10, 2)
         );
         create table if not exists cached_users (id bigint primary key)",
        KEYS_AND_OUTBOX,
    ],
};

/// A store of orders in a PostgreSQL database.
pub type PostgresOrders = PostgresEntities<Order>;

impl PostgresEntity for Order {
    const DEFINITION: &'static SchemaDefinition = &ORDERS;
    const COLUMNS: &'static str = "user_id, product, quantity, total_price";
    const IS_FREE: &'static str = "exists (select from cached_users where id = $2)";
    const REFERENCES: TargetTable = TargetTable {
        name: "cached_users",
        columns: "id",
        arrays: "$1::int8[]",
        compared: "1",
        stored_details: "null::text",
    };

    fn bind(&self, statement: Statement) -> Statement {
        statement
            .bind(self.user_id.get())
            .bind(self.product.to_string())
            .bind(self.quantity)
            .bind(Decimal::new(self.total_price.cents(), 2))
    }

    fn from_row(row: &Row) -> Result<Self, Unreadable> {
        Ok(Self::new(
            OrderNumber::new(read_number(row, "id")?),
            UserNumber::new(read_number(row, "user_id")?),
            parse_column(row, "product")?,
            read_column(row, "quantity")?,
            TotalPrice::new(read_column(row, "total_price")?).map_err(not_valid("total_price"))?,
        ))
    }
}
