//! The form of the requests for users and orders: how their values are read.

use std::fmt::Debug;

use shop_http::axum::http::Uri;
use shop_http::toolkit::{Body, HttpResult, Location, Query, line};

use super::strict;
use crate::orders::{Product, TotalPrice};
use crate::users::{Email, PersonName, UserNumber};

/// The form of the requests for users and orders.
///
/// The routes of [`Accounts`](super::Accounts) below `/v1` read requests in the form [`StrictForm`].
/// Another role may serve the same resources in a form of its own, by
/// [`Accounts::routes_in_form`](super::Accounts::routes_in_form). Like the
/// [`toolkit`](shop_http::toolkit), which it is written with, a form may have to change with any
/// version.
pub trait RequestForm: Debug + Sync {
    /// Reads a user from the body of a request.
    ///
    /// # Errors
    /// 400 or 422 for an invalid body.
    fn read_user(&self, body: &[u8]) -> HttpResult<UserFields>;

    /// Reads an order from the body of a request.
    ///
    /// # Errors
    /// 400 or 422 for an invalid body.
    fn read_order(&self, body: &[u8]) -> HttpResult<OrderFields>;

    /// Reads the number of a user or of an order from `segment`, the segment of the path that the
    /// template of the route calls `name`. `segment` is `None` if it is not UTF-8.
    ///
    /// # Errors
    /// 422 if the segment is not a number, or if the form refuses the query of `uri`.
    fn read_number(
        &self,
        name: &'static str,
        segment: Option<String>,
        uri: &Uri,
    ) -> HttpResult<i64>;

    /// Checks the query of the `uri` of a request that writes.
    ///
    /// # Errors
    /// 422 if the form refuses the query.
    fn check_query(&self, uri: &Uri) -> HttpResult<()>;

    /// Returns whether the response to a write names the path of the row below `/v1`.
    fn has_location(&self) -> bool;
}

/// The values of a request that registers a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserFields {
    /// The email address.
    pub email: Email,
    /// The name.
    pub name: PersonName,
}

/// The values of a request that places an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderFields {
    /// The number of the user.
    pub user_id: UserNumber,
    /// The product.
    pub product: Product,
    /// The quantity.
    pub quantity: i32,
    /// The price of the whole quantity.
    pub total_price: TotalPrice,
}

/// The form of `/v1`: each value has its own JSON type, and unknown members and parameters are
/// refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StrictForm;

impl RequestForm for StrictForm {
    fn read_user(&self, body: &[u8]) -> HttpResult<UserFields> {
        let mut body = Body::parse(body, ["email", "name"])?;
        let email = body.read("email", strict::email);
        let name = body.read("name", line);

        let (email, name) = body.finish(email.zip(name))?;
        Ok(UserFields { email, name })
    }

    fn read_order(&self, body: &[u8]) -> HttpResult<OrderFields> {
        let mut body = Body::parse(body, ["user_id", "product", "quantity", "total_price"])?;
        let user_id = body.read("user_id", strict::integer::<i64>);
        let product = body.read("product", line);
        let quantity = body.read("quantity", strict::quantity);
        let total_price = body.read("total_price", strict::total_price);

        let values = user_id.zip(product).zip(quantity.zip(total_price));
        let ((user_id, product), (quantity, total_price)) = body.finish(values)?;
        Ok(OrderFields {
            user_id: UserNumber::new(user_id),
            product,
            quantity,
            total_price,
        })
    }

    fn read_number(
        &self,
        name: &'static str,
        segment: Option<String>,
        uri: &Uri,
    ) -> HttpResult<i64> {
        let number = segment
            .and_then(|text| strict::parse_integer(&text))
            .ok_or_else(|| Location::Path(name).invalid(strict::INTEGER));
        Query::refuse_with(uri, number)
    }

    fn check_query(&self, uri: &Uri) -> HttpResult<()> {
        Query::refuse(uri)
    }

    fn has_location(&self) -> bool {
        true
    }
}
