//! Bearer tokens and the user agent over HTTP.

use std::sync::atomic::{AtomicUsize, Ordering};

use shop_client::{BearerToken, ErrorKind, Outcome, ShopClient};

use crate::shop::{Script, Shop, Turn, ada, refusal};

#[tokio::test(start_paused = true)]
async fn a_rejected_token_is_renewed_within_the_call() {
    let script = Script::new([Turn::Pass, Turn::Say(refusal(401, &[], ""))]);
    let count = AtomicUsize::new(0);
    let provider = move || {
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        async move { Ok(BearerToken::new(format!("token-{number}"))?) }
    };
    let client = script
        .builder()
        .await
        .token_provider(provider)
        .build()
        .unwrap();
    for _ in 0..3 {
        client.buy(ada("1")).await.unwrap();
    }
    let sent: Vec<_> = script
        .seen()
        .iter()
        .map(|seen| seen.header("authorization").to_owned())
        .collect();
    let first = "Bearer token-1";
    let second = "Bearer token-2";
    assert_eq!(sent, [first, first, second, second]);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_fixed_token_is_an_error() {
    let script = Script::new([
        Turn::Say(refusal(401, &[], "")),
        Turn::Say(refusal(401, &[], "")),
    ]);
    let client = script
        .builder()
        .await
        .bearer_token("s3cret")
        .build()
        .unwrap();
    let error = client.buy(ada("1")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Denied, Outcome::NotApplied)
    );
    assert_eq!((error.attempts(), script.seen().len()), (1, 1));
    assert!(!format!("{client:?} {error:?}").contains("s3cret"));
}

#[tokio::test]
async fn the_user_agent_is_the_default_or_set_or_that_of_the_http_client() {
    let script = Script::new([]);
    let own = || {
        reqwest::Client::builder()
            .tls_certs_only([])
            .user_agent("own/1")
            .build()
            .unwrap()
    };
    let router = Shop::new().router;
    for (builder, expected) in [
        (
            script.before(router.clone()).await,
            concat!("shop-client/", env!("CARGO_PKG_VERSION")),
        ),
        (
            script.before(router.clone()).await.user_agent("checkout/1"),
            "checkout/1",
        ),
        (
            script.before(router.clone()).await.http_client(own()),
            "own/1",
        ),
        (
            script
                .before(router.clone())
                .await
                .http_client(own())
                .user_agent("checkout/1"),
            "checkout/1",
        ),
    ] {
        let client: ShopClient = builder.build().unwrap();
        client.buy(ada("1")).await.unwrap();
        assert_eq!(script.seen().last().unwrap().header("user-agent"), expected);
    }
}
