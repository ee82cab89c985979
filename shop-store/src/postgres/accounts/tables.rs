//! The tables of users with references to their orders, and of orders with references to users.

use async_trait::async_trait;
use rust_decimal::Decimal;
use shop_core::entity::EntityStore;
use shop_core::orders::{Order, OrderNumber, TotalPrice};
use shop_core::users::{MAX_LISTED_ORDERS, User, UserErase, UserNumber, UserOrders};
use shop_core::{ErrorKind, Result};
use tokio_postgres::Row;

use super::store::{PostgresEntities, PostgresEntity};
use crate::postgres::connection::Statement;
use crate::postgres::error::postgres_error;
use crate::postgres::insert;
use crate::postgres::rows::{column, parsed};
use crate::postgres::schema::SchemaDefinition;
use crate::unreadable::{Unreadable, not_valid};

/// The tables of keys and of events, with the last number of the rows.
const KEYS_AND_OUTBOX: &str = "
    create table {table}_keys (id bigint primary key, key text collate \"C\" not null unique);
    create table {table}_outbox (
        id bigint primary key, created timestamptz(3) not null, key bytea, headers bytea not null, value bytea
    );
    create table if not exists shop_numbers (name text primary key, last bigint not null);
    insert into shop_numbers select '{table}', greatest(0, (select max(id) from {table}),
        pg_sequence_last_value(pg_get_serial_sequence('{table}', 'id')::regclass))";

pub(super) const USERS: SchemaDefinition = SchemaDefinition {
    name: "users",
    unused_row: "(id, email, name) values (-1 - (random() * 1000000000)::integer, gen_random_uuid(), '')",
    tables: &[
        "users",
        "cached_orders",
        "users_keys",
        "users_outbox",
        "shop_numbers",
    ],
    adoptable: &["users", "cached_orders"],
    changes: &[
        // As SQLAlchemy creates them.
        "create table if not exists users (id bigserial primary key, email varchar, name varchar);
         create unique index if not exists ix_users_email on users (email);
         create table if not exists cached_orders (id bigint primary key, user_id bigint);
         create index if not exists cached_orders_by_user on cached_orders (user_id, id)",
        KEYS_AND_OUTBOX,
    ],
};

/// Users in a PostgreSQL database.
///
/// ```no_run
/// use shop_core::entity::EntityStore;
/// use shop_core::users::NewUser;
/// use shop_store::postgres::{PostgresStoreOptions, PostgresUsers};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let users = PostgresUsers::open(PostgresStoreOptions::new("postgresql://localhost/users_db")).await?;
/// let new = NewUser::new("sign-up-7".parse()?, "ada@example.com".parse()?, "Ada".parse()?);
/// println!("{:?}", users.insert(&new).await?);
/// # Ok(())
/// # }
/// ```
pub type PostgresUsers = PostgresEntities<User>;

/// Reads an integer column of any size.
fn number(row: &Row, name: &'static str) -> Result<i64, Unreadable> {
    column::<i64>(row, name).or_else(|_| column::<i32>(row, name).map(i64::from))
}

impl PostgresEntity for User {
    const DEFINITION: &'static SchemaDefinition = &USERS;
    const COLUMNS: &'static [&'static str] = &["email", "name"];
    /// An erased user keeps its row, whose number is not used again, with a text that is no address.
    const PRESENT: &'static str = "position('@' in email) > 0";
    const IS_FREE: &'static str = "not exists (select from users where email = $2)";
    const REFERENCES: insert::TargetTable = insert::TargetTable {
        name: "cached_orders",
        columns: "id, user_id",
        types: &["int8", "int8"],
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
            UserNumber::new(number(row, "id")?),
            parsed(row, "email")?,
            parsed(row, "name")?,
        ))
    }
}

/// The query of the orders of a user.
pub(super) fn orders_of(id: UserNumber) -> Statement {
    let sql = format!(
        "select id from cached_orders where user_id = $1 order by id limit {MAX_LISTED_ORDERS}"
    );
    Statement::new(sql).bind(id.get())
}

/// Replaces the row by a mark, and deletes its key and its event.
pub(super) fn erasure(id: UserNumber) -> Statement {
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
    async fn erase_user(&self, id: UserNumber) -> Result<bool> {
        Ok(!self.connection.write(erasure(id)).await?.is_empty())
    }
}

#[async_trait]
impl UserOrders for PostgresUsers {
    async fn orders_of(&self, id: UserNumber) -> Result<Option<Vec<OrderNumber>>> {
        if self.get(id).await?.is_none() {
            return Ok(None);
        }
        let rows = self.connection.query(orders_of(id)).await?;
        let orders: Result<_, Unreadable> = rows
            .iter()
            .map(|row| number(row, "id").map(OrderNumber::new))
            .collect();
        orders.map(Some).map_err(|error| {
            postgres_error(ErrorKind::Corrupt, "a row of cached_orders cannot be read")
                .with_source(error)
        })
    }
}

const ORDERS: SchemaDefinition = SchemaDefinition {
    name: "orders",
    unused_row: "(id, user_id, product, quantity, total_price)
        values (-1 - (random() * 1000000000)::integer, 0, '', 0, 0)",
    tables: &["orders", "cached_users", "orders_keys", "orders_outbox", "shop_numbers"],
    adoptable: &["orders", "cached_users"],
    changes: &[
        // As SQLAlchemy creates them.
        "create table if not exists orders (
            id bigserial primary key, user_id bigint, product varchar, quantity integer, total_price numeric(10, 2)
         );
         create table if not exists cached_users (id bigint primary key)",
        KEYS_AND_OUTBOX,
    ],
};

/// Orders in a PostgreSQL database.
pub type PostgresOrders = PostgresEntities<Order>;

impl PostgresEntity for Order {
    const DEFINITION: &'static SchemaDefinition = &ORDERS;
    const COLUMNS: &'static [&'static str] = &["user_id", "product", "quantity", "total_price"];
    const IS_FREE: &'static str = "exists (select from cached_users where id = $2)";
    const REFERENCES: insert::TargetTable = insert::TargetTable {
        name: "cached_users",
        columns: "id",
        types: &["int8"],
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
            OrderNumber::new(number(row, "id")?),
            UserNumber::new(number(row, "user_id")?),
            parsed(row, "product")?,
            column(row, "quantity")?,
            TotalPrice::new(column(row, "total_price")?).map_err(not_valid("total_price"))?,
        ))
    }
}
