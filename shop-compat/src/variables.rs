//! The variables by which the replaced systems were set, beside the names of our settings.
//!
//! [`NAMES`] lists the variables that are other names of one setting. [`ADDRESSES`] lists the
//! addresses that those systems composed of several variables. The program that reads variables
//! looks them up here.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Our settings, each with its names in the replaced systems.
///
/// `DATABASE_URL` is a name of two settings: [`translate`] chooses one of them by the value.
pub const NAMES: [(&str, &[&str]); 9] = [
    (
        "SHOP_KAFKA_BOOTSTRAP_SERVERS",
        &["KAFKA_BROKERS", "KAFKA_BROKER"],
    ),
    ("SHOP_PURCHASES_TOPIC", &["KAFKA_TOPIC", "PURCHASE_TOPIC"]),
    (
        "SHOP_PURCHASES_GROUP_ID",
        &["KAFKA_GROUP_ID", "KAFKA_GROUPID", "KAFKA_CONSUMER_GROUP"],
    ),
    ("SHOP_MONGODB_URI", &["DATABASE_URL"]),
    ("SHOP_POSTGRES_URL", &["DATABASE_URL"]),
    ("SHOP_MONGODB_DATABASE", &["MONGODB_DB", "MONGO_DB_NAME"]),
    ("SHOP_MONGODB_COLLECTION", &["MONGO_COLLECTION_NAME"]),
    (
        "SHOP_MANAGEMENT_URL",
        &[
            "CUSTOMER_MANAGEMENT_URL",
            "CUSTOMER_MGMT_API_URL",
            "MANAGEMENT_API_ENDPOINT",
            "CM_API_HOST",
        ],
    ),
    ("SHOP_PORT", &["APP_PORT"]),
];

/// The addresses that the replaced systems composed of several variables.
pub const ADDRESSES: [ComposedAddress; 2] = [
    ComposedAddress {
        setting: "SHOP_MANAGEMENT_URL",
        parts: &["CM_API_HOSTNAME", "CM_API_PORT"],
        description: "CM_API_HOSTNAME and CM_API_PORT",
        compose: compose_management_url,
    },
    ComposedAddress {
        setting: "SHOP_MONGODB_URI",
        parts: &[
            "MONGO_HOSTNAME",
            "MONGO_PORT",
            "MONGODB_HOSTS",
            "MONGODB_USERNAME",
            "MONGODB_PASSWORD",
            "MONGODB_AUTHDB",
        ],
        description: "MONGODB_HOSTS, MONGODB_USERNAME, MONGODB_PASSWORD and MONGODB_AUTHDB, or of \
                      MONGO_HOSTNAME and MONGO_PORT",
        compose: compose_mongodb_uri,
    },
];

/// The prefixes of the names in [`NAMES`] and [`ADDRESSES`] that no other setting has. A program of
/// another kind may use variables with the same prefixes.
pub const PREFIXES: [&str; 3] = ["DATABASE_", "CUSTOMER_M", "CM_API_"];

/// Names that other programs use for these variables, each with the name to use.
pub const MISTAKEN: [(&str, &str); 1] = [("MONGO_HOST", "MONGO_HOSTNAME")];

/// The part of an address that is secret.
const SECRET_PART: &str = "MONGODB_PASSWORD";
/// The port of MongoDB, beside `MONGO_HOSTNAME` without `MONGO_PORT`.
const MONGODB_PORT: &str = "27017";

/// A function that removes a variable from the variables of a process, and returns its value.
pub type TakeVariable<'a> = &'a mut dyn FnMut(&str) -> Option<String>;

/// An address that is composed of several variables.
#[derive(Debug, Clone, Copy)]
pub struct ComposedAddress {
    /// Our setting with this address.
    pub setting: &'static str,
    /// The variables with the parts of the address.
    pub parts: &'static [&'static str],
    /// The parts as the help of the setting names them.
    pub description: &'static str,
    compose: fn(TakeVariable<'_>) -> Result<Option<String>, &'static str>,
}

impl ComposedAddress {
    /// Composes the address from its parts, which `take` removes from the variables. Returns `None`
    /// if no host is set.
    ///
    /// # Errors
    /// The parts contradict each other or are not complete. The error says what to do.
    pub fn compose(&self, take: TakeVariable<'_>) -> Result<Option<String>, &'static str> {
        (self.compose)(take)
    }
}

/// Returns the names of `setting` in the replaced systems, or none if they had no such setting.
#[must_use]
pub fn names_of(setting: &str) -> &'static [&'static str] {
    let entry = NAMES
        .iter()
        .find(|(listed_setting, _)| *listed_setting == setting);
    entry.map_or(&[], |(_, names)| names)
}

/// Returns the variables with the parts of addresses.
pub fn parts() -> impl Iterator<Item = &'static str> {
    ADDRESSES.iter().flat_map(|address| address.parts).copied()
}

/// Returns whether the part `name` of an address is secret.
#[must_use]
pub fn is_secret_part(name: &str) -> bool {
    name == SECRET_PART
}

