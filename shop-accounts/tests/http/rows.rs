//! Sends one request per row of a text: its method, its path, and its body.
//!
//! A snapshot has the response below each row. After a change that is meant: `INSTA_UPDATE=always`.

use axum::Router;
use shop_accounts::http::Accounts;
use shop_http::{HttpOptions, Parts, ServiceKind, router};

use crate::entities::Entities;
use crate::roles_of;
use crate::shop::{JSON, request, send};

/// Returns `rows` with the response below each.
pub(crate) async fn responses(rows: &str) -> String {
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

/// Management with these users and orders alone.
pub(crate) fn management(accounts: Accounts, options: HttpOptions) -> Router {
    let mut parts = Parts::new(ServiceKind::Management, None);
    parts.roles.extend(roles_of(accounts));
    router(parts, options)
}
