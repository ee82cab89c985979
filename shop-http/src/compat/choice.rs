//! Selection of the dialect of a request: by its path, or the configured one.

use crate::compat::dialects::{
    DEFAULT, Dialect, ECOMMERCE, NAMED, SCALABLE_SHOP, SHOPPING_SYSTEM, USER_BUY_LIST, V1,
};

/// A name that is not that of a dialect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not a known dialect: use one of {known}")]
pub struct UnknownDialect {
    given: String,
    known: String,
}

impl Dialect {
    /// The default dialect.
    pub const DEFAULT: &'static Self = &DEFAULT;

    /// Returns the dialect with this name.
    ///
    /// ```
    /// use shop_http::{Dialect, HttpOptions};
    ///
    /// let dialect = Dialect::from_name("scalable-shop")?;
    /// assert_eq!(dialect.name(), "scalable-shop");
    /// let options = HttpOptions::default().dialect(dialect);
    /// # Ok::<(), shop_http::UnknownDialect>(())
    /// ```
    ///
    /// # Errors
    /// [`UnknownDialect`], which lists the valid names.
    pub fn from_name(name: &str) -> Result<&'static Self, UnknownDialect> {
        NAMED
            .into_iter()
            .find(|dialect| dialect.name == name)
            .ok_or_else(|| UnknownDialect {
                given: name.to_owned(),
                known: NAMED
                    .map(|dialect| format!("`{}`", dialect.name))
                    .join(", "),
            })
    }

    /// The dialect of `path`; `configured` is that of paths without a prefix.
    pub(crate) fn from_path(path: &str, configured: &'static Self) -> &'static Self {
        let (path, configured) = INGRESS_PREFIXES
            .iter()
            .find_map(|prefix| below(path, prefix))
            .map_or((path, configured), |rest| (rest, &SCALABLE_SHOP));
        DIALECT_PREFIXES
            .into_iter()
            .find(|(prefix, _)| below(path, prefix).is_some())
            .map_or(configured, |(_, dialect)| dialect)
    }
}

/// Prefixes that an ingress removes.
pub(crate) const INGRESS_PREFIXES: [&str; 2] =
    ["/scalable-shop-cm-server", "/scalable-shop-cm-api"];

/// Prefixes that determine the dialect; the first match counts.
static DIALECT_PREFIXES: [(&str, &Dialect); 6] = [
    ("/v1", &V1),
    ("/api/v1", &SHOPPING_SYSTEM),
    ("/api", &USER_BUY_LIST),
    ("/buyList", &SCALABLE_SHOP),
    ("/users", &ECOMMERCE),
    ("/orders", &ECOMMERCE),
];

/// The rest of `path` after `prefix`, if `prefix` is a sequence of its first segments.
fn below<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    path.strip_prefix(prefix)
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_selects_the_dialect_if_it_can() {
        for (path, name) in [
            ("/v1", "v1"),
            ("/v1/purchases", "v1"),
            ("/v12", "default"),
            ("/buy", "default"),
            ("/api/v1/buy", "shopping-system"),
            ("/api/v1", "shopping-system"),
            ("/api/v12", "user-buy-list"),
            ("/api/buy", "user-buy-list"),
            ("/apis", "default"),
            ("/buyList/joe", "scalable-shop"),
            ("/scalable-shop-cm-server/buy", "scalable-shop"),
            ("/scalable-shop-cm-api", "scalable-shop"),
            ("/scalable-shop-cm-api/v1/purchases", "v1"),
            ("/scalable-shop-cm-apis", "default"),
            ("/users", "ecommerce"),
            ("/users/1/orders", "ecommerce"),
            ("/orders/1", "ecommerce"),
            ("/scalable-shop-cm-server/orders", "ecommerce"),
            ("/usersof", "default"),
            ("/api/users", "user-buy-list"),
        ] {
            assert_eq!(Dialect::from_path(path, &DEFAULT).name, name, "{path}");
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        for dialect in NAMED {
            assert_eq!(Dialect::from_name(dialect.name).unwrap(), dialect);
        }
        let error = Dialect::from_name("klingon").unwrap_err().to_string();
        assert!(
            error.contains("klingon") && error.contains("`default`"),
            "{error}"
        );
    }
}
