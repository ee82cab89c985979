//! Unusual values: the numbers, texts and messages of pydantic, which were measured at the replaced system, and those
//! of `/v1`.
//!
//! A row of `measured.txt` and `strict.txt` has a request: its method, its path, and its body. The snapshot has the
//! response below each row. After a change that is meant:
//! `INSTA_UPDATE=always cargo test -p shop-accounts --test http measured`.

use shop_http::HttpOptions;

use crate::entities::{Entities, management};
use crate::shop::{JSON, request, send};

/// Returns `rows` with the response below each.
async fn responses(rows: &str) -> String {
    let entities = Entities::new();
    entities.introduce_ada().await;
    let router = management(entities.accounts(), HttpOptions::default());
    let long_texts = [
        ("<4301 nines>", "9".repeat(4_301)),
        ("<257 umlauts>", "ä".repeat(257)),
        ("<256 umlauts>", "ä".repeat(256)),
    ];
    let mut responses = String::new();
    for row in rows.lines() {
        responses.push_str(&format!("{row}\n"));
        if row.is_empty() || row.starts_with('#') {
            continue;
        }
        let mut sent = row.to_owned();
        for (name, text) in &long_texts {
            sent = sent.replace(name, text);
        }
        let (method, sent) = sent.split_once(' ').unwrap();
        let (path, body) = sent.split_once(' ').unwrap_or((sent, ""));
        let method = method.parse().unwrap();
        let request = request(method, path, &[JSON], body.to_owned());
        let response = send(&router, request).await;
        let mut body = response.text;
        for (name, text) in &long_texts {
            body = body.replace(text, name);
        }
        responses.push_str(&format!("    {} {body}\n", response.status.as_u16()));
    }
    responses
}

#[tokio::test]
async fn unusual_values_have_the_responses_of_the_replaced_system() {
    insta::assert_snapshot!(responses(include_str!("measured.txt")).await);
}

#[tokio::test]
async fn values_are_strict_in_v1() {
    insta::assert_snapshot!(responses(include_str!("strict.txt")).await);
}
