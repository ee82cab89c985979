//! The requests that create users and orders: validated strictly under `/v1`, and like the replaced system elsewhere.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::str::FromStr;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request};
use axum::http::Uri;
use axum::http::request::Parts;
use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use shop_core::json::RawScalar;
use shop_core::orders::{NewOrder, Product};
use shop_core::users::{NewUser, PersonName, UserNumber};
use shop_core::{IdempotencyKey, InvalidText, RequestContext};

use crate::dialect::Dialect;
use crate::request::purchase::FieldError;
use crate::request::query::Strict;
use crate::request::{body, purchase, pydantic, strict};
use crate::response::failure::Failure;
use crate::response::validation_error::{InvalidField, InvalidValue, NoObject, Problem, ValidationError};
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
    ) -> Result<Self, Failure> {
        let (Parts { headers, uri, .. }, body) = request.into_parts();
        let body = body::read(&headers, body, &service.options).await?;
        if dialect.is_strict {
            Strict::from_uri(&uri, &[])?.finish(Some(()))?;
        }
        let key = purchase::idempotency_key(&headers)?;
        let key = key.unwrap_or_else(|| service.clock.fresh_id().into());
        Ok(Self { dialect, body, key, context: purchase::context(&headers) })
    }

    /// The user.
    pub(crate) fn user(self) -> Result<NewUser, Failure> {
        if self.dialect.is_strict {
            return self.strict_user();
        }
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
        if self.dialect.is_strict {
            return self.strict_order();
        }
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

    fn strict_user(self) -> Result<NewUser, Failure> {
        let mut members = StrictMembers::parse(&self.body, NEW_USER)?;
        let email = members.read("email", |value| strict::email(value, self.dialect));
        let name = members.read("name", |value| purchase::text(value, self.dialect));
        let (email, name) = members.finish(email.zip(name))?;
        Ok(NewUser::new(self.key, email, name).with_context(self.context))
    }

    fn strict_order(self) -> Result<NewOrder, Failure> {
        let mut members = StrictMembers::parse(&self.body, NEW_ORDER)?;
        let user = members.read("user_id", strict::integer::<i64>).map(UserNumber::new);
        let product = members.read("product", |value| purchase::text(value, self.dialect));
        let quantity = members.read("quantity", strict::integer::<i32>);
        let price = members.read("total_price", strict::total_price);
        let (first, second) = members.finish(user.zip(product).zip(quantity.zip(price)))?;
        let ((user, product), (quantity, price)) = (first, second);
        Ok(NewOrder::new(self.key, user, product, quantity, price).with_context(self.context))
    }
}

/// The members of a new user, in the order of error reports.
pub(crate) const NEW_USER: &[&str] = &["email", "name"];
/// The members of a new order.
pub(crate) const NEW_ORDER: &[&str] = &["user_id", "product", "quantity", "total_price"];

/// The members of a body under `/v1`, and their errors. No member may be duplicated.
struct StrictMembers<'a> {
    known: &'static [&'static str],
    given: BTreeMap<String, RawScalar<'a>>,
    wrong: FieldError<'a>,
}

impl<'a> StrictMembers<'a> {
    fn parse(body: &'a [u8], known: &'static [&'static str]) -> Result<Self, Failure> {
        let Once(given) = serde_json::from_slice(body).map_err(|error| purchase::no_object(body, &error))?;
        Ok(Self { known, given, wrong: FieldError::new(body) })
    }

    fn read<T>(
        &mut self,
        member: &'static str,
        read: impl FnOnce(RawScalar<'_>) -> Result<T, (Problem, String)>,
    ) -> Option<T> {
        self.wrong.read_member(member, self.given.get(member).copied(), read)
    }

    /// Returns `read` if there are no errors.
    fn finish<T>(mut self, read: Option<T>) -> Result<T, Failure> {
        let names = self.given.into_keys().filter(|name| !self.known.contains(&&**name));
        self.wrong.unknown(&names.collect::<Vec<_>>(), self.known);
        read.filter(|_| self.wrong.members.is_empty()).ok_or(Failure::Body(self.wrong.members))
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

/// The members of a body, and their errors. The last of duplicated members counts.
struct Members<'a> {
    body: &'a [u8],
    given: BTreeMap<String, RawScalar<'a>>,
    wrong: Vec<InvalidValue>,
}

impl<'a> Members<'a> {
    fn parse(body: &'a [u8]) -> Result<Self, Failure> {
        let given = serde_json::from_slice(body).map_err(|error| match body.trim_ascii() {
            // A body that is present but empty.
            b"null" => Failure::Syntax(error.to_string(), NoObject::Other("null".to_owned())),
            _ => purchase::no_object(body, &error),
        })?;
        Ok(Self { body, given, wrong: Vec::new() })
    }

    /// Reads a member; an error is noted.
    fn read<T>(
        &mut self,
        member: &'static str,
        read: impl FnOnce(RawScalar<'a>) -> Result<T, ValidationError>,
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

/// A text of at most `max` characters.
fn short_text<T: FromStr<Err = InvalidText>>(
    value: RawScalar<'_>,
    most: usize,
) -> Result<T, ValidationError> {
    pydantic::text(value)?.parse().map_err(|_too_long| ValidationError::too_long(most))
}

/// The number in a path whose only parameter is `parameter`.
pub(crate) fn number(
    path: Result<Path<String>, PathRejection>,
    parameter: &'static str,
    dialect: &Dialect,
    uri: &Uri,
) -> Result<i64, Failure> {
    if dialect.is_strict {
        let mut asked = Strict::from_uri(uri, &[])?;
        let number = path.ok().and_then(|Path(text)| strict::parsed_integer(&text));
        let number = number.ok_or_else(|| InvalidField::new(parameter, strict::INTEGER));
        let number = asked.note(number);
        return asked.finish(number).map(|(_, number)| number);
    }
    // Invalid UTF-8 is shown as Python shows it.
    let text = path.map_or_else(|_not_utf8| "\u{fffd}".to_owned(), |Path(text)| text);
    pydantic::integer_of_text(&text).map_err(|error| {
        let input = serde_json::Value::from(text).to_string();
        Failure::Values(vec![InvalidValue { loc: ["path", parameter], error, input }])
    })
}
