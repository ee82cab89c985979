//! Checks rules about settings that are valid each by itself, but not together. The types of
//! `select` do not depend on these settings. Nothing is opened.
//!
//! Each fault is a sentence that names the settings, and tells what to change.

use shop_client::ShopClient;

use super::ServiceKind;
use super::roles::ProcessRole;
use super::select::Checks;

/// The settings, and prefixes of settings, that facing alone reads.
pub(super) const FACING_SETTINGS: [&str; 5] = [
    "SHOP_MANAGEMENT_URL",
    "SHOP_USERS_URL",
    "SHOP_ORDERS_URL",
    "SHOP_SERVICE_",
    "SHOP_CORS_",
];

/// The settings, and prefixes of settings, that the roles users and orders alone read.
const ENTITY_SETTINGS: [&str; 4] = [
    "SHOP_USERS_",
    "SHOP_ORDERS_",
    "SHOP_ORDER_",
    "SHOP_ADOPT_TABLES",
];

/// Adds the faults of all rules to `checks`.
pub(super) fn check(checks: &mut Checks<'_>) {
    match checks.command {
        None => check_service(checks),
        // A command accepts the settings of both services.
        Some(_) if checks.variables.process.check_config => {
            checks.fault("--check-config checks a service: leave out the command");
        }
        Some(_) => {}
    }
    if checks.is_facing() && !checks.roles.has(ProcessRole::Purchases) {
        checks.fault(
            "SHOP_ROLES: facing requires purchases, name them too; users and orders alone are served by management",
        );
    }
    check_topics(checks);
    check_service_addresses(checks);
    check_trace_protocols(checks);
}

/// Adds the faults of settings that the service does not read.
fn check_service(checks: &mut Checks<'_>) {
    if checks.service == ServiceKind::Management {
        let reason = "management does not read it: unset it, or set it for facing alone";
        checks.refuse(&FACING_SETTINGS, reason);
    }
    if !checks.roles.has_entities() {
        let reason = "only the roles users and orders read it: unset it, or add them to SHOP_ROLES";
        checks.refuse(&ENTITY_SETTINGS, reason);
    }
}

/// Adds the faults of topics with the same name.
fn check_topics(checks: &mut Checks<'_>) {
    let process = &checks.variables.process;
    let topics = [
        ("SHOP_PURCHASES_TOPIC", &process.purchases_topic),
        ("SHOP_USERS_TOPIC", &process.users_topic),
        ("SHOP_ORDERS_TOPIC", &process.orders_topic),
    ];
    for (index, (name, topic)) in topics.iter().enumerate() {
        for (other_name, other_topic) in &topics[..index] {
            if other_topic == topic {
                checks.fault(format!(
                    "{other_name} and {name} are both {topic}: each needs its own topic"
                ));
            }
        }
    }
}

/// Adds the faults of invalid addresses of other services.
fn check_service_addresses(checks: &mut Checks<'_>) {
    let variables = checks.variables;
    for (name, url) in [
        ("SHOP_MANAGEMENT_URL", &variables.management_url),
        ("SHOP_USERS_URL", &variables.users_url),
        ("SHOP_ORDERS_URL", &variables.orders_url),
    ] {
        if let Some(url) = url
            && let Err(error) = ShopClient::builder(url).build()
        {
            checks.fault(format!("{name}: {}", error.message()));
        }
    }
}

/// Adds the faults of protocols of traces that are not supported.
fn check_trace_protocols(checks: &mut Checks<'_>) {
    let process = &checks.variables.process;
    if !process.has_traces() {
        return;
    }
    for (name, protocol) in [
        (
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            &process.otel_exporter_otlp_protocol,
        ),
        (
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            &process.otel_exporter_otlp_traces_protocol,
        ),
    ] {
        if let Some(protocol) = protocol
            && protocol != "http/protobuf"
        {
            checks.fault(format!(
                "{name}: {protocol} is not supported: set http/protobuf, and the port of that, usually 4318, in the address, \
                 or OTEL_TRACES_EXPORTER=none"
            ));
        }
    }
}
