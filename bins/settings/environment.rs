//! Reads variables and the file of settings: finds the setting of each name, reads files of secrets, and composes
//! addresses from their parts. The only module that reads the environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::SecretString;
use toml_edit::{DocumentMut, TableLike, Value};

use super::Settings;
use super::names::{self, OURS, PARTS};

/// The values of settings, and all errors in them.
#[derive(Debug, Default)]
pub(super) struct Environment {
    pub(super) values: BTreeMap<String, Given>,
    pub(super) faults: Vec<String>,
    /// The names that are set, but empty, each with its setting.
    pub(super) empty: Vec<(String, String)>,
    /// The file that these settings are from; without one, they are variables.
    config: Option<String>,
}

/// A value of a setting.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) text: String,
    /// The name by which it is set.
    pub(super) name: String,
    /// `environment` or `file`.
    pub(super) origin: &'static str,
    /// The file that a secret was read from.
    pub(super) file: Option<PathBuf>,
}

/// A setting, and where its value is from.
#[derive(Debug)]
pub(crate) struct InEffect {
    pub(crate) name: String,
    /// The value, unless it is secret; or the words for a default that depends on other settings.
    pub(crate) value: String,
    /// `default`, `file`, `environment` or `flag`.
    pub(crate) origin: &'static str,
    /// The name by which it is set, if that is not the name of the setting.
    pub(crate) alias: Option<String>,
}

impl InEffect {
    /// A setting of a variable or a file.
    pub(super) fn given(name: &str, is_secret: bool, given: &Given) -> Self {
        Self {
            name: name.to_owned(),
            value: if is_secret {
                "***".to_owned()
            } else {
                Settings::address(&given.text)
            },
            origin: given.origin,
            alias: (given.name != name).then(|| given.name.clone()),
        }
    }
}

