//! What the handlers of a [`Role`](crate::Role) in another crate are written with.
//!
//! Its items may change in any version. A handler is an async function of its state and a request,
//! and returns an [`HttpResult`]. A [`RouteBuilder`] makes a [`Route`] of it.
//!
//! | a handler | by |
//! |---|---|
//! | reads a request | [`path_parameter`], [`Query`], [`read_body`] and [`Body`], [`idempotency_key`], [`request_context`] |
//! | asks whether the client may do this | [`Caller`], [`Service::check`] |
//! | calls a port | [`within`] |
//! | answers with a path | [`Mount`] |
//! | answers with an error | [`HttpError`], and [`ValidationError`] for each invalid part of a request |

pub use crate::{
    auth::Caller,
    header_names::REPLAYED,
    request::{
        body::read as read_body,
        context::request_context,
        fields::{Body, no_object},
        path_parameter,
        purchase::idempotency_key,
        query::Query,
        strict::line,
    },
    response::{
        HttpError, HttpResult, Location, MemberError, Subject, ValidationError,
        ValidationErrorKind, error::not_found,
    },
    routes::mount::Mount,
    routes::route::{RequestClass, Route, RouteBuilder, RouteSpec},
    service::{Service, within},
};
