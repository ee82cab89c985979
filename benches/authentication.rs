//! The cost of a verified JSON Web Token in a `POST /buy`, compared with the same service without authentication.
//!
//! ```text
//! cargo bench --features benches/programs --bench authentication
//! ```

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot be set up has failed"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use benches::bench;
use benches::cases::one_thread;
use benches::row::{Goal, Row, Unit};
use benches::run::Pairs;
use benches::scale::Scale;
use benches::usage::{median, processor_time};
use data_encoding::BASE64URL_NOPAD;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use shop_core::memory::{InMemoryLog, InMemoryStore};
use shop_core::{Clock, Result, SystemClock};
use shop_http::{KeySet, Parts, Refreshed, TextSource, TokenVerifier, routes};
use tower::ServiceExt;

/// The allocator of facing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The requests per turn.
const REQUESTS: u32 = 2_000;

/// The keys of an issuer.
#[derive(Debug)]
struct Published(String);

#[async_trait]
impl TextSource for Published {
    async fn read(&self) -> Result<String> {
        Ok(self.0.clone())
    }
}

/// A token of about 700 bytes, and what verifies it.
fn token() -> (String, TokenVerifier) {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let (x, y) = key.public_key().as_ref()[1..].split_at(32);
    let [x, y] = [x, y].map(|part| BASE64URL_NOPAD.encode(part));
    let jwk = json!({"kty": "EC", "crv": "P-256", "kid": "k", "x": x, "y": y});
    let encoded = |part: &Value| BASE64URL_NOPAD.encode(part.to_string().as_bytes());
    let until = SystemClock.now().as_millis() / 1_000 + 86_400;
    let claims = json!({
        "iss": "https://issuer.example", "aud": "shop", "sub": "user-00001", "exp": until,
        "scope": "purchases:write purchases:read", "session": "x".repeat(256),
    });
    let message = format!(
        "{}.{}",
        encoded(&json!({"alg": "ES256", "kid": "k"})),
        encoded(&claims)
    );
    let signature = key.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let source = Published(json!({"keys": [jwk]}).to_string());
    let parse = |text: &str| Ok(KeySet::parse(text)?);
    let keys = Arc::new(Refreshed::new(
        source,
        parse,
        Duration::from_secs(600),
        Arc::clone(&clock),
    ));
    let verifier = TokenVerifier::new(keys, "https://issuer.example", "shop", clock);
    (
        format!("{message}.{}", BASE64URL_NOPAD.encode(signature.as_ref())),
        verifier,
    )
}

/// Microseconds of processor time per request over one turn.
async fn turn(service: &Router, authorization: &str) -> f64 {
    let start = processor_time();
    for _ in 0..REQUESTS {
        let body = r#"{"username":"Ada Lovelace","userid":"user-00001","price":1195.30}"#;
        let request = Request::post("/buy")
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, authorization)
            .body(Body::from(body));
        let response = service.clone().oneshot(request.unwrap()).await.unwrap();
        assert_eq!(response.status(), 201);
        black_box(response.into_body().collect().await.unwrap());
    }
    (processor_time() - start).as_secs_f64() * 1e6 / f64::from(REQUESTS)
}

fn rows(scale: Scale, emit: &mut dyn FnMut(Row)) {
    let runtime = one_thread();
    let parts = || {
        Parts::facing(
            Arc::new(InMemoryLog::default().sink()),
            Arc::new(InMemoryStore::new()),
        )
    };
    let (token, verifier) = token();
    let open = routes(parts()).build();
    let guarded = routes(parts()).authenticate(verifier).build();
    let authorization = format!("Bearer {token}");
    let pairs = Pairs::alternate(
        scale.pick(1, 15, 31),
        || runtime.block_on(turn(&guarded, &authorization)),
        || runtime.block_on(turn(&open, &authorization)),
    );
    let added = pairs
        .ours
        .iter()
        .zip(&pairs.baseline)
        .map(|(ours, baseline)| ours - baseline)
        .collect();
    let of = |turns: &[f64]| format!("{:.2} µs", median(turns.to_vec()));
    let what = "microseconds of processor time for a verified token, in a POST /buy";
    let row = Row::new(what, added, Unit::Each, of(&pairs.ours)).with_goal(Goal::AtMost(1.5));
    emit(Row {
        baseline: format!("without authentication, {}", of(&pairs.baseline)),
        ..row
    });
}

fn main() {
    bench::main("authentication", rows);
}
