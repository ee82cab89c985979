//! Reads the requests for users and orders as the replaced system did.

use serde_json::Value;
use shop_accounts::http::{OrderFields, RequestForm, UserFields};
use shop_accounts::orders::Product;
use shop_accounts::users::{PersonName, UserNumber};
use shop_core::json::Members;
use shop_http::axum::http::Uri;
use shop_http::toolkit::{Body, HttpError, HttpResult, Location, ValidationError, no_object};

use super::pydantic;

/// The form of the requests of the replaced system, which read them with pydantic.
///
/// Unknown members and parameters are ignored, and the last of two equal members counts.
#[derive(Debug)]
pub(super) struct PydanticForm;

impl RequestForm for PydanticForm {
    fn read_user(&self, body: &[u8]) -> HttpResult<UserFields> {
        let mut body = parse_body(body, ["email", "name"])?;
        let email = body.read("email", pydantic::email);
        let name = body.read("name", |value| {
            pydantic::short_text(value, PersonName::MAX_CHARS)
        });

        let (email, name) = body.finish(email.zip(name))?;
        Ok(UserFields { email, name })
    }

    fn read_order(&self, body: &[u8]) -> HttpResult<OrderFields> {
        let mut body = parse_body(body, ["user_id", "product", "quantity", "total_price"])?;
        let user_id = body.read("user_id", pydantic::integer);
        let product = body.read("product", |value| {
            pydantic::short_text(value, Product::MAX_CHARS)
        });
        let quantity = body.read("quantity", pydantic::small_integer);
        let total_price = body.read("total_price", pydantic::total_price);

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
        _uri: &Uri,
    ) -> HttpResult<i64> {
        // Without valid UTF-8, Python shows the replacement character.
        let text = segment.unwrap_or_else(|| "\u{fffd}".to_owned());
        let number = pydantic::integer_of_text(&text).map_err(|error| ValidationError {
            kind: error.kind,
            input: Value::from(text).to_string(),
            ..Location::Path(name).error(error.text)
        })?;
        Ok(number)
    }

    fn check_query(&self, _uri: &Uri) -> HttpResult<()> {
        Ok(())
    }

    fn has_location(&self) -> bool {
        false
    }
}

/// Parses the body as an object with the members `names`. Other members are ignored.
///
/// # Errors
/// 400 if the body is not an object.
fn parse_body<'a, const N: usize>(
    body: &'a [u8],
    names: [&'static str; N],
) -> HttpResult<Body<'a, N>> {
    let mut members =
        Members::parse_last(body, names).map_err(|error| match body.trim_ascii() {
            // A body that is present, but contains no value.
            b"null" => HttpError::not_an_object(ValidationError::no_object(
                "null".to_owned(),
                error.to_string(),
            )),
            _ => no_object(body, &error),
        })?;
    members.unknown.clear();
    Ok(Body::new(body, members))
}
