//! The names of settings, and the detection of misspelled names.
//!
//! A field of [`Variables`] has the name of its variable, which clap does not read: `environment`
//! does. Other names may be accepted too: the name without `SHOP_`, and the names that the replaced
//! systems used, which are in `old_names`. [`setting`] finds the setting of any of these names. A
//! misspelled name is an error, because it would leave a setting at its default, such as the
//! embedded log in place of Kafka.

use std::sync::LazyLock;

use clap::{Arg, Command, CommandFactory as _};

use super::old_names;
use super::variables::{GROUPS, Variables};

/// The names without `SHOP_`, and prefixes of such names, that are accepted too.
const BARE: [&str; 11] = [
    "KAFKA_",
    "MONGODB_",
    "POSTGRES_",
    "CORS_",
    "MANAGEMENT_URL",
    "USERS_URL",
    "ORDERS_URL",
    "HOST",
    "PORT",
    "LOG_LEVEL",
    "LOG_FORMAT",
];

/// The setting that the crates of Rust call `RUST_LOG`.
const LOG_LEVEL: &str = "SHOP_LOG_LEVEL";

/// The prefix of the variables of librdkafka's properties: `SHOP_KAFKA_PROPERTY_CLIENT_RACK` sets
/// `client.rack`. As in Confluent's images, `_` stands for a dot, and `__` for `_`.
const PROPERTY: &str = "SHOP_KAFKA_PROPERTY_";

/// Every variable with this prefix is a setting.
pub(super) const OURS: &str = "SHOP_";

/// The prefixes of variables that may be for this program or for another one. An unknown name with
/// such a prefix is an error only if it is similar to a known name, or in [`MISTAKEN`].
const SHARED: [&str; 6] = [
    "KAFKA_",
    "MONGO",
    "CORS_",
    "POSTGRES_",
    "MANAGEMENT_",
    "LOG_",
];

/// The maximum edit distance of a misspelled name.
const MAX_DISTANCE: usize = 2;

/// Names that other programs use for settings, each with the name to use here. The mistaken names
/// of `old_names` have precedence.
const MISTAKEN: [(&str, &str); 10] = [
    ("ORDER_USER_WAIT_MS", "SHOP_ORDER_USER_WAIT"),
    ("SHOP_KAFKA_TOPIC", "SHOP_PURCHASES_TOPIC"),
    ("SHOP_KAFKA_GROUP_ID", "SHOP_PURCHASES_GROUP_ID"),
    ("MONGO_HOST", "MONGODB_URI"),
    ("MONGO_URL", "MONGODB_URI"),
    ("MONGO_URI", "MONGODB_URI"),
    ("POSTGRES_URI", "POSTGRES_URL"),
    ("KAFKA_HOST", "KAFKA_BOOTSTRAP_SERVERS"),
    ("KAFKA_BOOTSTRAP_SERVER", "KAFKA_BOOTSTRAP_SERVERS"),
    ("CORS_ALLOWED_ORIGINS", "CORS_ALLOW_ORIGINS"),
];

/// Variables, and prefixes of variables, whose names are not checked: a shell may export variables
/// for the project's tests, benches, image and compose file, and librdkafka knows its own
/// properties.
const UNCHECKED: [&str; 8] = [
    "SHOP_IMAGE",
    "SHOP_BIND",
    "SHOP_SECRETS",
    "SHOP_BUILD_ARGS",
    "MANAGEMENT_PORT",
    "SHOP_TEST_",
    "SHOP_BENCH_",
    PROPERTY,
];

/// The variables of all settings, in the order of the settings.
pub(super) static SETTINGS: LazyLock<Vec<String>> =
    LazyLock::new(|| arguments().get_arguments().filter_map(variable).collect());

/// The variables of the settings that are secret.
static SECRETS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let settings = arguments();
    let secrets = settings.get_arguments();
    secrets
        .filter(|setting| setting.is_hide_env_values_set())
        .filter_map(variable)
        .collect()
});

/// Returns the property of librdkafka that the variable `name` sets, if it sets a property.
pub(super) fn property(name: &str) -> Option<String> {
    let words: Vec<_> = name
        .strip_prefix(PROPERTY)?
        .split("__")
        .map(|word| word.replace('_', "."))
        .collect();
    Some(words.join("_").to_lowercase())
}

