//! The kit on librdkafka's cluster in this process, and what that cluster alone can fail.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "this is test code: a broken promise ends the test"
)]

use shop_core::conformance::{
    MemoryFixture, ShopOnLog, feed_suite, log_admin_suite, log_suite, operations_suite,
    pipeline_suite, shop_suite,
};

mod broker_faults;
mod fixture;
mod membership;
mod operators;
mod outages;
mod raw;
mod settings;
mod support;

use fixture::KafkaFixture;

log_suite!(in_process_log, KafkaFixture::in_process());
log_admin_suite!(in_process_admin, KafkaFixture::in_process());
pipeline_suite!(in_process_to_memory, async {
    (KafkaFixture::in_process().await, MemoryFixture::default())
});
operations_suite!(in_process_operations, async {
    (KafkaFixture::in_process().await, MemoryFixture::default())
});
feed_suite!(in_process_feed, async {
    (KafkaFixture::in_process().await, MemoryFixture::default())
});
shop_suite!(in_process_shop, async {
    ShopOnLog::new(KafkaFixture::in_process().await, MemoryFixture::default()).await
});
