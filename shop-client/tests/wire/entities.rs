//! Users and orders: requests, and the meaning of each response.

use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::{Value, json};
use shop_client::{
    BearerToken, Error, ErrorKind, HttpErrorExt, Insertion, NewOrder, NewUser, Order, OrderNumber, Outcome,
    RequestContext, RetryPolicy, ShopClient, User, UserNumber,
};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::shop::{Script, Turn, refusal};

const USER: &str = r#"{"id":1,"email":"ada@example.com","name":"Ada"}"#;
const ORDER: &str = r#"{"id":7,"user_id":1,"product":"Notebook","quantity":2,"total_price":"50.00"}"#;

pub(crate) fn new_user() -> NewUser {
    NewUser::new("sign-up-7".parse().unwrap(), "ada@example.com".parse().unwrap(), "Ada".parse().unwrap())
}

pub(crate) fn new_order() -> NewOrder {
    let (product, price) = ("Notebook".parse().unwrap(), "50.00".parse().unwrap());
    NewOrder::new("basket-7".parse().unwrap(), UserNumber::FIRST, product, 2, price)
}

fn user() -> User {
    new_user().with_id(UserNumber::FIRST)
}

fn order() -> Order {
    new_order().with_id(OrderNumber::new(7))
}

/// A service with one response to everything.
fn responding(status: u16, body: &str) -> Router {
    let answer = (StatusCode::from_u16(status).unwrap(), body.to_owned());
    Router::new().fallback(move || async move { answer })
}

/// A client without retries of a service with one response to everything.
async fn client_of(status: u16, body: &str) -> ShopClient {
    Script::new([]).before(responding(status, body)).await.retries(RetryPolicy::none()).build().unwrap()
}

/// The errors of the five calls for one response, writes first.
async fn errors_of(status: u16, body: &str) -> [Error; 5] {
    let client = client_of(status, body).await;
    let (users, orders) = (client.users(), client.orders());
    [
        users.insert(&new_user()).await.unwrap_err(),
        orders.insert(&new_order()).await.unwrap_err(),
        users.get(UserNumber::FIRST).await.unwrap_err(),
        users.orders_of(UserNumber::FIRST).await.unwrap_err(),
        orders.get(OrderNumber::new(7)).await.unwrap_err(),
    ]
}

#[tokio::test]
async fn requests_are_what_the_service_reads() {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(404)).mount(&server).await;
    let builder = ShopClient::builder(server.uri()).bearer_token(BearerToken::new("s3cret").unwrap());
    let client = builder.build().unwrap().with_context(RequestContext::new(Some("r-1".to_owned()), None));
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let own = RequestContext::new(Some("r-2".to_owned()), Some(traceparent.to_owned()));
    let (users, orders) = (client.users(), client.orders());
    users.insert(&new_user()).await.unwrap_err();
    orders.insert(&new_order().with_context(Some(Box::new(own)))).await.unwrap_err();
    users.get(UserNumber::new(-1)).await.unwrap_err();
    users.orders_of(UserNumber::new(i64::MAX)).await.unwrap_err();
    orders.get(OrderNumber::new(7)).await.unwrap_err();

    let requests = server.received_requests().await.unwrap();
    let seen: Vec<_> =
        requests.iter().map(|request| format!("{} {}", request.method, request.url.path())).collect();
    assert_eq!(
        seen,
        [
            "POST /v1/users",
            "POST /v1/orders",
            "GET /v1/users/-1",
            "GET /v1/users/9223372036854775807/orders",
            "GET /v1/orders/7"
        ]
    );
    let header = |number: usize, name: &str| {
        requests[number].headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned()
    };
    let body = |number: usize| serde_json::from_slice::<Value>(&requests[number].body).unwrap();
    assert_eq!(body(0), json!({"email": "ada@example.com", "name": "Ada"}));
    assert_eq!(body(1), json!({"user_id": 1, "product": "Notebook", "quantity": 2, "total_price": "50.00"}));
    for (number, key, id) in
        [(0, "sign-up-7", "r-1"), (1, "basket-7", "r-2"), (2, "", "r-1"), (3, "", "r-1"), (4, "", "r-1")]
    {
        assert_eq!(
            (header(number, "idempotency-key"), header(number, "x-request-id")),
            (key.into(), id.into())
        );
        assert_eq!(header(number, "authorization"), "Bearer s3cret");
    }
    assert_eq!(header(1, "traceparent"), traceparent);
}

