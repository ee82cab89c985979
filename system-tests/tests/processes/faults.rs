//! A file that another program has locked.

use crate::process::{ADA, Binary, Process, buy, get, must_buy, open_file, until};

#[tokio::test]
async fn locked_log_is_a_503_until_unlocked() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    must_buy(&facing, ADA).await;
    let connection = open_file(folder.path());
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (status, body) = buy(&facing, ADA).await;
    assert_eq!(status, 503);
    assert_eq!(
        body["error"],
        "Failed to record purchase - messaging system unavailable"
    );
    assert_eq!(body["outcome"], "not_sent", "{body}");
    connection.execute_batch("ROLLBACK").unwrap();
    until("accept purchases again", async || {
        buy(&facing, ADA).await.0 == 201
    })
    .await;
    assert_eq!(get(&facing.path("/-/ready")).await.0, 200);
}
