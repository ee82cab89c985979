//! The documented calls of the replaced system.

use serde_json::json;

use super::backends::Place;
use super::post;
use crate::process::{ALL_ROLES, Binary, Process, get, until};

const ADA: &str = r#"{"email":"ada@example.com","name":"Ada"}"#;
const ORDER: &str = r#"{"user_id":1,"product":"Notebook","quantity":2,"total_price":50.00}"#;

/// The six calls of its README, in order.
async fn call(place: &Place<'_>, users: &Process, orders: &Process) {
    let ada = json!({"id": 1, "email": "ada@example.com", "name": "Ada"});
    let order = json!({"id": 1, "user_id": 1, "product": "Notebook", "quantity": 2, "total_price": "50.00"});
    assert_eq!(post(users, "/users", ADA).await, (201, ada.clone()));
    assert_eq!(get(&users.path("/users/1")).await, (200, ada));
    // The first event may take longer than an order waits: the group has to form.
    until("consume the user", async || {
        place.views().await.known_users.contains(&1)
    })
    .await;
    assert_eq!(post(orders, "/orders", ORDER).await, (201, order.clone()));
    assert_eq!(get(&orders.path("/orders/1")).await, (200, order.clone()));
    assert_eq!(
        post(users, "/users", ADA).await,
        (400, json!({"detail": "Email already registered"}))
    );
    let mut second = order;
    second["id"] = 2.into();
    assert_eq!(post(orders, "/orders", ORDER).await, (201, second));
    let both = json!({"user_id": 1, "orders": [1, 2]});
    until("consume both orders", async || {
        get(&users.path("/users/1/orders")).await.1 == both
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facing_forwards_users_and_orders() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::Files(folder.path());
    let purchases = place.start(Binary::Management, "purchases", &[]).await;
    let users = place.start(Binary::Management, "users", &[]).await;
    let orders = place.start(Binary::Management, "orders", &[]).await;
    let urls = [
        ALL_ROLES,
        ("MANAGEMENT_URL", &*purchases.url),
        ("USERS_URL", &users.url),
        ("ORDERS_URL", &orders.url),
    ];
    let facing = Process::start(Binary::Facing, folder.path(), &urls).await;
    call(&place, &facing, &facing).await;
    assert_eq!(
        get(&purchases.path("/users/1")).await.0,
        404,
        "facing without the role"
    );
    assert_eq!(
        get(&users.path("/orders/1")).await,
        (404, json!({"detail": "Not Found"}))
    );
    assert_eq!(get(&users.path("/purchases/ada")).await.0, 404);
    for process in [&purchases, &users, &orders, &facing] {
        assert_eq!(get(&process.path("/-/ready")).await.0, 200);
    }
    users.kill().await;
    assert_eq!(get(&facing.path("/users/1")).await.0, 503);
    assert_eq!(get(&facing.path("/orders/1")).await.0, 200);
}
