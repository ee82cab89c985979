//! The native API rejects unknown input, and reports all errors of a request at once.

use axum::body::Body;
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::shop::{JSON, Shop, get, post, purchase, request, send};

const GOOD: &str = r#"{"username":"ada","userid":"u1","price":1}"#;

/// The texts of the errors in a problem.
fn texts(response: &crate::shop::TestResponse) -> Vec<String> {
    let errors = response.json()["errors"].as_array().unwrap().clone();
    errors
        .iter()
        .map(|error| error["detail"].as_str().unwrap().to_owned())
        .collect()
}

/// Queries below `/v1`, and the parameters of their errors.
const QUERIES: &[(&str, &[&str])] = &[
    ("purchases?userId=u1", &["userId", "userid"]),
    ("purchases?userid=u1&by=u1", &["by"]),
    ("summary?userid=u1&From=u1", &["From"]),
    ("totals?user=u1", &["user", "userid"]),
    (
        "purchases/00000000-0000-0000-0000-000000000002?userid=u1&limit=5",
        &["userid", "limit"],
    ),
    ("purchases/x?y=1&wait=11", &["y", "id", "wait"]),
    (
        "purchases?userid=%20&username=b&x=1&limit=0&limit=1&order=up&wait_for=u9&wait=11&x=2",
        &[
            "x", "limit", "userid", "userid", "order", "limit", "wait", "wait_for",
        ],
    ),
    // One selection.
    ("purchases?", &["userid"]),
    ("summary?userid=u1&username=ada", &["userid"]),
    ("purchases?userid=u1&everyone=true", &["userid"]),
    ("summary?username=ada&everyone=true", &["username"]),
    ("purchases?userid=u1&userid=u1", &["userid"]),
    ("purchases?everyone=true&everyone=true", &["everyone"]),
    ("summary?everyone=false", &["everyone"]),
    // Ranges.
    (
        "summary?userid=u1&from=2026-01-01&to=2026-01-01T00:00:00",
        &["from", "to"],
    ),
    (
        "totals?userid=u1&from=x&to=y&per=year&zone=+01:00&limit=1",
        &["limit", "from", "to", "per", "zone"],
    ),
    (
        "purchases?userid=u1&from=2026-01-02T00:00:00Z&to=2026-01-02T00:00:00Z",
        &["to"],
    ),
];

#[tokio::test]
async fn all_errors_of_a_query_are_reported() {
    let shop = Shop::new();
    shop.stored(&[purchase("u1", 1), purchase("u2", 2)]).await;
    for (service, prefix) in [
        (&shop.facing, "/v1"),
        (&shop.management, "/v1"),
        (&shop.management, "/scalable-shop-cm-server/v1"),
    ] {
        for (query, places) in QUERIES {
            let response = get(service, &format!("{prefix}/{query}")).await;
            assert_eq!(response.places(), *places, "{query}");
            response.has(
                422,
                &json!({"type": "/problems/invalid", "field": places[0]}),
            );
            assert!(!response.text.contains("0000-0000"), "{response:?}");
        }
        let response = post(service, "/v1/purchases?dry_run=true&wait=1", GOOD).await;
        assert_eq!(
            (response.status.as_u16(), &*response.places()[1]),
            (422, "wait")
        );
    }
    for (query, text) in [
        (
            "purchases?userid=u1&user_ID=u1",
            "user_ID is unknown here: use userid",
        ),
        (
            "purchases?userid=u1&limit=0&limit=1",
            "limit must be given once",
        ),
        ("purchases?userid=u1&username=ada", "exclude each other"),
        ("totals?userid=u1&zone=+01:00", "%2B"),
        (
            "totals?userid=u1&from=2026-01-02T00:00:00Z&to=2026-01-02T00:00:00Z",
            "to must be after from",
        ),
    ] {
        let problem = get(&shop.facing, &format!("/v1/{query}")).await.json();
        assert!(
            problem["detail"].as_str().unwrap().contains(text),
            "{problem}"
        );
    }
    assert_eq!((shop.published().await, shop.store.all().len()), (0, 2));
}

