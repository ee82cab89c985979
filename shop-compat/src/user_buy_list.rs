//! `user-buy-list`: an Express service in front of Kafka, and one in front of MongoDB.
//!
//! | | |
//! |---|---|
//! | system | `user-buy-list` (001) |
//! | always in this form | `/api` |
//! | a buy | 201 `{"message","purchase"}` |
//! | a listing | an array by user id, newest first |
//! | an error | `{"error"}` |
//!
//! An invalid request is 400, a log or a store that is unavailable 500. Timestamps of clients are
//! ignored. Values that are falsy in JavaScript count as missing, and the text about missing
//! members names all required ones. `/health` says `ok`, also while a part is unavailable, and
//! `/ready` says whether the service is ready.

use std::sync::Arc;

use serde_json::json;
use shop_http::RouteGroup::{Health, Page};
use shop_http::axum::http::StatusCode;
use shop_http::axum::http::request::Parts;
use shop_http::axum::response::Response;
use shop_http::toolkit::RequestClass::{Operation, Read};
use shop_http::toolkit::{
    BuyResponse, ExtraMembers, HealthForm, HttpError, HttpResult, ListingForm, Outage, Outages,
    PurchaseForm, ReadingRules, Route, RouteBuilder, Service, ShortPathForm, TimestampUse, UserKey,
    ValidationErrorKind, View, check_readiness, error_response, list_paths, respond_to_probe,
    short_path_routes, write_error_text,
};

use crate::dialect::{BASE, Dialect};
use crate::role;

pub(crate) const DIALECT: Dialect = Dialect {
    name: "user-buy-list",
    short_paths: &FORM,
    write_error: Some(write_error),
    health: HealthForm {
        healthy: "ok",
        counts_parts: false,
        reports_store: false,
        ..HealthForm::DEFAULT
    },
    ..BASE
};

/// What the system reads, and how it answers.
const FORM: ShortPathForm = ShortPathForm {
    reading: ReadingRules {
        refuses_falsy: true,
        distinguishes_empty_bodies: false,
        timestamps: TimestampUse::Ignored,
        ..ShortPathForm::DEFAULT.reading
    },
    buy_response: BuyResponse {
        status: None,
        purchase_members: &["purchase"],
        ..ShortPathForm::DEFAULT.buy_response
    },
    purchase: PurchaseForm {
        extras: ExtraMembers::IdAndVersion,
        ..ShortPathForm::DEFAULT.purchase
    },
    listing: ListingForm {
        view: View::List,
        key: Some(UserKey::UserId),
        ..ShortPathForm::DEFAULT.listing
    },
    ..ShortPathForm::DEFAULT
};

/// The form of `/api/buyList/{username}`.
const BUY_LIST_FORM: ShortPathForm = ShortPathForm {
    listing: ListingForm {
        view: View::Status("Ok!"),
        ..FORM.listing
    },
    ..FORM
};

/// The description of a route that the list of paths does not describe.
const NO_DESCRIPTION: &str = "";

/// Returns the routes of `user-buy-list`, which are all below `/api`.
///
/// The probe `/api/healthz` is the route `/healthz` of `native_routes`.
pub(crate) fn routes(service: &Arc<Service>, native_routes: &[Route]) -> Vec<Route> {
    let mut unprefixed_routes = short_path_routes(service, &FORM);
    unprefixed_routes.extend(role::buy_list_route(service, &BUY_LIST_FORM));
    let probe_route = native_routes.iter().find(|route| route.path == "/healthz");
    unprefixed_routes.extend(probe_route.cloned());

    let mut routes: Vec<_> = unprefixed_routes
        .iter()
        .map(|route| route.below("/api"))
        .collect();
    routes.extend(index_routes(service));
    routes
}

/// Returns the routes of the index, a list of the paths of the service. The index is at `/api`, with
/// and without a slash at its end, and needs no authentication.
fn index_routes(service: &Arc<Service>) -> [Route; 2] {
    let index = RouteBuilder(Arc::clone(service))
        .read_uncompressed((Page, "/", Read), NO_DESCRIPTION, list_paths)
        .open();
    [index.below("/api"), index.at("/api/".to_owned())]
}

/// Returns the route `/ready`.
pub(crate) fn readiness_route(service: &Arc<Service>) -> Route {
    let spec = (Health, "/ready", Operation);
    let description = "The same as /-/ready, in the form of user-buy-list";
    RouteBuilder(Arc::clone(service))
        .read_uncompressed(spec, description, report_readiness)
        .open()
}

/// Handles `GET /ready`: reports whether the service is ready for requests.
async fn report_readiness(service: Arc<Service>, _head: Parts) -> HttpResult {
    let readiness = check_readiness(&service).await;
    let mut body = json!({
        "status": if readiness.is_ready { "ready" } else { "not ready" },
        "kafkaReady": readiness.is_log_ready,
    });
    if let Some(is_store_ready) = readiness.is_store_ready {
        body["mongoReady"] = is_store_ready.into();
    }
    respond_to_probe(readiness.is_ready, &body)
}

/// The responses to failures of the log or the store.
const OUTAGES: Outages = Outages {
    failed_publish: Outage::failed("Failed to process purchase"),
    failed_write: Outage::failed("Failed to write purchase"),
    failed_query: Some(Outage::failed("Failed to fetch purchases")),
    failed_read: Some(Outage::failed("Failed to fetch purchases")),
};

/// The text about missing members.
const ALL_REQUIRED: &str = "Missing required fields: username, userid, price";

/// Writes an error as `{"error": text}`.
pub(crate) fn write_error(error: &HttpError) -> Response {
    let mut errors = error.errors().iter();
    let lacks_members = errors.any(|error| error.kind == ValidationErrorKind::Missing);
    // The system treated a body of another media type as an empty body.
    if lacks_members || error.is_unsupported_media_type() {
        return error_response(
            error,
            StatusCode::BAD_REQUEST,
            json!({"error": ALL_REQUIRED}),
        );
    }
    write_error_text(error, &OUTAGES)
}
