//! The setting that names a replaced system.

/// A replaced system, in whose form the paths answer that name no system themselves.
#[derive(Debug, PartialEq, Eq)]
pub struct Dialect {
    /// The name in settings.
    pub(super) name: &'static str,
    /// Whether pages of all origins may call facing by default, and management lists all users'
    /// purchases at `/purchases`, as not all replaced systems did.
    pub is_open: bool,
    /// Whether the log contains a line per purchase, at the level `INFO`, as the replaced system
    /// documents: `Published purchase` when facing published the purchase. The process that runs
    /// ingest is to log `Received purchase`.
    pub logs_purchases: bool,
    /// Whether the durations of requests are also exported as Flask's exporter does.
    pub(crate) has_flask_durations: bool,
    /// The OpenAPI document of the routes of purchases of the replaced system, if it had one at
    /// `/openapi.json`.
    pub(crate) document: Option<&'static str>,
}

/// A name that belongs to no dialect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not a known dialect: use one of {known}")]
pub struct UnknownDialect {
    given: String,
    known: String,
}

/// The base of all dialects.
const BASE: Dialect = Dialect {
    name: "default",
    is_open: true,
    logs_purchases: false,
    has_flask_durations: false,
    document: None,
};

pub(super) static SCALABLE_SHOP: Dialect = Dialect {
    name: "scalable-shop",
    is_open: false,
    ..BASE
};

pub(super) static USER_BUY_LIST: Dialect = Dialect {
    name: "user-buy-list",
    ..BASE
};

/// The dialects that can be configured.
static DIALECTS: [&Dialect; 6] = [
    &BASE,
    &SCALABLE_SHOP,
    &USER_BUY_LIST,
    &Dialect {
        name: "ecommerce",
        ..BASE
    },
    &Dialect {
        name: "purchase-tracking",
        is_open: false,
        logs_purchases: true,
        has_flask_durations: true,
        ..BASE
    },
    &Dialect {
        name: "shopping-system",
        is_open: false,
        document: Some(include_str!("../../openapi/shopping-system.json")),
        ..BASE
    },
];

impl Dialect {
    /// The default dialect.
    pub const DEFAULT: &'static Self = &BASE;

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
        DIALECTS
            .into_iter()
            .find(|dialect| dialect.name == name)
            .ok_or_else(|| UnknownDialect {
                given: name.to_owned(),
                known: DIALECTS
                    .map(|dialect| format!("`{}`", dialect.name))
                    .join(", "),
            })
    }

    /// Returns the name in settings.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        for dialect in DIALECTS {
            assert_eq!(Dialect::from_name(dialect.name).unwrap(), dialect);
        }
        let error = Dialect::from_name("klingon").unwrap_err().to_string();
        assert!(
            error.contains("klingon") && error.contains("`default`"),
            "{error}"
        );
    }
}
