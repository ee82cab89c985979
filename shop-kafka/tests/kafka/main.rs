//! The kit of logs on librdkafka's cluster in this process, and what that cluster alone can fail.
//!
//! The kit of shops and of operations runs on a real broker, in `system-tests/tests/broker`.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "this is test code: a broken promise ends the test"
)]

use shop_core::conformance::{
    MemoryFixture, feed_suite, log_admin_suite, log_suite, pipeline_suite,
};

mod broker_faults;
mod broker_outages;
mod fixture;
mod membership;
mod operators;
mod prelude;
mod settings;
mod support;

use fixture::KafkaFixture;

log_suite!(in_process_log, KafkaFixture::in_process());
log_admin_suite!(in_process_admin, KafkaFixture::in_process());
pipeline_suite!(in_process_to_memory, async {
    (KafkaFixture::in_process().await, MemoryFixture::default())
});
feed_suite!(in_process_feed, async {
    (KafkaFixture::in_process().await, MemoryFixture::default())
});
