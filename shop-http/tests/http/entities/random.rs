//! Random input causes no panic and no 5xx, and accepted rows can be read.

use axum::body::Body;
use axum::http::Request;
use proptest::prelude::*;
use serde_json::Value;
use shop_http::HttpOptions;
use tokio::runtime::Runtime;

use super::{ADA, Entities};
use crate::bad_input::random::value;
use crate::shop::{get, post, send};

/// A valid value of a member, or any other.
fn or_any(usual: &'static str) -> impl Strategy<Value = String> {
    prop_oneof![2 => Just(usual.to_owned()), 1 => value()]
}

fn order() -> impl Strategy<Value = String> {
    (or_any("1"), or_any("\"pen\""), or_any("2"), or_any("\"5.5\"")).prop_map(
        |(user, product, quantity, price)| {
            format!(r#"{{"user_id":{user},"product":{product},"quantity":{quantity},"total_price":{price}}}"#)
        },
    )
}

fn user() -> impl Strategy<Value = String> {
    let email = prop_oneof![
        or_any("\"eve@example.com\""),
        "[ -~]{0,8}@[ -~]{0,12}".prop_map(|text| Value::from(text).to_string()),
    ];
    (email, or_any("\"Eve\"")).prop_map(|(email, name)| format!(r#"{{"email":{email},"name":{name}}}"#))
}

proptest! {
    #[test]
    fn random_rows_cause_no_5xx(user in user(), order in order(), raw in prop::collection::vec(any::<u8>(), 0..60)) {
        Runtime::new().unwrap().block_on(async {
            let mut entities = Entities::new();
            entities.start();
            let mut options = HttpOptions::default();
            options.unknown_user_wait = std::time::Duration::from_secs(4);
            let router = entities.management(options);
            assert_eq!(post(&router, "/users", ADA).await.status, 201);
            // Creates user 1.
            let first = post(&router, "/orders", super::PEN).await;
            assert_eq!(first.status, 201, "{}", first.text);
            let router = entities.management(HttpOptions::default());
            for (path, body) in [("/users", &user), ("/orders", &order)] {
                let response = post(&router, path, body.clone()).await;
                let told = response.json();
                if response.status == 201 {
                    let again = get(&router, &format!("{path}/{}", told["id"])).await;
                    assert_eq!((again.status.as_u16(), again.json()), (200, told), "{body}");
                } else {
                    assert!(response.status.is_client_error() && told["detail"] != Value::Null, "{body}: {response:?}");
                }
                let request = Request::post(path).body(Body::from(raw.clone())).unwrap();
                assert!(send(&router, request).await.status.is_client_error(), "{raw:?}");
            }
        });
    }

    #[test]
    fn random_paths_cause_no_5xx(text in "(%[0-9a-fA-F]{2}|[!-~&&[^#?/%]]){1,12}") {
        let router = Entities::new().management(HttpOptions::default());
        Runtime::new().unwrap().block_on(async {
            for path in ["/users/x", "/users/x/orders", "/orders/x"] {
                let Ok(request) = Request::get(path.replace('x', &text)).body(Body::empty()) else { return };
                let response = send(&router, request).await;
                assert!([404, 422].contains(&response.status.as_u16()), "{text}: {response:?}");
            }
        });
    }
}
