//! Reads settings from variables and from the file of `--config`. The only module that reads the
//! environment.
//!
//! An [`Environment`] finds the setting of each name with the help of `names`, reads the files of
//! secrets, and composes addresses from their parts. It collects all errors on the way.
//! `command_line` then checks the values, which it parses together with the flags.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use shop_http::{MAX_FILE_BYTES, MAX_SECRET_BYTES, read_small_file};
use toml_edit::{DocumentMut, TableLike, Value};

use super::Settings;
use super::names::{self, OURS};
use super::old_names;
use super::otel::OtelVariables;

/// The values of settings, and all errors in them.
#[derive(Debug, Default)]
pub(super) struct Environment {
    /// The values, by the variable of their setting, or by their own variable for parts of
    /// addresses and properties of librdkafka.
    pub(super) values: BTreeMap<String, SettingValue>,
    pub(super) faults: Vec<String>,
    /// The names that are set, but empty, each with the name of its setting.
    pub(super) empty_names: Vec<(String, String)>,
    /// The variables of OpenTelemetry.
    pub(super) otel: OtelVariables,
    /// The file from which these settings were read, or `None` if they are variables.
    config_file: Option<String>,
}

/// A value of a setting.
#[derive(Debug)]
pub(super) struct SettingValue {
    pub(super) text: String,
    /// The name by which the setting is set, as the user wrote it.
    pub(super) name: String,
    /// `environment` or `file`.
    origin: &'static str,
    /// The file that a secret was read from.
    pub(super) file: Option<PathBuf>,
}

/// A setting with its value in effect, and where this value is from.
#[derive(Debug)]
pub(crate) struct EffectiveSetting {
    pub(crate) name: String,
    /// The value, unless it is secret; or the words for a default that depends on other settings.
    pub(crate) value: String,
    /// `default`, `file`, `environment` or `flag`.
    pub(crate) origin: &'static str,
    /// The name by which the setting is set, if that is another name than its own.
    pub(crate) alias: Option<String>,
}

impl EffectiveSetting {
    /// Creates the setting `name` with a value from a variable or a file.
    pub(super) fn from_value(name: String, is_secret: bool, value: &SettingValue) -> Self {
        Self {
            value: if is_secret {
                "***".to_owned()
            } else {
                Settings::address(&value.text)
            },
            origin: value.origin,
            alias: (value.name != name).then(|| value.name.clone()),
            name,
        }
    }
}

