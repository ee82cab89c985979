//! How one group of clients is spoken to: statuses, envelopes and texts, as a value.
//!
//! Routes are written once; where they differ by client they ask the dialect of the request. It is chosen by
//! the path where the path tells, and by [`HttpOptions::dialect`](crate::HttpOptions::dialect) elsewhere.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;

mod ecommerce;
mod forms;
mod ours;
mod purchase_tracking;
mod scalable_shop;
mod shopping_system;
mod user_buy_list;

use ecommerce::ECOMMERCE;
pub(crate) use forms::{
    Bought, Errors, Extras, HealthForm, ItemForm, ListingForm, LooksFor, LowestPrice, Missing, Outage,
    Outages, PriceForm, TimestampForm, Timestamps, View,
};
use ours::DEFAULT;
pub(crate) use ours::V1;
use purchase_tracking::PURCHASE_TRACKING;
use scalable_shop::SCALABLE_SHOP;
use shopping_system::SHOPPING_SYSTEM;
use user_buy_list::USER_BUY_LIST;

/// How one group of clients is spoken to.
#[derive(Debug, PartialEq, Eq)]
pub struct Dialect {
    /// Its name in settings.
    name: &'static str,
    /// How a buy is answered.
    pub(crate) bought: Bought,
    /// What a purchase looks like.
    pub(crate) item: ItemForm,
    /// What an error's body looks like.
    pub(crate) errors: Errors,
    /// The status of a request whose content is wrong.
    pub(crate) invalid: StatusCode,
    /// The status of a request that is no JSON object.
    pub(crate) no_object: StatusCode,
    /// The status of a request that is said to be something else than JSON.
    pub(crate) no_json: StatusCode,
    /// How members that lack are told of.
    pub(crate) missing: Missing,
    /// Whether a body that says nothing is told apart from one that lacks members.
    pub(crate) tells_empty_bodies: bool,
    /// What a purchase must cost at least.
    pub(crate) lowest_price: LowestPrice,
    /// What is said when something behind the service fails.
    pub(crate) outages: Outages,
    /// Whether members of a body that are not known are refused, and prices in other forms than JSON's.
    pub(crate) is_strict: bool,
    /// Whether integers count as text where text is asked for.
    pub(crate) integers_are_text: bool,
    /// What becomes of the timestamp that comes with a purchase.
    pub(crate) timestamps: Timestamps,
    /// How a listing is answered.
    pub(crate) listing: ListingForm,
    /// How `/health` is answered.
    pub(crate) health: HealthForm,
}

/// Those that can be chosen by name. Two systems have no path outside of their own prefixes, so elsewhere they
/// are spoken to as everybody is.
static NAMED: [&Dialect; 6] = [
    &DEFAULT,
    &SCALABLE_SHOP,
    &USER_BUY_LIST,
    &Dialect { name: "ecommerce", ..ours::EVERYBODY },
    &PURCHASE_TRACKING,
    &Dialect { name: "shopping-system", ..ours::EVERYBODY },
];

/// A name that is no dialect's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is no dialect that this version speaks: choose one of {known}")]
pub struct UnknownDialect {
    given: String,
    known: String,
}

impl Dialect {
    /// The dialect that is spoken unless another is chosen.
    #[must_use]
    pub fn default_dialect() -> &'static Self {
        &DEFAULT
    }

    /// The dialect with this name.
    ///
    /// # Errors
    /// [`UnknownDialect`], which lists those that are known.
    pub fn named(name: &str) -> Result<&'static Self, UnknownDialect> {
        let found = NAMED.into_iter().find(|dialect| dialect.name == name);
        found.ok_or_else(|| UnknownDialect {
            given: name.to_owned(),
            known: NAMED.map(|dialect| format!("`{}`", dialect.name)).join(", "),
        })
    }

    /// Its name in settings.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The dialect that a path is answered in, when `configured` is that of the paths that do not tell.
    pub(crate) fn of_path(path: &str, configured: &'static Self) -> &'static Self {
        let ingress = INGRESS_PREFIXES.iter().find_map(|prefix| below(path, prefix));
        let (path, configured) = ingress.map_or((path, configured), |rest| (rest, &SCALABLE_SHOP));
        let told = TELLING_PREFIXES.into_iter().find(|(prefix, _)| below(path, prefix).is_some());
        told.map_or(configured, |(_, dialect)| dialect)
    }
}

/// Prefixes that an ingress used to cut off.
pub(crate) const INGRESS_PREFIXES: [&str; 2] = ["/scalable-shop-cm-server", "/scalable-shop-cm-api"];

/// Prefixes that tell the dialect; the first that fits counts.
static TELLING_PREFIXES: [(&str, &Dialect); 6] = [
    ("/v1", &V1),
    ("/api/v1", &SHOPPING_SYSTEM),
    ("/api", &USER_BUY_LIST),
    ("/buyList", &SCALABLE_SHOP),
    ("/users", &ECOMMERCE),
    ("/orders", &ECOMMERCE),
];

/// What stands in `path` behind `prefix`, if that is all of its first segments.
fn below<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The dialect that a request is answered in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Speaks(pub(crate) &'static Dialect);

/// Chosen for every request by the layer `choose_dialect`.
impl<S: Send + Sync> FromRequestParts<S> for Speaks {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().copied().unwrap_or_else(|| Self(Dialect::default_dialect())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_tells_where_it_can() {
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
            assert_eq!(Dialect::of_path(path, &DEFAULT).name, name, "{path}");
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        for dialect in NAMED {
            assert_eq!(Dialect::named(dialect.name).unwrap(), dialect);
        }
        let error = Dialect::named("klingon").unwrap_err().to_string();
        assert!(error.contains("klingon") && error.contains("`default`"), "{error}");
    }
}
