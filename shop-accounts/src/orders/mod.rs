//! Orders of registered users.
//!
//! Their [store](crate::entity::EntityStore) learns of users from `user_created` events,
//! refuses orders of unknown users, and publishes an event `order_created` for each order.

#[cfg(feature = "http")]
mod place;
mod total_price;

use serde::{Deserialize, Serialize};
use shop_core::domain::validate_length;
use shop_core::json::{number, text};
use shop_core::log::{LogRecord, Partition};
use shop_core::record::{DecodeError, Event, Record, decode_event, encode_event};
use shop_core::{IdempotencyKey, RequestContext, Result};

use crate::entity::{Entity, row_number};
use crate::users::{User, UserNumber};

#[cfg(feature = "http")]
pub(crate) use place::place_order;
pub use total_price::TotalPrice;

row_number! {
    /// The number of an order: from 1, without gaps.
    OrderNumber
}

shop_core::text_type! {
    /// The ordered product: up to 256 characters, possibly empty, stored unchanged.
    Product: "the product", 256, validate_length
}

/// An order to place. Its JSON is the body of the request. The key is a header of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NewOrder {
    /// The idempotency key. Keys of users and of orders are independent.
    #[serde(skip)]
    pub key: IdempotencyKey,
    /// The number of the ordering user.
    pub user_id: UserNumber,
    /// The product.
    pub product: Product,
    /// The quantity, which is not validated.
    pub quantity: i32,
    /// The total price.
    #[serde(serialize_with = "text::serialize")]
    pub total_price: TotalPrice,
    /// The context of the request, which is part of the event.
    #[serde(skip)]
    pub context: Option<Box<RequestContext>>,
}

impl NewOrder {
    /// Creates an order of `quantity` times `product`, for `total_price` altogether, without the
    /// context of a request.
    #[must_use]
    pub const fn new(
        key: IdempotencyKey,
        user_id: UserNumber,
        product: Product,
        quantity: i32,
        total_price: TotalPrice,
    ) -> Self {
        Self {
            key,
            user_id,
            product,
            quantity,
            total_price,
            context: None,
        }
    }

    /// Sets the context of the request.
    #[must_use]
    pub fn with_context(mut self, context: Option<Box<RequestContext>>) -> Self {
        self.context = context;
        self
    }
}

/// An order. As an [`Event`] it is `order_created`.
///
/// It is serialized as in responses of the API, with the price as a text. The JSON of events, with
/// the price as a number, is read as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Order {
    /// The number of the order.
    pub id: OrderNumber,
    /// The number of the user who ordered.
    pub user_id: UserNumber,
    /// The product.
    pub product: Product,
    /// The quantity.
    pub quantity: i32,
    /// The total price.
    #[serde(
        serialize_with = "text::serialize",
        deserialize_with = "number::deserialize"
    )]
    pub total_price: TotalPrice,
}

impl Order {
    /// Creates an order from its values in a store.
    #[must_use]
    pub const fn new(
        id: OrderNumber,
        user_id: UserNumber,
        product: Product,
        quantity: i32,
        total_price: TotalPrice,
    ) -> Self {
        Self {
            id,
            user_id,
            product,
            quantity,
            total_price,
        }
    }
}

/// The JSON of the event `order_created`. Unlike in responses of the API, the price is a number.
#[derive(Serialize)]
struct OrderCreated<'a> {
    id: OrderNumber,
    user_id: UserNumber,
    product: &'a Product,
    quantity: i32,
    #[serde(with = "number")]
    total_price: TotalPrice,
}

impl Record for Order {
    fn decode(record: &LogRecord, _partition: &Partition) -> Result<Self, DecodeError> {
        decode_event(record)
    }

    fn id(&self) -> Option<String> {
        Some(self.id.to_string())
    }
}

impl Event for Order {
    const TOPIC: &'static str = "order_created";

    fn encode(&self) -> Result<LogRecord> {
        // The key is the user's number, so that all events of one user are in one partition.
        encode_event(
            self.user_id,
            &OrderCreated {
                id: self.id,
                user_id: self.user_id,
                product: &self.product,
                quantity: self.quantity,
                total_price: self.total_price,
            },
        )
    }
}

impl Entity for Order {
    type Number = OrderNumber;
    type New = NewOrder;
    type ForeignEvent = User;

    fn key(new: &NewOrder) -> &IdempotencyKey {
        &new.key
    }

    fn context(new: &NewOrder) -> Option<&RequestContext> {
        new.context.as_deref()
    }

    fn stored_key(new: &NewOrder) -> IdempotencyKey {
        new.key.scoped_to_owner(&new.user_id.to_string())
    }

    fn requires(new: &NewOrder) -> Option<i64> {
        Some(new.user_id.get())
    }

    fn with_number(new: &NewOrder, number: OrderNumber) -> Self {
        Self {
            id: number,
            user_id: new.user_id,
            product: new.product.clone(),
            quantity: new.quantity,
            total_price: new.total_price,
        }
    }

    fn number(&self) -> OrderNumber {
        self.id
    }

    fn reference(user: &User) -> (i64, Option<i64>) {
        (user.id.get(), None)
    }
}
