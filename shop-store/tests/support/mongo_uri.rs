//! Connection strings of MongoDB, for tests that change them.

use std::fmt;

/// A connection string, `mongodb://…` or `mongodb+srv://…`, in its parts.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionString {
    scheme: String,
    /// The user name and password with `@`, or an empty string.
    credentials: String,
    hosts: String,
    database: String,
    options: Vec<(String, String)>,
}

impl ConnectionString {
    /// Splits `uri` into its parts.
    ///
    /// # Panics
    /// If `uri` has no scheme.
    pub(crate) fn new(uri: &str) -> Self {
        let (scheme, rest) = uri.split_once("://").expect("a connection string");
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (format!("{login}@"), hosts),
            None => (String::new(), authority),
        };
        let options = query.split('&').filter(|option| !option.is_empty());
        let options = options.map(|option| option.split_once('=').unwrap_or((option, "")));
        Self {
            scheme: scheme.to_owned(),
            credentials,
            hosts: hosts.to_owned(),
            database: database.to_owned(),
            options: options
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        }
    }

    /// Returns the value of the option `name`, whose case does not matter.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        let option = self
            .options
            .iter()
            .find(|(given, _)| given.eq_ignore_ascii_case(name))?;
        Some(&option.1)
    }

    /// Returns whether the connection is encrypted. With `mongodb+srv` that is the default.
    pub(crate) fn has_tls(&self) -> bool {
        match self.option("tls").or_else(|| self.option("ssl")) {
            Some(value) => value == "true",
            None => self.scheme == "mongodb+srv",
        }
    }

    /// Returns whether there is a user name.
    pub(crate) fn has_login(&self) -> bool {
        !self.credentials.is_empty()
    }

    /// Replaces the option `name`, or appends it.
    #[must_use]
    pub(crate) fn with_option(self, name: &str, value: &str) -> Self {
        let mut changed = self.without_option(name);
        changed.options.push((name.to_owned(), value.to_owned()));
        changed
    }

    /// Removes the option `name`.
    #[must_use]
    pub(crate) fn without_option(mut self, name: &str) -> Self {
        self.options
            .retain(|(given, _)| !given.eq_ignore_ascii_case(name));
        self
    }

    /// Returns the connection string of the one server at `address`, whatever set it is a member of.
    #[must_use]
    pub(crate) fn directly_to(mut self, address: &str) -> Self {
        "mongodb".clone_into(&mut self.scheme);
        address.clone_into(&mut self.hosts);
        self.without_option("replicaSet")
            .without_option("loadBalanced")
            .without_option("srvServiceName")
            .without_option("srvMaxHosts")
            .with_option("directConnection", "true")
    }
}

impl fmt::Display for ConnectionString {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            scheme,
            credentials,
            hosts,
            database,
            ..
        } = self;
        write!(formatter, "{scheme}://{credentials}{hosts}/{database}")?;
        for (index, (name, value)) in self.options.iter().enumerate() {
            let separator = if index == 0 { '?' } else { '&' };
            write!(formatter, "{separator}{name}={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_connection_string_can_be_directed_to_one_server() {
        for (uri, direct) in [
            (
                "mongodb://localhost:27017",
                "mongodb://proxy:1/?directConnection=true",
            ),
            (
                "mongodb://h1:1,h2:2,h3:3/?replicaSet=rs",
                "mongodb://proxy:1/?directConnection=true",
            ),
            (
                "mongodb://u:p%40@h1:1,h2/shop?w=1&replicaset=rs&authSource=admin",
                "mongodb://u:p%40@proxy:1/shop?w=1&authSource=admin&directConnection=true",
            ),
            (
                "mongodb://[::1]:27017/?directConnection=false",
                "mongodb://proxy:1/?directConnection=true",
            ),
            (
                "mongodb+srv://u:p@cluster.example/?tls=false&srvMaxHosts=2",
                "mongodb://u:p@proxy:1/?tls=false&directConnection=true",
            ),
        ] {
            let given = ConnectionString::new(uri);
            assert_eq!(given.directly_to("proxy:1").to_string(), direct);
        }
    }

    #[test]
    fn an_option_is_replaced_or_appended() {
        for (uri, expected) in [
            ("mongodb://h", "mongodb://h/?readPreference=nearest"),
            ("mongodb://h/?", "mongodb://h/?readPreference=nearest"),
            (
                "mongodb://h/db?readpreference=primary&w=1",
                "mongodb://h/db?w=1&readPreference=nearest",
            ),
        ] {
            let changed = ConnectionString::new(uri).with_option("readPreference", "nearest");
            assert_eq!(changed.to_string(), expected);
        }
    }

    #[test]
    fn tls_is_the_default_of_a_service_record_only() {
        for (uri, has_tls) in [
            ("mongodb://h", false),
            ("mongodb://h/?TLS=true", true),
            ("mongodb://h/?ssl=true", true),
            ("mongodb+srv://h", true),
            ("mongodb+srv://h/?tls=false", false),
        ] {
            assert_eq!(ConnectionString::new(uri).has_tls(), has_tls, "{uri}");
        }
    }
}
