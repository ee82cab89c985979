//! The building blocks of the handlers of a [`Role`](crate::Role) in another crate.
//!
//! Its items may change in any version. A handler is an async function of its state and a request,
//! and returns an [`HttpResult`]. A [`RouteBuilder`] makes a [`Route`] of it.
//!
//! | a handler | by |
//! |---|---|
//! | reads a request | [`WriteRequest`], [`path_parameter`], [`Query`], [`read_body`] and [`Body`], [`idempotency_key`], [`request_context`] |
//! | asks whether the client may do this | [`Caller`], [`Service::check`] |
//! | calls a port | [`within`], [`check_readiness`] |
//! | answers with a path | [`Mount`] |
//! | answers with an error | [`HttpError`], and [`ValidationError`] for each invalid part of a request |
//! | answers to a probe | [`respond_to_probe`] |
//!
//! A role that serves purchases in a form of its own describes the form, and uses the handlers of
//! this crate:
//!
//! | what | by |
//! |---|---|
//! | `/buy`, `/getAllUserBuys/{who}`, `/purchases` | [`ShortPathForm`], [`short_path_routes`], [`listing_route`] |
//! | errors | an [`ErrorWriter`], with [`Outages`], [`write_error_text`] and [`error_response`] |
//! | a list of the paths | [`list_paths`] |
//! | `/health` | [`HealthForm`] |
//! | metrics | [`RequestFamily`] |

pub use crate::{
    auth::Caller,
    header_names::REPLAYED,
    metrics::RequestFamily,
    operations::health_form::HealthForm,
    operations::probes::{Readiness, check_readiness, respond_to_probe},
    request::{
        body::read as read_body,
        context::request_context,
        fields::{Body, no_object},
        path::path_parameter,
        purchase::idempotency_key,
        query::Query,
        strict::line,
        write_request::WriteRequest,
    },
    resources::index::describe as list_paths,
    response::{
        ErrorWriter, HttpError, HttpResult, Location, MemberError, Subject, ValidationError,
        ValidationErrorKind, error::not_found,
    },
    routes::mount::Mount,
    routes::route::{RequestClass, Route, RouteBuilder, RouteSpec},
    service::{Service, within},
    short_paths::errors::{Outage, Outages, error_response, write_error_text},
    short_paths::form::{
        BuyResponse, ExtraMembers, ListingForm, PurchaseForm, ReadingRules, ShortPathForm,
        TimestampForm, TimestampUse, UserKey, View,
    },
    short_paths::{listing_route, short_path_routes},
};
