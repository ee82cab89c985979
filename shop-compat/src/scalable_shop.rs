//! `scalable-shop`: a service in front of Kafka, and one in front of MongoDB, behind an ingress.
//!
//! | | |
//! |---|---|
//! | system | `scalable-shop` (000) |
//! | always in this form | `/scalable-shop-cm-server`, `/scalable-shop-cm-api`, `/buyList` |
//! | a buy | 200 `{"status":"Ok!","message"}` |
//! | a listing | `{"username","purchases"}` by name, oldest first, prices as text |
//! | an error | `{"status":"Error","message"}` |
//!
//! An invalid request is 400, a log or a store that is unavailable 503. An unreadable timestamp is
//! replaced by the time of receipt. `/buyList/{username}` returns `"status":"Ok!"` in place of the
//! name. Management does not list the purchases of all users, and pages of other origins may not
//! call facing by default.

use serde_json::json;
use shop_core::ports::ListOrder;
use shop_http::RouteGroup::Docs;
use shop_http::axum::http::StatusCode;
use shop_http::axum::response::Response;
use shop_http::toolkit::{
    BuyResponse, HttpError, ListingForm, Outages, PurchaseForm, ReadingRules, Route, Service,
    ShortPathForm, TimestampUse, UserKey, View, error_response, short_path_routes,
};

use crate::dialect::{BASE, Dialect};
use crate::role;

pub(crate) const DIALECT: Dialect = Dialect {
    name: "scalable-shop",
    short_paths: &FORM,
    write_error: Some(write_error),
    allows_all_origins: false,
    ..BASE
};

/// What the system reads, and how it answers.
const FORM: ShortPathForm = ShortPathForm {
    reading: ReadingRules {
        timestamps: TimestampUse::LenientOrReceipt,
        ..ShortPathForm::DEFAULT.reading
    },
    buy_response: BuyResponse {
        status_code: StatusCode::OK,
        status: Some("Ok!"),
        message: "Message successfully sent to Kafka!",
        purchase_members: &[],
    },
    purchase: PurchaseForm {
        price_is_text: true,
        ..ShortPathForm::DEFAULT.purchase
    },
    listing: ListingForm {
        view: View::Owner,
        order: ListOrder::OldestFirst,
        key: Some(UserKey::UserName),
        ..ShortPathForm::DEFAULT.listing
    },
    lists_all_users: false,
    ..ShortPathForm::DEFAULT
};

/// The form of `/buyList/{username}`.
const BUY_LIST_FORM: ShortPathForm = ShortPathForm {
    listing: ListingForm {
        view: View::Status("Ok!"),
        ..FORM.listing
    },
    ..FORM
};

/// The prefixes of paths that an ingress removes.
const INGRESS_PREFIXES: [&str; 2] = ["/scalable-shop-cm-server", "/scalable-shop-cm-api"];

/// Returns the path that an ingress forwards for `path`, or `None` if `path` has no prefix of an
/// ingress.
pub(crate) fn strip_ingress_prefix(path: &str) -> Option<&str> {
    INGRESS_PREFIXES
        .into_iter()
        .find_map(|prefix| role::strip_segments(path, prefix))
}

/// Returns the routes below each of [`INGRESS_PREFIXES`]: the paths of the system, and
/// `other_routes`, except for the documentation.
pub(crate) fn routes(service: &Service, other_routes: &[Route]) -> Vec<Route> {
    let mut unprefixed_routes = short_path_routes(service, &FORM);
    unprefixed_routes.extend(buy_list_route(service));
    unprefixed_routes.extend_from_slice(other_routes);
    unprefixed_routes.retain(|route| route.group != Docs);

    let mut routes = Vec::new();
    for prefix in INGRESS_PREFIXES {
        for route in &unprefixed_routes {
            let prefixed_route = route.below(prefix);
            if route.path == "/" {
                // The page is at the prefix, with and without a slash at its end.
                routes.push(prefixed_route.clone().at(format!("{prefix}/")));
            }
            routes.push(prefixed_route);
        }
    }
    routes
}

/// Returns the route `/buyList/{username}`, or `None` if the service does not have it. Management
/// also serves this route without a prefix.
pub(crate) fn buy_list_route(service: &Service) -> Option<Route> {
    role::buy_list_route(service, &BUY_LIST_FORM)
}

/// Writes an error as `{"status": "Error", "message": text}`.
pub(crate) fn write_error(error: &HttpError) -> Response {
    let (status, text) = Outages::DEFAULT.status_and_text(error, StatusCode::BAD_REQUEST);
    error_response(error, status, json!({"status": "Error", "message": text}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ingress_forwards_what_follows_its_prefix() {
        for (path, forwarded_path) in [
            ("/scalable-shop-cm-server/buy", Some("/buy")),
            ("/scalable-shop-cm-api/api/v1/x", Some("/api/v1/x")),
            ("/scalable-shop-cm-api", Some("")),
            ("/scalable-shop-cm-apis/buy", None),
            ("/buy", None),
        ] {
            assert_eq!(strip_ingress_prefix(path), forwarded_path, "{path}");
        }
    }
}