impl Environment {
    /// Reads the variables of this process.
    #[expect(
        clippy::disallowed_methods,
        reason = "the only place that reads the environment"
    )]
    pub(super) fn from_process() -> Self {
        Self::from_os(std::env::vars_os())
    }

    /// Reads `variables`. A value that is not UTF-8 is a fault if its name may be a setting.
    fn from_os(variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let mut pairs = Vec::new();
        let mut encoding_faults = Vec::new();
        for (name, value) in variables {
            // A name that is not UTF-8 is not a setting.
            let Ok(name) = name.into_string() else {
                continue;
            };
            if let Ok(value) = value.into_string() {
                pairs.push((name, value));
            } else if names::may_be_setting(&name) {
                encoding_faults.push(format!("{name}: its value is not UTF-8"));
            }
        }

        let mut environment = Self::from_pairs(pairs);
        environment.faults.extend(encoding_faults);
        environment
    }

    /// Reads variables from `pairs` of their names and values.
    ///
    /// Empty variables count as unset, and the variables of Kubernetes services are ignored.
    pub(super) fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let no_file = None;
        Self::read(no_file, pairs.into_iter().collect())
    }

    /// Reads `pairs` of names and values. They are from the file `config_file`, or variables if it
    /// is `None`.
    fn read(config_file: Option<String>, mut pairs: Vec<(String, String)>) -> Self {
        let mut known_names = names::known();
        // In a file, settings have only their own names.
        known_names.retain(|name| config_file.is_none() || name.starts_with(OURS));
        let mut environment = Self {
            config_file,
            ..Self::default()
        };

        pairs.retain(|(name, value)| !names::is_kubernetes_variable(name, value));
        pairs.sort();
        for (name, value) in pairs {
            if value.trim().is_empty() {
                let value_name = names::secret_of_file(&name).unwrap_or(&name);
                if let Some(setting) = names::setting_of_variable(value_name) {
                    let shown_name = environment.shown_name(&name);
                    environment.empty_names.push((shown_name, setting));
                }
                continue;
            }
            if environment.config_file.is_none() && name.starts_with("OTEL_") {
                environment.otel.insert(name.clone(), value.clone());
            }
            let shown_name = |name: &str| environment.shown_name(name);
            let fault = names::misspelling_fault(&name, &known_names, shown_name);
            environment.faults.extend(fault);
            environment.add(&name, value);
        }
        environment.compose_addresses();
        environment
    }

    /// Returns the name of a variable as the user wrote it: the variable, or the key of the file.
    fn shown_name(&self, name: &str) -> String {
        match &self.config_file {
            Some(file) => format!("{} in {file}", names::key(name)),
            None => name.to_owned(),
        }
    }

    /// Adds the settings of the TOML file at `path` that no variable sets, and the faults of the
    /// file.
    pub(super) fn add_file(&mut self, path: &str) {
        let text = read_small_file(Path::new(path), MAX_FILE_BYTES)
            .map_err(|error| format!("cannot be read: {error}"));
        match text.and_then(|text| parse_toml(&text)) {
            Ok(pairs) => {
                let file_settings = Self::read(Some(path.to_owned()), pairs);
                self.faults.extend(file_settings.faults);
                self.empty_names.extend(file_settings.empty_names);
                for (name, value) in file_settings.values {
                    self.values.entry(name).or_insert(value);
                }
            }
            Err(fault) => self.faults.push(format!("{path} (--config): {fault}")),
        }
    }

    /// Adds the value of a variable, if the variable is a setting or a part of an address. Reads
    /// the value from a file, if the variable names the file of a secret.
    fn add(&mut self, variable: &str, mut text: String) {
        let shown_name = self.shown_name(variable);
        let mut name = variable;
        let mut file = None;
        if let Some(secret_name) = names::secret_of_file(variable) {
            let path = PathBuf::from(text);
            text = match read_secret(&path) {
                Ok(secret) => secret,
                Err(problem) => {
                    return self
                        .faults
                        .push(format!("{shown_name}: {} {problem}", path.display()));
                }
            };
            name = secret_name;
            file = Some(path);
        }

        name = old_names::translate(name, &mut text);
        // Other variables belong to other programs. `misspelling_fault` has reported a misspelled
        // setting.
        let Some(setting) = names::setting_of_variable(name) else {
            return;
        };
        let origin = if self.config_file.is_some() {
            "file"
        } else {
            "environment"
        };
        let value = SettingValue {
            text,
            name: shown_name,
            origin,
            file,
        };
        self.set_value(setting, value);
    }

    /// Sets `setting` to `value`, unless another of its names set it before. Adds a fault if that name
    /// has another value.
    fn set_value(&mut self, setting: String, value: SettingValue) {
        let Some(other_value) = self.values.get(&setting) else {
            self.values.insert(setting, value);
            return;
        };
        if other_value.text != value.text {
            // The values may be secret, so they are not printed.
            self.faults.push(format!(
                "{} and {} are two names of one setting with different values: unset one of them",
                other_value.name, value.name
            ));
        }
    }

    /// Returns the properties of librdkafka, and the variables that set these properties.
    ///
    /// Adds a fault if two variables set one property.
    pub(super) fn kafka_properties(
        &mut self,
    ) -> (BTreeMap<String, SecretString>, Vec<EffectiveSetting>) {
        let mut properties = BTreeMap::new();
        let mut in_effect = Vec::new();
        for (name, value) in &self.values {
            let Some(property) = names::property(name) else {
                continue;
            };
            let is_secret = value.file.is_some() || is_secret_property(&property);
            in_effect.push(EffectiveSetting::from_value(name.clone(), is_secret, value));

            let previous = properties.insert(property, value.text.as_str().into());
            if previous.is_some() {
                self.faults.push(format!(
                    "{} is another name of a variable that is set: unset one of them",
                    value.name
                ));
            }
        }
        (properties, in_effect)
    }

    /// Composes addresses from their parts, and removes the parts. An address that is set itself is
    /// not replaced.
    fn compose_addresses(&mut self) {
        for address in old_names::ADDRESSES {
            let composition = address.compose(&mut |part| self.take_part(part));
            if self.values.contains_key(address.setting) {
                continue;
            }
            match composition {
                Ok(Some(text)) => self.add(address.setting, text),
                Ok(None) => {}
                Err(fault) => self.faults.push(fault.to_owned()),
            }
        }
    }

    /// Removes a part of an address, and returns its value.
    fn take_part(&mut self, name: &str) -> Option<String> {
        self.values.remove(name).map(|value| value.text)
    }
}

