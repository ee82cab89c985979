//! Services and commands whose currency is another one than that of the store.

use crate::prelude::*;

const EUR: (&str, &str) = ("SHOP_CURRENCY", "EUR");
const USD: (&str, &str) = ("SHOP_CURRENCY", "USD");

/// Buys once in each form. Returns the statuses.
async fn buy(facing: &Process) -> Vec<u16> {
    let mut statuses = Vec::new();
    for path in ["/buy", "/v1/purchases"] {
        statuses.push(post(&facing.path(path), ADA).await.0);
    }
    let keyed = plain()
        .post(facing.path("/v1/purchases"))
        .header("content-type", "application/json")
        .header("idempotency-key", "order-7");
    statuses.push(exchange(keyed.body(ADA)).await.0);
    statuses
}

/// What `/health` says about the currency.
async fn currency_problem(process: &Process) -> String {
    let health = get(&process.path("/health")).await.1;
    let is_degraded = health["status"] == "degraded";
    let works = health["parts"]["currency"] != false;
    let problem = health["currency"].as_str().unwrap_or_default().to_owned();
    assert_eq!(works, problem.is_empty(), "{health}");
    assert!(is_degraded || works, "{health}");
    problem
}

#[tokio::test]
async fn a_facing_that_starts_blind_acknowledges_nothing_that_is_not_stored() {
    let folder = tempfile::tempdir().unwrap();
    let management = Process::start(Binary::Management, folder.path(), &[EUR]).await;
    let port = management.port().to_owned();
    let url = management.url.clone();
    management.stop().await;

    // All start while management is away: with another setting, with the same one, without one.
    let behind = ("SHOP_MANAGEMENT_URL", &*url);
    let start = async |more: &[(&str, &str)]| {
        let settings = [&[behind], more].concat();
        Process::start(Binary::Facing, folder.path(), &settings).await
    };
    let other = start(&[USD]).await;
    let same = start(&[EUR]).await;
    let without = start(&[]).await;
    for facing in [&other, &same] {
        assert_eq!(buy(facing).await, [503; 3]);
        assert!(currency_problem(facing).await.contains("not answered yet"));
        assert_eq!(get(&facing.path("/-/ready")).await.0, 503);
        assert_eq!(get(&facing.path("/readyz")).await.0, 200);
    }
    let (status, refused) = post(&other.path("/v1/purchases"), ADA).await;
    assert_eq!(
        (status, &refused["outcome"]),
        (503, &json!("not_sent")),
        "{refused}"
    );
    assert_eq!(get(&without.path("/-/ready")).await.0, 200);
    must_buy(&without, ADA).await;

    let settings = [("PORT", &*port), EUR];
    let management = Process::start(Binary::Management, folder.path(), &settings).await;
    until("notice the other currency", async || {
        currency_problem(&other)
            .await
            .contains("cannot be used with USD")
    })
    .await;
    assert_eq!(buy(&other).await, [503; 3]);
    assert_eq!(get(&other.path("/readyz")).await.0, 503);
    for facing in [&same, &without] {
        until("agree", async || currency_problem(facing).await.is_empty()).await;
        assert_eq!(get(&facing.path("/v1")).await.1["currency"], "EUR");
    }
    let mut in_euros = purchase_of("u1");
    in_euros.details.currency = Some("EUR".parse().unwrap());
    without.client().shop().buy(in_euros).await.unwrap();
    assert_eq!(buy(&same).await, [201; 3]);

    // Each acknowledged purchase is stored, and nothing else is in the log.
    until_stored(&management, "u1", 5).await;
    until("read all", async || management.ingest().await["lag"] == 0).await;
    assert_eq!(stored(&management, "u1").await, 5);
    assert_eq!(dead_lettered(&management).await, 0);
    assert_eq!(stored(&other, "u1").await, 5, "listings go on");

    // Beside a management that answers, it does not start.
    let refused = Process::try_start(Binary::Facing, folder.path(), &[behind, USD]).await;
    assert!(refused.is_err(), "{refused:?}");
    for process in [other, same, without, management] {
        process.stop().await;
    }
}

#[tokio::test]
async fn commands_with_another_currency_are_refused() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[EUR]).await;
    let bought = facing.client().shop().buy(purchase_of("u1")).await.unwrap();
    let id = bought.purchase.id.to_string();
    let file = folder.path().join("purchases.ndjson");
    std::fs::write(&file, format!("{ADA}\n")).unwrap();
    let file = file.to_str().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let backup = copy.path().join("backup");
    let backup = backup.to_str().unwrap();
    let data = ("SHOP_DATA_DIR", folder.path().to_str().unwrap());

    // The last command erases, so it is refused before it could change what the others find.
    let commands: [&[&str]; 11] = [
        &["refund", &id],
        &["import", file],
        &["import", file, "--dry-run"],
        &["export"],
        &["verify", "--wait", "0"],
        &["doctor"],
        &["dlq", "ls"],
        &["dlq", "replay"],
        &["backup", backup],
        &["replay", "users", "--from-beginning"],
        &["erase", "user", "u1", "--confirm"],
    ];
    for command in commands {
        let output = Binary::Management.run(command, &[data, USD]).await;
        assert_ended(
            &output,
            2,
            "SHOP_CURRENCY: the purchases of this store are in EUR",
        );
        assert_eq!(text(&output.stdout), "", "{command:?}");
    }
    assert_eq!(stored(&facing, "u1").await, 1);

    // With the setting of the store, or without one, the same commands do what they do.
    for settings in [&[data, EUR][..], &[data]] {
        let output = Binary::Management.run(&["export"], settings).await;
        assert_ended(&output, 0, "\"currency\":\"EUR\"");
    }
    let output = Binary::Management.run(&["refund", &id], &[data, EUR]).await;
    assert_ended(&output, 0, "refund ");
    let output = Binary::Management
        .run(&["import", file], &[data, EUR])
        .await;
    assert_ended(&output, 0, "imported 1");
}
