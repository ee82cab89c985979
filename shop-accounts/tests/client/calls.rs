//! Users and orders: the meaning of each response. The kit over HTTP has the requests.

use std::sync::{Arc, Mutex};

use serde_json::json;
use shop_accounts::client::AccountsClient as _;
use shop_accounts::orders::{NewOrder, OrderNumber};
use shop_accounts::users::{NewUser, UserNumber};
use shop_client::{
    CallEvent, CallState, ErrorKind, RequestContext, Result, RetryPolicy, ShopClient,
};

use crate::outcomes::{describe, outcomes_of};
use crate::shop::{Script, Turn, refusal};

const ADA: UserNumber = UserNumber::new(1);

fn new_user() -> NewUser {
    let key = "sign-up-7".parse().unwrap();
    let email = "ada@example.com".parse().unwrap();
    NewUser::new(key, email, "Ada".parse().unwrap())
}

fn new_order() -> NewOrder {
    let key = "basket-7".parse().unwrap();
    let product = "Notebook".parse().unwrap();
    NewOrder::new(key, ADA, product, 2, "50.00".parse().unwrap())
}

async fn call(client: &ShopClient, name: &str) -> Result<String> {
    let users = client.users();
    let orders = client.orders();
    Ok(match name {
        "register" => describe(users.insert(&new_user()).await?),
        "register_new" => describe(users.register_new("ada@example.com", "Ada").await?),
        "place" => describe(orders.insert(&new_order()).await?),
        "place_new" => describe(orders.place_new(ADA, "Notebook", 2, "50.00").await?),
        "user" => describe(users.get(ADA).await?),
        "orders_of" => describe(users.orders_of(ADA).await?),
        "order" => describe(orders.get(OrderNumber::new(7)).await?),
        _ => panic!("there is no call {name}"),
    })
}

/// Each row of `responses.txt` has the outcome of its call below it in the snapshot.
#[tokio::test(start_paused = true)]
async fn responses_are_outcomes_or_errors() {
    let rows = include_str!("responses.txt");
    let outcomes = outcomes_of(rows, async |client, name| call(&client, name).await);
    insta::assert_snapshot!(outcomes.await);
}

#[tokio::test]
async fn a_user_has_at_most_a_thousand_listed_orders() {
    for (count, is_list) in [(1_000, true), (1_001, false)] {
        let orders: Vec<i64> = (1..=count).collect();
        let body = json!({"user_id": 1, "orders": orders}).to_string();
        let script = Script::new([Turn::Say(refusal(200, &[], body))]);
        let listed = call(&script.client().await, "orders_of").await;
        assert_eq!(listed.is_ok(), is_list, "{count}");
    }
}

#[tokio::test]
async fn an_error_has_the_key_that_was_sent() {
    let theirs = || Turn::Say(refusal(503, &[("idempotency-key", "theirs")], ""));
    let calls = ["register", "place", "register_new", "place_new"];
    let script = Script::new(calls.map(|_| theirs()));
    let builder = script.builder().await.retries(RetryPolicy::none());
    let client = builder.build().unwrap();
    for (number, name) in calls.into_iter().enumerate() {
        let error = call(&client, name).await.unwrap_err();
        let sent = &script.headers("idempotency-key")[number];
        assert_eq!(error.idempotency_key().unwrap().as_str(), sent, "{name}");
    }
    let error = client.users().register_new("ada", "Ada").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "it is not sent");
}

#[tokio::test]
async fn the_observer_gets_the_name_of_each_call_and_a_refusal_is_no_failure() {
    let reported = Arc::new(Mutex::new(Vec::new()));
    let events = Arc::clone(&reported);
    let observer = move |event: &CallEvent<'_>| {
        let succeeded = matches!(event.state, CallState::Succeeded);
        events.lock().unwrap().push((event.call, succeeded));
    };
    let script = Script::default();
    let unknown_user = r#"{"type":"/problems/unknown-user"}"#;
    script.then(5, || Turn::Say(refusal(404, &[], unknown_user)));
    let client = script.builder().await.observer(observer).build().unwrap();
    let expected = [
        ("register", false),
        ("place", true),
        ("user", true),
        ("orders_of", true),
        ("order", false),
    ];
    for (name, succeeds) in expected {
        assert_eq!(call(&client, name).await.is_ok(), succeeds, "{name}");
    }
    assert_eq!(*reported.lock().unwrap(), expected);
}

#[tokio::test]
async fn the_context_of_a_new_entity_precedes_the_context_of_the_client() {
    let context = |id: &str| RequestContext::new(Some(id.to_owned()), None);
    let script = Script::default();
    let client = script.client().await.with_context(context("r-1"));
    let users = client.users();
    let other = new_user().with_context(Some(Box::new(context("r-2"))));
    for new in [new_user(), other] {
        let _no_role = users.insert(&new).await;
    }
    assert_eq!(script.headers("x-request-id"), ["r-1", "r-2"]);
}
