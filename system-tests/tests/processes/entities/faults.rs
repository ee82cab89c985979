//! Users and orders without Kafka, and without their store.

use serde_json::json;

use super::backends::Place;
use super::ledger::outbox;
use super::post;
use crate::process::{Binary, get, until};
use crate::servers::Servers;

fn user(number: u32) -> String {
    format!(r#"{{"email":"user-{number}@example.com","name":"Ada"}}"#)
}

fn order(user: u32) -> String {
    format!(r#"{{"user_id":{user},"product":"Notebook","quantity":2,"total_price":"50.00"}}"#)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_is_registered_without_kafka_and_published_later() {
    let Some(servers) = Servers::start(&["kafka"]).await else {
        return;
    };
    let Some(cluster) = crate::postgres::cluster() else {
        return;
    };
    let place = Place::Kafka(&servers, &cluster);
    let users = place.start(Binary::Management, "users", &[]).await;
    let orders = place.start(Binary::Management, "orders", &[]).await;
    assert_eq!(post(&users, "/users", &user(1)).await.0, 201);
    until("consume the first", async || {
        post(&orders, "/orders", &order(1)).await.0 == 201
    })
    .await;

    until("show everything", async || {
        outbox(&users, "users").await == Some(0)
    })
    .await;
    servers.ctl("kill", "kafka").await;
    assert_eq!(
        post(&users, "/users", &user(2)).await.0,
        201,
        "row and event are stored"
    );
    assert_eq!(outbox(&users, "users").await, Some(1));
    let unknown = (404, json!({"detail": "User not found"}));
    assert_eq!(post(&orders, "/orders", &order(2)).await, unknown);
    assert_eq!(
        post(&orders, "/orders", &order(1)).await.0,
        201,
        "known users can order"
    );
    for probe in [
        users.path("/livez"),
        users.path("/readyz"),
        orders.path("/readyz"),
    ] {
        assert_eq!(get(&probe).await.0, 200, "{probe}");
    }
    // Also after an exit of the process that has written it.
    users.kill().await;
    servers.ctl("start", "kafka").await;
    let users = place.start(Binary::Management, "users", &[]).await;
    until("consume the second", async || {
        post(&orders, "/orders", &order(2)).await.0 == 201
    })
    .await;
    until("show everything", async || {
        outbox(&users, "users").await == Some(0)
    })
    .await;

    tokio::task::block_in_place(|| cluster.ctl("kill"));
    let (status, body) = post(&users, "/users", &user(3)).await;
    assert_eq!(status, 503, "{body}");
    assert!(
        body["detail"].is_string() && body["outcome"].is_string(),
        "{body}"
    );
    tokio::task::block_in_place(|| cluster.ctl("start"));
    until("recover", async || {
        get(&users.path("/-/ready")).await.0 == 200
    })
    .await;
}
