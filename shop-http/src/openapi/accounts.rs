//! Users and orders.

use axum::http::StatusCode;
use serde_json::{Value, json};
use shop_core::api::schema::{number_or_text, of_type, text};
use shop_core::api::{NewOrderBody, NewUserBody, OrderBody, UserBody, UserOrdersBody};
use shop_core::orders::{Order, OrderNumber, Product, TotalPrice};
use shop_core::users::{Email, PersonName, User, UserNumber};
use utoipa::PartialSchema;
use utoipa::openapi::link::LinkBuilder;
use utoipa::openapi::path::{HttpMethod, OperationBuilder};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Required};

use super::answers::{Answer, answers, no_answer, not_taken, too_busy};
use super::schemas::{Described, any_of, object};
use super::whereabouts::{Place, operation_id};
use super::{Operations, buying, parameters};
use crate::request::pydantic;
use crate::response::failure::{Failure, Subject};
use crate::response::validation_error::{InvalidMember, InvalidValue, Problem, ValidationError};

/// Text that counts as an integer; other ways to write one are taken too.
const INTEGER_TEXT: &str = "^-?[0-9]{1,9}$";
/// A price as text. More decimals are rounded, and other ways to write one are taken too.
const PRICE_TEXT: &str = r"^-?[0-9]{1,8}(\.[0-9]{1,2})?$";
const HIGHEST_PRICE: f64 = 99_999_999.99;

