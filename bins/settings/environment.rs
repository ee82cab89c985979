//! Reads the variables of the environment: reads files, resolves aliases, and composes addresses from their parts. The
//! only module that reads the environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::SecretString;

use super::InEffect;
use super::names::{self, ALIASES, PARTS, PROPERTY, SECRETS};

/// Variables by their canonical names, and all errors in them.
#[derive(Debug, Default)]
pub(super) struct Environment {
    pub(super) values: BTreeMap<String, String>,
    pub(super) faults: Vec<String>,
    /// The settings that are set by another name, each with that.
    pub(super) aliases: BTreeMap<String, String>,
    /// The files that secrets were read from.
    pub(super) files: BTreeMap<String, PathBuf>,
}

impl Environment {
    /// The variables of this process.
    #[expect(clippy::disallowed_methods, reason = "the only place that reads the environment")]
    pub(super) fn from_process() -> Self {
        Self::from_os(std::env::vars_os())
    }

    fn from_os(all: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let (mut pairs, mut faults) = (Vec::new(), Vec::new());
        // A name that is not UTF-8 is not a setting.
        for (name, value) in all.filter_map(|(name, value)| Some((name.into_string().ok()?, value))) {
            match value.into_string() {
                Ok(value) => pairs.push((name, value)),
                Err(_) if names::may_be_setting(&name) => {
                    faults.push(format!("{name}: its value is not UTF-8"));
                }
                Err(_) => {}
            }
        }
        let mut environment = Self::from_pairs(pairs);
        environment.faults.extend(faults);
        environment
    }

    /// The variables in `pairs`. Empty ones count as unset; those of Kubernetes services are ignored.
    pub(super) fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let is_ours = |(name, value): &(String, String)| {
            !value.trim().is_empty() && !names::is_of_kubernetes(name, value)
        };
        let values: BTreeMap<_, _> = pairs.into_iter().filter(is_ours).collect();
        let faults = names::misspelled(values.keys().map(String::as_str));
        let mut environment = Self { values, faults, ..Self::default() };
        let of_properties = environment.values.keys().filter(|name| name.starts_with(PROPERTY));
        let of_properties = of_properties.filter_map(|name| name.strip_suffix("_FILE")).map(str::to_owned);
        let secrets: Vec<_> = of_properties.chain(SECRETS.map(str::to_owned)).collect();
        secrets.iter().for_each(|secret| environment.read_file(secret));
        environment.add_schemes();
        ALIASES.iter().for_each(|(name, aliases)| environment.resolve_aliases(name, aliases));
        environment.compose();
        if let Some(directives) = environment.values.remove("RUST_LOG") {
            environment.values.insert("LOG_LEVEL".to_owned(), directives);
            environment.aliases.insert("LOG_LEVEL".to_owned(), "RUST_LOG".to_owned());
        }
        environment
    }

    fn read_file(&mut self, secret: &str) {
        let name = format!("{secret}_FILE");
        let Some(path) = self.values.remove(&name) else { return };
        if self.values.contains_key(secret) {
            return self.faults.push(format!("{secret} and {name} are both set: unset one of them"));
        }
        match fs::read_to_string(&path) {
            Ok(text) if text.trim().is_empty() => self.faults.push(format!("{name}: {path} is empty")),
            Ok(text) => {
                self.values.insert(secret.to_owned(), without_line_end(&text).to_owned());
                self.files.insert(secret.to_owned(), path.into());
                self.aliases.insert(secret.to_owned(), name);
            }
            Err(error) => self.faults.push(format!("{name}: {path} cannot be read: {error}")),
        }
    }

    /// The properties of librdkafka, and the variables that set them.
    pub(super) fn properties(&mut self) -> (BTreeMap<String, SecretString>, Vec<InEffect>) {
        let (mut properties, mut in_effect) = (BTreeMap::new(), Vec::new());
        for (name, value) in &self.values {
            let Some(property) = names::property(name) else { continue };
            let is_secret = ["pass", "secret", "pem"].iter().any(|word| property.contains(word))
                || self.files.contains_key(name);
            let value_shown = if is_secret { "***".to_owned() } else { value.clone() };
            in_effect.push(InEffect { name: name.clone(), value: value_shown, is_default: false });
            if properties.insert(property, value.as_str().into()).is_some() {
                self.faults
                    .push(format!("{name} is another name of a variable that is set: unset one of them"));
            }
        }
        (properties, in_effect)
    }

    /// Two aliases of MANAGEMENT_URL have the form `host:port`.
    fn add_schemes(&mut self) {
        for name in ["MANAGEMENT_API_ENDPOINT", "CM_API_HOST"] {
            if let Some(value) = self.values.get_mut(name)
                && !value.contains("://")
            {
                *value = format!("http://{value}");
            }
        }
    }

    /// Moves one setting to its canonical name.
    fn resolve_aliases(&mut self, name: &str, aliases: &[&str]) {
        let mut given: Option<(&str, String)> = None;
        for known in std::iter::once(&name).chain(aliases) {
            // It names MongoDB or PostgreSQL.
            let is_of_other = |url: &String| url.starts_with("postgres") != (name == "POSTGRES_URL");
            if *known == "DATABASE_URL" && self.values.get(*known).is_some_and(is_of_other) {
                continue;
            }
            let Some(value) = self.values.remove(*known) else { continue };
            match &given {
                None => given = Some((known, value)),
                // Their values may be secret, so they are not printed.
                Some((first, other)) if *other != value => {
                    self.faults.push(format!("{first} and {known} are two names of one setting with different values: unset one of them"));
                }
                Some(_) => {}
            }
        }
        if let Some((known, value)) = given {
            self.values.insert(name.to_owned(), value);
            if known != name {
                self.aliases.insert(name.to_owned(), known.to_owned());
            }
        }
    }

    /// Composes addresses from their parts, unless they are set themselves.
    fn compose(&mut self) {
        let [host, port, hosts, user, password, database, management_host, management_port] =
            PARTS.map(|part| self.values.remove(part));
        if let (Some(host), Some(port)) = (management_host, management_port) {
            let url = || format!("http://{host}:{port}");
            self.values.entry("MANAGEMENT_URL".to_owned()).or_insert_with(url);
        }
        if self.values.contains_key("MONGODB_URI") {
            return;
        }
        let host = host.map(|host| format!("{host}:{}", port.as_deref().unwrap_or("27017")));
        match mongodb_uri(host, hosts, (user, password), database) {
            Ok(uri) => self.values.extend(uri.map(|uri| ("MONGODB_URI".to_owned(), uri))),
            Err(fault) => self.faults.push(fault.to_owned()),
        }
    }
}

