//! `POST /v1/purchases:import` of management.

use axum::Router;
use axum::http::Method;
use serde_json::{Value, json};
use shop_core::NewPurchase;
use shop_core::ports::PurchaseStore as _;
use shop_core::{Purchase, Uuid};
use shop_http::HttpOptions;

use crate::shop::{Shop, TestResponse, get, post, request, send};

const PATH: &str = "/v1/purchases:import";
const CSV: &str = "text/csv";
const FILE: &str =
    "username,userid,price\nada,u1,29.99\nada,u1,29.99\nbob,u2,much\nada,u1,\"9\n9\"\n";

async fn import(service: &Router, path: &str, media_type: &str, file: &str) -> TestResponse {
    let headers = [("content-type", media_type)];
    send(
        service,
        request(Method::POST, path, &headers, file.to_owned()),
    )
    .await
}

/// The lines of a response. The last one is the result.
fn lines(response: &TestResponse) -> Vec<Value> {
    assert_eq!(response.status, 200, "{}", response.text);
    let lines = response.text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn a_file_is_imported_once_and_every_row_is_counted() {
    let shop = Shop::new();
    for counts in [[2, 0, 2, 0], [0, 2, 2, 0]] {
        let response = import(&shop.management, PATH, CSV, FILE).await;
        let lines = lines(&response);
        let result = lines.last().unwrap();
        let names = ["imported", "repeated", "rejected", "conflicting"];
        assert_eq!(names.map(|name| result[name].as_u64().unwrap()), counts);
        assert_eq!(
            (&result["rows"], &result["done"]),
            (&json!(4), &json!(true))
        );
        assert_eq!(result["problems"][0]["line"], 4);
        assert!(
            lines[..lines.len() - 1]
                .iter()
                .all(|line| line["done"] == false)
        );
    }
    assert_eq!(shop.store.all().len(), 2);
}

#[tokio::test]
async fn a_file_of_another_system_is_shown_before_it_is_imported() {
    let shop = Shop::new();
    let file = "Kunde;Name;Summe\nu1;ada;12,50\n";
    let query = "?columns=userid=Kunde,username=Name,price=Summe&decimal_comma=true";
    let shown = import(
        &shop.management,
        &format!("{PATH}{query}&dry_run=true"),
        CSV,
        file,
    )
    .await;
    let shown = shown.json();
    assert_eq!(shown["delimiter"], ";");
    assert_eq!(
        shown["columns"][0],
        json!({"column": "Kunde", "member": "userid"})
    );
    assert_eq!(shown["rows"][0]["purchase"]["price"], json!(12.50));
    assert!(shop.store.all().is_empty());

    let response = import(&shop.management, &format!("{PATH}{query}"), CSV, file).await;
    assert_eq!(lines(&response).last().unwrap()["imported"], 1);
}

#[tokio::test]
async fn what_is_no_import_is_refused_by_name() {
    let options = HttpOptions::default().max_import_bytes(100);
    let shop = Shop::with(options);
    for (path, media_type, file, status, says) in [
        (PATH, "text/csv", "PK\u{3}\u{4}", 422, "ZIP archive"),
        (
            PATH,
            "text/csv",
            "name;sum\n",
            422,
            "is missing in the first line",
        ),
        (
            PATH,
            "application/json",
            "[]",
            415,
            "text/csv or application/x-ndjson",
        ),
        (
            "/v1/purchases:import?delimiter=x",
            "text/csv",
            "",
            422,
            "\"delimiter must be one of",
        ),
        (
            "/v1/purchases:import?time_zone=Mars",
            "text/csv",
            "",
            422,
            "Europe/Berlin",
        ),
        (
            "/v1/purchases:import?from_line=0",
            "text/csv",
            "",
            422,
            "from_line",
        ),
        (
            "/v1/purchases:import?colour=red",
            "text/csv",
            "",
            422,
            "colour",
        ),
        (PATH, "text/csv", &"x".repeat(101), 413, "100 bytes"),
    ] {
        let response = import(&shop.management, path, media_type, file).await;
        assert_eq!(response.status, status, "{path} {}", response.text);
        assert!(response.text.contains(says), "{says}: {}", response.text);
    }
    let facing = import(&shop.facing, PATH, CSV, FILE).await;
    assert_eq!(facing.status, 404);
}

/// A purchase with members of a later version, and its refund.
fn refunded() -> [Purchase; 2] {
    let new = NewPurchase::for_user("u1")
        .with_user_name("ada")
        .with_price("29.99")
        .unwrap();
    let at = "2026-03-01T09:00:00Z".parse().unwrap();
    let mut bought = new.into_purchase(at, || Uuid::from_u128(7));
    bought
        .details
        .set_unknown_members(r#"{"gift":{"to":"eva"},"tax":1.10}"#)
        .unwrap();
    let refund = bought.refund(None, at).unwrap();
    [bought, refund]
}

#[tokio::test]
async fn what_an_export_has_written_is_taken_whole_by_a_batch_and_an_import() {
    let from = Shop::new();
    from.store.insert(refunded().into()).await.unwrap();
    for (accept, path) in [
        ("text/csv", PATH),
        ("application/x-ndjson", PATH),
        ("application/x-ndjson", "/v1/purchases:batch"),
    ] {
        // The export is newest first: a refund comes before its purchase.
        let export = request(
            Method::GET,
            "/v1/purchases?everyone=true",
            &[("accept", accept)],
            axum::body::Body::empty(),
        );
        let file = send(&from.management, export).await.text;
        assert!(file.contains("gift"), "{file}");
        let to = Shop::new();
        let response = import(&to.management, path, accept, &file).await;
        assert_eq!(response.status, 200, "{}", response.text);
        let by_id = |mut all: Vec<Purchase>| {
            all.sort_by_key(|purchase| purchase.id);
            all
        };
        assert_eq!(
            by_id(to.store.all()),
            by_id(from.store.all()),
            "{path} {}",
            response.text
        );
    }
    let one = get(
        &from.management,
        &format!("/v1/purchases/{}", refunded()[0].id),
    )
    .await;
    assert!(
        one.text
            .contains(r#""more":{"gift":{"to":"eva"},"tax":1.10}"#),
        "{}",
        one.text
    );
    let line = r#"[{"username":"ada","userid":"u1","price":1,"more":{"gift":1}}]"#;
    for (service, is_taken) in [(&from.management, true), (&from.facing, false)] {
        let result = &post(service, "/v1/purchases:batch", line).await.json()[0];
        assert_eq!(result["status"] == "acknowledged", is_taken, "{result}");
    }
    let line = r#"[{"username":"ada","userid":"u1","price":1,"more":{"price":1}}]"#;
    let result = post(&from.management, "/v1/purchases:batch", line)
        .await
        .json();
    assert_eq!(result[0]["status"], "rejected", "{result}");
}
