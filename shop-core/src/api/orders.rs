//! The bodies of `/v1/orders`.

use serde::{Deserialize, Serialize};

use crate::json::text;
use crate::orders::{NewOrder, Order, OrderNumber, Product, TotalPrice};
use crate::users::UserNumber;

/// The body of `POST /v1/orders`.
#[derive(Debug, Clone, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NewOrderBody<'a> {
    /// The number of the ordering user.
    pub user_id: i64,
    /// The product.
    #[serde(with = "text")]
    pub product: &'a Product,
    /// The quantity.
    pub quantity: i32,
    /// The total price.
    #[serde(with = "text")]
    pub total_price: TotalPrice,
}

impl<'a> From<&'a NewOrder> for NewOrderBody<'a> {
    fn from(new: &'a NewOrder) -> Self {
        let NewOrder { user_id, product, quantity, total_price, .. } = new;
        Self { user_id: user_id.get(), product, quantity: *quantity, total_price: *total_price }
    }
}

/// An order. Its price is a string with two decimals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OrderBody {
    /// The order's number.
    pub id: i64,
    /// The number of the user who ordered.
    pub user_id: i64,
    /// The product.
    #[serde(with = "text")]
    pub product: Product,
    /// The quantity.
    pub quantity: i32,
    /// The total price.
    #[serde(with = "text")]
    pub total_price: TotalPrice,
}

impl From<Order> for OrderBody {
    fn from(order: Order) -> Self {
        let Order { id, user_id, product, quantity, total_price } = order;
        Self { id: id.get(), user_id: user_id.get(), product, quantity, total_price }
    }
}

impl From<OrderBody> for Order {
    fn from(body: OrderBody) -> Self {
        let (id, user) = (OrderNumber::new(body.id), UserNumber::new(body.user_id));
        Self::new(id, user, body.product, body.quantity, body.total_price)
    }
}
