//! The HTTP API of a shop, called without a network.

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Request, header};
use serde::Deserialize;
use shop_core::api::header::{IDEMPOTENCY_KEY, IDEMPOTENT_REPLAYED};
use shop_core::api::problem::{ProblemMembers, error_kind};
use shop_core::ports::{Page, Summary};
use shop_core::{Error, ErrorKind, NewPurchase, PublishedPurchase, Purchase, Result};
use tower::ServiceExt as _;

/// A client of the API.
#[derive(Debug, Clone)]
pub struct Http(pub Router);

/// The largest body of a response.
const MOST: usize = 16 << 20;

fn internal(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Internal, "a call failed").with_source(error)
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(internal)
}

impl Http {
    async fn call(&self, request: Request<Body>) -> Result<(HeaderMap, Bytes)> {
        let response = self
            .0
            .clone()
            .oneshot(request)
            .await
            .unwrap_or_else(|never| match never {});
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, MOST).await.map_err(internal)?;
        if parts.status.is_success() {
            return Ok((parts.headers, body));
        }
        let problem: serde_json::Value = read(&body)?;
        let kind = problem["type"]
            .as_str()
            .and_then(error_kind)
            .unwrap_or(ErrorKind::Internal);
        let members: ProblemMembers = read(&body)?;
        let error = Error::new(kind, String::from_utf8_lossy(&body).into_owned());
        Err(error.with_outcome(members.outcome()))
    }

    pub async fn buy(&self, new: &NewPurchase) -> Result<PublishedPurchase> {
        let (user, name, price) = (&new.user_id, &new.user_name, new.price);
        let body = format!(r#"{{"userid":"{user}","username":"{name}","price":{price}}}"#);
        let mut request = Request::post("/v1/purchases")
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = &new.key {
            request = request.header(IDEMPOTENCY_KEY, key.as_str());
        }
        let request = request.body(body.into()).map_err(internal)?;
        let (headers, body) = self.call(request).await?;
        let bought: PublishedPurchase = read(&body)?;
        Ok(if headers.contains_key(IDEMPOTENT_REPLAYED) {
            bought.into_replayed()
        } else {
            bought
        })
    }

    async fn get<T: for<'a> Deserialize<'a>>(&self, path: String) -> Result<T> {
        let request = Request::get(path)
            .header(header::HOST, "localhost")
            .body(Body::empty());
        let request = request.map_err(internal)?;
        read(&self.call(request).await?.1)
    }

    pub async fn list(&self, user: &str) -> Result<(Vec<Purchase>, Summary)> {
        let (mut listed, mut cursor) = (Vec::new(), String::new());
        loop {
            let page: Page = self
                .get(format!("/v1/purchases?userid={user}&limit=300{cursor}"))
                .await?;
            listed.extend(page.items);
            match page.next {
                Some(next) => cursor = format!("&cursor={next}"),
                None => {
                    return Ok((
                        listed,
                        self.get(format!("/v1/summary?userid={user}")).await?,
                    ));
                }
            }
        }
    }
}
