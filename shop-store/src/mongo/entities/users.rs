//! Users, and references to their orders.

use async_trait::async_trait;
use bson::{RawDocumentBuf, cstr, doc};
use serde::Deserialize;
use shop_core::Result;
use shop_core::orders::OrderNumber;
use shop_core::users::{MAX_LISTED_ORDERS, NewUser, Registration, User, UserErase, UserNumber, UserStore};

use super::rows::{self, Collection, MongoRows, Schema};
use super::unreadable;
use crate::mongo::MongoEntityOptions;

const USERS: Schema = Schema {
    rows: "users",
    unique: &["key", "email"],
    references: ("orders_of_users", Some(|| doc! { "user_id": 1, "_id": 1 })),
};

/// Users in a database of MongoDB.
///
/// ```no_run
/// use shop_core::users::{NewUser, UserStore};
/// use shop_store::mongo::{MongoEntityOptions, MongoUsers};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let users = MongoUsers::open(MongoEntityOptions::new("mongodb://localhost:27017", "users")).await?;
/// let new = NewUser::new("sign-up-7".parse()?, "ada@example.com".parse()?, "Ada".parse()?);
/// println!("{:?}", users.register(&new).await?);
/// # Ok(())
/// # }
/// ```
pub type MongoUsers = MongoRows<User>;

impl MongoUsers {
    /// Opens the users in the database of `options`. Does not wait for the server.
    ///
    /// The first write creates the indexes, and fails if the user is not authorized to.
    ///
    /// # Errors
    /// As [`MongoStore::open`](crate::mongo::MongoStore::open).
    pub async fn open(options: MongoEntityOptions) -> Result<Self> {
        rows::open(options).await
    }
}

/// A stored user.
#[derive(Debug, Deserialize)]
pub(super) struct Stored {
    #[serde(rename = "_id")]
    id: i64,
    key: String,
    email: String,
    name: String,
}

impl Collection for User {
    const SCHEMA: &'static Schema = &USERS;
    type Stored = Stored;

    fn append_to(&self, document: &mut RawDocumentBuf) {
        document.append(cstr!("email"), self.email.as_str());
        document.append(cstr!("name"), self.name.as_str());
    }

    fn key_of(stored: &Stored) -> &str {
        &stored.key
    }

    fn from_stored(stored: &Stored) -> Result<Self> {
        let email = stored.email.parse().map_err(|error| unreadable(stored.id, error))?;
        let name = stored.name.parse().map_err(|error| unreadable(stored.id, error))?;
        Ok(Self::new(UserNumber::new(stored.id), email, name))
    }
}

#[async_trait]
impl UserErase for MongoUsers {
    async fn erase_user(&self, id: UserNumber) -> Result<bool> {
        self.rows.erase(id.get()).await
    }
}

#[async_trait]
impl UserStore for MongoUsers {
    /// Writes with majority and journal.
    async fn register(&self, new: &NewUser) -> Result<Registration> {
        Ok(self.rows.create::<User>(new).await?.into())
    }

    async fn user(&self, id: UserNumber) -> Result<Option<User>> {
        self.rows.get(id.get()).await
    }

    async fn orders_of(&self, id: UserNumber) -> Result<Option<Vec<OrderNumber>>> {
        if self.user(id).await?.is_none() {
            return Ok(None);
        }
        #[derive(Debug, Deserialize)]
        struct OrderReference {
            #[serde(rename = "_id")]
            id: i64,
        }
        let (of_user, sort) = (doc! { "user_id": id.get() }, doc! { "_id": 1 });
        let orders: Vec<OrderReference> =
            self.rows.find_all(USERS.references.0, of_user, sort, MAX_LISTED_ORDERS).await?;
        Ok(Some(orders.into_iter().map(|order| OrderNumber::new(order.id)).collect()))
    }

    async fn check_users(&self) -> Result<()> {
        self.rows.connection.ping().await
    }
}