impl Environment {
    /// The variables of this process.
    #[expect(
        clippy::disallowed_methods,
        reason = "the only place that reads the environment"
    )]
    pub(super) fn from_process() -> Self {
        Self::from_os(std::env::vars_os())
    }

    fn from_os(all: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let mut faults = Vec::new();
        let pairs = all.filter_map(|(name, value)| {
            // A name that is not UTF-8 is not a setting.
            let name = name.into_string().ok()?;
            let value = value.into_string();
            if value.is_err() && names::may_be_setting(&name) {
                faults.push(format!("{name}: its value is not UTF-8"));
            }
            Some((name, value.ok()?))
        });
        let mut environment = Self::from_pairs(pairs);
        environment.faults.extend(faults);
        environment
    }

    /// The variables in `pairs`. Empty ones count as unset; those of Kubernetes services are ignored.
    pub(super) fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self::read(None, pairs.into_iter().collect())
    }

    fn read(config: Option<String>, mut pairs: Vec<(String, String)>) -> Self {
        let mut environment = Self {
            config,
            ..Self::default()
        };
        let mut known = names::known();
        known.retain(|name| environment.config.is_none() || name.starts_with(OURS));
        pairs.retain(|(name, value)| !names::is_of_kubernetes(name, value));
        pairs.sort();
        for (name, value) in pairs {
            match names::setting(names::secret_of_file(&name).unwrap_or(&name), "") {
                Some(setting) if value.trim().is_empty() => {
                    environment.empty.push((environment.shown(&name), setting));
                }
                None if value.trim().is_empty() => {}
                _ => {
                    let shown = |name: &str| environment.shown(name);
                    let fault = names::misspelled(&name, &known, shown);
                    environment.faults.extend(fault);
                    environment.add(&name, value);
                }
            }
        }
        environment.compose();
        environment
    }

    /// How the user wrote the name of a variable.
    fn shown(&self, name: &str) -> String {
        self.config.as_ref().map_or(name.to_owned(), |file| {
            format!("{} in {file}", names::key(name))
        })
    }

    /// Adds the settings of a TOML file that no variable sets.
    pub(super) fn add_file(&mut self, path: &str) {
        let text = fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"));
        match text.and_then(|text| pairs(&text)) {
            Ok(pairs) => {
                let of_file = Self::read(Some(path.to_owned()), pairs);
                self.faults.extend(of_file.faults);
                self.empty.extend(of_file.empty);
                for (name, value) in of_file.values {
                    self.values.entry(name).or_insert(value);
                }
            }
            Err(fault) => self.faults.push(format!("{path} (--config): {fault}")),
        }
    }

    /// Adds the value of a variable, if it is a setting.
    fn add(&mut self, variable: &str, mut text: String) {
        let mut name = variable;
        let mut file = None;
        let shown = self.shown(variable);
        if let Some(secret) = names::secret_of_file(variable) {
            let path = PathBuf::from(text);
            text = match fs::read_to_string(&path) {
                Ok(text) if text.trim().is_empty() => {
                    return self
                        .faults
                        .push(format!("{shown}: {} is empty", path.display()));
                }
                Ok(text) => without_line_end(&text).to_owned(),
                Err(error) => {
                    return self.faults.push(format!(
                        "{shown}: {} cannot be read: {error}",
                        path.display()
                    ));
                }
            };
            name = secret;
            file = Some(path);
        }
        // These two have the form `host:port`.
        if matches!(name, "MANAGEMENT_API_ENDPOINT" | "CM_API_HOST") && !text.contains("://") {
            text.insert_str(0, "http://");
        }
        let Some(setting) = names::setting(name, &text) else {
            return;
        };
        let origin = if self.config.is_some() {
            "file"
        } else {
            "environment"
        };
        match self.values.get(&setting) {
            // Their values may be secret, so they are not printed.
            Some(other) if other.text != text => self.faults.push(format!(
                "{} and {shown} are two names of one setting with different values: unset one of them",
                other.name
            )),
            Some(_) => {}
            None => drop(self.values.insert(setting, Given { text, name: shown, origin, file })),
        }
    }

    /// The properties of librdkafka, and the variables that set them.
    pub(super) fn properties(&mut self) -> (BTreeMap<String, SecretString>, Vec<InEffect>) {
        let mut properties = BTreeMap::new();
        let mut in_effect = Vec::new();
        for (name, given) in &self.values {
            let Some(property) = names::property(name) else {
                continue;
            };
            let is_secret = ["pass", "secret", "pem", "jaas"]
                .iter()
                .any(|word| property.contains(word))
                || given.file.is_some();
            in_effect.push(InEffect::given(name, is_secret, given));
            if properties
                .insert(property, given.text.as_str().into())
                .is_some()
            {
                let fault = "is another name of a variable that is set: unset one of them";
                self.faults.push(format!("{} {fault}", given.name));
            }
        }
        (properties, in_effect)
    }

    /// Composes addresses from their parts, unless they are set themselves.
    fn compose(&mut self) {
        let [
            host,
            port,
            hosts,
            user,
            password,
            database,
            management_host,
            management_port,
        ] = PARTS.map(|part| self.values.remove(part).map(|given| given.text));
        if let (Some(host), Some(port)) = (management_host, management_port)
            && !self.values.contains_key("SHOP_MANAGEMENT_URL")
        {
            self.add("SHOP_MANAGEMENT_URL", format!("http://{host}:{port}"));
        }
        if self.values.contains_key("SHOP_MONGODB_URI") {
            return;
        }
        let host = host.map(|host| format!("{host}:{}", port.as_deref().unwrap_or("27017")));
        match mongodb_uri(host, hosts, user, password, database) {
            Ok(Some(uri)) => self.add("SHOP_MONGODB_URI", uri),
            Ok(None) => {}
            Err(fault) => self.faults.push(fault.to_owned()),
        }
    }
}

/// The settings in the text of a TOML file, by their variables. A table is a prefix of its keys.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let document = text.parse::<DocumentMut>().map_err(|error| {
        // Its whole text quotes the line, which may have a secret.
        let line = error
            .span()
            .and_then(|span| text.get(..span.start))
            .map_or(1, |text| text.split('\n').count());
        format!("line {line}: {}", error.message())
    })?;
    let mut pairs = Vec::new();
    flatten(document.as_table(), OURS, &mut pairs)?;
    Ok(pairs)
}

