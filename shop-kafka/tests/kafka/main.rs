//! The kit on Kafka: on librdkafka's cluster in this process always, on a real broker where there is one.

#![expect(clippy::panic, clippy::unwrap_used, reason = "this is test code: a broken promise ends the test")]

use shop_core::conformance::{
    MemoryFixture, ShopOnLog, log_admin_suite, log_suite, pipeline_suite, shop_suite,
};

mod broker_faults;
mod fixture;
mod gaps;
mod logins;
mod membership;
mod operators;
mod outages;
mod raw;
mod servers;
mod settings;
mod support;
mod tls;

use fixture::KafkaFixture;

log_suite!(in_process_log, KafkaFixture::in_process());
log_admin_suite!(in_process_admin, KafkaFixture::in_process());
pipeline_suite!(in_process_to_memory, async { (KafkaFixture::in_process().await, MemoryFixture::default()) });
shop_suite!(in_process_shop, async {
    ShopOnLog::new(KafkaFixture::in_process().await, MemoryFixture::default()).await
});

log_suite!(broker_log, if servers::on_broker());
log_admin_suite!(broker_admin, if servers::on_broker());
pipeline_suite!(broker_to_memory, if async {
    Some((servers::on_broker().await?, MemoryFixture::default()))
});
shop_suite!(broker_shop, if async {
    Some(ShopOnLog::new(servers::on_broker().await?, MemoryFixture::default()).await)
});
