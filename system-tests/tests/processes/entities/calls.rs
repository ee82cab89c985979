//! Users and orders behind facing.

use super::backends::Place;
use crate::prelude::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facing_forwards_users_and_orders() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::Files(folder.path());
    let users = place.start(Binary::Management, "users", &[]).await;
    let orders = place.start(Binary::Management, "orders", &[]).await;
    let urls = [
        ALL_ROLES,
        ("USERS_URL", &*users.url),
        ("ORDERS_URL", &orders.url),
    ];
    let facing = Process::start(Binary::Facing, folder.path(), &urls).await;
    let ada = r#"{"email":"ada@example.com","name":"Ada"}"#;
    assert_eq!(post(&facing.path("/users"), ada).await.0, 201);
    // The first event may take longer than an order waits: the group has to form.
    until("consume the user", async || {
        let order = r#"{"user_id":1,"product":"Notebook","quantity":2,"total_price":50.00}"#;
        post(&facing.path("/orders"), order).await.0 == 201
    })
    .await;
    let of_user = json!({"user_id": 1, "orders": [1]});
    until("consume the order", async || {
        get(&facing.path("/users/1/orders")).await.1 == of_user
    })
    .await;
    assert_eq!(get(&users.path("/orders/1")).await.0, 404, "another role");
    users.kill().await;
    assert_eq!(get(&facing.path("/users/1")).await.0, 503);
    assert_eq!(get(&facing.path("/orders/1")).await.0, 200);
}
