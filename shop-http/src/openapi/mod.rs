//! The API as an OpenAPI 3.1 document: made of the routes that there are, and of the dialects that they are
//! answered in, so that what it says of statuses, texts and shapes is what the code says.

use std::collections::BTreeMap;

use utoipa::openapi::path::{HttpMethod, OperationBuilder, PathItem, PathItemBuilder, PathsBuilder};
use utoipa::openapi::tag::{Tag, TagBuilder};
use utoipa::openapi::{InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder};

mod accounts;
mod answers;
mod buying;
mod example;
mod health;
mod listings;
mod parameters;
mod schemas;
mod v1;
mod whereabouts;

#[cfg(test)]
mod document_test;

use whereabouts::Place;

use crate::dialect::Dialect;
use crate::service::Service;
use crate::service_kind::ServiceKind;

/// What can be done at a path.
type Operations = Vec<(HttpMethod, OperationBuilder)>;

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
pub(crate) fn document(service: &Service, paths: &[String]) -> OpenApi {
    let name = match service.kind {
        ServiceKind::Facing => "Purchase tracking: facing",
        ServiceKind::Management => "Purchase tracking: management",
    };
    let mut described = PathsBuilder::new();
    let mut dialects = BTreeMap::new();
    for path in paths {
        let dialect = Dialect::of_path(path, service.options.dialect);
        dialects.insert(dialect.name(), dialect);
        if let Some(item) = described_at(path, service) {
            described = described.path(path.clone(), item);
        }
    }
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title(name)
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(DESCRIPTION))
                .license(Some(
                    LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build(),
                ))
                .build(),
        )
        .tags(Some(tags(service)))
        .paths(described.build())
        .components(Some(answers::components(dialects.into_values())))
        .build()
}

fn tags(service: &Service) -> Vec<Tag> {
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
    let tag = |name: &str, text: &str| TagBuilder::new().name(name).description(Some(text)).build();
    all.into_iter().filter(|(is_here, ..)| *is_here).map(|(_, name, text)| tag(name, text)).collect()
}

/// What stands at `path`, if that is known.
fn described_at(path: &str, service: &Service) -> Option<PathItem> {
    let place = Place::of(path, service);
    let operations = match place.naked.as_str() {
        "/buy" => buying::buy(&place),
        "/purchases" => buying::and_listing_of_everybody(&place),
        "/getAllUserBuys/{who}" | "/purchases/{who}" => listings::of_user(&place),
        "/buyList/{who}" => listings::buy_list(&place),
        "/v1/purchases" => v1::purchases(&place),
        "/v1/purchases/{id}" => v1::purchase(&place),
        "/v1/summary" => v1::summary(&place),
        "/users" | "/v1/users" => accounts::register(&place),
        "/users/{user_id}" | "/v1/users/{user_id}" => accounts::user(&place),
        "/users/{user_id}/orders" | "/v1/users/{user_id}/orders" => accounts::orders_of_user(&place),
        "/orders" | "/v1/orders" => accounts::place_order(&place),
        "/orders/{order_id}" | "/v1/orders/{order_id}" => accounts::order(&place),
        naked => health::or_about(naked, &place)?,
    };
    let mut item = PathItemBuilder::new();
    for (method, operation) in operations {
        let id = place.operation_id(&method);
        let operation = operation.operation_id(Some(id));
        let operation = if place.behind_ingress { operation.tags(Some([BEHIND_INGRESS])) } else { operation };
        item = item.operation(method, operation);
    }
    Some(item.build())
}
