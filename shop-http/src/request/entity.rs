//! The requests that create users and orders: validated strictly under `/v1`, and like the replaced system elsewhere.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request};
use axum::http::Uri;
use axum::http::request::Parts;
use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use shop_core::json::RawScalar;
use shop_core::orders::{NewOrder, Product};
use shop_core::users::{NewUser, PersonName, UserNumber};
use shop_core::{IdempotencyKey, RequestContext};

use crate::dialect::Dialect;
use crate::request::purchase::FieldErrors;
use crate::request::query::Query;
use crate::request::{body, purchase, pydantic, strict};
use crate::response::HttpError;
use crate::response::validation_error::{Kind, Location, ValidationError};
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
        request: Request,
    ) -> Result<Self, HttpError> {
        let (Parts { headers, uri, .. }, body) = request.into_parts();
        let body = body::read(&headers, body, &service.options).await?;
        if dialect.is_strict {
            Query::refuse(&uri)?;
        }
        let key = purchase::idempotency_key(&headers)?;
        let key = key.unwrap_or_else(|| service.clock.fresh_id().into());
        Ok(Self { dialect, body, key, context: purchase::context(&headers) })
    }

    /// The user.
    pub(crate) fn user(self) -> Result<NewUser, HttpError> {
        let mut members = self.members(NEW_USER)?;
        let (email, name) = if self.dialect.is_strict {
            (members.read("email", strict::email), members.read("name", strict::text))
        } else {
            let name = |value: RawScalar<'_>| pydantic::short_text(value, PersonName::MAX_CHARS);
            (members.read("email", pydantic::email), members.read("name", name))
        };
        let (email, name) = members.finish(email.zip(name))?;
        Ok(NewUser::new(self.key, email, name).with_context(self.context))
    }

    /// The order.
    pub(crate) fn order(self) -> Result<NewOrder, HttpError> {
        let mut members = self.members(NEW_ORDER)?;
        let (user, product, quantity, price) = if self.dialect.is_strict {
            let user = members.read("user_id", strict::integer::<i64>);
            let product = members.read("product", strict::text);
            let quantity = members.read("quantity", strict::integer::<i32>);
            (user, product, quantity, members.read("total_price", strict::total_price))
        } else {
            let user = members.read("user_id", pydantic::integer);
            let product = |value: RawScalar<'_>| pydantic::short_text(value, Product::MAX_CHARS);
            let product = members.read("product", product);
            let quantity = members.read("quantity", pydantic::small_integer);
            (user, product, quantity, members.read("total_price", pydantic::total_price))
        };
        let ((user, product), (quantity, price)) =
            members.finish(user.zip(product).zip(quantity.zip(price)))?;
        let user = UserNumber::new(user);
        Ok(NewOrder::new(self.key, user, product, quantity, price).with_context(self.context))
    }

    /// The members of the body, of which these are `known`.
    fn members(&self, known: &'static [&'static str]) -> Result<Members<'_>, HttpError> {
        let parsed = if self.dialect.is_strict {
            serde_json::from_slice(&self.body).map(|Once(given)| given)
        } else {
            // The last of duplicated members counts.
            serde_json::from_slice(&self.body)
        };
        let given = parsed.map_err(|error| match self.body.trim_ascii() {
            // A body that is present but empty.
            b"null" if !self.dialect.is_strict => {
                HttpError::no_object(ValidationError::no_object("null".to_owned(), error.to_string()))
            }
            _ => purchase::no_object(&self.body, &error),
        })?;
        let known = self.dialect.is_strict.then_some(known);
        Ok(Members { known, given, errors: FieldErrors::new(&self.body) })
    }
}

/// The members of a new user, in the order of error reports.
const NEW_USER: &[&str] = &["email", "name"];
/// The members of a new order.
const NEW_ORDER: &[&str] = &["user_id", "product", "quantity", "total_price"];

/// The members of a body, and their errors.
struct Members<'a> {
    /// `None` where others are ignored.
    known: Option<&'static [&'static str]>,
    given: BTreeMap<String, RawScalar<'a>>,
    errors: FieldErrors<'a>,
}

impl<'a> Members<'a> {
    fn read<T>(
        &mut self,
        member: &'static str,
        read: impl FnOnce(RawScalar<'a>) -> Result<T, (Kind, String)>,
    ) -> Option<T> {
        self.errors.read_member(member, self.given.get(member).copied(), read)
    }

    /// Returns `read` if there are no errors.
    fn finish<T>(mut self, read: Option<T>) -> Result<T, HttpError> {
        if let Some(known) = self.known {
            let names = self.given.into_keys().filter(|name| !known.contains(&&**name));
            self.errors.unknown(&names.collect::<Vec<_>>(), known);
        }
        self.errors.finish(read)
    }
}

/// The members of an object without duplicates.
struct Once<'a>(BTreeMap<String, RawScalar<'a>>);

impl<'de> Deserialize<'de> for Once<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OnceVisitor)
    }
}

struct OnceVisitor;

impl<'de> Visitor<'de> for OnceVisitor {
    type Value = Once<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Once<'de>, A::Error> {
        let mut given = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, RawScalar<'de>>()? {
            match given.entry(name) {
                Entry::Vacant(entry) => entry.insert(value),
                Entry::Occupied(entry) => {
                    return Err(A::Error::custom(format_args!("duplicate field `{}`", entry.key())));
                }
            };
        }
        Ok(Once(given))
    }
}

/// The number in a path whose only parameter is `parameter`.
pub(crate) fn number(
    path: Result<Path<String>, PathRejection>,
    parameter: &'static str,
    dialect: &Dialect,
    uri: &Uri,
) -> Result<i64, HttpError> {
    if dialect.is_strict {
        let mut query = Query::new(uri, &[])?;
        let number = path.ok().and_then(|Path(text)| strict::parsed_integer(&text));
        let number = number.ok_or_else(|| Location::Path(parameter).invalid(strict::INTEGER));
        let number = query.note(number);
        return query.finish(number).map(|(number, _)| number);
    }
    // Invalid UTF-8 is shown as Python shows it.
    let text = path.map_or_else(|_not_utf8| "\u{fffd}".to_owned(), |Path(text)| text);
    pydantic::integer_of_text(&text).map_err(|(kind, words)| {
        let input = serde_json::Value::from(text).to_string();
        ValidationError { location: Location::Path(parameter), kind, text: words, input }.into()
    })
}
