//! What an address says beside where the servers are.

use mongodb::options::ConnectionString;
use secrecy::{ExposeSecret, SecretString};

/// Databases that an address names for the login, not for what is kept.
const OF_THE_SERVER: [&str; 3] = ["admin", "local", "config"];

/// The database that an address of MongoDB names by its path, unless it is `admin`, `local` or `config`, which are for the
/// login. None, too, if that is no address.
#[must_use]
pub fn database_in_uri(uri: &SecretString) -> Option<String> {
    let parsed = ConnectionString::parse(uri.expose_secret()).ok()?;
    parsed.default_database.filter(|name| !OF_THE_SERVER.contains(&name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_names_no_database() {
        let named = |uri: &str| database_in_uri(&uri.to_owned().into());
        assert_eq!(named("mongodb://u:p@h:27017/shop?directConnection=true").as_deref(), Some("shop"));
        for uri in ["mongodb://h", "mongodb://h/", "mongodb://u:p@h/admin?x=y", "http://h/shop", ""] {
            assert_eq!(named(uri), None, "{uri}");
        }
    }
}