/// Reads the settings in the text of a TOML file, as pairs of a variable and its value. The name of
/// a table is a prefix of its keys.
///
/// # Errors
/// The text is not TOML, or a value cannot be the value of a setting.
fn parse_toml(text: &str) -> Result<Vec<(String, String)>, String> {
    let document = text.parse::<DocumentMut>().map_err(|error| {
        // The whole text of the error quotes the line, which may contain a secret.
        let start = error.span().map_or(0, |span| span.start);
        let text_before = text.get(..start).unwrap_or_default();
        let line_number = text_before.split('\n').count();
        format!("line {line_number}: {}", error.message())
    })?;
    let mut pairs = Vec::new();
    flatten_table(document.as_table(), OURS, &mut pairs)?;
    Ok(pairs)
}

/// Adds the settings of `table`, and of the tables in it, to `pairs`. `prefix` is the beginning of
/// their variables.
///
/// # Errors
/// A value cannot be the value of a setting.
fn flatten_table(
    table: &dyn TableLike,
    prefix: &str,
    pairs: &mut Vec<(String, String)>,
) -> Result<(), String> {
    for (key, item) in table.iter() {
        let name = format!("{prefix}{}", key.to_uppercase());
        if let Some(inner_table) = item.as_table_like() {
            flatten_table(inner_table, &format!("{name}_"), pairs)?;
            continue;
        }
        if name == "SHOP_CONFIG" {
            return Err("config: a file cannot name another one".to_owned());
        }

        let text = match item.as_value() {
            Some(Value::Array(array)) => {
                let texts: Option<Vec<_>> = array.iter().map(scalar_text).collect();
                texts.map(|texts| texts.join(","))
            }
            value => value.and_then(scalar_text),
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

/// Returns a text, a number or a boolean as the text of a variable, or `None` for any other value.
fn scalar_text(value: &Value) -> Option<String> {
    Some(match value {
        Value::String(text) => text.value().clone(),
        Value::Integer(number) => number.value().to_string(),
        Value::Float(number) => number.value().to_string(),
        Value::Boolean(flag) => if *flag.value() { "on" } else { "off" }.to_owned(),
        _ => return None,
    })
}

/// Reads the secret in the file at `path`.
///
/// # Errors
/// The file cannot be read or is empty.
pub(super) fn read_secret(path: &Path) -> Result<String, String> {
    let text = read_small_file(path, MAX_SECRET_BYTES)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if text.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    Ok(without_line_end(&text).to_owned())
}

/// Returns the secret in the text of a file: the text without line ends at its end.
fn without_line_end(text: &str) -> &str {
    text.trim_end_matches(['\n', '\r'])
}

/// Returns whether the value of a property of librdkafka may be secret, so that it is not printed.
///
/// rdkafka does not say which properties librdkafka treats as secret. Each of them has one of the
/// words below in its name. A property that has such a name, but is not secret, is not printed
/// either, which is harmless.
fn is_secret_property(property: &str) -> bool {
    const WORDS: [&str; 10] = [
        "pass",
        "secret",
        "pem",
        "jaas",
        "key",
        "token",
        "credential",
        "assertion",
        "oauthbearer",
        "username",
    ];
    WORDS.iter().any(|word| property.contains(word))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Environment {
        let pairs = pairs.iter().copied();
        Environment::from_pairs(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())))
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
                let environment = read(&[(alias, given)]);
                assert_eq!(environment.faults, [""; 0], "{alias}");
                assert_eq!(environment.values.len(), 1, "{alias}");
                assert_eq!(environment.values[name].text, given, "{alias}");
            }
        }
    }

    #[test]
    fn value_that_is_not_utf8_is_an_error_for_settings_only() {
        let pairs = ["KAFKA_PASSWORD", "LESSOPEN"]
            .map(|name| (OsString::from(name), OsString::from_vec(vec![0xff])));
        let environment = Environment::from_os(pairs.into_iter());
        assert_eq!(
            environment.faults,
            ["KAFKA_PASSWORD: its value is not UTF-8"]
        );
    }

    #[cfg(feature = "compat")]
    #[test]
    fn mongodb_uri_is_composed_from_its_parts_unless_it_is_set() {
        let parts = [
            ("MONGODB_HOSTS", "a:1,b:2"),
            ("MONGODB_USERNAME", "root"),
            ("MONGODB_PASSWORD", "p@ss/word"),
            ("MONGODB_AUTHDB", "admin"),
        ];
        assert_eq!(
            read(&parts).values["SHOP_MONGODB_URI"].text,
            "mongodb://root:p%40ss%2Fword@a:1,b:2/admin?authSource=admin"
        );
        let whole = [&parts[..], &[("MONGODB_URI", "mongodb://x")]].concat();
        assert_eq!(read(&whole).values["SHOP_MONGODB_URI"].text, "mongodb://x");
    }

    /// The properties with the flag `_RK_SENSITIVE` in
    /// <https://github.com/confluentinc/librdkafka/blob/v2.12.1/src/rdkafka_conf.c>, without
    /// `sasl.oauthbearer.assertion.private.key.file`, whose variable names the file of a secret.
    const SENSITIVE: &str = "\
        sasl.oauthbearer.assertion.private.key.passphrase \
        sasl.oauthbearer.assertion.private.key.pem sasl.oauthbearer.client.secret \
        sasl.oauthbearer.config sasl.password sasl.username ssl.ca.pem ssl.key.location \
        ssl.key.password ssl.key.pem ssl.keystore.password ssl_key";

    #[test]
    fn secret_properties_are_not_printed() {
        for property in SENSITIVE.split_whitespace() {
            let name = property.replace('_', "__").replace('.', "_").to_uppercase();
            let variable = format!("SHOP_KAFKA_PROPERTY_{name}");
            let (properties, in_effect) = read(&[(&variable, "hunter2")]).kafka_properties();
            assert!(properties.contains_key(property), "{property}");
            assert_eq!(in_effect[0].value, "***", "{property}");
        }
        let (_, in_effect) = read(&[("SHOP_KAFKA_PROPERTY_CLIENT_RACK", "a")]).kafka_properties();
        assert_eq!(in_effect[0].value, "a");
    }

    #[test]
    fn secret_is_read_from_its_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "s3cret \r\n").unwrap();
        let path = file.path().to_str().unwrap();
        for secret in ["KAFKA_PASSWORD", "KAFKA_PROPERTY_SSL_KEY_PASSWORD"] {
            let environment = read(&[(&format!("{secret}_FILE"), path)]);
            assert_eq!(
                environment.values[&format!("SHOP_{secret}")].text,
                "s3cret "
            );
        }
    }
}
