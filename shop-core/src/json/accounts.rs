//! Users and orders, as they stand in requests, answers and events.

use serde::{Deserialize, Serialize};

use super::{number, text};
use crate::InvalidText;
use crate::orders::{InvalidTotalPrice, NewOrder, Order, OrderNumber, TotalPrice};
use crate::users::{InvalidEmail, NewUser, User, UserNumber};

/// What is said of a user who is unknown.
pub const UNKNOWN_USER: &str = "User not found";
/// What is said of an order that is unknown.
pub const UNKNOWN_ORDER: &str = "Order not found";
/// What is said when another user has the address.
pub const EMAIL_TAKEN: &str = "Email already registered";
/// What is said when the key was used for another user.
pub const USER_KEY_TAKEN: &str = "The Idempotency-Key was used for another user";
/// What is said when the key was used for another order.
pub const ORDER_KEY_TAKEN: &str = "The Idempotency-Key was used for another order";

/// What is asked of `POST /users`.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct NewUserBody<'a> {
    /// The address.
    pub email: &'a str,
    /// The name.
    pub name: &'a str,
}

impl<'a> From<&'a NewUser> for NewUserBody<'a> {
    fn from(new: &'a NewUser) -> Self {
        Self { email: new.email.as_str(), name: new.name.as_str() }
    }
}

/// A user: in an answer, and as the event `user_created`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UserBody {
    /// The number.
    pub id: i64,
    /// The address.
    pub email: String,
    /// The name.
    pub name: String,
}

impl From<User> for UserBody {
    fn from(user: User) -> Self {
        Self { id: user.id.get(), email: user.email.to_string(), name: user.name.to_string() }
    }
}

/// A body whose members cannot be what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidBody {
    /// The address is none.
    #[error("email: {0}")]
    Email(#[from] InvalidEmail),
    /// A text is none of its kind.
    #[error("text: {0}")]
    Text(#[from] InvalidText),
    /// The price is none.
    #[error("total_price: {0}")]
    TotalPrice(#[from] InvalidTotalPrice),
}

impl TryFrom<UserBody> for User {
    type Error = InvalidBody;

    fn try_from(body: UserBody) -> Result<Self, InvalidBody> {
        Ok(Self::new(UserNumber::new(body.id), body.email.parse()?, body.name.parse()?))
    }
}

/// What is asked of `POST /orders`.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct NewOrderBody<'a> {
    /// Who orders.
    pub user_id: i64,
    /// What is ordered.
    pub product: &'a str,
    /// How many of it.
    pub quantity: i32,
    /// What all of it costs.
    #[serde(with = "text")]
    pub total_price: TotalPrice,
}

impl<'a> From<&'a NewOrder> for NewOrderBody<'a> {
    fn from(new: &'a NewOrder) -> Self {
        Self {
            user_id: new.user_id.get(),
            product: new.product.as_str(),
            quantity: new.quantity,
            total_price: new.total_price,
        }
    }
}

macro_rules! order_body {
    ($(#[$doc:meta])* $name:ident, $form:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Serialize, Deserialize)]
        #[non_exhaustive]
        pub struct $name {
            /// The number.
            pub id: i64,
            /// Who has ordered.
            pub user_id: i64,
            /// What was ordered.
            pub product: String,
            /// How many of it.
            pub quantity: i32,
            /// What all of it costs.
            #[serde(with = $form)]
            pub total_price: TotalPrice,
        }

        impl From<Order> for $name {
            fn from(order: Order) -> Self {
                Self {
                    id: order.id.get(),
                    user_id: order.user_id.get(),
                    product: order.product.to_string(),
                    quantity: order.quantity,
                    total_price: order.total_price,
                }
            }
        }

        impl TryFrom<$name> for Order {
            type Error = InvalidBody;

            fn try_from(body: $name) -> Result<Self, InvalidBody> {
                let (id, user) = (OrderNumber::new(body.id), UserNumber::new(body.user_id));
                Ok(Self::new(id, user, body.product.parse()?, body.quantity, body.total_price))
            }
        }
    };
}

order_body! {
    /// An order in an answer: its price is text with two decimals.
    OrderBody, "text"
}
order_body! {
    /// The event `order_created`: its price is a number.
    OrderEventBody, "number"
}

/// The orders that a user is known to have placed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UserOrdersBody {
    /// The user.
    pub user_id: i64,
    /// The numbers of the orders.
    pub orders: Vec<i64>,
}

impl UserOrdersBody {
    /// The orders of `user`.
    #[must_use]
    pub fn new(user: UserNumber, orders: &[OrderNumber]) -> Self {
        Self { user_id: user.get(), orders: orders.iter().map(|order| order.get()).collect() }
    }
}
