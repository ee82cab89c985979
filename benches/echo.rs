//! The bare axum program that `facing` is held to: it parses a purchase and echoes it.

use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

/// The members of a purchase, as no program that counts money should read them.
#[derive(Debug, Serialize, Deserialize)]
struct Body {
    username: String,
    userid: String,
    price: f64,
}

async fn echo(Json(body): Json<Body>) -> (StatusCode, Json<Body>) {
    (StatusCode::CREATED, Json(body))
}

/// Serves it for ever.
///
/// # Errors
/// When the listener breaks.
pub async fn serve(listener: TcpListener) -> std::io::Result<()> {
    let router = Router::new().route("/buy", post(echo)).route("/healthz", get(async || "ok"));
    axum::serve(listener.tap_io(|stream| drop(stream.set_nodelay(true))), router).await
}