/// Returns whether `name` is in one of `groups`.
///
/// A group is a name or, if it ends with an underscore, a prefix of names.
pub(super) fn is_in_groups(name: &str, groups: &[&str]) -> bool {
    groups
        .iter()
        .any(|group| name == *group || (group.ends_with('_') && name.starts_with(group)))
}

/// Returns the names of a setting beside its own.
pub(super) fn aliases(setting: &str) -> Vec<&str> {
    let mut names = Vec::new();
    if let Some(bare) = setting.strip_prefix(OURS)
        && is_in_groups(bare, &BARE)
    {
        names.push(bare);
    }
    if setting == LOG_LEVEL {
        names.push("RUST_LOG");
    }
    names.extend(old_names::names_of(setting));
    names
}

/// Returns the setting, the part of an address, or the property of librdkafka, that the variable
/// `name` sets. Returns `None` if the variable sets none of these.
///
/// `DATABASE_URL` is a name of two settings, of which the first is returned: `SHOP_MONGODB_URI`.
pub(super) fn setting_of_variable(name: &str) -> Option<String> {
    let bare_name = name.strip_prefix(OURS).unwrap_or(name);
    if old_names::parts().any(|part| part == bare_name) {
        return Some(bare_name.to_owned());
    }
    let prefixed_name = format!("{OURS}{bare_name}");
    if prefixed_name.starts_with(PROPERTY) {
        return Some(prefixed_name);
    }
    SETTINGS
        .iter()
        .find(|setting| *setting == name || aliases(setting).contains(&name))
        .cloned()
}

/// Returns the name of the secret whose file the variable `name` names, if it names such a file.
///
/// A part of an address, and each property of librdkafka, may be secret, too.
pub(super) fn secret_of_file(name: &str) -> Option<&str> {
    let secret_name = name.strip_suffix("_FILE")?;
    let setting = setting_of_variable(secret_name)?;
    let is_secret = old_names::is_secret_part(&setting)
        || setting.starts_with(PROPERTY)
        || SECRETS.contains(&setting);
    is_secret.then_some(secret_name)
}

/// Returns all names of settings: variables, aliases, parts of addresses, and files of secrets.
pub(super) fn known() -> Vec<String> {
    let mut names = SETTINGS.clone();
    for setting in &*SETTINGS {
        names.extend(aliases(setting).into_iter().map(str::to_owned));
    }
    for part in old_names::parts() {
        names.push(format!("{OURS}{part}"));
        names.push(part.to_owned());
    }

    let mut file_names: Vec<_> = names.iter().map(|name| format!("{name}_FILE")).collect();
    file_names.retain(|name| secret_of_file(name).is_some());
    names.extend(file_names);
    names
}

/// Returns the command line with all settings, in the order and under the headings of [`GROUPS`].
///
/// Secrets and the variables of OpenTelemetry are hidden. The flag of a hidden setting is the name
/// of its variable, so that the fault of such a flag can say to set the variable.
pub(super) fn arguments() -> Command {
    let declared_command = Variables::command();
    let about = declared_command.get_about().cloned().unwrap_or_default();
    let long_about = declared_command
        .get_long_about()
        .cloned()
        .unwrap_or_default();
    let mut line = Command::new("settings").about(about).long_about(long_about);
    let mut order = 0..;
    for (heading, ids) in GROUPS {
        for id in ids.split(' ') {
            let mut settings = declared_command.get_arguments();
            // A build without Kafka lacks some of its settings.
            let Some(setting) = settings.find(|setting| setting.get_id() == id) else {
                continue;
            };
            let setting = super::dialect::describe_default(setting.clone());
            let mut setting = setting.help_heading(heading).hide_env(true);
            setting = with_parts_of_address(setting);
            if let Some(name) = variable(&setting)
                && setting.is_hide_set()
            {
                setting = setting.long(name);
            }
            line = line.arg(setting.display_order(order.next()));
        }
    }
    line
}

/// Returns `setting`. If it is an address that may be composed of several variables, its help says
/// so.
fn with_parts_of_address(setting: Arg) -> Arg {
    let name = variable(&setting);
    let mut addresses = old_names::ADDRESSES.iter();
    let Some(address) = addresses.find(|address| name.as_deref() == Some(address.setting)) else {
        return setting;
    };

    let help = setting.get_help().map(ToString::to_string);
    let help = help.unwrap_or_default();
    let default_start = help.find(" [default: ").unwrap_or(help.len());
    let (meaning, default) = help.split_at(default_start);
    let parts = address.description;
    setting.help(format!(
        "{meaning}. The address may be composed of {parts}{default}"
    ))
}

