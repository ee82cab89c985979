//! The requests that create users and orders: validated strictly under `/v1`, and like the replaced
//! system elsewhere.

use axum::extract::Request;
use axum::http::Uri;
use bytes::Bytes;
use shop_core::json::{Members, RawScalar};
use shop_core::orders::{NewOrder, Product};
use shop_core::users::{NewUser, PersonName, UserNumber};
use shop_core::{IdempotencyKey, RequestContext};

use super::{pydantic, strict};
use crate::compat::Dialect;
use crate::request::fields::{Body, no_object};
use crate::request::query::Query;
use crate::request::strict::line;
use crate::request::{PathText, body, context, purchase};
use crate::response::validation_error::{Location, ValidationError};
use crate::response::{HttpError, HttpResult};
use crate::service::Service;

/// A request for a row, with an unparsed body.
pub(crate) struct CreateRequest {
    dialect: &'static Dialect,
    body: Bytes,
    key: IdempotencyKey,
    context: Option<Box<RequestContext>>,
}

impl CreateRequest {
    /// Reads `request`, and generates a key if it has none.
    pub(crate) async fn from_request(
        service: &Service,
        dialect: &'static Dialect,
        mut request: Request,
    ) -> HttpResult<Self> {
        let body = body::read(&mut request, &service.options).await?;
        if dialect.is_strict {
            Query::refuse(request.uri())?;
        }
        let key = purchase::idempotency_key(request.headers())?
            .unwrap_or_else(|| service.clock.fresh_id().into());
        Ok(Self {
            dialect,
            body,
            key,
            context: context::request_context(request.headers()),
        })
    }

    /// The user.
    pub(crate) fn user(self) -> HttpResult<NewUser> {
        let mut body = self.body(["email", "name"])?;
        let (email, name) = if self.dialect.is_strict {
            (body.read("email", strict::email), body.read("name", line))
        } else {
            let name = |value: RawScalar<'_>| pydantic::short_text(value, PersonName::MAX_CHARS);
            (body.read("email", pydantic::email), body.read("name", name))
        };
        let (email, name) = body.finish(email.zip(name))?;
        Ok(NewUser::new(self.key, email, name).with_context(self.context))
    }

    /// The order.
    pub(crate) fn order(self) -> HttpResult<NewOrder> {
        let mut body = self.body(["user_id", "product", "quantity", "total_price"])?;
        let (user, product, quantity, price) = if self.dialect.is_strict {
            let user = body.read("user_id", strict::integer::<i64>);
            let product = body.read("product", line);
            let quantity = body.read("quantity", strict::quantity);
            (
                user,
                product,
                quantity,
                body.read("total_price", strict::total_price),
            )
        } else {
            let user = body.read("user_id", pydantic::integer);
            let product = |value: RawScalar<'_>| pydantic::short_text(value, Product::MAX_CHARS);
            let product = body.read("product", product);
            let quantity = body.read("quantity", pydantic::small_integer);
            (
                user,
                product,
                quantity,
                body.read("total_price", pydantic::total_price),
            )
        };
        let ((user, product), (quantity, price)) =
            body.finish(user.zip(product).zip(quantity.zip(price)))?;
        let user = UserNumber::new(user);
        Ok(NewOrder::new(self.key, user, product, quantity, price).with_context(self.context))
    }

    /// The body, an object with the members `names`.
    fn body<const N: usize>(&self, names: [&'static str; N]) -> HttpResult<Body<'_, N>> {
        if self.dialect.is_strict {
            return Body::parse(&self.body, names);
        }
        let mut members = Members::parse_last(&self.body, names).map_err(|error| {
            match self.body.trim_ascii() {
                // A body that is present but empty.
                b"null" => HttpError::not_an_object(ValidationError::no_object(
                    "null".to_owned(),
                    error.to_string(),
                )),
                _ => no_object(&self.body, &error),
            }
        })?;
        members.unknown.clear();
        Ok(Body::new(&self.body, members))
    }
}

/// The number in a path whose only parameter is `parameter`.
pub(crate) fn number(
    path: PathText,
    name: &'static str,
    dialect: &Dialect,
    uri: &Uri,
) -> HttpResult<i64> {
    if dialect.is_strict {
        let number = path
            .0
            .and_then(|text| strict::parsed_integer(&text))
            .ok_or_else(|| Location::Path(name).invalid(strict::INTEGER));
        let (number, _no_wait) = Query::read_from(uri, &[], |query| query.note(number))?;
        return Ok(number);
    }
    // Invalid UTF-8 is shown as Python shows it.
    let text = path.0.unwrap_or_else(|| "\u{fffd}".to_owned());
    pydantic::integer_of_text(&text).map_err(|error| {
        ValidationError {
            kind: error.kind,
            input: serde_json::Value::from(text).to_string(),
            ..Location::Path(name).error(error.text)
        }
        .into()
    })
}
