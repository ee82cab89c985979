//! A shop in the state of an axum service: a handler buys, and responds with the outcome.
//!
//! ```text
//! cargo run --example in_axum
//!
//! 201 Created thanks: 0190…
//! 503 Service Unavailable not available, please retry
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::post};
use shop_client::{RetryPolicy, ShopClient};
use shop_core::{Error, ErrorKind, NewPurchase, RequestContext, Shop};
use tower::ServiceExt;

/// The error of a handler: `?` converts those of the shop, and of values that are not valid.
struct Failure(Error);

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self.0.kind() {
            ErrorKind::Invalid => (StatusCode::BAD_REQUEST, "no such order"),
            _ if self.0.is_retryable() => (
                StatusCode::SERVICE_UNAVAILABLE,
                "not available, please retry",
            ),
            _ => (StatusCode::BAD_GATEWAY, "this cannot be bought"),
        }
        .into_response()
    }
}

/// The order's number is the key: a double click buys once.
async fn checkout(
    State(shop): State<Shop>,
    Path(order): Path<u32>,
    headers: HeaderMap,
) -> Result<(StatusCode, String), Failure> {
    let new = NewPurchase::for_user("u1")
        .with_user_name("ada")
        .with_price(format!("{order}.99"))?;
    // The request's id is transmitted with the purchase, for correlation in all logs.
    let header = |name| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let shop = shop.with_context(RequestContext::new(
        header("x-request-id"),
        header("traceparent"),
    ));
    let bought = shop.buy(new.with_key(format!("order-{order}"))).await?;
    Ok((
        StatusCode::CREATED,
        format!("thanks: {}", bought.purchase.id),
    ))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A checkout does not wait longer than its customer.
    let brief = RetryPolicy::default().total_timeout(Duration::from_secs(1));
    for address in [
        examples::service_in_memory().await?,
        "http://127.0.0.1:1".to_owned(),
    ] {
        let client = ShopClient::builder(address)
            .user_agent("checkout/1.0")
            .retries(brief.clone())
            .build()?;
        let app = Router::new()
            .route("/checkout/{order}", post(checkout))
            .with_state(client.shop());
        let answer = app
            .oneshot(Request::post("/checkout/7").body(Body::empty())?)
            .await?;
        let status = answer.status();
        println!(
            "{status} {}",
            String::from_utf8(to_bytes(answer.into_body(), 1_000).await?.into())?
        );
    }
    Ok(())
}