/// The secret in the text of a file.
pub(super) fn without_line_end(text: &str) -> &str {
    text.trim_end_matches(['\n', '\r'])
}

/// The URI of `host` or `hosts`, if there are any.
fn mongodb_uri(
    host: Option<String>,
    hosts: Option<String>,
    login: (Option<String>, Option<String>),
    database: Option<String>,
) -> Result<Option<String>, &'static str> {
    if host.is_some() && hosts.is_some() && host != hosts {
        return Err("MONGO_HOSTNAME and MONGODB_HOSTS name different hosts: unset one of them");
    }
    let hosts = hosts.or(host);
    let login = match login {
        (None, None) => String::new(),
        _ if hosts.is_none() => {
            return Err(
                "MONGODB_USERNAME or MONGODB_PASSWORD is set, but neither MONGODB_URI nor MONGODB_HOSTS: \
                        name the hosts, or unset the login to use the embedded store",
            );
        }
        (Some(user), Some(password)) => format!("{}:{}@", encoded(&user), encoded(&password)),
        (Some(_), None) => return Err("MONGODB_USERNAME is set, but MONGODB_PASSWORD is not"),
        (None, Some(_)) => return Err("MONGODB_PASSWORD is set, but MONGODB_USERNAME is not"),
    };
    let path = database.map(|database| format!("{}?authSource={0}", encoded(&database))).unwrap_or_default();
    Ok(hosts.map(|hosts| format!("mongodb://{login}{hosts}/{path}")))
}

