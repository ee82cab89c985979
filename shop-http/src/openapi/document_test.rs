//! The document against the routes, in every dialect.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use shop_core::Purchase;
use shop_core::memory::{InMemoryLog, InMemoryOrders, InMemoryStore, InMemoryUsers};
use shop_core::record::Record as _;

use super::{Part, document};
use crate::auth::Policy;
use crate::dialect::{Dialect, INGRESS_PREFIXES};
use crate::options::HttpOptions;
use crate::routes::docs_routes::with_docs;
use crate::routes::groups::RouteGroup;
use crate::routes::path_router::Routes;
use crate::routes::services::routes;
use crate::service::Service;
use crate::service::entity_role::{OrdersRole, UsersRole};
use crate::service::parts::{DeadLetterLog, Facing};
use crate::service_kind::ServiceKind;

fn service(kind: ServiceKind, dialect: &str, has_purchases: bool) -> Arc<Service> {
    let options = HttpOptions { dialect: Dialect::from_name(dialect).unwrap(), ..HttpOptions::default() };
    let facing = Facing::new(Arc::new(InMemoryLog::default().sink()), Arc::new(InMemoryStore::new()));
    let mut parts = if has_purchases { facing } else { Facing::default() };
    parts.users = Some(UsersRole::new(Arc::new(InMemoryUsers::new())));
    parts.orders = Some(OrdersRole::new(Arc::new(InMemoryOrders::new())));
    let log = Arc::new(InMemoryLog::default());
    parts.dead_letters = vec![DeadLetterLog::new("purchases", Purchase::TYPE, log)];
    Arc::new(Service::new(kind, parts, options, Policy::default(), RouteGroup::ALL.into()))
}

/// Every service in every dialect, with its routes and its documents.
fn all() -> Vec<(String, Routes, Vec<Value>)> {
    let dialects =
        ["default", "scalable-shop", "user-buy-list", "ecommerce", "purchase-tracking", "shopping-system"];
    let of = |role: ServiceKind, name: &str, has_purchases: bool| {
        let service = service(role, name, has_purchases);
        let routes = with_docs(routes(&service), &service);
        let parts = Part::all(&service, routes.paths()).into_iter();
        let documents = parts.map(|part| document(&service, routes.paths(), part)).collect();
        (format!("{role:?} {name} {has_purchases}"), routes, documents)
    };
    let with_purchases = dialects
        .iter()
        .flat_map(|name| [of(ServiceKind::Facing, name, true), of(ServiceKind::Management, name, true)]);
    with_purchases.chain([of(ServiceKind::Management, "default", false)]).collect()
}

/// Every operation of a document, by its path and its method.
fn operations(document: &Value) -> impl Iterator<Item = (String, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths.flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter();
        methods.map(move |(method, operation)| (format!("{method} {path}"), operation))
    })
}

/// Every document, with its title.
fn each() -> impl Iterator<Item = (String, Value)> {
    all().into_iter().flat_map(|(name, _, documents)| {
        documents.into_iter().map(move |document| (format!("{name} {}", document["info"]["title"]), document))
    })
}

fn paths(document: &Value) -> impl Iterator<Item = &String> {
    document["paths"].as_object().unwrap().keys()
}

#[test]
fn every_route_is_documented_without_the_prefixes_of_the_ingress() {
    for (name, routes, documents) in all() {
        let documented: BTreeSet<&str> = documents.iter().flat_map(paths).map(String::as_str).collect();
        let routed = routes.paths().iter().map(|path| {
            let rest = INGRESS_PREFIXES.iter().find_map(|prefix| path.strip_prefix(prefix));
            rest.map_or(path.as_str(), |rest| if rest.is_empty() { "/" } else { rest })
        });
        assert_eq!(documented, routed.collect(), "{name}");
        for account in
            ["/users", "/users/{user_id}", "/users/{user_id}/orders", "/orders", "/orders/{order_id}"]
        {
            assert!(documented.contains(account), "{name}: {account}");
        }
    }
}

#[test]
fn the_native_api_has_a_document_of_its_own() {
    for (name, _, documents) in all() {
        let (native, dialects) = documents.split_first().unwrap();
        let is_native = |path: &String| path.starts_with("/v1/");
        let is_alone = !["ecommerce", "shopping-system"].iter().any(|system| name.contains(system));
        assert_eq!(paths(native).all(is_native), is_alone, "{name}: the system had a document");
        assert!(paths(native).filter(|path| is_native(path)).count() > 4, "{name}");
        assert!(!dialects.iter().flat_map(paths).any(is_native), "{name}");
    }
}

#[test]
fn every_operation_is_complete() {
    for (name, document) in each() {
        let mut ids = BTreeMap::new();
        for (at, operation) in operations(&document) {
            let at = format!("{name} {at}");
            let id = operation["operationId"].as_str().unwrap();
            assert_eq!(ids.insert(id, at.clone()), None, "{id}");
            assert!(operation["summary"].is_string() && operation["tags"][0].is_string(), "{at}");
            let responses = operation["responses"].as_object().unwrap();
            let has = |status: &str| assert!(responses.contains_key(status), "{at}: {status}");
            ["414", "431", "500"].into_iter().for_each(has);
            assert!(responses.keys().any(|status| status.starts_with(['2', '3'])), "{at}");
            for (status, response) in responses {
                assert!(!response["description"].as_str().unwrap().is_empty(), "{at} {status}");
            }
            let body = &operation["requestBody"]["content"]["application/json"];
            if at.ends_with(":batch") {
                // Keys, conflicts and what the backend does not support are those of each purchase.
                ["400", "408", "413", "415", "422", "503"].into_iter().for_each(has);
                assert!(body["example"].is_array(), "{at}");
                assert!(operation["requestBody"]["content"]["application/x-ndjson"].is_object(), "{at}");
            } else if at.contains("/dead-letters:") {
                ["400", "408", "413", "415", "422", "503"].into_iter().for_each(has);
                assert!(body["example"].is_object(), "{at}");
            } else if at.contains("post ") {
                ["408", "409", "413", "501", "503"].into_iter().for_each(has);
                assert_eq!(operation["parameters"][0]["name"], "Idempotency-Key", "{at}");
                assert!(body["example"].is_object(), "{at}");
            }
        }
    }
}

#[test]
fn what_is_referred_to_is_there() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    for (name, document) in each() {
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let target = document.pointer(reference.strip_prefix('#').unwrap());
            assert!(target.is_some(), "{name}: {reference}");
        }
        let ids: Vec<&Value> =
            operations(&document).map(|(_, operation)| &operation["operationId"]).collect();
        let responses =
            operations(&document).flat_map(|(_, operation)| operation["responses"].as_object().unwrap());
        let links = responses.filter_map(|(_, response)| response["links"].as_object()).flatten();
        let targets: Vec<_> = links.map(|(_, link)| &link["operationId"]).collect();
        assert!(targets.iter().all(|target| ids.contains(target)), "{name}: {targets:?}");
        let is_native = paths(&document).any(|path| path == "/v1/purchases" || path == "/v1/users");
        assert!(!is_native || !targets.is_empty(), "{name}");
    }
}
