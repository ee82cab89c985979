//! The real broker, if there is one.

use std::path::PathBuf;
use std::sync::Arc;

use shop_core::conformance::skip;

use crate::prelude::*;

/// A log on the test broker: the one that `SHOP_TEST_KAFKA` names, or one in a container of the image
/// `TEST_KAFKA_IMAGE`. Without one the test is skipped with a report; `SHOP_TEST_REQUIRE` makes that a failure.
pub(crate) async fn on_broker() -> Option<KafkaFixture> {
    on_broker_with(|_| {}).await
}

/// The same with other options.
pub(crate) async fn on_broker_with(
    change: impl FnOnce(&mut KafkaLogOptions),
) -> Option<KafkaFixture> {
    if let Some(address) = environment("SHOP_TEST_KAFKA") {
        return Some(KafkaFixture::on_brokers_with(&address, change).await);
    }
    let container = in_container("kafka", "SHOP_TEST_KAFKA names no broker").await?;
    let mut fixture = KafkaFixture::on_brokers_with(&container.address, change).await;
    fixture.server = Some(container);
    Some(fixture)
}

/// The address of a broker with logins, and its container if none is configured.
pub(crate) async fn logins() -> Option<(String, Option<Arc<KafkaContainer>>)> {
    if let Some(address) = environment("SHOP_TEST_KAFKA_SASL") {
        return Some((address, None));
    }
    let container = in_container("kafka", "SHOP_TEST_KAFKA_SASL names no broker").await?;
    Some((container.login_address.clone(), Some(container)))
}

/// A broker with known users, which log in with `PLAIN`. Only one in a container is such a broker, so it is
/// another server to `SHOP_TEST_REQUIRE`: `docker`.
pub(crate) async fn plain_logins() -> Option<Arc<KafkaContainer>> {
    in_container("docker", "this test needs a broker with users of its own").await
}

async fn in_container(server: &str, first: &str) -> Option<Arc<KafkaContainer>> {
    match KafkaContainer::shared(environment("TEST_KAFKA_IMAGE").as_deref()).await {
        Ok(container) => Some(container),
        Err(why) => {
            report_skipped(server, &format!("{first}, and {why}"));
            None
        }
    }
}

/// A broker with TLS. Without one, or where the build does not support it, the test is skipped with a report.
/// `SHOP_TEST_REQUIRE` knows it as `scram`.
pub(crate) fn tls() -> Option<Tls> {
    if !cfg!(feature = "kafka-tls") {
        report_skipped("scram", "this test was built without the feature kafka-tls");
        return None;
    }
    let found = Tls::from_environment();
    if found.is_none() {
        report_skipped("scram", "SHOP_TEST_KAFKA_TLS and others name no broker");
    }
    found
}

/// A broker with TLS: its listeners with client certificates, with logins, and without both, a user who logs in by SCRAM,
/// and the folder with `ca.crt`, `client.crt` and `client.key`.
#[derive(Debug)]
pub(crate) struct Tls {
    pub(crate) certificates: String,
    pub(crate) logins: String,
    pub(crate) open: String,
    pub(crate) user: String,
    pub(crate) password: String,
    folder: PathBuf,
}

impl Tls {
    fn from_environment() -> Option<Self> {
        Some(Self {
            certificates: environment("SHOP_TEST_KAFKA_SSL")?,
            logins: environment("SHOP_TEST_KAFKA_SASL_SSL")?,
            open: environment("SHOP_TEST_KAFKA")?,
            user: environment("SHOP_TEST_KAFKA_SASL_USERNAME")?,
            password: environment("SHOP_TEST_KAFKA_SASL_PASSWORD")?,
            folder: environment("SHOP_TEST_KAFKA_TLS")?.into(),
        })
    }

    pub(crate) fn file(&self, name: &str) -> Option<PathBuf> {
        Some(self.folder.join(name))
    }
}

fn report_skipped(server: &str, why: &str) {
    skip(server, environment("SHOP_TEST_REQUIRE").as_deref(), why);
}
