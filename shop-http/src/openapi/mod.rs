//! The API as an OpenAPI 3.1 document, generated from the routes and the dialects: its statuses, texts and schemas are
//! those of the code.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

mod batch;
mod buying;
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

use crate::dialect::Dialect;
use crate::service::Service;
use crate::service_kind::ServiceKind;

/// The tag of the routes behind a prefix of the ingress; it is listed last.
const BEHIND_INGRESS: &str = "ingress";

/// The description of the document.
const DESCRIPTION: &str = "\
Purchases are accepted, made durable in a log, ingested into a store, and listed per user.

* **Repeat a purchase safely** with the header `Idempotency-Key`: the same key of the same user is the same purchase.
* **Read your own purchase**: `wait_for` makes a listing wait until that purchase is stored.
* **Money is exact**: prices have up to 8 decimals and keep their scale.

Responses outside of `/v1` have the form of one of the replaced systems, selected by the path or by the setting \
`SHOP_DIALECT`. Every response has an `X-Request-Id`. A request that is not valid HTTP, or has a head of more than \
about 100 kB, gets a status without a body.";

/// The document of `service`, whose routes are at `paths`.
pub(crate) fn document(service: &Service, paths: &[String]) -> Value {
    let name = match service.kind {
        ServiceKind::Facing => "Purchase tracking: facing",
        ServiceKind::Management => "Purchase tracking: management",
    };
    let mut described = Map::new();
    let mut dialects = BTreeMap::new();
    for path in paths {
        let dialect = Dialect::from_path(path, service.options.dialect);
        dialects.insert(dialect.name(), dialect);
        described.extend(described_at(path, service).map(|item| (path.clone(), item)));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": name,
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": tags(service, &described),
        "paths": described,
        "components": responses::components(dialects.into_values(), &service.policy),
    })
}

/// The tags of the operations in `described`.
fn tags(service: &Service, described: &Map<String, Value>) -> Vec<Value> {
    let operations = described.values().filter_map(Value::as_object).flat_map(Map::values);
    let used: BTreeSet<_> = operations.filter_map(|operation| operation["tags"][0].as_str()).collect();
    let is_used = |tag: &str| used.contains(tag);
    let purchases = service.purchases.is_some();
    let all = [
        (true, "v1", "The native API, the same on both services"),
        (purchases, "purchases", "Buying and listing, as in the replaced systems"),
        (service.users.is_some(), "users", "Users, as in the replaced system"),
        (service.orders.is_some(), "orders", "Orders, as in the replaced system"),
        (true, "health", "Health, readiness and metrics"),
        (true, "about", "Index and documentation"),
        (purchases, BEHIND_INGRESS, "The same routes behind the prefixes of scalable-shop's ingress"),
    ];
    let here = all.into_iter().filter(|(is_here, tag, _)| *is_here && is_used(tag));
    here.map(|(_, name, text)| json!({"name": name, "description": text})).collect()
}

/// The operations at `path`, if it is known.
fn described_at(path: &str, service: &Service) -> Option<Value> {
    let place = RouteInfo::new(path, service);
    let operations = match place.unprefixed.as_str() {
        "/buy" => vec![buying::buy(&place)],
        "/purchases" => vec![buying::into_store(&place), listings::for_all_users(&place)],
        "/getAllUserBuys/{who}" | "/purchases/{who}" => vec![listings::for_user(&place)],
        "/buyList/{who}" => vec![listings::buy_list(&place)],
        "/v1/purchases" => vec![v1::buy(&place), v1::purchases(&place)],
        "/v1/purchases/{id}" => vec![v1::purchase(&place)],
        "/v1/purchases:batch" => vec![batch::buy(&place)],
        "/v1/summary" => vec![v1::summary(&place)],
        "/v1/totals" => vec![v1::totals(&place)],
        "/users" | "/v1/users" => vec![entities::register(&place)],
        "/users/{user_id}" | "/v1/users/{user_id}" => vec![entities::user(&place)],
        "/users/{user_id}/orders" | "/v1/users/{user_id}/orders" => vec![entities::orders_of_user(&place)],
        "/orders" | "/v1/orders" => vec![entities::place_order(&place)],
        "/orders/{order_id}" | "/v1/orders/{order_id}" => vec![entities::order(&place)],
        other => vec![health::or_about(other, &place)?],
    };
    let tag = place.behind_ingress.then_some(BEHIND_INGRESS);
    Some(operations.into_iter().map(|operation| operation.described(&place, tag)).collect())
}
