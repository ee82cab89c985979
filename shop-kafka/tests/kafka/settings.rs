//! Effects of the options.

use bytes::Bytes;
use shop_core::conformance::assert_fails;
use shop_core::log::LogRecord;
use shop_core::{Outcome, Timestamp};

use crate::prelude::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_property_reaches_the_producer_which_rejects_a_record_that_is_too_large() {
    let fixture = KafkaFixture::in_process_with(|options| {
        let limit = ("message.max.bytes".into(), "1000".to_owned().into());
        options.properties.extend([limit]);
    })
    .await;
    let log = fixture.log();
    let record = |size| LogRecord::new(0, Timestamp::MIN, Some(Bytes::from(vec![b'x'; size])));
    let error = soon("append", log.append(record(2_000))).await.unwrap_err();
    assert_fails(&error, ErrorKind::TooLarge, Outcome::NotApplied);
    soon("append", log.append(record(10))).await.unwrap();
}
