//! Bearer tokens and the user agent over HTTP.

use std::sync::atomic::{AtomicUsize, Ordering};

use shop_client::BearerToken;

use crate::prelude::*;

#[tokio::test(start_paused = true)]
async fn a_rejected_token_is_renewed_within_the_call() {
    let script = Script::new([Turn::Pass, Turn::Say(refusal(401, &[], ""))]);
    let count = AtomicUsize::new(0);
    let provider = move || {
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        async move { Ok(BearerToken::new(format!("token-{number}"))?) }
    };
    let builder = script.builder().await;
    let client = builder.token_provider(provider).build().unwrap();
    for _ in 0..3 {
        client.shop().buy(ada("1")).await.unwrap();
    }
    let [first, second] = ["Bearer token-1", "Bearer token-2"];
    assert!(!format!("{client:?}").contains("token-1"));
    assert_eq!(
        script.headers("authorization"),
        [first, first, second, second]
    );
}

#[tokio::test]
async fn the_user_agent_is_the_default_or_set_or_that_of_the_http_client() {
    let script = Script::new([]);
    let own = reqwest::Client::builder()
        .tls_certs_only([])
        .user_agent("own/1");
    let own = own.build().unwrap();
    for builder in [
        script.builder().await,
        script.builder().await.user_agent("checkout/1"),
        script.builder().await.http_client(own.clone()),
        script
            .builder()
            .await
            .http_client(own)
            .user_agent("checkout/1"),
    ] {
        builder.build().unwrap().shop().buy(ada("1")).await.unwrap();
    }
    let default = concat!("shop-client/", env!("CARGO_PKG_VERSION"));
    let expected = [default, "checkout/1", "own/1", "checkout/1"];
    assert_eq!(script.headers("user-agent"), expected);
}
