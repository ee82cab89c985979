//! The native API rejects unknown input, and reports all errors of a request at once.

use axum::body::Body;
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::shop::{JSON, Shop, TestResponse, get, post, purchase, request, send};

/// The locations and texts of the errors in a problem.
fn errors(response: &TestResponse) -> Vec<(String, String)> {
    assert_eq!(response.header("content-type"), Some("application/problem+json"), "{response:?}");
    let place = |error: &Value| {
        let place = ["pointer", "parameter", "header"].map(|name| error[name].as_str()).into_iter().flatten();
        place.map(str::to_owned).collect::<Vec<_>>().join(" and ")
    };
    let errors = response.json()["errors"].as_array().unwrap().clone();
    errors.iter().map(|error| (place(error), error["detail"].as_str().unwrap().to_owned())).collect()
}

fn places(response: &TestResponse) -> Vec<String> {
    errors(response).into_iter().map(|(place, _)| place).collect()
}

#[tokio::test]
async fn unknown_parameters_are_rejected() {
    let shop = Shop::new();
    shop.stored(&[purchase("u1", 1), purchase("u2", 2)]).await;
    for service in [&shop.facing, &shop.management] {
        for path in ["/v1/purchases", "/v1/summary", "/v1/totals", "/scalable-shop-cm-server/v1/purchases"] {
            for name in
                ["userId", "user_id", "userID", "user", "USERID", "From", "since", "min_price", "by", "view"]
            {
                let response = get(service, &format!("{path}?{name}=u1")).await;
                assert_eq!(response.status, StatusCode::UNPROCESSABLE_ENTITY, "{path} {name}: {response:?}");
                assert_eq!(places(&response), [name, "userid"], "a selection is missing, too");
                let response = get(service, &format!("{path}?userid=u1&{name}=u1")).await;
                assert_eq!(
                    (response.status.as_u16(), places(&response)),
                    (422, vec![name.to_owned()]),
                    "{path}"
                );
                assert!(!response.text.contains("0000-0000"), "{response:?}");
            }
        }
        let one = "/v1/purchases/00000000-0000-0000-0000-000000000002";
        assert_eq!(places(&get(service, &format!("{one}?userid=u1&limit=5")).await), ["userid", "limit"]);
        assert_eq!(places(&get(service, "/v1/purchases/x?y=1&wait=11").await), ["y", "id", "wait"]);
        let good = r#"{"username":"ada","userid":"u1","price":1}"#;
        let response = post(service, "/v1/purchases?dry_run=true&wait=1", good).await;
        assert_eq!(
            (response.status.as_u16(), places(&response)),
            (422, vec!["dry_run".into(), "wait".into()])
        );
    }
    let suggestion = errors(&get(&shop.facing, "/v1/purchases?userid=u1&user_ID=u1").await);
    assert_eq!(suggestion[0].1, "user_ID is unknown here: use userid");
    assert_eq!((shop.published().await, shop.store.all().len()), (0, 2));
}

#[tokio::test]
async fn all_errors_of_a_query_are_reported() {
    let shop = Shop::new();
    let path =
        "/v1/purchases?userid=%20&username=b&x=1&limit=0&limit=1&order=up&wait_for=somebody&wait=11&x=2";
    let response = get(&shop.management, path).await;
    assert_eq!(response.status, StatusCode::UNPROCESSABLE_ENTITY);
    let expected = ["x", "limit", "userid", "userid", "order", "limit", "wait", "wait_for"];
    assert_eq!(places(&response), expected, "{response:?}");
    let body = response.json();
    assert_eq!((&body["field"], &body["type"]), (&json!("x"), &json!("/problems/invalid")));
    for text in
        ["x is unknown here", "limit must be given once", "userid must not be blank", "exclude each other"]
    {
        assert!(body["detail"].as_str().unwrap().contains(text), "{body}");
    }
}

