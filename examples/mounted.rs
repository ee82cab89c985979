//! A shop on files and its HTTP API below `/shop` of an axum program, with the program's own authentication and metrics.
//!
//! ```text
//! cargo run --example mounted
//!
//! 401 Unauthorized without a token
//! 403 Forbidden for another user
//! 201 Created /shop/v1/purchases/0190…?wait_for=0190…
//! {"id":"0190…","username":"ada","userid":"ada","price":29.99,"timestamp":"…"}
//! 200 OK from /shop/readyz
//! shop_publish_total{outcome="acknowledged"} 1
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::{Router, middleware, response::Response};
use shop_http::{Action, Authorize, Decision, Parts, Principal, RouteGroup, routes};
use shop_store::embedded::EmbeddedShop;
use tower::ServiceExt;

/// Identifies the sender. Yours verifies a signature, or looks up a session.
async fn authenticate(
    mut request: Request,
    next: middleware::Next,
) -> Result<Response, StatusCode> {
    let token = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|token| token.to_str().ok());
    let user = token
        .and_then(|token| token.strip_prefix("Bearer token-of-"))
        .map(Principal::new);
    request
        .extensions_mut()
        .insert(user.ok_or(StatusCode::UNAUTHORIZED)?);
    Ok(next.run(request).await)
}

/// Users buy for themselves, and read their own purchases.
#[derive(Debug)]
struct OwnPurchases;

impl Authorize for OwnPurchases {
    fn may(&self, principal: &Principal, action: &Action<'_>) -> Decision {
        let is_own = action
            .user_id()
            .is_some_and(|user| principal.subject() == Some(user.as_str()));
        if is_own {
            Decision::Allow
        } else {
            Decision::deny("only your own purchases")
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let embedded = EmbeddedShop::open(folder.path()).await?;
    let parts = Parts::from(embedded.backend());
    let metrics = parts.metrics.clone();
    let shop = routes(parts).only([RouteGroup::V1, RouteGroup::Docs, RouteGroup::Health]);
    let guarded = shop
        .auth_layer(middleware::from_fn(authenticate))
        .authorize(OwnPurchases);
    let app = Router::new().nest("/shop", guarded.build());
    let send = |request: axum::http::request::Builder, token: &str, body: &str| {
        let request = request
            .header("authorization", token)
            .body(Body::from(body.to_owned()));
        app.clone().oneshot(request.unwrap_or_default())
    };
    let (ada, new) = (
        "Bearer token-of-ada",
        r#"{"userid":"ada","username":"ada","price":29.99}"#,
    );
    let post = || Request::post("/shop/v1/purchases");
    println!("{} without a token", send(post(), "", new).await?.status());
    println!(
        "{} for another user",
        send(post(), "Bearer token-of-bob", new).await?.status()
    );
    let bought = send(post(), ada, new).await?;
    let location = bought.headers()[header::LOCATION].to_str()?;
    println!("{} {location}", bought.status());
    // The response at the location waits until the purchase is stored.
    let stored = to_bytes(
        send(Request::get(location), ada, "").await?.into_body(),
        1_000,
    )
    .await?;
    println!("{}", String::from_utf8(stored.into())?);
    println!(
        "{} from /shop/readyz",
        send(Request::get("/shop/readyz"), "", "").await?.status()
    );
    // For the program's own `/metrics`.
    let text = metrics.text().await;
    println!(
        "{}",
        text.lines()
            .find(|line| line.starts_with("shop_publish_total"))
            .unwrap_or_default()
    );
    drop(app);
    Ok(embedded.close(Duration::from_secs(10)).await?)
}
