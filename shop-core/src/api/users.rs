//! The bodies of `/v1/users`.

use serde::{Deserialize, Serialize};

use crate::json::text;
use crate::orders::OrderNumber;
use crate::users::{Email, NewUser, PersonName, User, UserNumber};

/// The body of `POST /v1/users`.
#[derive(Debug, Clone, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NewUserBody<'a> {
    /// The e-mail address.
    #[serde(with = "text")]
    pub email: &'a Email,
    /// The name.
    #[serde(with = "text")]
    pub name: &'a PersonName,
}

impl<'a> From<&'a NewUser> for NewUserBody<'a> {
    fn from(new: &'a NewUser) -> Self {
        Self { email: &new.email, name: &new.name }
    }
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UserBody {
    /// The user's number.
    pub id: i64,
    /// The e-mail address.
    #[serde(with = "text")]
    pub email: Email,
    /// The name.
    #[serde(with = "text")]
    pub name: PersonName,
}

impl From<User> for UserBody {
    fn from(user: User) -> Self {
        Self { id: user.id.get(), email: user.email, name: user.name }
    }
}

impl From<UserBody> for User {
    fn from(body: UserBody) -> Self {
        Self::new(UserNumber::new(body.id), body.email, body.name)
    }
}

/// The known orders of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UserOrdersBody {
    /// The user's number.
    pub user_id: i64,
    /// The numbers of the orders in ascending order.
    pub orders: Vec<i64>,
}

impl UserOrdersBody {
    /// The orders of `user`.
    #[must_use]
    pub fn new(user: UserNumber, orders: &[OrderNumber]) -> Self {
        Self { user_id: user.get(), orders: orders.iter().map(|order| order.get()).collect() }
    }
}
