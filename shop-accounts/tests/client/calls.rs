//! Users and orders: the meaning of each response. The kit over HTTP has the requests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::json;
use shop_accounts::client::AccountsClient as _;
use shop_accounts::entity::Insertion;
use shop_accounts::orders::{NewOrder, Order, OrderNumber};
use shop_accounts::users::{NewUser, User, UserNumber};
use shop_client::{
    BlockingFuture as _, CallEvent, CallState, Error, ErrorKind, Outcome, RequestContext,
    RetryPolicy, ShopClient,
};
use shop_core::conformance::assert_fails;
use tokio::runtime::Runtime;

use crate::shop::{Script, Shop, Turn, refusal, served};

const USER: &str = r#"{"id":1,"email":"ada@example.com","name":"Ada"}"#;
const ORDER: &str =
    r#"{"id":7,"user_id":1,"product":"Notebook","quantity":2,"total_price":"50.00"}"#;

fn new_user() -> NewUser {
    NewUser::new(
        "sign-up-7".parse().unwrap(),
        "ada@example.com".parse().unwrap(),
        "Ada".parse().unwrap(),
    )
}

fn new_order() -> NewOrder {
    let product = "Notebook".parse().unwrap();
    let price = "50.00".parse().unwrap();
    NewOrder::new(
        "basket-7".parse().unwrap(),
        UserNumber::new(1),
        product,
        2,
        price,
    )
}

fn user() -> User {
    let NewUser { email, name, .. } = new_user();
    User::new(UserNumber::new(1), email, name)
}

fn order() -> Order {
    let NewOrder {
        user_id,
        product,
        quantity,
        total_price,
        ..
    } = new_order();
    Order::new(OrderNumber::new(7), user_id, product, quantity, total_price)
}

/// A service with one response to everything.
fn responding(status: u16, body: &str) -> Router {
    let answer = (StatusCode::from_u16(status).unwrap(), body.to_owned());
    Router::new().fallback(move || async move { answer })
}

/// A client without retries of a service with one response to everything.
async fn client_of(status: u16, body: &str) -> ShopClient {
    Script::new([])
        .before(responding(status, body))
        .await
        .retries(RetryPolicy::none())
        .build()
        .unwrap()
}

/// The errors of the five calls, writes first.
pub(crate) async fn errors_of(client: &ShopClient) -> [Error; 5] {
    let users = client.users();
    let orders = client.orders();
    [
        users.insert(&new_user()).await.unwrap_err(),
        orders.insert(&new_order()).await.unwrap_err(),
        users.get(UserNumber::new(1)).await.unwrap_err(),
        users.orders_of(UserNumber::new(1)).await.unwrap_err(),
        orders.get(OrderNumber::new(7)).await.unwrap_err(),
    ]
}

#[tokio::test]
async fn an_insertion_is_the_type_of_the_response() {
    for (status, body, expected) in [
        (201, USER, Insertion::Inserted(user())),
        (
            409,
            r#"{"type":"/problems/email-taken"}"#,
            Insertion::Refused,
        ),
        (
            409,
            r#"{"type":"/problems/key-taken","detail":"in other words"}"#,
            Insertion::KeyTaken,
        ),
    ] {
        let users = client_of(status, body).await.users();
        assert_eq!(users.insert(&new_user()).await.unwrap(), expected);
        assert_eq!(
            users
                .register_new(new_user().email, new_user().name)
                .await
                .unwrap(),
            expected
        );
    }
    for (status, body, expected) in [
        (201, ORDER, Insertion::Inserted(order())),
        (
            404,
            r#"{"type":"/problems/unknown-user"}"#,
            Insertion::Refused,
        ),
        (
            409,
            r#"{"type":"/problems/key-taken"}"#,
            Insertion::KeyTaken,
        ),
    ] {
        let orders = client_of(status, body).await.orders();
        let NewOrder {
            user_id,
            product,
            quantity,
            total_price,
            ..
        } = new_order();
        assert_eq!(orders.insert(&new_order()).await.unwrap(), expected);
        assert_eq!(
            orders
                .place_new(user_id, product, quantity, total_price)
                .await
                .unwrap(),
            expected
        );
    }
}

