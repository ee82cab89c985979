//! The setting that names a replaced system.
//!
//! The dialects without a form of their own have the default form of shop-http:
//!
//! | | |
//! |---|---|
//! | system | `default`, `ecommerce`, `shopping-system` |
//! | always in this form | |
//! | a buy | 201, the purchase as `data` and as `purchase` |
//! | a listing | an object by user id, else by name, newest first |
//! | an error | `{"error"}` |

use std::fmt;

use shop_http::toolkit::{ErrorWriter, HealthForm, RequestFamily, ShortPathForm};

use crate::{purchase_tracking, scalable_shop, shopping_system, user_buy_list};

/// The form of the paths that several replaced systems had, such as `/buy`: the form of one of these
/// systems, or by default the form of shop-http. It is the setting `SHOP_DIALECT`.
pub struct Dialect {
    /// The name in settings.
    pub(crate) name: &'static str,
    /// The form of the short paths.
    pub(crate) short_paths: &'static ShortPathForm,
    /// Writes the errors of the paths that several systems had, if not in the default form.
    pub(crate) write_error: Option<ErrorWriter>,
    /// The form of `/health`.
    pub(crate) health: HealthForm,
    /// Whether pages of all origins may call facing by default.
    pub(crate) allows_all_origins: bool,
    /// The metrics of requests of Flask's exporter.
    pub(crate) request_metrics: RequestFamily,
    /// The OpenAPI document of the routes of the system, if it had one at `/openapi.json`.
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
pub(crate) const BASE: Dialect = Dialect {
    name: "default",
    short_paths: &ShortPathForm::DEFAULT,
    write_error: None,
    health: HealthForm::DEFAULT,
    allows_all_origins: true,
    // Requests are counted under Flask's names in every dialect.
    request_metrics: RequestFamily {
        durations: None,
        ..purchase_tracking::FLASK_METRICS
    },
    document: None,
};

/// The dialects that can be configured. The systems `ecommerce` and `shopping-system` had only paths
/// that no other system had, so the short paths have the default form in these dialects.
static DIALECTS: [Dialect; 6] = [
    BASE,
    scalable_shop::DIALECT,
    user_buy_list::DIALECT,
    Dialect {
        name: "ecommerce",
        document: Some(include_str!("../openapi/ecommerce.json")),
        ..BASE
    },
    purchase_tracking::DIALECT,
    shopping_system::DIALECT,
];

impl Dialect {
    /// The default dialect, which is none of the replaced systems.
    pub const DEFAULT: &'static Self = &DIALECTS[0];

    /// Returns the names of all dialects in settings.
    #[cfg(feature = "clap")]
    pub(crate) fn names() -> [&'static str; 6] {
        DIALECTS.each_ref().map(|dialect| dialect.name)
    }

    /// Returns the dialect with this name.
    ///
    /// ```
    /// use shop_compat::Dialect;
    ///
    /// let dialect = Dialect::from_name("scalable-shop")?;
    /// assert_eq!(dialect.name(), "scalable-shop");
    /// # Ok::<(), shop_compat::UnknownDialect>(())
    /// ```
    ///
    /// # Errors
    /// [`UnknownDialect`], which lists the valid names.
    pub fn from_name(name: &str) -> Result<&'static Self, UnknownDialect> {
        DIALECTS
            .iter()
            .find(|dialect| dialect.name == name)
            .ok_or_else(|| UnknownDialect {
                given: name.to_owned(),
                known: DIALECTS
                    .each_ref()
                    .map(|dialect| format!("`{}`", dialect.name))
                    .join(", "),
            })
    }

    /// Returns the name in settings.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Returns whether the diagnostic log contains a line per purchase, at the level `INFO`, as the
    /// replaced system documents: `Published purchase` when facing published the purchase. The
    /// process that runs ingest should log `Received purchase`.
    #[must_use]
    pub const fn logs_purchases(&self) -> bool {
        self.short_paths.logs_purchases
    }
}

impl fmt::Debug for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dialect").field(&self.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        for dialect in &DIALECTS {
            assert_eq!(Dialect::from_name(dialect.name).unwrap().name, dialect.name);
        }
        let error = Dialect::from_name("klingon").unwrap_err().to_string();
        assert!(
            error.contains("klingon") && error.contains("`default`"),
            "{error}"
        );
    }
}