/// Returns the variable of a setting, or `None` if the setting is only a flag.
pub(super) fn variable(setting: &Arg) -> Option<String> {
    setting.get_env()?.to_str().map(str::to_owned)
}

/// Returns whether `name` is the name of a setting, or starts with a prefix of such names.
pub(super) fn may_be_setting(name: &str) -> bool {
    name.starts_with(OURS)
        || SHARED
            .iter()
            .chain(&old_names::PREFIXES)
            .any(|prefix| name.starts_with(prefix))
        || setting_of_variable(name).is_some()
}

/// Returns the key of a variable in a file of settings.
pub(super) fn key(name: &str) -> String {
    name.strip_prefix(OURS).unwrap_or(name).to_lowercase()
}

/// Returns the fault of `name` if it is none of the `known_names`, but was probably meant to be
/// one.
///
/// `show_name` returns a name as the user writes it.
pub(super) fn misspelling_fault(
    name: &str,
    known_names: &[String],
    show_name: impl Fn(&str) -> String,
) -> Option<String> {
    if is_in_groups(name, &UNCHECKED) || known_names.iter().any(|known_name| known_name == name) {
        return None;
    }

    let shown_name = show_name(name);
    let mut mistaken_names = old_names::MISTAKEN.iter().chain(&MISTAKEN);
    if let Some((_, right_name)) = mistaken_names.find(|(mistaken_name, _)| *mistaken_name == name)
    {
        return Some(format!(
            "{shown_name} is not a setting: use {}",
            show_name(right_name)
        ));
    }
    if !may_be_setting(name) {
        return None;
    }
    if is_setting_of_missing_kafka(name) {
        return Some(format!(
            "{shown_name} is a setting of Kafka, which this program was built without: remove it"
        ));
    }
    nearest_name_fault(name, known_names, show_name)
}

/// Returns whether `name` is a setting of Kafka, in a build without Kafka. Such a build knows the ids
/// of these settings, but not the settings.
fn is_setting_of_missing_kafka(name: &str) -> bool {
    let id = key(name);
    let has_id = |(_heading, ids): &(&str, &str)| {
        ids.split(' ')
            .any(|known_id| known_id == id || id.strip_suffix("_file") == Some(known_id))
    };
    cfg!(not(feature = "kafka")) && id.starts_with("kafka_") && GROUPS.iter().any(has_id)
}

/// Returns the fault of `name`, which is none of the `known_names`, with the nearest of them. Returns
/// `None` if no known name is near, and `name` may be for another program.
fn nearest_name_fault(
    name: &str,
    known_names: &[String],
    show_name: impl Fn(&str) -> String,
) -> Option<String> {
    let edit_distance = |known_name: &str| strsim::osa_distance(name, known_name);
    let nearest_name = known_names
        .iter()
        .min_by_key(|known_name| edit_distance(known_name))?;
    let shown_name = show_name(name);
    let shown_nearest = show_name(nearest_name);
    if edit_distance(nearest_name) <= MAX_DISTANCE {
        return Some(format!(
            "{shown_name} is not a setting: {shown_nearest} was probably meant"
        ));
    }
    // With our prefix, the name is not for another program.
    name.starts_with(OURS).then(|| {
        format!(
            "{shown_name} is not a setting: remove it (the nearest is {shown_nearest}; --help lists all)"
        )
    })
}

/// Returns whether Kubernetes sets the variable `name` in every pod, for a service of the
/// namespace.
///
/// For a service `kafka` it sets `KAFKA_PORT=tcp://10.0.0.1:9092`.
pub(super) fn is_kubernetes_variable(name: &str, value: &str) -> bool {
    const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

    if name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
    {
        return true;
    }

    if name.ends_with("_PORT")
        && let Some((scheme, _)) = value.split_once("://")
        && PROTOCOLS.contains(&&*scheme.to_ascii_uppercase())
    {
        return true;
    }

    if let Some((_, port)) = name.split_once("_PORT_")
        && let Some((number, rest)) = port.split_once('_')
        && number.parse::<u16>().is_ok()
    {
        return PROTOCOLS.iter().any(|protocol| rest.starts_with(protocol));
    }
    false
}
