//! Where the log is: on Kafka, or in the data folder.

use std::collections::BTreeMap;

use secrecy::SecretString;
#[cfg(feature = "kafka")]
use shop_kafka::{KafkaLogOptions, SaslMechanism};
use shop_store::EmbeddedArgs;

use super::Checks;
use super::opened::OpenedParts;
#[cfg(feature = "kafka")]
use crate::settings::Secret;

/// The setting that selects Kafka.
const BROKERS: &str = "SHOP_KAFKA_BOOTSTRAP_SERVERS";

/// Where the log is, with its options.
#[derive(Debug)]
pub(crate) enum Log {
    #[cfg(feature = "kafka")]
    Kafka(Box<KafkaSettings>),
    /// A file in the data folder.
    Embedded(EmbeddedArgs),
}

/// The settings of a log on Kafka.
#[cfg(feature = "kafka")]
#[derive(Debug)]
pub(crate) struct KafkaSettings {
    /// The options of the logs of all topics, without the topic and without the provider of tokens.
    pub(crate) options: KafkaLogOptions,
    /// The endpoint that issues the tokens for Kafka. Without an endpoint, Kafka needs no tokens.
    pub(crate) token_endpoint: Option<TokenEndpointSettings>,
}

/// The settings of a token endpoint for OAUTHBEARER.
#[cfg(feature = "kafka")]
#[derive(Debug, Clone)]
pub(crate) struct TokenEndpointSettings {
    pub(crate) url: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: Secret,
    pub(crate) scope: Option<String>,
}

impl Log {
    /// Returns the brokers of Kafka, or `None` if the log is in the data folder.
    pub(crate) fn brokers(&self) -> Option<&str> {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka(kafka) => Some(&kafka.options.brokers),
            Self::Embedded(_) => None,
        }
    }

    /// Returns the client id by which the brokers know this process, or `None` if the log is in the
    /// data folder.
    #[cfg(feature = "compat")]
    pub(crate) fn client_id(&self) -> Option<&str> {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka(kafka) => Some(&kafka.options.client_id),
            Self::Embedded(_) => None,
        }
    }
}

/// Builds the log. Adds the faults of the settings of Kafka and of the embedded log to `checks`.
/// Returns `None` only with a fault.
///
/// `kafka_properties` are the properties of librdkafka.
pub(super) fn select(
    checks: &mut Checks<'_>,
    opened_parts: &OpenedParts,
    kafka_properties: BTreeMap<String, SecretString>,
) -> Option<Log> {
    check_credentials(checks);

    if checks.variables.kafka.kafka_bootstrap_servers.is_none() {
        let reason =
            format!("{BROKERS} is not: name the brokers, or unset this to use the embedded log");
        checks.refuse(&["SHOP_KAFKA_"], &reason);
        if opened_parts.log {
            checks.require_server(BROKERS, "log");
        }
        return Some(Log::Embedded(checks.variables.embedded.clone()));
    }

    let reason = format!(
        "the log is on Kafka: set the retention of the topic, or unset {BROKERS} to use the embedded log"
    );
    checks.refuse(&["SHOP_LOG_RETENTION", "SHOP_LOG_MAX_SIZE"], &reason);
    build_kafka_log(checks, kafka_properties)
}

/// Adds the faults of incomplete and of contradicting credentials for Kafka.
fn check_credentials(checks: &mut Checks<'_>) {
    checks.require_all_or_none(&["SHOP_KAFKA_USERNAME", "SHOP_KAFKA_PASSWORD"]);
    checks.require_all_or_none(&[
        "SHOP_KAFKA_OAUTH_TOKEN_URL",
        "SHOP_KAFKA_OAUTH_CLIENT_ID",
        "SHOP_KAFKA_OAUTH_CLIENT_SECRET",
    ]);
    checks.require_all_or_none(&["SHOP_KAFKA_CERT_FILE", "SHOP_KAFKA_KEY_FILE"]);
    if checks.is_set("SHOP_KAFKA_USERNAME") {
        let reason = "SHOP_KAFKA_USERNAME is too: unset one of them";
        checks.refuse(&["SHOP_KAFKA_OAUTH_TOKEN_URL"], reason);
    }
    if !checks.is_set("SHOP_KAFKA_TLS") {
        let reason = "SHOP_KAFKA_TLS is off: set SHOP_KAFKA_TLS=on";
        checks.refuse(&["SHOP_KAFKA_CERT_FILE"], reason);
    }
}

/// Builds the log on Kafka. Returns `None` if no brokers are set.
#[cfg(feature = "kafka")]
fn build_kafka_log(checks: &Checks<'_>, properties: BTreeMap<String, SecretString>) -> Option<Log> {
    let variables = checks.variables;
    let mut options = variables.kafka.options()?;
    options.client_id = match &variables.kafka_client_id {
        Some(client_id) => client_id.clone(),
        None => format!("shop-{}", checks.service.name()),
    };
    options.properties = properties;

    let token_endpoint = token_endpoint(checks);
    // A token endpoint selects the mechanism that uses its tokens, unless the mechanism is set.
    if token_endpoint.is_some() && variables.kafka.kafka_sasl_mechanism.is_none() {
        options.mechanism = SaslMechanism::OauthBearer;
    }
    Some(Log::Kafka(Box::new(KafkaSettings {
        options,
        token_endpoint,
    })))
}

/// Adds the fault that this program was built without Kafka, and returns `None`.
#[cfg(not(feature = "kafka"))]
fn build_kafka_log(
    checks: &mut Checks<'_>,
    _properties: BTreeMap<String, SecretString>,
) -> Option<Log> {
    checks.add_missing_backend(BROKERS, "Kafka", "kafka", "log");
    None
}

/// Returns the token endpoint, if its settings are complete.
#[cfg(feature = "kafka")]
fn token_endpoint(checks: &Checks<'_>) -> Option<TokenEndpointSettings> {
    let variables = checks.variables;
    let client_secret = variables.kafka_oauth_client_secret.as_ref()?;
    Some(TokenEndpointSettings {
        url: variables.kafka_oauth_token_url.clone()?,
        client_id: variables.kafka_oauth_client_id.clone()?,
        client_secret: checks.secret("SHOP_KAFKA_OAUTH_CLIENT_SECRET", client_secret),
        scope: variables.kafka_oauth_scope.clone(),
    })
}
