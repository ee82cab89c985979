//! The kit on a real broker, on MongoDB and PostgreSQL beside it, and what a broker does that librdkafka's cluster does not.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "this is test code: a broken promise ends the test"
)]

use shop_core::conformance::{
    MemoryFixture, ShopOnLog, feed_suite, log_admin_suite, log_suite, operations_suite,
    pipeline_suite, shop_suite,
};

#[path = "../../../shop-store/tests/support/container.rs"]
mod container;
#[path = "../../../shop-store/tests/support/embedded.rs"]
mod embedded;
#[path = "../../../shop-kafka/tests/kafka/fixture.rs"]
mod fixture;
mod kafka_container;
mod logins;
mod membership;
#[path = "../../../shop-store/tests/support/mongo.rs"]
mod mongo;
#[path = "../../../shop-store/tests/support/postgres.rs"]
mod postgres;
mod prelude;
#[path = "../../../shop-kafka/tests/kafka/raw.rs"]
mod raw;
mod servers;
mod settings;
#[path = "../../../shop-kafka/tests/kafka/support.rs"]
mod support;
mod tls;
mod topics;
mod transactions;

use embedded::EmbeddedFixture;
use fixture::KafkaFixture;
use mongo::MongoFixture;
use postgres::PostgresFixture;
use servers::on_broker;

log_suite!(broker_log, if on_broker());
log_admin_suite!(broker_admin, if on_broker());
pipeline_suite!(broker_to_memory, if async { Some((on_broker().await?, MemoryFixture::default())) });
operations_suite!(broker_operations, if async { Some((on_broker().await?, MemoryFixture::default())) });
feed_suite!(broker_feed, if async { Some((on_broker().await?, MemoryFixture::default())) });
shop_suite!(broker_shop, if async {
    Some(ShopOnLog::new(on_broker().await?, MemoryFixture::default()).await)
});

shop_suite!(shop_in_embedded, async {
    ShopOnLog::new(
        KafkaFixture::in_process().await,
        EmbeddedFixture::new().await,
    )
    .await
});
shop_suite!(shop_in_mongo, if async {
    let store = MongoFixture::on_test_server().await?;
    Some(ShopOnLog::new(KafkaFixture::in_process().await, store).await)
});
shop_suite!(shop_in_postgres, if async {
    let store = PostgresFixture::on_test_server().await?;
    Some(ShopOnLog::new(KafkaFixture::in_process().await, store).await)
});
