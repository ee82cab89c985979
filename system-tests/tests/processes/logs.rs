//! What a process logs: requests, and the lines of purchase-tracking.

use crate::prelude::*;

#[tokio::test]
async fn access_log_is_always_json() {
    let settings = [
        ("SHOP_ACCESS_LOG", "on"),
        ("LOG_FORMAT", "text"),
        ("LOG_LEVEL", "error,shop_bins=info"),
    ];
    let (_folder, facing) = Process::fresh(Binary::Facing, &settings).await;
    assert_eq!(get(&facing.path("/livez")).await.0, 200);
    let line = facing.logged("target", "access").await;
    assert_eq!(line["http.route"], "/livez", "{line}");
}

#[tokio::test]
async fn purchase_tracking_logs_a_published_and_a_received_purchase() {
    let settings = [("SHOP_DIALECT", "purchase-tracking")];
    let (_folder, facing) = Process::fresh(Binary::Facing, &settings).await;
    must_buy(&facing, ADA).await;
    let published = facing.logged("message", "Published purchase").await;
    let received = facing.logged("message", "Received purchase").await;
    assert_eq!(published["user.id"], "u1", "{published}");
    assert_eq!(published["purchase.id"], received["purchase.id"]);
}
