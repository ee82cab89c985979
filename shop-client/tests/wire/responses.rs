//! The meaning of responses: the outcome of a call to a service that gives the same response to every
//! request.
//!
//! A row has the name of the call, the status, perhaps headers as `name=value`, and the body. The
//! snapshot `snapshots/wire__responses__….snap` has the first request and the outcome of each row below
//! it. After a change that is meant: `INSTA_UPDATE=always cargo test -p shop-client --test wire responses`.

use crate::outcomes::{describe, outcomes_of};
use crate::prelude::*;
use crate::reading::purchase;
use shop_client::{PurchaseQuery as _, ReasonKind};

/// Calls `name`. The key of a buy gives its purchase an id that the rows know.
async fn call(client: &ShopClient, name: &str) -> Result<String> {
    let user = client.shop().user("u1");
    let dead_letters = client.dead_letters();
    Ok(match name {
        "buy" => describe(client.shop().buy(ada("1").with_key("order-7")).await?),
        "buy_without_key" => describe(client.shop().buy(ada("1")).await?),
        "buy_many" => {
            let orders = ["order-7", "order-8"].map(|key| ada("1").with_key(key).unwrap());
            let results = client.shop().buy_many(orders.into()).await;
            let first_error = results.into_iter().collect::<Result<Vec<_>>>();
            describe(first_error?)
        }
        "refund" => {
            let mut refund = ada("1");
            refund.price = refund.price.negated();
            refund.details.of = Some(purchase(1).id);
            describe(client.shop().buy(refund).await?)
        }
        "look_up" => describe(client.look_up(&purchase(1).id).await?),
        "summary" => describe(user.summary().await?),
        "page" => describe(user.page().await?),
        "health" => describe(client.health().await?),
        "check" => describe(client.check().await?),
        "events" => user
            .events(None)
            .await
            .map(|_events| "connected".to_owned())?,
        "export" => {
            let mut purchases = client.export(Selector::All).purchases();
            let mut read = Vec::new();
            while let Some(purchase) = purchases.next().await {
                read.push(match purchase {
                    Ok(purchase) => purchase.price.to_string(),
                    Err(error) => error.message().to_owned(),
                });
            }
            describe(read)
        }
        "list_dead_letters" => {
            let since = "2026-03-01T09:00:00Z".parse().unwrap();
            let parked = dead_letters.topic("purchases").reason(ReasonKind::Gap);
            // The last value of a filter counts.
            let parked = parked.reason(ReasonKind::Parked).since(since);
            describe(parked.list().try_collect::<Vec<_>>().await?)
        }
        "dead_letters_page" => {
            let three = PageLimit::new(3).unwrap();
            describe(dead_letters.page(three, Some("a")).await?)
        }
        "dead_letter" => describe(dead_letters.get("t-0-1").await?),
        "replay" => describe(dead_letters.replay(["t-0-1"]).await?),
        "discard" => describe(dead_letters.discard(["t-0-1", "t-0-2"]).await?),
        "park" => describe(dead_letters.park(["t-0-1"], "a test").await?),
        "replay_dry" => describe(dead_letters.dry_run().replay(["t-0-1"]).await?),
        _ => unreachable!("there is no call {name}"),
    })
}

async fn outcomes(rows: &str) -> String {
    outcomes_of(rows, async |client, name| call(&client, name).await).await
}

#[tokio::test(start_paused = true)]
async fn statuses_and_problems_say_whether_a_call_may_have_taken_effect() {
    insta::assert_snapshot!(outcomes(include_str!("responses/statuses.txt")).await);
}

#[tokio::test(start_paused = true)]
async fn foreign_responses_are_errors() {
    insta::assert_snapshot!(outcomes(include_str!("responses/foreign.txt")).await);
}

#[tokio::test(start_paused = true)]
async fn states_are_results() {
    insta::assert_snapshot!(outcomes(include_str!("responses/health.txt")).await);
}

#[tokio::test(start_paused = true)]
async fn dead_letters_are_typed() {
    insta::assert_snapshot!(outcomes(include_str!("responses/dead_letters.txt")).await);
}

/// Larger than the call allows.
#[tokio::test(start_paused = true)]
async fn long_responses_are_cut_off() {
    let deep = "[".repeat(50_000);
    let long = "x".repeat(70_000);
    let rows = [
        format!("summary 200 {deep}"),
        format!("summary 200 {{\"items\":{deep}"),
        format!("summary 200 {long}"),
        format!("buy 201 {long}"),
        format!("buy 503 {deep}"),
        format!("buy 400 {{\"detail\":\"{long}\"}}"),
        format!("events 200 content-type=text/event-stream {long}"),
        format!("export 200 content-type=application/x-ndjson {long}"),
    ];
    insta::assert_snapshot!(outcomes(&rows.join("\n")).await);
}