/// `POST /users`.
pub(super) fn register(place: &Place<'_>) -> Operations {
    let body = in_dialect(place, NewUserBody::schema(), || {
        object([("email", Email::schema()), ("name", PersonName::schema())])
    });
    let shown = json!({"email": "ada@example.com", "name": "Ada"});
    let registered = Answer::json(StatusCode::CREATED, "The user is registered, durably", UserBody::schema());
    let registered = linked(registered.with_example(user_example()), place, "users", "user_id");
    let own = [Failure::EmailTaken, missing(place, "email", r#"{"name":"Ada"}"#)];
    let operation = write(place, Subject::User, (body, shown), registered, own.into());
    vec![(HttpMethod::Post, operation.tag(tag(place, "users")).summary(Some("Registers a user")))]
}

/// `GET /users/{user_id}`.
pub(super) fn user(place: &Place<'_>) -> Operations {
    let found = Answer::json(StatusCode::OK, "The user", UserBody::schema()).with_example(user_example());
    let operation = read(place, Subject::User, found, Failure::UnknownUser);
    vec![(HttpMethod::Get, operation.tag(tag(place, "users")).summary(Some("One user")))]
}

/// `GET /users/{user_id}/orders`.
pub(super) fn orders_of_user(place: &Place<'_>) -> Operations {
    let found =
        Answer::json(StatusCode::OK, "The numbers of the first 1,000 orders", UserOrdersBody::schema())
            .with_example(Some(json!({"user_id": 1, "orders": [1, 2]})));
    let operation = read(place, Subject::User, found, Failure::UnknownUser);
    let summary = "The numbers of a user's orders, as far as they are known";
    vec![(HttpMethod::Get, operation.tag(tag(place, "users")).summary(Some(summary)))]
}

/// `POST /orders`.
pub(super) fn place_order(place: &Place<'_>) -> Operations {
    let integer = |least: i32, most: i32| {
        let number = of_type(Type::Integer).minimum(Some(least)).maximum(Some(most)).build().into();
        let text = text().pattern(Some(INTEGER_TEXT)).build().into();
        any_of([number, text, of_type(Type::Boolean).description(Some("1 or 0")).build().into()])
    };
    let price = of_type(Type::Number).minimum(Some(-HIGHEST_PRICE)).maximum(Some(HIGHEST_PRICE));
    let price = price.description(Some("Exact; rounded to two decimals"));
    let body = in_dialect(place, NewOrderBody::schema(), || {
        object([
            ("user_id", integer(1, i32::MAX)),
            ("product", Product::schema()),
            ("quantity", integer(i32::MIN, i32::MAX)),
            ("total_price", number_or_text(price, PRICE_TEXT)),
        ])
    });
    let shown = json!({"user_id": 1, "product": "pen", "quantity": 2, "total_price": 50});
    let placed = Answer::json(StatusCode::CREATED, "The order is placed, durably", OrderBody::schema());
    let placed = linked(placed.with_example(order_example()), place, "orders", "order_id");
    let without = r#"{"user_id":1,"product":"pen","total_price":50}"#;
    let own = [Failure::UnknownUser, missing(place, "quantity", without)];
    let operation = write(place, Subject::Order, (body, shown), placed, own.into());
    vec![(
        HttpMethod::Post,
        operation.tag(tag(place, "orders")).summary(Some("Places an order of a known user")),
    )]
}

/// `GET /orders/{order_id}`.
pub(super) fn order(place: &Place<'_>) -> Operations {
    let found = Answer::json(StatusCode::OK, "The order", OrderBody::schema()).with_example(order_example());
    let operation = read(place, Subject::Order, found, Failure::UnknownOrder);
    vec![(HttpMethod::Get, operation.tag(tag(place, "orders")).summary(Some("One order")))]
}

/// What takes a row, with the schema and an example of what is sent.
fn write(
    place: &Place<'_>,
    of: Subject,
    (body, shown): (Described, Value),
    written: Answer,
    mut failures: Vec<Failure>,
) -> OperationBuilder {
    let body = ContentBuilder::new().schema(Some(body)).example(Some(shown)).build();
    let body =
        RequestBodyBuilder::new().content("application/json", body).required(Some(Required::True)).build();
    failures.push(Failure::KeyTaken(of));
    failures.extend(buying::unreadable(place));
    failures.extend(not_taken(of));
    failures.extend(too_busy(place, true));
    OperationBuilder::new()
        .parameter(parameters::key_of_account())
        .request_body(Some(body))
        .responses(answers(place, vec![written], &failures))
}

/// What tells of one row, the number of which is in the path.
fn read(place: &Place<'_>, of: Subject, found: Answer, unknown: Failure) -> OperationBuilder {
    let parameter = if of == Subject::User { "user_id" } else { "order_id" };
    let mut failures = vec![unknown, no_number(place, parameter)];
    failures.extend(no_answer(of));
    failures.extend(too_busy(place, false));
    OperationBuilder::new().parameter(parameters::number(parameter)).responses(answers(
        place,
        vec![found],
        &failures,
    ))
}

/// `answer`, which leads to the row that it tells of.
fn linked(mut answer: Answer, place: &Place<'_>, rows: &'static str, parameter: &str) -> Answer {
    let path = format!("{}/{{{parameter}}}", place.path);
    let link = LinkBuilder::new()
        .operation_id(operation_id(&HttpMethod::Get, &path))
        .parameter(format!("path.{parameter}"), "$response.body#/id")
        .description("The same, asked for");
    answer.links.push((rows, link.build()));
    if place.dialect.is_strict {
        answer = answer.with_header("Location", "Where it is");
    }
    answer.with_header("Idempotent-Replayed", "`true` when it was there already, under the same key")
}

/// What is sent: `ours` under `/v1`, and in the words of the replaced system elsewhere.
fn in_dialect(place: &Place<'_>, ours: Described, theirs: impl FnOnce() -> ObjectBuilder) -> Described {
    if place.dialect.is_strict {
        return ours;
    }
    theirs().description(Some("Other members are dropped.")).into()
}

/// The tag of operations that are of `rows` outside of `/v1`.
fn tag(place: &Place<'_>, rows: &'static str) -> &'static str {
    if place.dialect.is_strict { "v1" } else { rows }
}

fn missing(place: &Place<'_>, member: &'static str, body: &str) -> Failure {
    let input = body.to_owned();
    if place.dialect.is_strict {
        let (problem, text) = (Problem::Missing, String::new());
        return Failure::Body(vec![InvalidMember { member: member.into(), problem, text, input }]);
    }
    let error = ValidationError::new("missing", "Field required");
    Failure::Values(vec![InvalidValue { loc: ["body", member], error, input }])
}

fn no_number(place: &Place<'_>, parameter: &'static str) -> Failure {
    if place.dialect.is_strict {
        return Failure::field(parameter, "must be an integer");
    }
    let wrong = pydantic::integer_of_text("one").err();
    let wrong =
        wrong.map(|error| InvalidValue { loc: ["path", parameter], error, input: r#""one""#.to_owned() });
    Failure::Values(wrong.into_iter().collect())
}

fn user_example() -> Option<Value> {
    let user = User::new(UserNumber::FIRST, "ada@example.com".parse().ok()?, "Ada".parse().ok()?);
    serde_json::to_value(UserBody::from(user)).ok()
}

fn order_example() -> Option<Value> {
    let price = TotalPrice::from_cents(50_00).ok()?;
    let order = Order::new(OrderNumber::FIRST, UserNumber::FIRST, "pen".parse().ok()?, 2, price);
    serde_json::to_value(OrderBody::from(order)).ok()
}