/// Returns the setting that the variable `name` sets, if this depends on the value `text`, or else
/// `name`. Converts `text` to the form of the setting.
pub fn translate<'a>(name: &'a str, text: &mut String) -> &'a str {
    // This variable names MongoDB, unless its value is an address of PostgreSQL.
    if name == "DATABASE_URL" && text.starts_with("postgres") {
        return "SHOP_POSTGRES_URL";
    }
    // The form of these two variables is `host:port`.
    if matches!(name, "MANAGEMENT_API_ENDPOINT" | "CM_API_HOST") && !text.contains("://") {
        text.insert_str(0, "http://");
    }
    name
}

/// Composes the address of management from its host and its port. Returns `None` if one of both is
/// missing.
#[expect(
    clippy::unnecessary_wraps,
    reason = "the other composed address may have faults"
)]
fn compose_management_url(take: TakeVariable<'_>) -> Result<Option<String>, &'static str> {
    let host = take("CM_API_HOSTNAME");
    let port = take("CM_API_PORT");
    Ok(host
        .zip(port)
        .map(|(host, port)| format!("http://{host}:{port}")))
}

/// Composes the URI of MongoDB. Returns `None` if no host is set.
///
/// # Errors
/// The parts name different hosts, or a login without hosts, or only one half of a login.
fn compose_mongodb_uri(take: TakeVariable<'_>) -> Result<Option<String>, &'static str> {
    let port = take("MONGO_PORT").unwrap_or(MONGODB_PORT.to_owned());
    let host = take("MONGO_HOSTNAME").map(|host| format!("{host}:{port}"));
    let hosts = take("MONGODB_HOSTS");
    let user = take("MONGODB_USERNAME");
    let password = take(SECRET_PART);
    let database = take("MONGODB_AUTHDB");

    if host.is_some() && hosts.is_some() && host != hosts {
        return Err("MONGO_HOSTNAME and MONGODB_HOSTS name different hosts: unset one of them");
    }
    let hosts = hosts.or(host);
    // The part before the hosts, which is empty without a login.
    let login = match (user, password) {
        (None, None) => String::new(),
        _ if hosts.is_none() => {
            return Err(
                "MONGODB_USERNAME or MONGODB_PASSWORD is set, but neither MONGODB_URI nor MONGODB_HOSTS: \
                        name the hosts, or unset the login to use the embedded store",
            );
        }
        (Some(user), Some(password)) => {
            format!("{}:{}@", percent_encode(&user), percent_encode(&password))
        }
        (Some(_), None) => return Err("MONGODB_USERNAME is set, but MONGODB_PASSWORD is not"),
        (None, Some(_)) => return Err("MONGODB_PASSWORD is set, but MONGODB_USERNAME is not"),
    };
    let path = database
        .map(|database| format!("{}?authSource={0}", percent_encode(&database)))
        .unwrap_or_default();
    Ok(hosts.map(|hosts| format!("mongodb://{login}{hosts}/{path}")))
}

/// Percent-encodes all characters of `text`, except for the unreserved characters of a URI.
fn percent_encode(text: &str) -> String {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Composes the address of `setting` of `variables`.
    fn compose(setting: &str, variables: &[(&str, &str)]) -> Result<Option<String>, &'static str> {
        let mut variables: BTreeMap<_, _> = variables.iter().copied().collect();
        let address = ADDRESSES.iter().find(|address| address.setting == setting);
        let composed = address
            .unwrap()
            .compose(&mut |part| variables.remove(part).map(str::to_owned));
        assert!(variables.is_empty(), "{variables:?} are left");
        composed
    }

    #[test]
    fn mongodb_uri_is_composed_of_hosts_and_a_login() {
        let parts = [
            ("MONGODB_HOSTS", "a:1,b:2"),
            ("MONGODB_USERNAME", "root"),
            ("MONGODB_PASSWORD", "p@ss/word"),
            ("MONGODB_AUTHDB", "admin"),
        ];
        assert_eq!(
            compose("SHOP_MONGODB_URI", &parts).unwrap().unwrap(),
            "mongodb://root:p%40ss%2Fword@a:1,b:2/admin?authSource=admin"
        );
    }

    #[test]
    fn mongodb_uri_is_composed_of_one_host_with_the_default_port() {
        for (parts, uri) in [
            (&[("MONGO_HOSTNAME", "db")][..], "mongodb://db:27017/"),
            (
                &[("MONGO_HOSTNAME", "db"), ("MONGO_PORT", "1")],
                "mongodb://db:1/",
            ),
        ] {
            let composed = compose("SHOP_MONGODB_URI", parts);
            assert_eq!(composed.unwrap().unwrap(), uri);
        }
        assert_eq!(compose("SHOP_MONGODB_URI", &[]), Ok(None));
    }

    #[test]
    fn every_variable_has_one_meaning() {
        let mut names: Vec<_> = NAMES
            .iter()
            .flat_map(|(_, names)| *names)
            .copied()
            .collect();
        names.extend(parts());
        names.retain(|name| *name != "DATABASE_URL");
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(parts().any(is_secret_part));
    }
}
