//! `management verify`, `refund`, and errors of commands.

use shop_core::ports::{
    ListOrder, PageLimit, PageRequest, PurchaseQuery as _, RecordStore as _, Selector,
};
use shop_store::embedded::{EmbeddedStore, EmbeddedStoreOptions};

use crate::prelude::*;

#[tokio::test]
async fn verify_and_doctor_name_what_is_damaged() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    for _ in 0..6 {
        must_buy(&facing, ADA).await;
    }
    until_stored(&facing, "u1", 6).await;
    facing.stop().await;
    let mut terminal = Terminal::on(folder.path(), &[]);
    let damage = |sql| open_file(folder.path()).execute_batch(sql).unwrap();
    terminal.run("management doctor").await;

    // As by an old backup of the store, or by mistake.
    damage(
        "DELETE FROM purchases WHERE id = (SELECT id FROM purchases ORDER BY timestamp DESC, id DESC LIMIT 1)",
    );
    change_first_purchase(folder.path()).await;
    terminal
        .run(
            "management verify --wait 0
            management verify --wait 0 --named 0
            management verify --wait 0 --json",
        )
        .await;

    // As with an older copy of the log.
    damage(
        "DELETE FROM records WHERE offset > 1; UPDATE sqlite_sequence SET seq = 1 WHERE name = 'records'",
    );
    terminal.run("management verify --wait 0").await;

    damage("UPDATE purchases SET price = 'free' WHERE id = (SELECT min(id) FROM purchases)");
    terminal
        .run(
            "management doctor
            management doctor --json",
        )
        .await;
    terminal.assert_shown("verify");
}

/// Stores the first purchase with another price, as another program may.
async fn change_first_purchase(folder: &Path) {
    let store = EmbeddedStore::open(folder, EmbeddedStoreOptions::default())
        .await
        .unwrap();
    let oldest = PageRequest::first(ListOrder::OldestFirst, PageLimit::DEFAULT);
    let page = store.page(&Selector::All, &oldest).await.unwrap();
    let mut first = page.items[0].clone();
    first.price = "1".parse().unwrap();
    let sql = "DELETE FROM purchases WHERE id = (SELECT id FROM purchases ORDER BY timestamp, id LIMIT 1)";
    open_file(folder).execute_batch(sql).unwrap();
    store.apply(vec![first].into()).await.unwrap();
    let closed = store.closed();
    drop(store);
    closed.await;
}

#[tokio::test]
async fn a_command_refunds_a_purchase_once_beside_a_service() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    let bought = facing.client().shop().buy(purchase_of("u1")).await.unwrap();
    let id = bought.purchase.id;
    let mut terminal = Terminal::on(folder.path(), &[]);
    terminal
        .run(&format!(
            "management refund {id} --amount 9.99 --reason broken --json
            management refund {id} --amount 9.99 --reason broken
            management refund {id}
            management refund {id} --amount=-1
            management refund {id} --refunds off
            management refund 0190163d-8694-739b-aea5-966c26f8ad91",
        ))
        .await;
    terminal.assert_shown("refund");
    until("store it", async || {
        get(&facing.path("/v1/summary?userid=u1")).await.1["total_spent"] == 20
    })
    .await;
}

#[tokio::test]
async fn commands_report_errors_with_their_remedy() {
    let folder = tempfile::tempdir().unwrap();
    append(folder.path(), ADA).await;
    let mut terminal = Terminal::on(folder.path(), &[]);
    terminal
        .run(
            "management verfy
            management migrate
            management dlq ls --topic user_creatd
            management dlq replay purchases-0-7
            management dlq park others-0-2
            management groups forget klingons
            management groups ls --kafka-bootstrap-servers 127.0.0.1:1
            management erase user u1
            management replay purchases --from-beginning
            management import nowhere.ndjson",
        )
        .await;
    terminal.assert_shown("errors");
}