#[tokio::test]
async fn a_missing_role_differs_from_an_unknown_row() {
    // Texts are for people: without its type a refusal is not an outcome.
    for (status, body, has_role) in [
        (404, r#"{"detail":"Not Found"}"#, true),
        (404, "", true),
        (405, r#"{"detail":"Method Not Allowed"}"#, true),
        (404, r#"{"detail":"User not found"}"#, false),
    ] {
        let errors = errors_of(&client_of(status, body).await).await;
        for (error, role) in errors
            .iter()
            .zip(["users", "orders", "users", "users", "orders"])
        {
            assert_fails(error, ErrorKind::Unsupported, Outcome::NotApplied);
            let named = error.message().contains(&format!("the role of {role}"));
            assert_eq!(named, has_role, "{body}: {error}");
        }
    }
    // A response of another path is not an outcome either, nor is a failure, whatever its body.
    for (status, body) in [
        (404, r#"{"type":"/problems/unknown-order"}"#),
        (500, r#"{"type":"/problems/unknown-user"}"#),
    ] {
        client_of(status, body)
            .await
            .users()
            .get(UserNumber::new(1))
            .await
            .unwrap_err();
    }
}

#[tokio::test]
async fn an_outage_has_an_outcome_and_the_key_that_was_sent() {
    for (outcome, body) in [
        (
            Outcome::NotApplied,
            r#"{"outcome":"not_sent","idempotency_key":"theirs"}"#,
        ),
        (
            Outcome::Unknown,
            r#"{"outcome":"unknown","idempotency_key":"theirs"}"#,
        ),
    ] {
        let turn = || Turn::Say(refusal(503, &[("idempotency-key", "theirs")], body));
        let script = Script::new([turn(), turn(), turn()]);
        let client = script
            .before(responding(500, ""))
            .await
            .retries(RetryPolicy::none())
            .build()
            .unwrap();
        let error = client.users().insert(&new_user()).await.unwrap_err();
        assert_fails(&error, ErrorKind::Unavailable, outcome);
        assert_eq!(error.idempotency_key(), Some(&new_user().key));
        assert!(error.is_retryable());
        let error = client.orders().insert(&new_order()).await.unwrap_err();
        assert_eq!(
            (error.outcome(), error.idempotency_key()),
            (outcome, Some(&new_order().key))
        );
        // With a generated key, the repeated call would be another user.
        let error = client
            .users()
            .register_new(new_user().email, new_user().name)
            .await
            .unwrap_err();
        assert_eq!(error.is_retryable(), outcome == Outcome::NotApplied);
        assert_eq!(
            error.idempotency_key().unwrap().as_str(),
            script.seen()[2].header("idempotency-key")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_request_is_retried_with_the_same_key() {
    for turn in [
        || Turn::Lose,
        || Turn::Cut,
        || Turn::Say(StatusCode::BAD_GATEWAY.into_response()),
    ] {
        let script = Script::new([turn(), turn()]);
        let client = script.client_of(responding(201, USER)).await;
        let registered = client
            .users()
            .register_new(new_user().email, new_user().name)
            .await
            .unwrap();
        assert_eq!(registered, Insertion::Inserted(user()));
        let seen = script.seen();
        assert_eq!(seen.len(), 3);
        for header in ["idempotency-key", "x-request-id"] {
            assert!(!seen[0].header(header).is_empty());
            assert!(
                seen.iter()
                    .all(|again| again.header(header) == seen[0].header(header)),
                "{header}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_register_is_still_sent() {
    let script = Script::new([Turn::Say(refusal(503, &[], ""))]);
    let client = script.client_of(responding(201, USER)).await;
    let users = client.users();
    let new = new_user();
    let mut registering = Box::pin(users.insert(&new));
    assert!(futures_util::poll!(&mut registering).is_pending());
    drop(registering);
    client.close(Duration::from_secs(30)).await.unwrap();
    assert_eq!(script.seen().len(), 2);
    assert_eq!(
        users.insert(&new).await.unwrap_err().kind(),
        ErrorKind::Closed
    );
}

#[tokio::test]
async fn invalid_and_mismatched_rows_are_errors() {
    // The first ones may be stored.
    for (is_row, body) in [
        (true, USER.replace("ada@", "eva@")),
        (true, USER.replace("Ada", "Eva")),
        (false, USER.replace(":1,", ":0,")),
        (false, USER.replace("ada@example.com", "no-address")),
        (false, USER.replace("Ada", &"x".repeat(257))),
        // Larger than a response of this call.
        (false, USER.to_owned() + &" ".repeat(64 << 10)),
        (false, "[1]".to_owned()),
    ] {
        let error = client_of(201, &body)
            .await
            .users()
            .insert(&new_user())
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Unsupported, Outcome::Unknown),
            "{body}"
        );
        assert_eq!(error.idempotency_key(), Some(&new_user().key));
        let found = client_of(200, &body)
            .await
            .users()
            .get(UserNumber::new(1))
            .await;
        assert_eq!(found.is_ok(), is_row, "{body}: {found:?}");
    }
    for (is_row, body) in [
        (true, ORDER.replace("_id\":1", "_id\":2")),
        (true, ORDER.replace("50.00", "50.01")),
        (false, ORDER.replace("\"id\":7", "\"id\":-7")),
        (
            false,
            ORDER.replace("quantity\":2", "quantity\":1099511627776"),
        ),
        (false, ORDER.replace("50.00", "1e9")),
    ] {
        let error = client_of(201, &body)
            .await
            .orders()
            .insert(&new_order())
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Unsupported, Outcome::Unknown),
            "{body}"
        );
        let found = client_of(200, &body)
            .await
            .orders()
            .get(OrderNumber::new(7))
            .await;
        assert_eq!(found.is_ok(), is_row, "{body}: {found:?}");
    }
    let many: Vec<i64> = (1..=1_001).collect();
    for (orders, is_list) in [
        (json!(many[..1_000]), true),
        (json!(many), false),
        (json!([2, 1]), false),
        (json!([1, 1]), false),
        (json!(["1"]), false),
    ] {
        let body = json!({"user_id": 1, "orders": orders}).to_string();
        let orders = client_of(200, &body)
            .await
            .users()
            .orders_of(UserNumber::new(1))
            .await;
        assert_eq!(orders.is_ok(), is_list, "{body:.80}: {orders:?}");
    }
}

#[tokio::test]
async fn invalid_text_is_the_error_of_the_call() {
    let users = client_of(201, USER).await.users();
    let error = users.register_new("ada", "Ada").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (
            ErrorKind::Invalid,
            "the email address is not valid: An email address must have an @-sign."
        )
    );
}

#[tokio::test]
async fn the_observer_gets_the_name_of_each_call_and_a_refusal_is_no_failure() {
    let names = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&names);
    let observer = move |event: &CallEvent<'_>| {
        let succeeded = matches!(event.state, CallState::Succeeded);
        seen.lock().unwrap().push((event.call, succeeded));
    };
    let unknown_user = responding(404, r#"{"type":"/problems/unknown-user"}"#);
    let builder = Script::default().before(unknown_user).await;
    let client = builder.observer(observer).build().unwrap();
    let (users, orders) = (client.users(), client.orders());
    users.insert(&new_user()).await.unwrap_err();
    let placed = orders.insert(&new_order()).await.unwrap();
    assert_eq!(placed, Insertion::Refused);
    let user = UserNumber::new(1);
    assert_eq!(users.get(user).await.unwrap(), None);
    assert_eq!(users.orders_of(user).await.unwrap(), None);
    orders.get(OrderNumber::new(7)).await.unwrap_err();
    let expected = [
        ("register", false),
        ("place", true),
        ("user", true),
        ("orders_of", true),
        ("order", false),
    ];
    assert_eq!(*names.lock().unwrap(), expected);
}

#[tokio::test]
async fn the_context_of_a_new_entity_precedes_the_context_of_the_client() {
    let context = |id: &str| RequestContext::new(Some(id.to_owned()), None);
    let script = Script::default();
    let client = script.client_of(responding(201, USER)).await;
    let users = client.with_context(context("r-1")).users();
    users.insert(&new_user()).await.unwrap();
    let new = new_user().with_context(Some(Box::new(context("r-2"))));
    users.insert(&new).await.unwrap();
    let seen = script.seen();
    let ids = [
        seen[0].header("x-request-id"),
        seen[1].header("x-request-id"),
    ];
    assert_eq!(ids, ["r-1", "r-2"]);
}

#[test]
fn a_call_blocks_without_a_runtime() {
    let services = Runtime::new().unwrap();
    let url = services.block_on(served(Shop::new().router));
    let users = ShopClient::builder(url).build().unwrap().users();
    let error = users.get(UserNumber::new(1)).wait().unwrap_err();
    assert_fails(&error, ErrorKind::Unsupported, Outcome::NotApplied);
    assert!(error.message().contains("the role of users"), "{error}");
}
