//! The API as OpenAPI 3.1 documents, generated from the routes and the dialects: its statuses, texts and schemas are
//! those of the code.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

mod batch;
mod buying;
mod dead_letters;
mod entities;
mod example;
mod health;
mod listings;
mod operation;
mod parameters;
mod responses;
mod route_info;
mod schemas;
mod v1;

#[cfg(test)]
mod document_test;

use route_info::RouteInfo;

use crate::dialect::{Dialect, INGRESS_PREFIXES};
use crate::service::Service;
use crate::service_kind::ServiceKind;

/// The description of the document of the native API.
const NATIVE: &str = "\
Purchases are accepted, made durable in a log, ingested into a store, and listed per user.

* **Repeat a purchase safely** with the header `Idempotency-Key`: the same key of the same user is the same purchase.
* **Read your own purchase**: `wait_for` makes a listing wait until that purchase is stored.
* **Money is exact**: prices have up to 8 decimals and keep their scale.

Errors are RFC 9457 problems; their `type` leads to an explanation. Every response has an `X-Request-Id`. A request that \
is not valid HTTP, or has a head of more than about 100 kB, gets a status without a body. The other routes, in the forms \
of the replaced systems, have documents below `/docs/compatibility`.";

/// The description of the document of a dialect.
const COMPATIBILITY: &str = "\
Routes in the form of one of the replaced systems, selected by the path or by the setting `SHOP_DIALECT`. New clients use \
`/v1`, which `/openapi.json` describes. Every response has an `X-Request-Id`.";

/// The operations that a document describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The native API. In the dialect of a system that had a document, also the routes of that system.
    Native,
    /// The routes in the dialect with this name.
    Dialect(&'static str),
}

impl Part {
    /// All parts of `service`, whose routes are at `paths`: the native API, then the dialects.
    pub(crate) fn all(service: &Service, paths: &[String]) -> Vec<Self> {
        let names = paths.iter().map(|path| Dialect::from_path(path, service.options.dialect).name());
        let names: BTreeSet<_> = names.filter(|name| *name != Dialect::V1.name()).collect();
        std::iter::once(Self::Native).chain(names.into_iter().map(Self::Dialect)).collect()
    }

    /// The prefixes of its paths.
    pub(crate) fn prefixes(self, service: &Service) -> &'static [&'static str] {
        let of_ingress = Dialect::BEHIND_INGRESS.name();
        let is_configured = service.options.dialect.name() == of_ingress;
        if self == Self::Dialect(of_ingress) && !is_configured { &INGRESS_PREFIXES } else { &[""] }
    }

    fn describes(self, place: &RouteInfo<'_>) -> bool {
        let (name, configured) = (place.dialect.name(), place.options.dialect);
        let is_native = name == Dialect::V1.name();
        match self {
            // The copies behind a prefix are left out.
            Self::Native => {
                let is_of_system = configured.has_document && name == configured.name();
                (is_native || is_of_system) && !place.is_behind_ingress
            }
            Self::Dialect(described) => name == described,
        }
    }
}

/// The document of a part of `service`, whose routes are at `paths`.
pub(crate) fn document(service: &Service, paths: &[String], part: Part) -> Value {
    let name = match service.kind {
        ServiceKind::Facing => "Purchase tracking: facing",
        ServiceKind::Management => "Purchase tracking: management",
    };
    let mut described = Map::new();
    let mut dialects = Vec::new();
    for place in paths.iter().map(|path| RouteInfo::new(path, service)) {
        if part.describes(&place) && !described.contains_key(place.path) {
            dialects.push(place.dialect);
            described.extend(described_at(&place).map(|item| (place.path.to_owned(), item)));
        }
    }
    let (title, description) = match part {
        Part::Native => (name.to_owned(), NATIVE),
        Part::Dialect(dialect) => (format!("{name}, {dialect}"), COMPATIBILITY),
    };
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": env!("CARGO_PKG_VERSION"),
            "description": description,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": tags(&described),
        "components": responses::components(&described, dialects, &service.policy),
        "paths": described,
    })
}

/// The tags of the operations in `described`.
fn tags(described: &Map<String, Value>) -> Vec<Value> {
    let operations = described.values().filter_map(Value::as_object).flat_map(Map::values);
    let used: BTreeSet<_> = operations.filter_map(|operation| operation["tags"][0].as_str()).collect();
    let all = [
        ("v1", "The native API, the same on both services"),
        ("purchases", "Buying and listing, as in the replaced systems"),
        ("users", "Users, as in the replaced system"),
        ("orders", "Orders, as in the replaced system"),
        ("health", "Health, readiness and metrics"),
        ("about", "Index and documentation"),
    ];
    let here = all.into_iter().filter(|(tag, _)| used.contains(tag));
    here.map(|(name, text)| json!({"name": name, "description": text})).collect()
}

/// The operations at a path, if it is known.
fn described_at(place: &RouteInfo<'_>) -> Option<Value> {
    let operations = match place.unprefixed {
        "/buy" => vec![buying::buy(place)],
        "/purchases" => vec![buying::into_store(place), listings::for_all_users(place)],
        "/getAllUserBuys/{who}" | "/purchases/{who}" => vec![listings::for_user(place)],
        "/buyList/{who}" => vec![listings::buy_list(place)],
        "/v1/purchases" => vec![v1::buy(place), v1::purchases(place)],
        "/v1/purchases/events" => vec![v1::events(place)],
        "/v1/purchases/{id}" => vec![v1::purchase(place)],
        "/v1/purchases:batch" => vec![batch::buy(place)],
        "/v1/dead-letters" => vec![dead_letters::list(place)],
        "/v1/dead-letters/{position}" => vec![dead_letters::get(place)],
        "/v1/dead-letters:replay" => vec![dead_letters::replay(place)],
        "/v1/dead-letters:discard" => vec![dead_letters::discard(place)],
        "/v1/summary" => vec![v1::summary(place)],
        "/v1/totals" => vec![v1::totals(place)],
        "/users" | "/v1/users" => vec![entities::register(place)],
        "/users/{user_id}" | "/v1/users/{user_id}" => vec![entities::user(place)],
        "/users/{user_id}/orders" | "/v1/users/{user_id}/orders" => vec![entities::orders_of_user(place)],
        "/orders" | "/v1/orders" => vec![entities::place_order(place)],
        "/orders/{order_id}" | "/v1/orders/{order_id}" => vec![entities::order(place)],
        other => vec![health::or_about(other, place)?],
    };
    Some(operations.into_iter().map(|operation| operation.described(place)).collect())
}
