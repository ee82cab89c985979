//! Random input causes no panic and no 5xx.

use axum::body::Body;
use axum::http::{HeaderValue, Request};
use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::shop::{Shop, send};

/// The paths of facing that accept purchases.
const PATHS: [&str; 5] = ["/buy", "/api/buy", "/api/v1/buy", "/scalable-shop-cm-server/buy", "/v1/purchases"];

/// A value that is JSON or nearly JSON.
pub(crate) fn value() -> impl Strategy<Value = String> {
    let simple = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        any::<f64>().prop_map(|value| value.to_string()),
        "-?[0-9]{1,40}(\\.[0-9]{0,40})?([eE][+-]?[0-9]{1,5})?",
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        "\"[ -~]{0,12}\"",
        "\"(\\\\u[0-9a-d][0-9a-f]{3}){0,4}\"",
    ];
    simple.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|values| format!("[{}]", values.join(","))),
            inner.prop_map(|value| format!("{{\"x\":{value}}}")),
        ]
    })
}

/// A body that is a purchase or nearly one.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        8 => prop::sample::select(vec!["username", "userid", "price", "timestamp", "userId", "user_id"]),
        1 => Just("x"),
    ];
    let members = prop::collection::vec((name, value()), 0..7);
    (members, any::<prop::sample::Index>(), any::<Option<u8>>()).prop_map(|(members, at, byte)| {
        let members: Vec<_> =
            members.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let mut body = format!("{{{}}}", members.join(",")).into_bytes();
        // One byte of some bodies is changed.
        if let Some(byte) = byte.filter(|byte| byte % 2 == 0) {
            let at = at.index(body.len());
            body[at] = byte;
        }
        body
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![1 => prop::collection::vec(any::<u8>(), 0..200), 4 => nearly()]
}

/// A path with a query.
fn target() -> impl Strategy<Value = String> {
    let segment = "(%[0-9a-fA-F]{2}|[!-~&&[^#?/%]]){1,12}";
    let names = vec!["by", "view", "order", "limit", "cursor", "wait_for", "userid", "username"];
    let pair = (prop::sample::select(names), "(%[0-9a-fA-F]{2}|[!-~&&[^#&%]]){0,12}");
    let path = prop_oneof![
        segment.prop_map(|who| format!("/getAllUserBuys/{who}")),
        segment.prop_map(|who| format!("/api/v1/getAllUserBuys/{who}")),
        segment.prop_map(|id| format!("/v1/purchases/{id}")),
        segment.prop_map(|any| format!("/{any}")),
        Just("/v1/purchases".to_owned()),
        Just("/v1/summary".to_owned()),
    ];
    (path, prop::collection::vec(pair, 0..4)).prop_map(|(path, pairs)| {
        let pairs: Vec<_> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{path}?{}", pairs.join("&"))
    })
}

proptest! {
    #[test]
    fn random_bodies_cause_no_5xx(body in body(), key in prop::option::of(prop::collection::vec(any::<u8>(), 0..40))) {
        let shop = Shop::new();
        let responses = Runtime::new().unwrap().block_on(async {
            let mut responses = Vec::new();
            let management = ["/purchases", "/v1/purchases"].map(|path| (&shop.management, path));
            for (service, path) in PATHS.map(|path| (&shop.facing, path)).into_iter().chain(management) {
                let mut request = Request::post(path).body(Body::from(body.clone())).unwrap();
                // HTTP cannot transport other values.
                if let Some(key) = key.as_ref().and_then(|key| HeaderValue::from_bytes(key).ok()) {
                    request.headers_mut().insert("idempotency-key", key);
                }
                let response = send(service, request).await;
                responses.push((path, response));
            }
            let accepted = responses[..PATHS.len()].iter().filter(|(_, response)| response.status.is_success()).count();
            // A purchase that is repeated with its key is in the log once; without a key each is a new purchase.
            let published = shop.published().await;
            assert!(published <= accepted && (published > 0) == (accepted > 0), "{published} of {accepted}");
            responses
        });
        for (path, response) in responses {
            prop_assert!(response.status.is_success() || response.status.is_client_error(), "{} {:?}", path, response);
            response.json();
        }
    }

    #[test]
    fn random_queries_cause_no_5xx(target in target()) {
        let shop = Shop::new();
        let Ok(request) = Request::get(&target).body(Body::empty()) else { return Ok(()) };
        let response = Runtime::new().unwrap().block_on(send(&shop.facing, request));
        prop_assert!(response.status.as_u16() < 500, "{} {:?}", target, response);
    }
}
