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

/// The address of a broker with logins, and its container.
#[derive(Debug)]
pub(crate) struct Logins {
    pub(crate) address: String,
    container: Option<Arc<KafkaContainer>>,
}

impl Logins {
    fn of(container: Arc<KafkaContainer>) -> Self {
        Self {
            address: container.login_address.clone(),
            container: Some(container),
        }
    }

    /// The address without authentication, if known.
    pub(crate) fn anybody(&self) -> Option<&str> {
        self.container
            .as_ref()
            .map(|container| container.address.as_str())
    }
}

/// A broker with logins, in a container if none is configured.
pub(crate) async fn logins() -> Option<Logins> {
    match environment("SHOP_TEST_KAFKA_SASL") {
        Some(address) => Some(Logins {
            address,
            container: None,
        }),
        None => in_container("kafka", "SHOP_TEST_KAFKA_SASL names no broker")
            .await
            .map(Logins::of),
    }
}

/// A broker with known users, which log in with `PLAIN`. Only one in a container is such a broker, so it is
/// another server to `SHOP_TEST_REQUIRE`: `docker`.
pub(crate) async fn plain_logins() -> Option<Logins> {
    in_container("docker", "this test needs a broker with users of its own")
        .await
        .map(Logins::of)
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

/// The values of variables that name a broker with SCRAM or TLS. Without one, or where the build supports neither, the
/// test is skipped with a report. `SHOP_TEST_REQUIRE` knows it as `scram`.
fn named<const N: usize>(names: [&str; N]) -> Option<[String; N]> {
    if !cfg!(feature = "kafka-tls") {
        report_skipped("scram", "this test was built without the feature kafka-tls");
        return None;
    }
    let values = names.map(environment);
    if values.iter().any(Option::is_none) {
        report_skipped("scram", &format!("not all of {names:?} are set"));
        return None;
    }
    Some(values.map(Option::unwrap_or_default))
}

/// A broker with SCRAM, and a login.
pub(crate) fn scram_logins() -> Option<(Logins, (String, String))> {
    let [address, name, password] = named([
        "SHOP_TEST_KAFKA_SASL",
        "SHOP_TEST_KAFKA_SASL_USERNAME",
        "SHOP_TEST_KAFKA_SASL_PASSWORD",
    ])?;
    let logins = Logins {
        address,
        container: None,
    };
    Some((logins, (name, password)))
}

/// A broker with TLS: listeners with client certificates, with logins, and without both, and the
/// folder with `ca.crt`, `client.crt` and `client.key`.
pub(crate) fn tls() -> Option<Tls> {
    let [certificates, logins, open, folder] = named([
        "SHOP_TEST_KAFKA_SSL",
        "SHOP_TEST_KAFKA_SASL_SSL",
        "SHOP_TEST_KAFKA",
        "SHOP_TEST_KAFKA_TLS",
    ])?;
    Some(Tls {
        certificates,
        logins,
        open,
        folder: folder.into(),
    })
}

/// The addresses of a broker with TLS.
#[derive(Debug)]
pub(crate) struct Tls {
    pub(crate) certificates: String,
    pub(crate) logins: String,
    pub(crate) open: String,
    folder: PathBuf,
}

impl Tls {
    pub(crate) fn file(&self, name: &str) -> Option<PathBuf> {
        Some(self.folder.join(name))
    }
}

fn report_skipped(server: &str, why: &str) {
    skip(server, environment("SHOP_TEST_REQUIRE").as_deref(), why);
}