fn flatten(
    table: &dyn TableLike,
    prefix: &str,
    pairs: &mut Vec<(String, String)>,
) -> Result<(), String> {
    for (key, item) in table.iter() {
        let name = format!("{prefix}{}", key.to_uppercase());
        if let Some(table) = item.as_table_like() {
            flatten(table, &format!("{name}_"), pairs)?;
            continue;
        }
        let text = match item.as_value() {
            _ if name == "SHOP_CONFIG" => {
                return Err("config: a file cannot name another one".to_owned());
            }
            Some(Value::Array(all)) => all
                .iter()
                .map(text_of)
                .collect::<Option<Vec<_>>>()
                .map(|all| all.join(",")),
            value => value.and_then(text_of),
        };
        let Some(text) = text else {
            return Err(format!(
                "{}: must be a text, a number, true or false, or a list of them",
                names::key(&name)
            ));
        };
        pairs.push((name, text));
    }
    Ok(())
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.value().clone()),
        Value::Integer(number) => Some(number.value().to_string()),
        Value::Float(number) => Some(number.value().to_string()),
        Value::Boolean(flag) => Some(if *flag.value() { "on" } else { "off" }.to_owned()),
        _ => None,
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
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
) -> Result<Option<String>, &'static str> {
    if host.is_some() && hosts.is_some() && host != hosts {
        return Err("MONGO_HOSTNAME and MONGODB_HOSTS name different hosts: unset one of them");
    }
    let hosts = hosts.or(host);
    let login = match (user, password) {
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
    let path = database
        .map(|database| format!("{}?authSource={0}", encoded(&database)))
        .unwrap_or_default();
    Ok(hosts.map(|hosts| format!("mongodb://{login}{hosts}/{path}")))
}

