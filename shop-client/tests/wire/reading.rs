//! Reading purchases. The kit over HTTP proves what is read.

use shop_client::PurchaseId;
use shop_client::shop_core::Uuid;

use crate::prelude::*;

pub(crate) fn purchase(number: u16) -> Purchase {
    let id = PurchaseId::from_uuid(Uuid::from_u128(u128::from(number) + 1));
    let at = Timestamp::from_millis(i64::from(number)).unwrap();
    let price = "1.10".parse().unwrap();
    Purchase::new(id, "u1".parse().unwrap(), "ada".parse().unwrap(), price, at)
}

/// The service waits for at most 10 s in each request.
#[tokio::test(start_paused = true)]
async fn a_purchase_not_stored_in_time_is_an_error() {
    let client = Script::new([]).client().await;
    let bought = client.shop().buy(ada("29.99")).await.unwrap();
    let user = client.shop().user("u1").wait_for(&bought.receipt);
    for seconds in [0, 2, 10, 25] {
        let start = Instant::now();
        let listing = user.clone().with_wait_timeout(Duration::from_secs(seconds));
        let error = listing.summary().await.unwrap_err();
        assert_fails(&error, ErrorKind::DeadlineExceeded, Outcome::NotApplied);
        assert_eq!(start.elapsed().as_secs(), seconds);
    }
}

#[tokio::test]
async fn a_purchase_whose_id_would_change_is_not_sent() {
    let client = Script::new([]).client().await;
    let of_version_5 = Uuid::from_u128(0x6227_dd3e_4b6e_5903_bbab_a62e_31d7_5856);
    for id in [of_version_5, Uuid::nil(), Uuid::max()] {
        let mut refused = purchase(1);
        refused.id = PurchaseId::from_uuid(id);
        let alone = client.publish(&refused).await;
        let in_batch = client.publish_many(&[refused]).await.remove(0);
        for result in [alone, in_batch] {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Unsupported, "{id}");
        }
    }
}