#[tokio::test]
async fn register_returns_registered_or_email_taken() {
    for (status, body, expected) in [
        (201, USER, Insertion::Inserted(user())),
        (409, r#"{"type":"/problems/email-taken"}"#, Insertion::Refused),
        (409, r#"{"type":"/problems/key-taken","detail":"in other words"}"#, Insertion::KeyTaken),
    ] {
        let users = client_of(status, body).await.users();
        assert_eq!(users.insert(&new_user()).await.unwrap(), expected);
        let (email, name) = (new_user().email, new_user().name);
        assert_eq!(users.register_new(email, name).await.unwrap(), expected);
    }
    let replayed = Turn::Say(refusal(201, &[("idempotent-replayed", "true")], USER));
    let client = Script::new([replayed]).before(responding(500, "")).await.build().unwrap();
    assert_eq!(client.users().insert(&new_user()).await.unwrap(), Insertion::AlreadyInserted(user()));
}

#[tokio::test]
async fn place_returns_placed_or_unknown_user() {
    for (status, body, expected) in [
        (201, ORDER, Insertion::Inserted(order())),
        (404, r#"{"type":"/problems/unknown-user"}"#, Insertion::Refused),
        (409, r#"{"type":"/problems/key-taken"}"#, Insertion::KeyTaken),
    ] {
        let orders = client_of(status, body).await.orders();
        let NewOrder { user_id, product, quantity, total_price, .. } = new_order();
        assert_eq!(orders.insert(&new_order()).await.unwrap(), expected);
        assert_eq!(orders.place_new(user_id, product, quantity, total_price).await.unwrap(), expected);
    }
    let replayed = Turn::Say(refusal(201, &[("idempotent-replayed", "true")], ORDER));
    let client = Script::new([replayed]).before(responding(500, "")).await.build().unwrap();
    assert_eq!(client.orders().insert(&new_order()).await.unwrap(), Insertion::AlreadyInserted(order()));
}

#[tokio::test]
async fn get_finds_existing_rows_only() {
    let found = client_of(200, USER).await.users();
    assert_eq!(found.get(UserNumber::FIRST).await.unwrap(), Some(user()));
    let found = client_of(200, ORDER).await.orders();
    assert_eq!(found.get(OrderNumber::new(7)).await.unwrap(), Some(order()));
    let numbers = client_of(200, r#"{"user_id":1,"orders":[1,2,9]}"#).await.users();
    let numbers = numbers.orders_of(UserNumber::FIRST).await.unwrap().unwrap();
    assert_eq!(numbers, [1, 2, 9].map(OrderNumber::new));
    let none = client_of(200, r#"{"user_id":1,"orders":[]}"#).await.users();
    assert_eq!(none.orders_of(UserNumber::FIRST).await.unwrap(), Some(Vec::new()));

    let unknown = client_of(404, r#"{"type":"/problems/unknown-user"}"#).await.users();
    assert_eq!(unknown.get(UserNumber::FIRST).await.unwrap(), None);
    assert_eq!(unknown.orders_of(UserNumber::FIRST).await.unwrap(), None);
    let nothing = client_of(404, r#"{"type":"/problems/unknown-order"}"#).await.orders();
    assert_eq!(nothing.get(OrderNumber::new(7)).await.unwrap(), None);
}

#[tokio::test]
async fn a_missing_role_differs_from_an_unknown_row() {
    for (status, body) in [
        (404, r#"{"detail":"Not Found"}"#),
        (404, ""),
        (404, "<html>nothing here</html>"),
        (405, r#"{"detail":"Method Not Allowed"}"#),
    ] {
        let errors = errors_of(status, body).await;
        for (error, role) in errors.iter().zip(["users", "orders", "users", "users", "orders"]) {
            assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unsupported, Outcome::NotApplied));
            assert!(error.message().contains(&format!("the role of {role}")), "{error}");
        }
    }
    // Texts are for people: without its type a refusal is not an outcome.
    for body in [r#"{"detail":"User not found"}"#, r#"{"detail":"Order not found"}"#] {
        for error in errors_of(404, body).await {
            assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unsupported, Outcome::NotApplied));
        }
    }
    // A response of another path is not an outcome either.
    let misled = client_of(404, r#"{"type":"/problems/unknown-order"}"#).await;
    misled.users().get(UserNumber::FIRST).await.unwrap_err();
    misled.orders().insert(&new_order()).await.unwrap_err();
    let misled = client_of(400, r#"{"detail":"There was an error parsing the body"}"#).await;
    let error = misled.users().insert(&new_user()).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, "There was an error parsing the body"));
    // A failure of the service is not an outcome, whatever its body.
    let failed = client_of(500, r#"{"type":"/problems/unknown-user"}"#).await;
    failed.users().get(UserNumber::FIRST).await.unwrap_err();
    let other = client_of(409, r#"{"detail":"no"}"#).await;
    assert_eq!(other.orders().insert(&new_order()).await.unwrap_err().kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn a_validation_error_has_its_location() {
    let body = r##"{"type":"/problems/invalid","detail":"email: is not an address","field":"email",
        "errors":[{"pointer":"#/email","detail":"is not an address"}]}"##;
    for error in errors_of(422, body).await {
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Invalid, Outcome::NotApplied));
        assert_eq!(error.message(), "email: is not an address");
        assert_eq!(error.problem().unwrap().field.as_deref(), Some("email"));
        assert!(!error.is_retryable());
    }
}

#[tokio::test]
async fn an_outage_has_an_outcome_and_retry_after() {
    for (outcome, word) in [(Outcome::NotApplied, "not_sent"), (Outcome::Unknown, "unknown")] {
        let body: &'static str = format!(
            r#"{{"detail":"the store is unavailable","outcome":"{word}","idempotency_key":"theirs"}}"#
        )
        .leak();
        let turn = || Turn::Say(refusal(503, &[("retry-after", "7"), ("idempotency-key", "theirs")], body));
        let script = Script::new([turn(), turn(), turn()]);
        let client = script.before(responding(500, "")).await.retries(RetryPolicy::none()).build().unwrap();
        let error = client.users().insert(&new_user()).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, outcome));
        assert_eq!((error.message(), error.status()), ("the store is unavailable", Some(503)));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        // The key that was sent, not the one in the response.
        assert_eq!(error.idempotency_key(), Some(&new_user().key));
        assert!(error.is_retryable());
        let error = client.orders().insert(&new_order()).await.unwrap_err();
        assert_eq!((error.outcome(), error.idempotency_key()), (outcome, Some(&new_order().key)));
        // With a generated key, the repeated call would be another user.
        let error = client.users().register_new(new_user().email, new_user().name).await.unwrap_err();
        assert_eq!(error.is_retryable(), outcome == Outcome::NotApplied);
        let sent: Vec<_> =
            script.seen().iter().map(|seen| seen.header("idempotency-key").to_owned()).collect();
        assert_eq!(error.idempotency_key().unwrap().as_str(), sent[2]);
    }
    // Nothing listens at the address: nothing took effect.
    let nowhere = ShopClient::builder("http://127.0.0.1:1").retries(RetryPolicy::none()).build().unwrap();
    let error = nowhere.orders().insert(&new_order()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Outcome::NotApplied));
}

#[tokio::test(start_paused = true)]
async fn a_lost_request_is_retried_with_the_same_key() {
    for turn in [|| Turn::Lose, || Turn::Cut, || Turn::Say(StatusCode::BAD_GATEWAY.into_response())] {
        let script = Script::new([turn(), turn()]);
        let client = script.before(responding(201, USER)).await.build().unwrap();
        let registered = client.users().register_new(new_user().email, new_user().name).await.unwrap();
        assert_eq!(registered, Insertion::Inserted(user()));
        let seen = script.seen();
        assert_eq!(seen.len(), 3);
        for header in ["idempotency-key", "x-request-id"] {
            assert!(!seen[0].header(header).is_empty());
            assert!(seen.iter().all(|again| again.header(header) == seen[0].header(header)), "{header}");
        }

        let script = Script::new([turn()]);
        let client = script.before(responding(201, ORDER)).await.build().unwrap();
        assert_eq!(client.orders().insert(&new_order()).await.unwrap(), Insertion::Inserted(order()));
        assert!(script.seen().iter().all(|seen| seen.header("idempotency-key") == "basket-7"));
        assert_eq!(script.seen().len(), 2);
    }
}

#[tokio::test]
async fn a_truncated_response_has_an_unknown_outcome() {
    let script = Script::new([Turn::Cut, Turn::Cut]);
    let client = script.before(responding(201, USER)).await.retries(RetryPolicy::none()).build().unwrap();
    let error = client.users().insert(&new_user()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Outcome::Unknown), "{error:?}");
    let error = client.orders().insert(&new_order()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Outcome::Unknown), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_register_is_still_sent() {
    let script = Script::new([Turn::Say(refusal(503, &[], ""))]);
    let client = script.before(responding(201, USER)).await.build().unwrap();
    let (users, orders, new) = (client.users(), client.orders(), new_user());
    let mut registering = Box::pin(users.insert(&new));
    assert!(futures_util::poll!(&mut registering).is_pending());
    drop(registering);
    client.close(Duration::from_secs(30)).await.unwrap();
    assert_eq!(script.seen().len(), 2);
    assert_eq!(users.insert(&new).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(orders.insert(&new_order()).await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn invalid_and_mismatched_rows_are_errors() {
    let long = "x".repeat(257);
    let users = [
        json!({"id": 1, "email": "eva@example.com", "name": "Ada"}),
        json!({"id": 1, "email": "ada@example.com", "name": "Eva"}),
        json!({"id": 0, "email": "ada@example.com", "name": "Ada"}),
        json!({"id": "1", "email": "ada@example.com", "name": "Ada"}),
        json!({"id": 1.5, "email": "ada@example.com", "name": "Ada"}),
        json!({"id": 1, "email": "nobody", "name": "Ada"}),
        json!({"id": 1, "email": "ada@example.com", "name": long}),
        json!({"id": 1, "email": "ada@example.com"}),
        json!([1]),
    ];
    for (number, body) in users.iter().enumerate() {
        let body = body.to_string();
        let error = client_of(201, &body).await.users().insert(&new_user()).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unsupported, Outcome::Unknown), "{body}");
        assert_eq!(error.idempotency_key(), Some(&new_user().key));
        let found = client_of(200, &body).await.users().get(UserNumber::FIRST).await;
        // The first two may be stored.
        assert_eq!(found.is_ok(), number < 2, "{body}: {found:?}");
    }
    let order = |id: i64, user: i64, product: &str, quantity: i64, price: Value| json!({"id": id, "user_id": user, "product": product, "quantity": quantity, "total_price": price});
    let orders = [
        order(7, 2, "Notebook", 2, "50.00".into()),
        order(7, 1, "Pencil", 2, "50.00".into()),
        order(7, 1, "Notebook", 3, "50.00".into()),
        order(7, 1, "Notebook", 2, "50.01".into()),
        order(-7, 1, "Notebook", 2, "50.00".into()),
        order(7, 1, "Notebook", 1 << 40, "50.00".into()),
        order(7, 1, "Notebook", 2, "NaN".into()),
        order(7, 1, "Notebook", 2, "1e9".into()),
        order(7, 1, &long, 2, "50.00".into()),
    ];
    for (number, body) in orders.iter().enumerate() {
        let body = body.to_string();
        let error = client_of(201, &body).await.orders().insert(&new_order()).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unsupported, Outcome::Unknown), "{body}");
        let found = client_of(200, &body).await.orders().get(OrderNumber::new(7)).await;
        assert_eq!(found.is_ok(), number < 4, "{body}: {found:?}");
    }
}

#[tokio::test]
async fn lists_too_long_or_unsorted_are_errors() {
    let many: Vec<i64> = (1..=1_001).collect();
    for (body, good) in [
        (json!({"user_id": 1, "orders": many[..1_000]}), true),
        (json!({"user_id": 1, "orders": many}), false),
        (json!({"user_id": 1, "orders": [2, 1]}), false),
        (json!({"user_id": 1, "orders": [1, 1]}), false),
        (json!({"user_id": 2, "orders": [1]}), false),
        (json!({"user_id": 1, "orders": ["1"]}), false),
        (json!({"user_id": 1, "orders": {}}), false),
        (json!({"user_id": 1}), false),
    ] {
        let orders = client_of(200, &body.to_string()).await.users().orders_of(UserNumber::FIRST).await;
        assert_eq!(orders.is_ok(), good, "{body:.80}: {orders:?}");
    }
}

#[tokio::test]
async fn a_refusal_text_is_truncated_to_one_line() {
    let body = json!({"detail": "a\nb".repeat(5_000), "field": "x".repeat(5_000)});
    for error in errors_of(422, &body.to_string()).await {
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().len() < 1_000 && !error.to_string().contains('\n'), "{error}");
    }
}
