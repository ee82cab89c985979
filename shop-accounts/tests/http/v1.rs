//! `/v1/users` and `/v1/orders`: strict bodies, a problem for each error, and the same rows as the unprefixed paths.

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};
use shop_http::HttpOptions;

use crate::entities::Entities;
use crate::shop::{JSON, TestResponse, get, post, request, send};
use crate::{ADA, PEN, post_with_key};

/// Users and orders, with user 1 known to orders.
async fn services() -> (Entities, [axum::Router; 2]) {
    let entities = Entities::new();
    entities.introduce_ada().await;
    let services = [
        entities.management(HttpOptions::default()),
        entities.facing(HttpOptions::default()),
    ];
    (entities, services)
}

#[track_caller]
fn is_problem(response: &TestResponse, status: u16, kind: &str) {
    let actual = (
        response.status.as_u16(),
        response.header("content-type"),
        response.json()["type"].clone(),
    );
    assert_eq!(
        actual,
        (status, Some("application/problem+json"), Value::from(kind)),
        "{response:?}"
    );
    assert_eq!(response.json()["status"], status);
    assert!(response.header("x-request-id").is_some());
}

fn places(response: &TestResponse) -> Vec<String> {
    is_problem(response, 422, "/problems/invalid");
    let place = |error: &Value| {
        let place = ["pointer", "parameter", "header"]
            .into_iter()
            .find_map(|name| error[name].as_str());
        place.unwrap().to_owned()
    };
    response.json()["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(place)
        .collect()
}

#[tokio::test]
async fn a_row_is_created_once_and_located() {
    let (_entities, services) = services().await;
    for (number, router) in services.iter().enumerate() {
        let user = post_with_key(router, "/v1/users", "k", ADA).await;
        user.is(
            201,
            &json!({"id": 1, "email": "ada@example.com", "name": "Ada"}),
        );
        let order = post_with_key(router, "/v1/orders", "k", PEN).await;
        let pen =
            json!({"id": 1, "user_id": 1, "product": "pen", "quantity": 2, "total_price": "50.00"});
        order.is(201, &pen);
        for response in [&user, &order] {
            assert_eq!(
                response.header("idempotent-replayed"),
                (number > 0).then_some("true")
            );
        }
        for (response, location) in [(&user, "/v1/users/1"), (&order, "/v1/orders/1")] {
            assert_eq!(response.header("location"), Some(location));
            get(router, location).await.is(200, &response.json());
            // The same row in the form of the replaced system.
            get(router, location.strip_prefix("/v1").unwrap())
                .await
                .is(200, &response.json());
        }
        get(router, "/v1/users/1/orders")
            .await
            .is(200, &json!({"user_id": 1, "orders": []}));
    }
    let behind_ingress = get(&services[1], "/scalable-shop-cm-server/v1/users/1").await;
    assert_eq!(behind_ingress.status, 200);
}

#[tokio::test]
async fn each_error_has_its_problem_type() {
    let (_entities, services) = services().await;
    for router in &services {
        post_with_key(router, "/v1/users", "k", ADA).await;
        post_with_key(router, "/v1/orders", "k", PEN).await;
        is_problem(
            &post(router, "/v1/users", ADA).await,
            409,
            "/problems/email-taken",
        );
        let other = post_with_key(router, "/v1/users", "k", &ADA.replace("ada@", "eve@")).await;
        is_problem(&other, 409, "/problems/key-taken");
        let other = post_with_key(router, "/v1/orders", "k", &PEN.replace("pen", "ink")).await;
        is_problem(&other, 409, "/problems/key-taken");
        let unknown = post(router, "/v1/orders", PEN.replace(":1,", ":-9,")).await;
        is_problem(&unknown, 404, "/problems/unknown-user");
        for path in [
            "/v1/users/2",
            "/v1/users/-1",
            "/v1/users/9223372036854775807/orders",
        ] {
            is_problem(&get(router, path).await, 404, "/problems/unknown-user");
        }
        is_problem(
            &get(router, "/v1/orders/2").await,
            404,
            "/problems/unknown-order",
        );
        for path in ["/v1/users/1/2", "/v1/people"] {
            assert_eq!(get(router, path).await.json().get("type"), None, "{path}");
        }
        assert_eq!(get(router, "/v1/users").await.status, 405);
        let broken = post(router, "/v1/users", "{").await;
        is_problem(&broken, 400, "/problems/invalid");
        let twice = r#"{"email":"b@example.com","email":"c@example.com","name":"C"}"#;
        is_problem(
            &post(router, "/v1/users", twice).await,
            400,
            "/problems/invalid",
        );
        let text = request(
            Method::POST,
            "/v1/orders",
            &[("content-type", "text/plain")],
            PEN,
        );
        let text = send(router, text).await;
        is_problem(&text, 415, "/problems/invalid");
        assert_eq!(text.header("accept-post"), Some("application/json"));
    }
}

#[tokio::test]
async fn all_errors_are_reported_at_once_in_v1() {
    let (entities, services) = services().await;
    for router in &services {
        let user = r#"{"email":"Ada <ada@example.com>","name":7,"Name":"Ada","more":{"x":[]}}"#;
        let response = post(router, "/v1/users", user).await;
        assert_eq!(places(&response), ["#/email", "#/name", "#/Name", "#/more"]);
        let detail = response.json()["detail"].as_str().unwrap().to_owned();
        assert!(
            detail.contains("Name is unknown here: use name"),
            "{detail}"
        );
        assert_eq!(response.json()["field"], "email");

        let order = r#"{"userId":1,"product":null,"quantity":2147483648,"total_price":"0.005"}"#;
        let places_of = async |body: String| places(&post(router, "/v1/orders", body).await);
        let all = [
            "#/user_id",
            "#/product",
            "#/quantity",
            "#/total_price",
            "#/userId",
        ];
        assert_eq!(places_of(order.to_owned()).await, all);
        for (member, value, wrong) in [
            ("user_id", "1", "\"1\""),
            ("user_id", "1", "true"),
            ("quantity", "2", "2.0"),
            ("quantity", "2", "0"),
            ("total_price", "50", "-0.01"),
            ("product", "\"pen\"", "\" \""),
            ("quantity", "2", "\"2\""),
            ("total_price", "50", "\" 50\""),
            ("total_price", "50", "100000000"),
            ("total_price", "50", "1.234"),
        ] {
            let body = PEN.replace(
                &format!("{member}\":{value}"),
                &format!("{member}\":{wrong}"),
            );
            assert_ne!(body, PEN);
            assert_eq!(
                places_of(body).await,
                [format!("#/{member}")],
                "{member} {wrong}"
            );
        }
        for name in ["", "<b>\\n", "\\u202eadA"] {
            assert_eq!(
                places(&post(router, "/v1/users", ADA.replace("Ada", name)).await),
                ["#/name"],
                "{name}"
            );
        }
        assert_eq!(
            places(&post(router, "/v1/users?dry_run=1", ADA).await),
            ["dry_run"]
        );
        assert_eq!(
            places(&get(router, "/v1/users/one?limit=1").await),
            ["limit", "user_id"]
        );
        assert_eq!(places(&get(router, "/v1/orders/+1").await), ["order_id"]);
        let headers = [JSON, ("idempotency-key", "not one key")];
        let keyed = request(Method::POST, "/v1/users", &headers, Body::from(ADA));
        assert_eq!(places(&send(router, keyed).await), ["Idempotency-Key"]);
    }
    // No request wrote a row.
    post(&services[0], "/v1/users", ADA).await.is(
        201,
        &json!({"id": 1, "email": "ada@example.com", "name": "Ada"}),
    );
    drop(entities);
}
