//! The operations that list purchases outside of `/v1`.

use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::{Value, json};
use shop_core::ports::Summary;

use super::operation::Operation;
use super::responses::{ResponseDoc, no_answer, too_busy};
use super::route_info::RouteInfo;
use super::schemas::listing;
use super::{example, parameters};
use crate::dialect::{By, PathMatch, View};
use crate::response;
use crate::response::failure::{Failure, Subject};
use crate::response::listing::Envelope;

const LINKS: &str = "Of a page: the next one, with `rel=\"next\"`. Where a user's id is also a user name: the purchases \
                     of that name, with `rel=\"alternate\"`";

/// `GET /getAllUserBuys/{who}`, `GET /purchases/{who}`.
pub(super) fn for_user(place: &RouteInfo<'_>) -> Operation {
    of_user_in(place, place.dialect.listing.view)
}

/// `GET /buyList/{who}`.
pub(super) fn buy_list(place: &RouteInfo<'_>) -> Operation {
    of_user_in(place, View::Status)
}

fn of_user_in(place: &RouteInfo<'_>, view: View) -> Operation {
    let form = place.dialect.listing;
    let summary = match form.path_match {
        PathMatch::Either => "A user's purchases, by id or by name; `X-Found-By` has which of them",
        _ => "A user's purchases",
    };
    let mut operation = listing_in(place, view, form.nothing, summary, form.cap);
    operation.parameters.extend([parameters::who(form.path_match), parameters::by()]);
    operation
}

/// `GET /purchases`.
pub(super) fn for_all_users(place: &RouteInfo<'_>) -> Operation {
    let summary = "All users' purchases, the newest 500 by default";
    listing_in(place, View::List, StatusCode::OK, summary, None)
}

fn listing_in(
    place: &RouteInfo<'_>,
    view: View,
    nothing: StatusCode,
    summary: &'static str,
    cap: Option<u16>,
) -> Operation {
    // The parameter `view` selects any of them.
    let mut views = vec![view, View::Summary, View::List, View::Owner];
    views.dedup();
    let views: Vec<_> = views.into_iter().map(|view| listing(view, place.dialect.item)).collect();
    let schema = json!({"anyOf": views});
    let found = ResponseDoc::json(StatusCode::OK, "The listing", schema.clone())
        .with_example(shown(place, view))
        .with_header("Link", LINKS)
        .with_header("X-Found-By", "`userid` or `username`, where the text in the path can be either")
        .with_header("X-Purchase-Pending", "`true` when the awaited purchase is not stored yet");
    let mut own = vec![found];
    if nothing != StatusCode::OK {
        own.push(ResponseDoc::json(nothing, "No purchases: an empty listing", schema));
    }
    let mut failures = vec![
        Failure::field("limit", "must be a whole number from 1 to 1000"),
        Failure::field("cursor", "does not belong to this listing; omit it to start over"),
        Failure::NoRoute,
    ];
    failures.extend(no_answer(Subject::Purchase(place.role)));
    failures.extend(too_busy(place, false));
    let length = match cap {
        Some(cap) => format!("At most {cap} purchases without `limit`."),
        None => "All purchases without `limit` and `cursor`; a page with either.".to_owned(),
    };
    let mut asked = vec![parameters::view()];
    asked.extend(parameters::paging().into_iter().chain(parameters::waiting()));
    Operation {
        tag: "purchases",
        summary,
        description: Some(length),
        parameters: asked,
        own,
        failures,
        ..Operation::default()
    }
}

fn shown(place: &RouteInfo<'_>, view: View) -> Option<Value> {
    let form = place.dialect.listing;
    let found = if form.path_match == PathMatch::UserName { By::UserName } else { By::UserId };
    let who = if found == By::UserName { "ada" } else { "u1" }.to_owned();
    let envelope =
        Envelope { view, item: place.dialect.item, who, asked: found, found: Some(found), alternate: None };
    let total = "29.99".parse().ok()?;
    let body = response::listing::page_body(&envelope, &example::page(), Summary::new(1, total)).ok()?;
    example::shown(body.into_response())
}
