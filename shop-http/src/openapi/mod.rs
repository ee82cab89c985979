//! The API as an OpenAPI 3.1 document: made of the routes that there are, and of the dialects that they are
//! answered in, so that what it says of statuses, texts and shapes is what the code says.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

mod accounts;
mod buying;
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

/// The tag of everything that is there a second time, so that it stands last.
const BEHIND_INGRESS: &str = "ingress";

/// What the document says of the service as a whole.
const DESCRIPTION: &str = "\
Purchases are taken, made durable in a log, carried into a store, and listed per user.

* **Repeat a purchase safely** with the header `Idempotency-Key`: the same key of the same user is the same purchase.
* **See what you just bought**: `wait_for` makes a listing wait until that purchase is stored.
* **Money is exact**: prices have up to 8 decimals and keep their scale.

Paths outside of `/v1` are answered as one of the systems that this one replaces, chosen by the path or by the \
setting `SHOP_DIALECT`. Every answer has an `X-Request-Id`. What is no HTTP at all, or has a head of more than \
about 100 kB, is answered with a status alone.";

/// The document of `service`, whose routes stand at `paths`.
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
        "tags": tags(service),
        "paths": described,
        "components": responses::components(dialects.into_values()),
    })
}

fn tags(service: &Service) -> Vec<Value> {
    let purchases = service.purchases.is_some();
    let all = [
        (true, "v1", "Our own API, the same on both services"),
        (purchases, "purchases", "Buying and listing, as the replaced systems do"),
        (service.users.is_some(), "users", "Users, as the replaced system has them"),
        (service.orders.is_some(), "orders", "Orders, as the replaced system has them"),
        (true, "health", "How the service is"),
        (true, "about", "What there is"),
        (purchases, BEHIND_INGRESS, "All of it again, behind the prefixes of scalable-shop's ingress"),
    ];
    let here = all.into_iter().filter(|(is_here, ..)| *is_here);
    here.map(|(_, name, text)| json!({"name": name, "description": text})).collect()
}

/// What stands at `path`, if that is known.
fn described_at(path: &str, service: &Service) -> Option<Value> {
    let place = RouteInfo::new(path, service);
    let operations = match place.naked.as_str() {
        "/buy" => vec![buying::buy(&place)],
        "/purchases" => vec![buying::into_store(&place), listings::for_all_users(&place)],
        "/getAllUserBuys/{who}" | "/purchases/{who}" => vec![listings::for_user(&place)],
        "/buyList/{who}" => vec![listings::buy_list(&place)],
        "/v1/purchases" => vec![v1::buy(&place), v1::purchases(&place)],
        "/v1/purchases/{id}" => vec![v1::purchase(&place)],
        "/v1/summary" => vec![v1::summary(&place)],
        "/users" | "/v1/users" => vec![accounts::register(&place)],
        "/users/{user_id}" | "/v1/users/{user_id}" => vec![accounts::user(&place)],
        "/users/{user_id}/orders" | "/v1/users/{user_id}/orders" => vec![accounts::orders_of_user(&place)],
        "/orders" | "/v1/orders" => vec![accounts::place_order(&place)],
        "/orders/{order_id}" | "/v1/orders/{order_id}" => vec![accounts::order(&place)],
        naked => vec![health::or_about(naked, &place)?],
    };
    let tag = place.behind_ingress.then_some(BEHIND_INGRESS);
    Some(operations.into_iter().map(|operation| operation.described(&place, tag)).collect())
}
