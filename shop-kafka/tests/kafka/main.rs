//! The kit on Kafka: on librdkafka's cluster in this process, and on a real broker if there is one.

#![expect(clippy::panic, clippy::unwrap_used, reason = "this is test code: a broken promise ends the test")]

use shop_core::conformance::{
    MemoryFixture, ShopOnLog, feed_suite, log_admin_suite, log_suite, pipeline_suite, shop_suite,
};

mod broker_faults;
#[path = "../../../shop-store/tests/support/container.rs"]
mod container;
#[path = "../../../shop-store/tests/support/embedded.rs"]
mod embedded;
mod fixture;
mod gaps;
mod logins;
mod membership;
#[path = "../../../shop-store/tests/support/mongo.rs"]
mod mongo;
mod operators;
mod outages;
#[path = "../../../shop-store/tests/support/postgres.rs"]
mod postgres;
mod raw;
mod recreated;
mod servers;
mod settings;
mod support;
mod tls;

use embedded::EmbeddedFixture;
use fixture::KafkaFixture;
use mongo::MongoFixture;
use postgres::PostgresFixture;

log_suite!(in_process_log, KafkaFixture::in_process());
log_admin_suite!(in_process_admin, KafkaFixture::in_process());
pipeline_suite!(in_process_to_memory, async { (KafkaFixture::in_process().await, MemoryFixture::default()) });
feed_suite!(in_process_feed, async { (KafkaFixture::in_process().await, MemoryFixture::default()) });
shop_suite!(in_process_shop, async {
    ShopOnLog::new(KafkaFixture::in_process().await, MemoryFixture::default()).await
});
shop_suite!(shop_in_embedded, async {
    ShopOnLog::new(KafkaFixture::in_process().await, EmbeddedFixture::new().await).await
});
shop_suite!(shop_in_mongo, if async {
    let store = MongoFixture::on_test_server().await?;
    Some(ShopOnLog::new(KafkaFixture::in_process().await, store).await)
});
shop_suite!(shop_in_postgres, if async {
    let store = PostgresFixture::on_test_server().await?;
    Some(ShopOnLog::new(KafkaFixture::in_process().await, store).await)
});

log_suite!(broker_log, if servers::on_broker());
log_admin_suite!(broker_admin, if servers::on_broker());
pipeline_suite!(broker_to_memory, if async {
    Some((servers::on_broker().await?, MemoryFixture::default()))
});
feed_suite!(broker_feed, if async { Some((servers::on_broker().await?, MemoryFixture::default())) });
shop_suite!(broker_shop, if async {
    Some(ShopOnLog::new(servers::on_broker().await?, MemoryFixture::default()).await)
});
