//! The bare axum program that `facing` is compared with: it parses a purchase and echoes it.

use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

/// The members of a purchase, with an inexact price.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Purchase {
    pub(crate) username: String,
    pub(crate) userid: String,
    pub(crate) price: f64,
}

async fn echo(Json(purchase): Json<Purchase>) -> (StatusCode, Json<Purchase>) {
    (StatusCode::CREATED, Json(purchase))
}

/// Serves until the process ends. Logs its address like `facing`.
///
/// # Errors
/// When it cannot listen.
pub async fn serve() -> std::io::Result<()> {
    serve_router(
        Router::new()
            .route("/buy", post(echo))
            .route("/healthz", get(async || "ok")),
    )
    .await
}

pub(crate) async fn serve_router(router: Router) -> std::io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    eprintln!("{{\"http.address\":\"{}\"}}", listener.local_addr()?);
    axum::serve(
        listener.tap_io(|stream| drop(stream.set_nodelay(true))),
        router,
    )
    .await
}
