//! The kit on the embedded log and store, and on MongoDB and PostgreSQL if there are servers.

use shop_core::conformance::{
    MemoryFixture, ShopOnLog, currency_suite, erase_suite, feed_suite, log_admin_suite, log_suite,
    operations_suite, pipeline_suite, refund_suite, shop_suite, store_suite,
};

#[path = "support/container.rs"]
mod container;
#[path = "support/embedded.rs"]
mod embedded;
#[path = "support/mongo.rs"]
mod mongo;
#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/tls.rs"]
mod tls;

use embedded::{EmbeddedFixture, OpenShop};
use mongo::MongoFixture;
use postgres::PostgresFixture;

log_suite!(embedded_log, EmbeddedFixture::new());
log_admin_suite!(embedded_admin, EmbeddedFixture::new());
store_suite!(embedded_store, EmbeddedFixture::new());
erase_suite!(embedded_erase, EmbeddedFixture::new());
refund_suite!(embedded_refunds, EmbeddedFixture::new());
currency_suite!(embedded_currency, EmbeddedFixture::new());
shop_suite!(embedded_shop, OpenShop::new());
feed_suite!(embedded_feed, EmbeddedFixture::new_with_storing_sinks());
pipeline_suite!(embedded_to_embedded, async {
    (EmbeddedFixture::new().await, EmbeddedFixture::new().await)
});

operations_suite!(embedded_operations, async {
    (EmbeddedFixture::new().await, EmbeddedFixture::new().await)
});

store_suite!(mongo_store, if MongoFixture::on_test_server());
erase_suite!(mongo_erase, if MongoFixture::on_test_server());
refund_suite!(mongo_refunds, if MongoFixture::on_test_server());
currency_suite!(mongo_currency, if MongoFixture::on_test_server());
pipeline_suite!(memory_to_mongo, if async {
    Some((MemoryFixture::default(), MongoFixture::on_test_server().await?))
});

operations_suite!(mongo_operations, if async {
    Some((MemoryFixture::default(), MongoFixture::on_test_server().await?))
});

shop_suite!(mongo_shop, if async {
    Some(ShopOnLog::new(MemoryFixture::default(), MongoFixture::on_test_server().await?).await)
});

store_suite!(postgres_store, if PostgresFixture::on_test_server());
erase_suite!(postgres_erase, if PostgresFixture::on_test_server());
refund_suite!(postgres_refunds, if PostgresFixture::on_test_server());
currency_suite!(postgres_currency, if PostgresFixture::on_test_server());
pipeline_suite!(memory_to_postgres, if async {
    Some((MemoryFixture::default(), PostgresFixture::on_test_server().await?))
});
operations_suite!(postgres_operations, if async {
    Some((MemoryFixture::default(), PostgresFixture::on_test_server().await?))
});
shop_suite!(postgres_shop, if async {
    Some(ShopOnLog::new(MemoryFixture::default(), PostgresFixture::on_test_server().await?).await)
});
