//! The operations of users and orders.

use axum::http::StatusCode;
use serde_json::{Value, json};
use shop_core::api::schema::HIGHEST_TOTAL_PRICE;
use shop_core::api::{NewOrderBody, NewUserBody, OrderBody, UserBody, UserOrdersBody};
use shop_core::orders::{Order, OrderNumber, Product, TotalPrice};
use shop_core::users::{Email, PersonName, User, UserNumber};

use super::operation::Operation;
use super::parameters;
use super::responses::{ResponseDoc, no_answer, not_taken, too_busy, unreadable};
use super::route_info::{RouteInfo, operation_id};
use super::schemas::{described, named, object, of};
use crate::request::pydantic;
use crate::response::failure::{Failure, Subject};
use crate::response::validation_error::{InvalidMember, InvalidValue, Problem, ValidationError};

/// An integer as text. Other forms are accepted as well.
const INTEGER_TEXT: &str = "^-?[0-9]{1,9}$";
/// A price as text. More decimals are rounded, and other forms are accepted as well.
const PRICE_TEXT: &str = r"^-?[0-9]{1,8}(\.[0-9]{1,2})?$";
/// The description of a body in the form of the replaced system.
const DROPPED: &str = "Other members are ignored.";

/// `POST /users`.
pub(super) fn register(place: &RouteInfo<'_>) -> Operation {
    let body = if place.dialect.is_strict {
        named::<NewUserBody>()
    } else {
        described(object([("email", of::<Email>()), ("name", of::<PersonName>())]), DROPPED)
    };
    let shown = json!({"email": "ada@example.com", "name": "Ada"});
    let registered =
        ResponseDoc::json(StatusCode::CREATED, "The user is registered durably", named::<UserBody>());
    let registered = linked(registered.with_example(user_example()), place, "users", "user_id");
    let own = [Failure::EmailTaken, missing(place, "email", r#"{"name":"Ada"}"#)];
    let operation = write(place, Subject::User, (body, shown), registered, own.into());
    Operation { summary: "Registers a user", ..operation }
}

/// `GET /users/{user_id}`.
pub(super) fn user(place: &RouteInfo<'_>) -> Operation {
    let found =
        ResponseDoc::json(StatusCode::OK, "The user", named::<UserBody>()).with_example(user_example());
    read(place, "One user", Subject::User, found, Failure::UnknownUser)
}

/// `GET /users/{user_id}/orders`.
pub(super) fn orders_of_user(place: &RouteInfo<'_>) -> Operation {
    let numbers = "The numbers of the first 1,000 orders";
    let found = ResponseDoc::json(StatusCode::OK, numbers, named::<UserOrdersBody>())
        .with_example(Some(json!({"user_id": 1, "orders": [1, 2]})));
    let summary = "The numbers of a user's known orders";
    read(place, summary, Subject::User, found, Failure::UnknownUser)
}

/// `POST /orders`.
pub(super) fn place_order(place: &RouteInfo<'_>) -> Operation {
    let integer = |least: i32| {
        json!({"anyOf": [
            {"type": "integer", "minimum": least, "maximum": i32::MAX},
            {"type": "string", "pattern": INTEGER_TEXT},
            {"type": "boolean", "description": "1 or 0"},
        ]})
    };
    let price = json!({"anyOf": [
        {
            "type": "number", "minimum": -HIGHEST_TOTAL_PRICE, "maximum": HIGHEST_TOTAL_PRICE,
            "description": "Exact; rounded to two decimals",
        },
        {"type": "string", "pattern": PRICE_TEXT},
    ]});
    let body = if place.dialect.is_strict {
        named::<NewOrderBody>()
    } else {
        let (user, quantity) = (integer(1), integer(i32::MIN));
        let product = of::<Product>();
        let members =
            [("user_id", user), ("product", product), ("quantity", quantity), ("total_price", price)];
        described(object(members), DROPPED)
    };
    let shown = json!({"user_id": 1, "product": "pen", "quantity": 2, "total_price": 50});
    let placed = ResponseDoc::json(StatusCode::CREATED, "The order is placed durably", named::<OrderBody>());
    let placed = linked(placed.with_example(order_example()), place, "orders", "order_id");
    let without = r#"{"user_id":1,"product":"pen","total_price":50}"#;
    let own = [Failure::UnknownUser, missing(place, "quantity", without)];
    let operation = write(place, Subject::Order, (body, shown), placed, own.into());
    Operation { summary: "Places an order of a known user", ..operation }
}

/// `GET /orders/{order_id}`.
pub(super) fn order(place: &RouteInfo<'_>) -> Operation {
    let found =
        ResponseDoc::json(StatusCode::OK, "The order", named::<OrderBody>()).with_example(order_example());
    read(place, "One order", Subject::Order, found, Failure::UnknownOrder)
}

/// An operation that creates a row, with the schema and an example of its body.
fn write(
    place: &RouteInfo<'_>,
    of: Subject,
    body: (Value, Value),
    written: ResponseDoc,
    mut failures: Vec<Failure>,
) -> Operation {
    failures.push(Failure::KeyTaken(of));
    failures.extend(unreadable(place));
    failures.extend(not_taken(of));
    failures.extend(too_busy(place, true));
    let parameters = vec![parameters::key_of_entity()];
    let (tag, body, own) = (tag(place, of), Some(body), vec![written]);
    Operation { tag, parameters, body, own, failures, ..Operation::default() }
}

/// An operation that reads one row, whose number is in the path.
fn read(
    place: &RouteInfo<'_>,
    summary: &'static str,
    of: Subject,
    found: ResponseDoc,
    unknown: Failure,
) -> Operation {
    let parameter = if of == Subject::User { "user_id" } else { "order_id" };
    let mut failures = vec![unknown, no_number(place, parameter)];
    failures.extend(no_answer(of));
    failures.extend(too_busy(place, false));
    let parameters = vec![parameters::number(parameter)];
    Operation { tag: tag(place, of), summary, parameters, own: vec![found], failures, ..Operation::default() }
}

/// Links `answer` to the operation that reads the row.
fn linked(answer: ResponseDoc, place: &RouteInfo<'_>, rows: &'static str, parameter: &str) -> ResponseDoc {
    let path = format!("{}/{{{parameter}}}", place.path);
    let number = format!("path.{parameter}");
    let parameters = [(&*number, "$response.body#/id")];
    let answer = answer.with_link(rows, &operation_id("get", &path), &parameters, "Reads the row");
    let answer =
        if place.dialect.is_strict { answer.with_header("Location", "The path of the row") } else { answer };
    answer.with_header("Idempotent-Replayed", "`true` when the key was used before, with the same content")
}

/// The tag of the operations on these.
const fn tag(place: &RouteInfo<'_>, of: Subject) -> &'static str {
    match of {
        _ if place.dialect.is_strict => "v1",
        Subject::Order => "orders",
        _ => "users",
    }
}

fn missing(place: &RouteInfo<'_>, member: &'static str, body: &str) -> Failure {
    let input = body.to_owned();
    if place.dialect.is_strict {
        let (problem, text) = (Problem::Missing, String::new());
        return Failure::Body(vec![InvalidMember { member: member.into(), problem, text, input }]);
    }
    let error = ValidationError::new("missing", "Field required");
    Failure::Values(vec![InvalidValue { loc: ["body", member], error, input }])
}

fn no_number(place: &RouteInfo<'_>, parameter: &'static str) -> Failure {
    if place.dialect.is_strict {
        return Failure::field(parameter, "must be an integer");
    }
    let (loc, input) = (["path", parameter], r#""one""#.to_owned());
    let wrong = pydantic::integer_of_text("one").err();
    Failure::Values(wrong.map(|error| InvalidValue { loc, error, input }).into_iter().collect())
}

fn user_example() -> Option<Value> {
    let user = User::new(UserNumber::FIRST, "ada@example.com".parse().ok()?, "Ada".parse().ok()?);
    Some(json!(UserBody::from(user)))
}

fn order_example() -> Option<Value> {
    let price = TotalPrice::from_cents(50_00).ok()?;
    let order = Order::new(OrderNumber::FIRST, UserNumber::FIRST, "pen".parse().ok()?, 2, price);
    Some(json!(OrderBody::from(order)))
}
