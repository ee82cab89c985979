//! What the table says about a request.

use std::sync::Arc;

use axum::extract::{FromRequestParts, NestedPath, RawPathParams, Request};
use axum::http::Extensions;
use axum::http::request::Parts;

use crate::auth::{Caller, Principal, Trail};
use crate::compat::{Dialect, RequestDialect};
use crate::permits::RequestPermit;
use crate::request::PathText;
use crate::response::{HttpError, HttpResult};
use crate::routes::mount::Mount;
use crate::routes::route::{Access, RequestClass, Route};

/// What is known about a request before its handler. It is the extension that every request has.
#[derive(Clone)]
pub(crate) struct Matched {
    /// `None`: no route has the path.
    pub(crate) route: Option<Arc<Route>>,
    pub(crate) class: RequestClass,
    /// What no endpoint handles is open.
    pub(crate) access: Access,
    pub(crate) dialect: &'static Dialect,
    /// What it has in the access log, if there is one.
    pub(crate) trail: Option<Arc<Trail>>,
    /// The permit of the request, once it is admitted.
    pub(crate) permit: Option<RequestPermit>,
}

impl Matched {
    /// What `route` says about `request`. `configured` is the dialect of paths that no route has.
    pub(crate) fn new(
        request: &Request,
        route: Option<Arc<Route>>,
        configured: &'static Dialect,
    ) -> Self {
        let method = request.method();
        let endpoint = route.as_ref().and_then(|route| route.endpoint(method));
        Self {
            access: endpoint
                .and(route.as_ref())
                .map_or(Access::Open, |route| route.access),
            class: route
                .as_ref()
                .map_or_else(|| RequestClass::of(method), |route| route.class(method)),
            dialect: route.as_ref().map_or_else(
                || Dialect::from_path(request.uri().path(), configured),
                |route| route.dialect,
            ),
            trail: None,
            permit: None,
            route,
        }
    }

    /// That of the request with these extensions.
    pub(crate) fn of(extensions: &Extensions) -> HttpResult<&Self> {
        // Each request has one.
        extensions.get().ok_or(HttpError::PANICKED)
    }
}

/// The template of the prefix of outer routers, without a slash at its end.
pub(crate) fn outer_template(request: &Request) -> &str {
    request
        .extensions()
        .get()
        .map_or("", NestedPath::as_str)
        .trim_end_matches('/')
}

impl RequestPermit {
    /// Returns the permit of the request with these extensions.
    pub(crate) fn of(extensions: &Extensions) -> HttpResult<Self> {
        // Each request that is admitted has one.
        Matched::of(extensions)?
            .permit
            .clone()
            .ok_or(HttpError::PANICKED)
    }
}

impl Caller {
    /// The sender of the request with these extensions.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        let trail = extensions
            .get::<Matched>()
            .and_then(|matched| matched.trail.clone());
        Self::new(
            extensions.get().cloned().unwrap_or(Principal::anonymous()),
            trail,
        )
    }
}

/// Lets handlers have these of a request.
macro_rules! extracted {
    ($($name:ty: $of:expr,)+) => {
        $(impl<S: Send + Sync> FromRequestParts<S> for $name {
            type Rejection = HttpError;

            async fn from_request_parts(parts: &mut Parts, _state: &S) -> HttpResult<Self> {
                let of: fn(&Parts) -> HttpResult<Self> = $of;
                of(parts)
            }
        })+
    };
}

extracted! {
    RequestDialect: |parts| Matched::of(&parts.extensions).map(|matched| Self(matched.dialect)),
    Mount: |parts| Ok(Mount::of(parts).unwrap_or_default()),
    RequestPermit: |parts| RequestPermit::of(&parts.extensions),
    Caller: |parts| Ok(Caller::of(&parts.extensions)),
}

impl<S: Send + Sync> FromRequestParts<S> for PathText {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> HttpResult<Self> {
        let all = RawPathParams::from_request_parts(parts, state).await.ok();
        // Before it are those of outer routers.
        Ok(Self(all.and_then(|all| {
            all.iter().last().map(|(_, text)| text.to_owned())
        })))
    }
}
