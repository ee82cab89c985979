//! What a request says of a user or of an order, checked as the replaced system checked it.

use std::collections::BTreeMap;
use std::str::FromStr;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request};
use axum::http::request::Parts;
use bytes::Bytes;
use shop_core::json::Scalar;
use shop_core::orders::{NewOrder, Product};
use shop_core::users::{NewUser, PersonName, UserNumber};
use shop_core::{IdempotencyKey, InvalidText, RequestContext};

use crate::request::pydantic::{self, ValidationError};
use crate::request::validation_error::{InvalidValue, NoObject};
use crate::request::{body, purchase};
use crate::response::failure::Failure;
use crate::service::Service;

/// A row that is asked for, not looked into yet.
pub(crate) struct CreateRequest {
    body: Bytes,
    key: IdempotencyKey,
    context: Option<Box<RequestContext>>,
}

impl CreateRequest {
    /// What `request` asks for; with a fresh key if it has none.
    pub(crate) async fn of(service: &Service, request: Request) -> Result<Self, Failure> {
        let (Parts { headers, .. }, body) = request.into_parts();
        let body = body::read(&headers, body, &service.options).await?;
        let key = purchase::idempotency_key(&headers)?;
        let key = key.unwrap_or_else(|| service.clock.fresh_id().into());
        Ok(Self { body, key, context: purchase::context(&headers) })
    }

    /// The user.
    pub(crate) fn user(self) -> Result<NewUser, Failure> {
        let mut members = Members::parse(&self.body)?;
        let email = members.read("email", pydantic::email);
        let name = members.read("name", |value| short_text(value, PersonName::MAX_CHARS));
        match (email, name) {
            (Some(email), Some(name)) => Ok(NewUser::new(self.key, email, name).with_context(self.context)),
            _ => Err(Failure::Values(members.wrong)),
        }
    }

    /// The order.
    pub(crate) fn order(self) -> Result<NewOrder, Failure> {
        let mut members = Members::parse(&self.body)?;
        let user = members.read("user_id", pydantic::integer).map(UserNumber::new);
        let product = members.read("product", |value| short_text(value, Product::MAX_CHARS));
        let quantity = members.read("quantity", pydantic::small_integer);
        let price = members.read("total_price", pydantic::total_price);
        match (user, product, quantity, price) {
            (Some(user), Some(product), Some(quantity), Some(price)) => {
                Ok(NewOrder::new(self.key, user, product, quantity, price).with_context(self.context))
            }
            _ => Err(Failure::Values(members.wrong)),
        }
    }
}

/// The members of a body, and what is found to be wrong with them. Of a member that comes twice the last one counts.
struct Members<'a> {
    body: &'a [u8],
    given: BTreeMap<String, Scalar<'a>>,
    wrong: Vec<InvalidValue>,
}

impl<'a> Members<'a> {
    fn parse(body: &'a [u8]) -> Result<Self, Failure> {
        let given = serde_json::from_slice(body).map_err(|error| match body.trim_ascii() {
            // A body that is there, but none.
            b"null" => Failure::Syntax(error.to_string(), NoObject::Other("null".to_owned())),
            _ => purchase::no_object(body, &error),
        })?;
        Ok(Self { body, given, wrong: Vec::new() })
    }

    /// What `read` makes of the member. If it makes nothing of it, that is noted.
    fn read<T>(
        &mut self,
        member: &'static str,
        read: impl FnOnce(Scalar<'a>) -> Result<T, ValidationError>,
    ) -> Option<T> {
        let (read, input) = match self.given.get(member) {
            Some(value) => (read(*value), value.as_json().to_owned()),
            None => (
                Err(ValidationError::new("missing", "Field required")),
                String::from_utf8_lossy(self.body).into(),
            ),
        };
        read.map_err(|error| self.wrong.push(InvalidValue { loc: ["body", member], error, input })).ok()
    }
}

/// A text of at most so many characters.
fn short_text<T: FromStr<Err = InvalidText>>(value: Scalar<'_>, most: usize) -> Result<T, ValidationError> {
    pydantic::text(value)?.parse().map_err(|_too_long| ValidationError::too_long(most))
}

/// The number in a path of one parameter, which has this name.
pub(crate) fn number(
    path: Result<Path<String>, PathRejection>,
    parameter: &'static str,
) -> Result<i64, Failure> {
    // What is no UTF-8 is shown as Python shows it.
    let text = path.map_or_else(|_not_utf8| "\u{fffd}".to_owned(), |Path(text)| text);
    pydantic::integer_of_text(&text).map_err(|error| {
        let input = serde_json::Value::from(text).to_string();
        Failure::Values(vec![InvalidValue { loc: ["path", parameter], error, input }])
    })
}
