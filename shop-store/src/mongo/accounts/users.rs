//! Users, and what is known of their orders.

use std::sync::Arc;

use async_trait::async_trait;
use bson::{Bson, RawDocument, doc, rawdoc};
use serde::Deserialize;
use shop_core::Result;
use shop_core::orders::{Order, OrderNumber};
use shop_core::ports::{InsertOutcome, RecordStore};
use shop_core::users::{MOST_ORDERS, NewUser, Registration, User, UserNumber, UserStore};

use super::rows::{Added, Row, Rows, Schema};
use super::{integer, unreadable};
use crate::mongo::MongoAccountsOptions;
use crate::mongo::command::{self, Insertable};
use crate::mongo::insert::Identified;

const USERS: Schema = Schema {
    rows: "users",
    unique: &["key", "email"],
    known: ("orders_of_users", Some(|| doc! { "user_id": 1, "_id": 1 })),
};

/// Users in a database of MongoDB, shared by whatever processes use it, with an outbox in it.
///
/// Clones share the driver's connections.
#[derive(Debug, Clone)]
pub struct MongoUsers {
    pub(super) rows: Arc<Rows>,
}

impl MongoUsers {
    /// The users in the database that `options` name. A server that is away now is waited for by whoever calls.
    ///
    /// The first write makes the indexes that it needs, and fails when it has no right to.
    ///
    /// # Errors
    /// As [`MongoStore::open`](crate::mongo::MongoStore::open).
    pub async fn open(options: MongoAccountsOptions) -> Result<Self> {
        Ok(Self { rows: Arc::new(Rows::open(&USERS, options).await?) })
    }

    /// Its database and collection, as `database.collection`.
    #[must_use]
    pub fn namespace(&self) -> String {
        self.rows.connection.collection.namespace().to_string()
    }
}

/// A user as it is read.
#[derive(Debug, Deserialize)]
struct Stored {
    #[serde(rename = "_id")]
    id: i64,
    key: String,
    email: String,
    name: String,
}

impl Stored {
    fn user(&self) -> Result<User> {
        let email = self.email.parse().map_err(|error| unreadable(self.id, error))?;
        let name = self.name.parse().map_err(|error| unreadable(self.id, error))?;
        Ok(User::new(UserNumber::new(self.id), email, name))
    }
}

fn row(new: &NewUser, number: i64) -> Result<Row> {
    let user = new.numbered(UserNumber::new(number));
    let (key, email, name) = (new.key.as_str(), new.email.as_str(), new.name.as_str());
    Ok((rawdoc! { "_id": number, "key": key, "email": email, "name": name }, new.event(&user)?))
}

/// What the users mean for `new` who have its key or its address.
fn who_was_first(new: &NewUser, found: &[Stored]) -> Result<Registration> {
    let Some(first) = found.iter().find(|user| user.key == new.key.as_str()) else {
        return Ok(Registration::EmailTaken);
    };
    let first = first.user()?;
    let is_same = first == new.numbered(first.id);
    Ok(if is_same { Registration::Repeated(first) } else { Registration::KeyTaken })
}

#[async_trait]
impl UserStore for MongoUsers {
    /// Stored with majority and journal.
    async fn register(&self, new: &NewUser) -> Result<Registration> {
        let unique = doc! { "$or": [{ "key": new.key.as_str() }, { "email": new.email.as_str() }] };
        match self.rows.add::<Stored>(&unique, |number| row(new, number)).await? {
            Added::Now(number) => Ok(Registration::Registered(new.numbered(UserNumber::new(number)))),
            Added::Before(found) => who_was_first(new, &found),
        }
    }

    async fn user(&self, id: UserNumber) -> Result<Option<User>> {
        let found: Vec<Stored> = self.rows.ask(USERS.rows, doc! { "_id": id.get() }, doc! {}, 1).await?;
        found.first().map(Stored::user).transpose()
    }

    async fn orders_of(&self, id: UserNumber) -> Result<Option<Vec<OrderNumber>>> {
        if self.user(id).await?.is_none() {
            return Ok(None);
        }
        #[derive(Debug, Deserialize)]
        struct Known {
            #[serde(rename = "_id")]
            id: i64,
        }
        let (of_user, sort) = (doc! { "user_id": id.get() }, doc! { "_id": 1 });
        let orders: Vec<Known> = self.rows.ask(USERS.known.0, of_user, sort, MOST_ORDERS).await?;
        Ok(Some(orders.into_iter().map(|order| OrderNumber::new(order.id)).collect()))
    }

    async fn check_users(&self) -> Result<()> {
        self.rows.connection.ping().await
    }
}

/// What users keep of an order.
impl Insertable for Order {
    fn size(&self) -> usize {
        64
    }

    fn append_to(&self, bytes: &mut Vec<u8>) {
        command::enclosed(bytes, |bytes| {
            command::integer(bytes, b"_id", self.id.get());
            command::integer(bytes, b"user_id", self.user_id.get());
        });
    }
}

impl Identified for Order {
    type Id = OrderNumber;

    fn id(&self) -> OrderNumber {
        self.id
    }

    fn id_value(id: &OrderNumber) -> Bson {
        Bson::Int64(id.get())
    }

    fn readable_id(document: &RawDocument) -> Option<OrderNumber> {
        integer(document, "_id").map(OrderNumber::new)
    }

    fn has_content_of(&self, document: &RawDocument) -> bool {
        integer(document, "user_id") == Some(self.user_id.get())
    }
}

#[async_trait]
impl RecordStore<Order> for MongoUsers {
    async fn apply(&self, batch: Arc<[Order]>) -> Result<Vec<InsertOutcome>> {
        self.rows.apply(&batch).await
    }

    async fn check(&self) -> Result<()> {
        self.rows.connection.ping().await
    }
}
