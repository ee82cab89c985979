//! Whatever is sent: nothing panics, and nothing is the service's fault.

use axum::body::Body;
use axum::http::{HeaderValue, Request};
use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::shop::{Shop, ask};

/// Where purchases are taken, on facing.
const PATHS: [&str; 5] = ["/buy", "/api/buy", "/api/v1/buy", "/scalable-shop-cm-server/buy", "/v1/purchases"];

/// A value that is JSON, or nearly.
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

/// A body that is a purchase, or nearly.
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
        // One byte in some of them is another.
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

/// The path and the query of a question.
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
    fn no_body_is_the_services_fault(body in body(), key in prop::option::of(prop::collection::vec(any::<u8>(), 0..40))) {
        let shop = Shop::new();
        let answers = Runtime::new().unwrap().block_on(async {
            let mut answers = Vec::new();
            let management = ["/purchases", "/v1/purchases"].map(|path| (&shop.management, path));
            for (service, path) in PATHS.map(|path| (&shop.facing, path)).into_iter().chain(management) {
                let mut request = Request::post(path).body(Body::from(body.clone())).unwrap();
                // What HTTP itself does not carry comes from nobody.
                if let Some(key) = key.as_ref().and_then(|key| HeaderValue::from_bytes(key).ok()) {
                    request.headers_mut().insert("idempotency-key", key);
                }
                let answer = ask(service, request).await;
                answers.push((path, answer));
            }
            let taken = answers[..PATHS.len()].iter().filter(|(_, answer)| answer.status.is_success()).count();
            // The same purchase under the same key is in the log once; without a key each is a purchase.
            let published = shop.published().await;
            assert!(published <= taken && (published > 0) == (taken > 0), "{published} of {taken}");
            answers
        });
        for (path, answer) in answers {
            prop_assert!(answer.status.is_success() || answer.status.is_client_error(), "{} {:?}", path, answer);
            answer.json();
        }
    }

    #[test]
    fn no_question_is_the_services_fault(target in target()) {
        let shop = Shop::new();
        let Ok(request) = Request::get(&target).body(Body::empty()) else { return Ok(()) };
        let answer = Runtime::new().unwrap().block_on(ask(&shop.facing, request));
        prop_assert!(answer.status.as_u16() < 500, "{} {:?}", target, answer);
    }
}