/// `text` with everything but the unreserved characters of a URI encoded.
pub(crate) fn encoded(text: &str) -> String {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (BTreeMap<String, String>, Vec<String>) {
        let owned = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let Environment { values, faults, .. } = Environment::from_pairs(owned);
        (
            values
                .into_iter()
                .map(|(name, given)| (name, given.text))
                .collect(),
            faults,
        )
    }

    #[test]
    fn every_other_name_sets_its_setting() {
        for name in names::SETTINGS.iter() {
            let given = if name == "SHOP_POSTGRES_URL" {
                "postgres://value"
            } else {
                "http://value"
            };
            for alias in names::aliases(name) {
                let (values, faults) = read(&[(alias, given)]);
                let value = values.get(name).map(String::as_str);
                assert_eq!(
                    (value, faults.len(), values.len()),
                    (Some(given), 0, 1),
                    "{alias}"
                );
            }
        }
        for other in [
            "HOSTS",
            "TLS_CERT_FILE",
            "LOG_FILE",
            "LOG_RETENTION",
            "INGEST",
        ] {
            assert!(read(&[(other, "x")]).0.is_empty(), "{other}");
        }
    }

    #[test]
    fn database_url_names_mongodb_or_postgresql() {
        for url in ["postgresql://u:p@h/shop", "postgres://h/shop"] {
            let (values, faults) = read(&[("DATABASE_URL", url)]);
            assert_eq!(
                (values, faults.len()),
                (
                    BTreeMap::from([("SHOP_POSTGRES_URL".into(), url.into())]),
                    0
                )
            );
        }
        let both = |url| read(&[("DATABASE_URL", "postgresql://h/a"), ("POSTGRES_URL", url)]).1;
        assert_eq!(both("postgresql://h/a"), Vec::<String>::new());
        assert!(
            both("postgresql://h/b")[0].contains("DATABASE_URL and POSTGRES_URL are two names")
        );
    }

    #[test]
    fn contradicting_aliases_are_reported() {
        let (_, faults) = read(&[
            ("KAFKA_BROKERS", "a:1"),
            ("KAFKA_BROKER", "b:1"),
            ("PORT", "1"),
            ("APP_PORT", "2"),
        ]);
        assert_eq!(faults.len(), 2);
        assert!(
            faults[0].contains("KAFKA_BROKER and KAFKA_BROKERS"),
            "{faults:?}"
        );
        assert!(faults[1].contains("APP_PORT and PORT"), "{faults:?}");
        let (values, faults) = read(&[("KAFKA_BROKERS", "a:1"), ("KAFKA_BROKER", "a:1")]);
        assert_eq!(
            (values.len(), faults.len()),
            (1, 0),
            "the same twice is fine"
        );
        let (_, faults) = read(&[
            ("MONGODB_URI", "mongodb://u:secret@h"),
            ("DATABASE_URL", "mongodb://other"),
        ]);
        assert!(
            faults.len() == 1 && !faults[0].contains("secret"),
            "{faults:?}"
        );
    }

    #[test]
    fn value_that_is_not_utf8_is_an_error_for_settings_only() {
        use std::os::unix::ffi::OsStringExt;
        let no_text = || OsString::from_vec(vec![0xff]);
        let pairs = [
            ("KAFKA_TOPIC".into(), no_text()),
            ("LESSOPEN".into(), no_text()),
        ];
        let faults = Environment::from_os(pairs.into_iter()).faults;
        assert!(
            faults.len() == 1 && faults[0].contains("KAFKA_TOPIC"),
            "{faults:?}"
        );
    }

    #[test]
    fn misspelled_names_are_errors_and_kubernetes_services_are_ignored() {
        let (_, faults) = read(&[
            ("SHOP_DATADIR", "hunter2"),
            ("MONGO_URI", "hunter2"),
            ("CORS_ALLOWED_ORIGINS", "x"),
        ]);
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
        assert_eq!(
            values,
            BTreeMap::from([(
                "SHOP_MONGODB_URI".to_owned(),
                "mongodb://mongo:27017/".to_owned()
            )])
        );
        let (_, faults) = read(&[("SHOP_DATADIR", "")]);
        assert_eq!(faults, [""; 0], "empty counts as unset");
    }

    #[test]
    fn empty_counts_as_unset() {
        let (values, faults) = read(&[("PORT", ""), ("APP_PORT", " "), ("KAFKA_BROKERS", "")]);
        assert!(values.is_empty() && faults.is_empty());
    }

    #[test]
    fn mongodb_uri_is_composed_from_its_parts_unless_it_is_set() {
        let uri = |pairs: &[(&str, &str)]| read(pairs).0.get("SHOP_MONGODB_URI").cloned();
        assert_eq!(
            uri(&[("MONGO_HOSTNAME", "db")]).unwrap(),
            "mongodb://db:27017/"
        );
        assert_eq!(
            uri(&[("MONGO_HOSTNAME", "db"), ("MONGO_PORT", "1")]).unwrap(),
            "mongodb://db:1/"
        );
        assert_eq!(uri(&[("MONGO_PORT", "1")]), None);
        let parts = [
            ("MONGODB_HOSTS", "a:1,b:2"),
            ("MONGODB_USERNAME", "root"),
            ("MONGODB_PASSWORD", "p@ss/word"),
            ("MONGODB_AUTHDB", "admin"),
        ];
        assert_eq!(
            uri(&parts).unwrap(),
            "mongodb://root:p%40ss%2Fword@a:1,b:2/admin?authSource=admin"
        );
        let whole = [&parts[..], &[("MONGODB_URI", "mongodb://x")]].concat();
        assert_eq!(uri(&whole).unwrap(), "mongodb://x");
        for (given, said) in [
            (&parts[..2], "MONGODB_PASSWORD is not"),
            (&parts[1..3], "neither MONGODB_URI nor MONGODB_HOSTS"),
            (
                &[parts[0], ("MONGO_HOSTNAME", "db")],
                "MONGO_HOSTNAME and MONGODB_HOSTS",
            ),
        ] {
            let (_, faults) = read(given);
            assert!(faults.len() == 1 && faults[0].contains(said), "{faults:?}");
        }
    }

    #[test]
    fn management_url_is_composed_from_host_and_port() {
        let url = |pairs: &[(&str, &str)]| read(pairs).0.get("SHOP_MANAGEMENT_URL").cloned();
        assert_eq!(
            url(&[("CM_API_HOST", "cm:3000")]).unwrap(),
            "http://cm:3000"
        );
        assert_eq!(
            url(&[("CM_API_HOSTNAME", "cm"), ("CM_API_PORT", "3000")]).unwrap(),
            "http://cm:3000"
        );
        assert_eq!(url(&[("CM_API_HOSTNAME", "cm")]), None);
        let both = [
            ("CM_API_HOSTNAME", "cm"),
            ("CM_API_PORT", "3000"),
            ("MANAGEMENT_URL", "http://other"),
        ];
        assert_eq!(url(&both).unwrap(), "http://other");
    }

    #[test]
    fn secret_is_read_from_its_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "s3cret \r\n").unwrap();
        let path = file.path().to_str().unwrap();
        assert_eq!(
            read(&[("KAFKA_PASSWORD_FILE", path)])
                .0
                .get("SHOP_KAFKA_PASSWORD")
                .unwrap(),
            "s3cret "
        );
        let (_, faults) = read(&[("KAFKA_PASSWORD_FILE", path), ("KAFKA_PASSWORD", "x")]);
        assert!(
            faults[0].contains("KAFKA_PASSWORD and KAFKA_PASSWORD_FILE are two names"),
            "{faults:?}"
        );
        let (_, faults) = read(&[("MONGODB_URI_FILE", "/nowhere")]);
        assert!(
            faults[0].contains("MONGODB_URI_FILE: /nowhere cannot be read"),
            "{faults:?}"
        );
    }
}
