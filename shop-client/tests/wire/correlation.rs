//! Request ids and trace contexts, sent and reported.

use std::sync::Arc;

use shop_client::RequestContext;
use shop_client::shop_core::{Clock, SystemClock};

use crate::prelude::*;

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn context(id: &str) -> RequestContext {
    RequestContext::new(Some(id.to_owned()), Some(TRACEPARENT.to_owned()))
}

#[tokio::test]
async fn each_call_has_its_own_request_id_which_an_error_names() {
    let script = Script::new([Turn::Pass, Turn::Say(refusal(400, &[], ""))]);
    let client = script.client().await;
    client.shop().buy(ada("1")).await.unwrap();
    let error = client.shop().buy(ada("1")).await.unwrap_err();
    let ids = script.headers("x-request-id");
    assert_ne!(ids[0], ids[1]);
    assert_eq!(error.request_id(), Some(ids[1].as_str()));
}

/// The context of a purchase precedes that of the client, which precedes that of the current request.
#[tokio::test]
async fn calls_belong_to_the_closest_context() {
    let script = Script::new([]);
    let client = script.client().await;
    let mut purchase = ada("1").into_purchase(SystemClock.now(), || SystemClock.fresh_id());
    purchase.context = Some(Box::new(context("purchase")));
    let calls = async {
        client.shop().user("u1").summary().await.unwrap();
        client.shop().buy(ada("1")).await.unwrap();
        let of_client = client.with_context(context("client"));
        of_client.shop().buy(ada("1")).await.unwrap();
        of_client.publish(&purchase).await.unwrap();
        // An id that is no header is not sent.
        let invalid = client.with_context(context("a\nb"));
        invalid.shop().buy(ada("1")).await.unwrap();
    };
    Arc::new(context("request")).scope(calls).await;
    let ids = ["request", "request", "client", "purchase", ""];
    assert_eq!(script.headers("x-request-id"), ids);
    assert_eq!(script.headers("traceparent"), [TRACEPARENT; 5]);
}
