//! The bare axum program that `facing` is compared with: it parses a purchase and echoes it.

use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

/// The members of a purchase, with an inexact price.
#[derive(Debug, Serialize, Deserialize)]
struct Body {
    username: String,
    userid: String,
    price: f64,
}

async fn echo(Json(body): Json<Body>) -> (StatusCode, Json<Body>) {
    (StatusCode::CREATED, Json(body))
}

/// Serves until the process ends. Logs its address like `facing`.
///
/// # Errors
/// When it cannot listen.
pub async fn serve() -> std::io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    eprintln!("{{\"http.address\":\"{}\"}}", listener.local_addr()?);
    let router = Router::new().route("/buy", post(echo)).route("/healthz", get(async || "ok"));
    axum::serve(listener.tap_io(|stream| drop(stream.set_nodelay(true))), router).await
}