#[tokio::test]
async fn userid_and_username_exclude_each_other() {
    let shop = Shop::new();
    shop.stored(&[purchase("u1", 1), purchase("u2", 2)]).await;
    for service in [&shop.facing, &shop.management] {
        for path in ["/v1/purchases", "/v1/summary"] {
            for query in [
                "",
                "?",
                "?userid=u1&username=ada",
                "?userid=u1&everyone=true",
                "?username=ada&everyone=true",
                "?userid=u1&userid=u1",
                "?everyone=true&everyone=true",
                "?everyone=",
                "?everyone=false",
                "?everyone=1",
            ] {
                let response = get(service, &format!("{path}{query}")).await;
                assert_eq!(response.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}{query}: {response:?}");
                assert_eq!(errors(&response).len(), 1, "{path}{query}: {response:?}");
            }
            assert_eq!(get(service, &format!("{path}?userid=u1")).await.status, StatusCode::OK);
        }
    }
}

#[tokio::test]
async fn only_management_lists_purchases_of_all_users() {
    let shop = Shop::new();
    shop.stored(&[purchase("u1", 1), purchase("u2", 2)]).await;
    for path in ["/v1/purchases", "/v1/summary", "/scalable-shop-cm-server/v1/purchases"] {
        let response = get(&shop.facing, &format!("{path}?everyone=true")).await;
        assert_eq!(response.status, StatusCode::FORBIDDEN, "{response:?}");
        assert_eq!(response.header("content-type"), Some("application/problem+json"));
        assert_eq!(response.json()["type"], "/problems/denied");
        // Other errors are reported first.
        let wrong = get(&shop.facing, &format!("{path}?everyone=true&foo=1")).await;
        assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    let page = get(&shop.management, "/v1/purchases?everyone=true&limit=1&order=oldest").await.json();
    assert_eq!(page["items"][0]["userid"], "u1");
    let next = page["next"].as_str().unwrap();
    let page = get(&shop.management, &format!("/v1/purchases?everyone=true&order=oldest&cursor={next}"))
        .await
        .json();
    assert_eq!((&page["items"][0]["userid"], &page["next"]), (&json!("u2"), &Value::Null));
    let summary = get(&shop.management, "/v1/summary?everyone=true").await;
    assert_eq!(summary.text, r#"{"count":2,"total_spent":3.2}"#);
}

#[tokio::test]
async fn only_management_finds_names_by_their_beginning() {
    let shop = Shop::new();
    shop.stored(&[purchase("u1", 1), purchase("u2", 2), purchase("u2", 3)]).await;
    let names = get(&shop.management, "/v1/usernames?prefix=NAME+of").await;
    assert_eq!(names.text, r#"{"items":["name of u1","name of u2"],"has_more":false}"#);
    assert_eq!(
        get(&shop.management, "/v1/usernames?prefix=u1").await.text,
        r#"{"items":[],"has_more":false}"#
    );
    let long = format!("?prefix={}", "n".repeat(257));
    for query in
        ["", "?prefix=", "?prefix=%20", "?prefix=a%0A", "?prefix=a&prefix=b", "?prefix=a&limit=1", &long]
    {
        let response = get(&shop.management, &format!("/v1/usernames{query}")).await;
        assert_eq!(response.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}: {response:?}");
    }
    assert_eq!(get(&shop.facing, "/v1/usernames?prefix=a").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn all_errors_of_a_body_are_reported_with_pointers() {
    let shop = Shop::new();
    for service in [&shop.facing, &shop.management] {
        let body = r#"{"username":" ","userId":"u1","price":"much","timestamp":"yesterday","currency":"EUR","a/b~c d":1,
            "currency":"USD"}"#;
        let response = post(service, "/v1/purchases", body).await;
        assert_eq!(response.status, StatusCode::UNPROCESSABLE_ENTITY);
        let expected =
            ["#/username", "#/userid", "#/price", "#/timestamp", "#/userId", "#/currency", "#/a~1b~0c%20d"];
        assert_eq!(places(&response), expected, "{response:?}");
        let errors = errors(&response);
        assert_eq!(errors[1].1, "userid is missing");
        assert_eq!(errors[4].1, "userId is unknown here: use userid");
        assert_eq!(errors[5].1, "currency is unknown here: there are username, userid, price, timestamp");
        assert_eq!(response.json()["field"], "username");
        for (body, place) in [
            (r#"{"username":"ada","userid":"u1","price":1,"currency":"EUR","items":[{}]}"#, "#/currency"),
            (r#"{"username":"ada","userid":"u1","price":1,"user_id":"u1"}"#, "#/user_id"),
            (r#"{"username":"ada","userid":"u1","price":1,"":1}"#, "#/"),
            (r#"{"username":"ada","userid":"u1","price":1,"id":"x"}"#, "#/id"),
        ] {
            let response = post(service, "/v1/purchases", body).await;
            assert_eq!((response.status.as_u16(), &*places(&response)[0]), (422, place), "{body}");
        }
    }
    assert_eq!((shop.published().await, shop.store.all().len()), (0, 0));
    // Clients of the replaced systems may send other members.
    let lenient = r#"{"username":"ada","userId":"u1","price":1,"currency":"EUR","items":[{}]}"#;
    for path in ["/buy", "/api/buy", "/scalable-shop-cm-server/buy"] {
        let buy = request(Method::POST, path, &[JSON, ("content-encoding", "Identity")], lenient);
        assert!(send(&shop.facing, buy).await.status.is_success(), "{path}");
    }
}

#[tokio::test]
async fn the_number_of_reported_errors_is_limited() {
    let shop = Shop::new();
    let members: Vec<_> = (0..10_000).map(|number| format!("\"{number}\":0")).collect();
    let response = post(&shop.facing, "/v1/purchases", format!("{{{}}}", members.join(","))).await;
    assert_eq!((response.status.as_u16(), errors(&response).len()), (422, 64));
    assert!(response.json()["detail"].as_str().unwrap().contains(" more"), "{response:?}");
    let long = format!(r#"{{"{}":0}}"#, "\u{1f600}".repeat(20_000));
    let response = post(&shop.facing, "/v1/purchases", long).await;
    assert_eq!(response.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(response.text.len() < 4_096, "{} bytes", response.text.len());
    let query = (0..1_500).map(|number| format!("{number}=")).collect::<Vec<_>>().join("&");
    let response = get(&shop.facing, &format!("/v1/purchases?{query}")).await;
    assert_eq!((response.status.as_u16(), errors(&response).len()), (422, 64));
    // Where others are ignored, the known ones behind them are not.
    let response = get(&shop.facing, &format!("/getAllUserBuys/u1?{query}&limit=none")).await;
    assert_eq!(response.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_price_is_a_number_or_its_text() {
    let shop = Shop::new();
    for service in [&shop.facing, &shop.management] {
        for price in
            [r#""+5""#, r#"" 5 ""#, r#"".5""#, r#""5.""#, r#""05""#, r#""5\n""#, "true", "null", r#""1e999""#]
        {
            let body = format!(r#"{{"username":"ada","userid":"u1","price":{price}}}"#);
            let response = post(service, "/v1/purchases", body).await;
            assert_eq!(
                (response.status.as_u16(), places(&response)),
                (422, vec!["#/price".to_owned()]),
                "{price}"
            );
            assert_eq!(errors(&response)[0].1, "Price must be a valid number", "{price}");
        }
        for (price, read) in [
            ("1e3", "1000"),
            (r#""1e3""#, "1000"),
            (r#""29.90""#, "29.90"),
            ("0", "0"),
            ("1e-7", "0.0000001"),
        ] {
            let body = format!(r#"{{"username":"ada","userid":"u1","price":{price}}}"#);
            let response = post(service, "/v1/purchases", body).await;
            assert!(response.text.contains(&format!("\"price\":{read},")), "{price}: {}", response.text);
        }
    }
    for price in [r#""+5""#, r#"" 5 ""#, r#"".5""#] {
        let body = format!(r#"{{"username":"ada","userid":"u1","price":{price}}}"#);
        assert_eq!(post(&shop.facing, "/buy", body).await.status, StatusCode::CREATED, "{price}");
    }
}

#[tokio::test]
async fn location_of_a_new_purchase_waits_for_it() {
    let shop = Shop::new();
    shop.ingest();
    let good = r#"{"username":"ada","userid":"u1","price":1}"#;
    for service in [&shop.facing, &shop.management] {
        let taken = send(service, request(Method::POST, "/v1/purchases", &[JSON], good)).await;
        let id = taken.header("x-purchase-id").unwrap();
        let location = taken.header("location").unwrap();
        assert_eq!(location, format!("/v1/purchases/{id}?wait_for={id}"));
        let found = send(service, request(Method::GET, location, &[], Body::empty())).await;
        assert_eq!((found.status, &found.json()["id"]), (StatusCode::OK, &json!(id)));
    }
    assert_eq!(post(&shop.facing, "/buy", good).await.header("location"), None);
}
