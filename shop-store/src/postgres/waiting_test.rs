//! Refunds that wait for other purchases cost an insert or a look-up nothing, and are settled together.

use shop_core::log::Reason;
use shop_core::ports::WaitingRefunds as _;
use tokio_postgres::SimpleQueryMessage;

use super::connection::{PostgresConnection, Statement};
use super::fixture::{PostgresFixture, cluster, session, until};
use super::{PostgresStore, PostgresStoreOptions, erase, waiting};
use crate::refunds::PurchaseRows as _;
use crate::server_fixture::*;

/// The number of rows of `purchases_waiting` that the server reads to run a statement, and the plan.
async fn rows_read(connection: &PostgresConnection, mut statement: Statement) -> (f64, String) {
    let sql = format!("explain (analyze, costs off, timing off) {}", statement.sql);
    statement.sql = sql.into();
    let rows = connection.query(statement).await.unwrap();
    let lines: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();

    let number_behind = |line: &str, label: &str| -> Option<f64> {
        let digits = line.split_once(label)?.1;
        let end = digits.find(|c: char| !c.is_ascii_digit() && c != '.');
        digits[..end.unwrap_or(digits.len())].parse().ok()
    };
    let mut read = 0.0;
    let mut is_of_waiting = false;
    let mut loops = 1.0;
    for line in &lines {
        if line.contains("actual rows=") {
            is_of_waiting = line.contains("purchases_waiting");
            loops = number_behind(line, "loops=").unwrap();
            if is_of_waiting {
                read += number_behind(line, "rows=").unwrap() * loops;
            }
        }
        if is_of_waiting && line.contains("Rows Removed") {
            read += number_behind(line, ": ").unwrap() * loops;
        }
    }
    (read, lines.join("\n"))
}

#[tokio::test]
async fn no_statement_reads_refunds_that_wait_for_other_purchases() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let store = fixture.postgres();
    let client = session(fixture.url()).await;
    // The plans must not depend on statistics, which lag behind a large import.
    let sql = "alter table purchases_waiting set (autovacuum_enabled = false)";
    client.batch_execute(sql).await.unwrap();
    let refunds = refunds_of(&purchases(5_000));
    let refunded = refunds[7].details.of.unwrap();
    store.insert(refunds.into()).await.unwrap();
    let found = store.find_waiting_refunds(&[refunded, refunded]).await;
    assert_eq!(found.unwrap().len(), 1, "an id that is given twice");

    let ids: Vec<_> = purchases(500).iter().map(|purchase| purchase.id).collect();
    let user = "nobody".parse().unwrap();
    let reason = Reason::parked("x");
    for statistics in ["", "analyze purchases_waiting"] {
        client.batch_execute(statistics).await.unwrap();
        for statement in [
            waiting::of_purchases_query(&ids),
            waiting::with_id_query(&ids[0]),
            waiting::behind_query(1 << 40, 1_000),
            waiting::refused_query(100),
            waiting::refuse_statement(&[1 << 40], &reason),
            waiting::delete_statement(&[1 << 40, 1 << 41]),
            waiting::erase_statement(&user, 1_000),
            waiting::delete_of_ids_statement(&ids[..2]),
            waiting::delete_before_statement(Timestamp::MIN, 1_000),
            erase::count_old_query(Timestamp::MIN, 1_000),
        ] {
            let sql = statement.sql.clone();
            let (read, plan) = rows_read(&store.connection, statement).await;
            assert!(read < 1.0, "{read} rows: {sql}\n{plan}");
        }
        let (read, plan) = rows_read(&store.connection, waiting::summary_query()).await;
        assert!(read <= 5_002.0, "each is counted once: {plan}");
    }
}

/// The number of transactions that have written on the server.
async fn transactions(client: &tokio_postgres::Client) -> u64 {
    let sql = "select pg_current_xact_id()";
    let answer = client.simple_query(sql).await.unwrap();
    let text = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    text.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_refunds_are_settled_by_a_few_transactions() {
    let Some(cluster) = cluster() else {
        return;
    };
    let client = session(&cluster.url()).await;
    let sql = "alter system set autovacuum = off";
    client.batch_execute(sql).await.unwrap();
    client
        .batch_execute("select pg_reload_conf()")
        .await
        .unwrap();
    let store = PostgresStore::open(PostgresStoreOptions::new(cluster.url()))
        .await
        .unwrap();
    // The task writes transactions of its own, which would be counted.
    store.sums.fold_task.disable();
    store.wait_for_schema().await;
    let bought = purchases(2_000);
    store.insert(refunds_of(&bought).into()).await.unwrap();

    let before = transactions(&client).await;
    store.insert(bought.into()).await.unwrap();
    let count = transactions(&client).await - before;
    assert!(count <= 10, "{count}");
    assert_eq!(store.waiting_summary().await.unwrap().count, 0);
    let sql = "select count(*) from purchases";
    let stored: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(stored, 4_000);
}

/// Two processes may settle the same refunds. Neither waits for a refund that the other has inserted
/// before a refund for which the other waits.
#[tokio::test]
async fn refunds_are_inserted_in_the_order_of_their_ids() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let store = fixture.postgres();
    let bought = purchases(2);
    store.insert(bought.clone().into()).await.unwrap();
    let mut refunds = refunds_of(&bought);
    refunds.sort_unstable_by_key(|refund| std::cmp::Reverse(refund.id));

    // Another process has inserted the refund with the lower id.
    let mut other = session(fixture.url()).await;
    let transaction = other.transaction().await.unwrap();
    let insert = "insert into purchases (id) values ($1)";
    let [last, first] = [&refunds[0], &refunds[1]].map(|refund| refund.id.to_string());
    transaction.execute(insert, &[&first]).await.unwrap();
    let inserting = tokio::spawn({
        let (store, refunds) = (store.clone(), refunds.clone());
        async move { store.insert(refunds.into()).await }
    });
    let observer = session(fixture.url()).await;
    let sql = "select from pg_stat_activity where wait_event_type = 'Lock' and query like '%purchases_of_refunds%'";
    until(async || !observer.query(sql, &[]).await.unwrap().is_empty()).await;

    // It goes on with the other one.
    transaction.execute(insert, &[&last]).await.unwrap();
    transaction.commit().await.unwrap();
    inserting.await.unwrap().unwrap();
}
