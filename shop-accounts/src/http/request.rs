//! The requests that create users and orders: validated strictly under `/v1`, and like the replaced
//! system elsewhere.

use shop_core::json::Members;
use shop_core::{Bytes, IdempotencyKey, RequestContext};
use shop_http::axum::extract::Request;
use shop_http::axum::http::request::Parts;
use shop_http::toolkit::{
    Body, HttpError, HttpResult, Location, Query, Service, ValidationError, idempotency_key, line,
    no_object, path_parameter, read_body, request_context,
};

use super::{pydantic, strict};
use crate::orders::{NewOrder, Product};
use crate::users::{NewUser, PersonName, UserNumber};

/// The form of the requests for users and orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestForm {
    /// The form of `/v1`, which is strict.
    Native,
    /// The form of the replaced system, which read requests with pydantic.
    Pydantic,
}

/// A request for a row, with an unparsed body.
pub(super) struct CreateRequest {
    form: RequestForm,
    body: Bytes,
    key: IdempotencyKey,
    context: Option<Box<RequestContext>>,
}

impl CreateRequest {
    /// Reads `request`, and generates a key if the request contains none.
    ///
    /// # Errors
    /// - the errors of [`read_body`]
    /// - 422 for a parameter under `/v1`, or an invalid key
    pub(super) async fn read(
        service: &Service,
        form: RequestForm,
        mut request: Request,
    ) -> HttpResult<Self> {
        let body = read_body(&mut request, service.options()).await?;
        if form == RequestForm::Native {
            Query::refuse(request.uri())?;
        }
        let key = idempotency_key(request.headers())?;
        Ok(Self {
            form,
            body,
            key: key.unwrap_or_else(|| service.fresh_key()),
            context: request_context(request.headers()),
        })
    }

    /// Reads a user from the body.
    ///
    /// # Errors
    /// 400 or 422 for an invalid body.
    pub(super) fn into_user(self) -> HttpResult<NewUser> {
        let mut body = self.parse_body(["email", "name"])?;
        let (email, name) = match self.form {
            RequestForm::Native => (body.read("email", strict::email), body.read("name", line)),
            RequestForm::Pydantic => (
                body.read("email", pydantic::email),
                body.read("name", |value| {
                    pydantic::short_text(value, PersonName::MAX_CHARS)
                }),
            ),
        };

        let (email, name) = body.finish(email.zip(name))?;
        Ok(NewUser::new(self.key, email, name).with_context(self.context))
    }

    /// Reads an order from the body.
    ///
    /// # Errors
    /// 400 or 422 for an invalid body.
    pub(super) fn into_order(self) -> HttpResult<NewOrder> {
        let mut body = self.parse_body(["user_id", "product", "quantity", "total_price"])?;
        let (user, product, quantity, price) = match self.form {
            RequestForm::Native => (
                body.read("user_id", strict::integer::<i64>),
                body.read("product", line),
                body.read("quantity", strict::quantity),
                body.read("total_price", strict::total_price),
            ),
            RequestForm::Pydantic => (
                body.read("user_id", pydantic::integer),
                body.read("product", |value| {
                    pydantic::short_text(value, Product::MAX_CHARS)
                }),
                body.read("quantity", pydantic::small_integer),
                body.read("total_price", pydantic::total_price),
            ),
        };

        let ((user, product), (quantity, price)) =
            body.finish(user.zip(product).zip(quantity.zip(price)))?;
        let user = UserNumber::new(user);
        Ok(NewOrder::new(self.key, user, product, quantity, price).with_context(self.context))
    }

    /// Parses the body as an object with the members `names`.
    ///
    /// # Errors
    /// 400 if the body is not an object, or, under `/v1`, repeats a member.
    fn parse_body<const N: usize>(&self, names: [&'static str; N]) -> HttpResult<Body<'_, N>> {
        if self.form == RequestForm::Native {
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

impl RequestForm {
    /// Reads the number in a path, as the segment `name` of its template.
    ///
    /// # Errors
    /// 422 if the segment is not a number, or, under `/v1`, if the query contains parameters.
    pub(super) async fn read_number(self, name: &'static str, mut head: Parts) -> HttpResult<i64> {
        let text = path_parameter(&mut head).await;
        if self == Self::Native {
            let number = text
                .and_then(|text| strict::parsed_integer(&text))
                .ok_or_else(|| Location::Path(name).invalid(strict::INTEGER));
            return Query::refuse_with(&head.uri, number);
        }

        // Invalid UTF-8 is shown as Python shows it.
        let text = text.unwrap_or_else(|| "\u{fffd}".to_owned());
        let number = pydantic::integer_of_text(&text).map_err(|error| ValidationError {
            kind: error.kind,
            input: serde_json::Value::from(text).to_string(),
            ..Location::Path(name).error(error.text)
        })?;
        Ok(number)
    }
}