/// `text` with everything but the unreserved characters of a URI encoded.
fn encoded(text: &str) -> String {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (BTreeMap<String, String>, Vec<String>) {
        let owned = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let Environment { values, faults, .. } = Environment::from_pairs(owned);
        (values, faults)
    }

    #[test]
    fn alias_sets_its_setting() {
        for (name, alias) in [
            ("KAFKA_BOOTSTRAP_SERVERS", "KAFKA_BROKERS"),
            ("KAFKA_BOOTSTRAP_SERVERS", "KAFKA_BROKER"),
            ("KAFKA_TOPIC", "PURCHASE_TOPIC"),
            ("KAFKA_GROUP_ID", "KAFKA_GROUPID"),
            ("KAFKA_GROUP_ID", "KAFKA_CONSUMER_GROUP"),
            ("MONGODB_URI", "DATABASE_URL"),
            ("MONGODB_DATABASE", "MONGODB_DB"),
            ("MONGODB_DATABASE", "MONGO_DB_NAME"),
            ("MONGODB_COLLECTION", "MONGO_COLLECTION_NAME"),
            ("MANAGEMENT_URL", "CUSTOMER_MANAGEMENT_URL"),
            ("MANAGEMENT_URL", "CUSTOMER_MGMT_API_URL"),
            ("MANAGEMENT_URL", "MANAGEMENT_API_ENDPOINT"),
            ("MANAGEMENT_URL", "CM_API_HOST"),
            ("PORT", "APP_PORT"),
            ("LOG_LEVEL", "RUST_LOG"),
        ] {
            let (values, faults) = read(&[(alias, "http://value")]);
            let value = values.get(name).map(String::as_str);
            assert_eq!((value, faults.len(), values.len()), (Some("http://value"), 0, 1), "{alias}");
        }
    }

    #[test]
    fn database_url_names_mongodb_or_postgresql() {
        for url in ["postgresql://u:p@h/shop", "postgres://h/shop"] {
            let (values, faults) = read(&[("DATABASE_URL", url)]);
            assert_eq!((values, faults.len()), (BTreeMap::from([("POSTGRES_URL".into(), url.into())]), 0));
        }
        let both = |url| read(&[("DATABASE_URL", "postgresql://h/a"), ("POSTGRES_URL", url)]).1;
        assert_eq!(both("postgresql://h/a"), Vec::<String>::new());
        assert!(both("postgresql://h/b")[0].contains("POSTGRES_URL and DATABASE_URL are two names"));
    }

    #[test]
    fn contradicting_aliases_are_reported() {
        let (_, faults) =
            read(&[("KAFKA_BROKERS", "a:1"), ("KAFKA_BROKER", "b:1"), ("PORT", "1"), ("APP_PORT", "2")]);
        assert_eq!(faults.len(), 2);
        assert!(faults[0].contains("KAFKA_BROKERS and KAFKA_BROKER"), "{faults:?}");
        assert!(faults[1].contains("PORT and APP_PORT"), "{faults:?}");
        let (values, faults) = read(&[("KAFKA_BROKERS", "a:1"), ("KAFKA_BROKER", "a:1")]);
        assert_eq!((values.len(), faults.len()), (1, 0), "the same twice is fine");
        let (_, faults) =
            read(&[("MONGODB_URI", "mongodb://u:secret@h"), ("DATABASE_URL", "mongodb://other")]);
        assert!(faults.len() == 1 && !faults[0].contains("secret"), "{faults:?}");
    }

    #[test]
    fn value_that_is_not_utf8_is_an_error_for_settings_only() {
        use std::os::unix::ffi::OsStringExt;
        let no_text = || OsString::from_vec(vec![0xff]);
        let pairs = [("KAFKA_TOPIC".into(), no_text()), ("LESSOPEN".into(), no_text())];
        let faults = Environment::from_os(pairs.into_iter()).faults;
        assert!(faults.len() == 1 && faults[0].contains("KAFKA_TOPIC"), "{faults:?}");
    }

    #[test]
    fn misspelled_names_are_errors_and_kubernetes_services_are_ignored() {
        let (_, faults) =
            read(&[("SHOP_DATADIR", "hunter2"), ("MONGO_URI", "hunter2"), ("CORS_ALLOWED_ORIGINS", "x")]);
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(!faults.concat().contains("hunter2"), "{faults:?}");
        let services = [
            ("MONGO_HOSTNAME", "mongo"),
            ("MONGO_PORT", "tcp://10.96.0.1:27017"),
            ("APP_PORT", "tcp://10.96.0.1:80"),
            ("SHOP_FACING_SERVICE_PORT_HTTP", "3000"),
        ];
        let (values, faults) = read(&services);
        assert_eq!(faults, [""; 0]);
        assert_eq!(values, BTreeMap::from([("MONGODB_URI".to_owned(), "mongodb://mongo:27017/".to_owned())]));
        let (_, faults) = read(&[("SHOP_DATADIR", "")]);
        assert_eq!(faults, [""; 0], "empty counts as unset");
    }

    #[test]
    fn aliases_are_kept_with_their_settings() {
        let pairs = [("KAFKA_BROKERS", "a:1"), ("KAFKA_TOPIC", "x"), ("RUST_LOG", "warn"), ("PATH", "/bin")];
        let owned = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let aliases = Environment::from_pairs(owned).aliases;
        let expected = [("KAFKA_BOOTSTRAP_SERVERS", "KAFKA_BROKERS"), ("LOG_LEVEL", "RUST_LOG")];
        assert_eq!(aliases, BTreeMap::from(expected.map(|(name, alias)| (name.into(), alias.into()))));
    }

    #[test]
    fn empty_counts_as_unset() {
        let (values, faults) = read(&[("PORT", ""), ("APP_PORT", " "), ("KAFKA_BROKERS", "")]);
        assert!(values.is_empty() && faults.is_empty());
    }

    #[test]
    fn mongodb_uri_is_composed_from_its_parts_unless_it_is_set() {
        let uri = |pairs: &[(&str, &str)]| read(pairs).0.get("MONGODB_URI").cloned();
        assert_eq!(uri(&[("MONGO_HOSTNAME", "db")]).unwrap(), "mongodb://db:27017/");
        assert_eq!(uri(&[("MONGO_HOSTNAME", "db"), ("MONGO_PORT", "1")]).unwrap(), "mongodb://db:1/");
        assert_eq!(uri(&[("MONGO_PORT", "1")]), None);
        let parts = [
            ("MONGODB_HOSTS", "a:1,b:2"),
            ("MONGODB_USERNAME", "root"),
            ("MONGODB_PASSWORD", "p@ss/word"),
            ("MONGODB_AUTHDB", "admin"),
        ];
        assert_eq!(uri(&parts).unwrap(), "mongodb://root:p%40ss%2Fword@a:1,b:2/admin?authSource=admin");
        let whole = [&parts[..], &[("MONGODB_URI", "mongodb://x")]].concat();
        assert_eq!(uri(&whole).unwrap(), "mongodb://x");
        for (given, said) in [
            (&parts[..2], "MONGODB_PASSWORD is not"),
            (&parts[1..3], "neither MONGODB_URI nor MONGODB_HOSTS"),
            (&[parts[0], ("MONGO_HOSTNAME", "db")], "MONGO_HOSTNAME and MONGODB_HOSTS"),
        ] {
            let (_, faults) = read(given);
            assert!(faults.len() == 1 && faults[0].contains(said), "{faults:?}");
        }
    }

    #[test]
    fn management_url_is_composed_from_host_and_port() {
        let url = |pairs: &[(&str, &str)]| read(pairs).0.get("MANAGEMENT_URL").cloned();
        assert_eq!(url(&[("CM_API_HOST", "cm:3000")]).unwrap(), "http://cm:3000");
        assert_eq!(url(&[("CM_API_HOSTNAME", "cm"), ("CM_API_PORT", "3000")]).unwrap(), "http://cm:3000");
        assert_eq!(url(&[("CM_API_HOSTNAME", "cm")]), None);
        let both = [("CM_API_HOSTNAME", "cm"), ("CM_API_PORT", "3000"), ("MANAGEMENT_URL", "http://other")];
        assert_eq!(url(&both).unwrap(), "http://other");
    }

    #[test]
    fn secret_is_read_from_its_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "s3cret \r\n").unwrap();
        let path = file.path().to_str().unwrap();
        assert_eq!(read(&[("KAFKA_PASSWORD_FILE", path)]).0.get("KAFKA_PASSWORD").unwrap(), "s3cret ");
        let (_, faults) = read(&[("KAFKA_PASSWORD_FILE", path), ("KAFKA_PASSWORD", "x")]);
        assert!(faults[0].contains("both set"), "{faults:?}");
        let (_, faults) = read(&[("MONGODB_URI_FILE", "/nowhere")]);
        assert!(faults[0].contains("MONGODB_URI_FILE: /nowhere cannot be read"), "{faults:?}");
    }
}