#[tokio::test]
async fn only_management_lists_purchases_of_all_users() {
    let shop = Shop::new();
    shop.stored(&[purchase("u1", 1), purchase("u2", 2)]).await;
    for path in [
        "/v1/purchases",
        "/v1/summary",
        "/scalable-shop-cm-server/v1/purchases",
    ] {
        let response = get(&shop.facing, &format!("{path}?everyone=true")).await;
        response.has(403, &json!({"type": "/problems/denied"}));
        // Other errors are reported first.
        let wrong = get(&shop.facing, &format!("{path}?everyone=true&foo=1")).await;
        assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    let all = "/v1/purchases?everyone=true&order=oldest";
    let page = get(&shop.management, &format!("{all}&limit=1"))
        .await
        .json();
    assert_eq!(page["items"][0]["userid"], "u1");
    let page = get(
        &shop.management,
        &format!("{all}&cursor={}", page["next"].as_str().unwrap()),
    )
    .await
    .json();
    assert_eq!(
        (&page["items"][0]["userid"], &page["next"]),
        (&json!("u2"), &Value::Null)
    );
}

#[tokio::test]
async fn only_management_finds_names_by_their_beginning() {
    let shop = Shop::new();
    shop.stored(&[purchase("u1", 1), purchase("u2", 2), purchase("u2", 3)])
        .await;
    for (prefix, names) in [
        ("NAME+of", json!(["name of u1", "name of u2"])),
        ("u1", json!([])),
    ] {
        let found = get(&shop.management, &format!("/v1/usernames?prefix={prefix}")).await;
        found.is(200, &json!({"items": names, "has_more": false}));
    }
    let long = format!("?prefix={}", "n".repeat(257));
    for query in [
        "",
        "?prefix=%20",
        "?prefix=a%0A",
        "?prefix=a&prefix=b",
        "?prefix=a&limit=1",
        &long,
    ] {
        let response = get(&shop.management, &format!("/v1/usernames{query}")).await;
        assert_eq!(
            response.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{query}: {response:?}"
        );
    }
    assert_eq!(
        get(&shop.facing, "/v1/usernames?prefix=a").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn all_errors_of_a_body_are_reported_with_pointers() {
    let shop = Shop::new();
    for service in [&shop.facing, &shop.management] {
        let body = r#"{"username":" ","userId":"u1","price":"much","timestamp":"yesterday","colour":"red","a/b~c d":1,
            "colour":"blue","":1}"#;
        let response = post(service, "/v1/purchases", body).await;
        response.has(422, &json!({"field": "username"}));
        let places = response.places();
        assert_eq!(
            places[..5],
            [
                "#/username",
                "#/userid",
                "#/price",
                "#/timestamp",
                "#/userId"
            ]
        );
        assert_eq!(places[5..], ["#/colour", "#/a~1b~0c%20d", "#/"]);
        let texts = texts(&response);
        assert_eq!(texts[1], "userid is missing");
        assert_eq!(texts[4], "userId is unknown here: use userid");
        let known = "username, userid, price, timestamp, item, quantity, currency, reference";
        assert_eq!(
            texts[5],
            format!("colour is unknown here: there are {known}")
        );
    }
    assert_eq!((shop.published().await, shop.store.all().len()), (0, 0));
    // Clients of the replaced systems may send other members.
    let lenient = r#"{"username":"ada","userId":"u1","price":1,"currency":"EUR","items":[{}]}"#;
    for path in ["/buy", "/api/buy", "/scalable-shop-cm-server/buy"] {
        let buy = request(
            Method::POST,
            path,
            &[JSON, ("content-encoding", "Identity")],
            lenient,
        );
        assert!(send(&shop.facing, buy).await.status.is_success(), "{path}");
    }
}

#[tokio::test]
async fn the_number_of_reported_errors_is_limited() {
    let shop = Shop::new();
    let members: Vec<_> = (0..10_000)
        .map(|number| format!("\"{number}\":0"))
        .collect();
    let response = post(
        &shop.facing,
        "/v1/purchases",
        format!("{{{}}}", members.join(",")),
    )
    .await;
    assert_eq!(
        (response.status.as_u16(), response.places().len()),
        (422, 64)
    );
    assert!(
        response.json()["detail"]
            .as_str()
            .unwrap()
            .contains(" more"),
        "{response:?}"
    );
    let long = format!(r#"{{"{}":0}}"#, "\u{1f600}".repeat(20_000));
    let response = post(&shop.facing, "/v1/purchases", long).await;
    assert_eq!(response.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(response.text.len() < 4_096, "{} bytes", response.text.len());
    let query = (0..1_500)
        .map(|number| format!("{number}="))
        .collect::<Vec<_>>()
        .join("&");
    let response = get(&shop.facing, &format!("/v1/purchases?{query}")).await;
    assert_eq!(
        (response.status.as_u16(), response.places().len()),
        (422, 64)
    );
    // Where others are ignored, the known ones behind them are not.
    let response = get(
        &shop.facing,
        &format!("/getAllUserBuys/u1?{query}&limit=none"),
    )
    .await;
    assert_eq!(response.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_price_is_a_number_or_its_text() {
    let shop = Shop::new();
    let body = |price: &str| format!(r#"{{"username":"ada","userid":"u1","price":{price}}}"#);
    for (price, read) in [
        (r#""+5""#, None),
        (r#"" 5 ""#, None),
        (r#"".5""#, None),
        (r#""5.""#, None),
        (r#""05""#, None),
        (r#""5\n""#, None),
        (r#""1e3""#, Some("1000")),
        (r#""29.90""#, Some("29.90")),
        ("1e-7", Some("0.0000001")),
    ] {
        let response = post(&shop.facing, "/v1/purchases", body(price)).await;
        match read {
            Some(read) => assert!(
                response.text.contains(&format!("\"price\":{read},")),
                "{response:?}"
            ),
            None => assert_eq!(
                texts(&response),
                ["Price must be a valid number"],
                "{price}"
            ),
        }
    }
    assert_eq!(
        post(&shop.facing, "/buy", body(r#"" .5 ""#)).await.status,
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn location_of_a_new_purchase_waits_for_it() {
    let shop = Shop::new();
    shop.ingest();
    for service in [&shop.facing, &shop.management] {
        let taken = post(service, "/v1/purchases", GOOD).await;
        let id = taken.header("x-purchase-id").unwrap();
        let location = taken.header("location").unwrap();
        assert_eq!(location, format!("/v1/purchases/{id}?wait_for={id}"));
        let found = send(service, request(Method::GET, location, &[], Body::empty())).await;
        found.has(200, &json!({"id": id}));
    }
    assert_eq!(
        post(&shop.facing, "/buy", GOOD).await.header("location"),
        None
    );
}
