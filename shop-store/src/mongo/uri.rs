//! The database in a MongoDB URI.

use mongodb::options::ConnectionString;
use secrecy::{ExposeSecret, SecretString};

/// Databases that a URI contains for authentication, and not for data.
const SYSTEM_DATABASES: [&str; 3] = ["admin", "local", "config"];

/// Returns the database in the path of a MongoDB URI, unless it is `admin`, `local` or `config`, which are for
/// authentication. Also `None` if the URI is invalid.
#[must_use]
pub fn database_in_uri(uri: &SecretString) -> Option<String> {
    let parsed = ConnectionString::parse(uri.expose_secret()).ok()?;
    parsed.default_database.filter(|name| !SYSTEM_DATABASES.contains(&name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn database_in_uri_ignores_system_databases() {
        let named = |uri: &str| database_in_uri(&uri.to_owned().into());
        assert_eq!(named("mongodb://u:p@h:27017/shop?directConnection=true").as_deref(), Some("shop"));
        for uri in ["mongodb://h", "mongodb://h/", "mongodb://u:p@h/admin?x=y", "http://h/shop", ""] {
            assert_eq!(named(uri), None, "{uri}");
        }
    }
}
