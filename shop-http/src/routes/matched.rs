//! What the table says about a request.

use std::sync::Arc;

use axum::extract::{FromRequestParts, NestedPath, Request};
use axum::http::Extensions;
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;

use crate::auth::{Caller, Principal, Trail};
use crate::compat::{Dialect, RequestDialect};
use crate::request::PathText;
use crate::response::{HttpError, HttpResult};
use crate::routes::mount::Mount;
use crate::routes::route::{Access, Class, Route};
use crate::server::pools::Slot;
use crate::server::rates::Charge;

/// What is known about a request before its handler. It is the extension that every request has.
#[derive(Clone)]
pub(crate) struct Matched {
    /// `None`: no route has the path.
    pub(crate) route: Option<Arc<Route>>,
    pub(crate) class: Class,
    /// What no endpoint handles is open.
    pub(crate) access: Access,
    pub(crate) dialect: &'static Dialect,
    /// The parameter of the path, as it was sent.
    parameter: Option<Box<str>>,
    pub(crate) mount: Mount,
    /// What it has in the access log, if there is one.
    pub(crate) trail: Option<Arc<Trail>>,
    /// Its place among the others, once it is admitted.
    pub(crate) slot: Option<Slot>,
    /// What a batch counts as, if there is a rate of writes.
    pub(crate) charge: Option<Charge>,
}

impl Matched {
    /// Finds `request` in `routes`. `configured` is the dialect of paths that no route has.
    pub(crate) fn new(
        request: &Request,
        routes: &matchit::Router<Arc<Route>>,
        configured: &'static Dialect,
    ) -> Self {
        let (path, method) = (request.uri().path(), request.method());
        let found = routes.at(path).ok();
        let route = found.as_ref().map(|found| Arc::clone(found.value));
        let endpoint = route.as_ref().and_then(|route| route.endpoint(method));
        Self {
            access: endpoint.and(route.as_ref()).map_or(Access::Open, |route| route.access),
            class: route.as_ref().map_or_else(|| Class::of(method), |route| route.class(method)),
            dialect: route
                .as_ref()
                .map_or_else(|| Dialect::from_path(path, configured), |route| route.dialect),
            parameter: found.and_then(|found| found.params.iter().next().map(|(_, text)| text.into())),
            mount: Mount::of(request).unwrap_or_default(),
            trail: None,
            slot: None,
            charge: None,
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
    request.extensions().get().map_or("", NestedPath::as_str).trim_end_matches('/')
}

impl Slot {
    /// The slot of the request with these extensions.
    pub(crate) fn of(extensions: &Extensions) -> HttpResult<Self> {
        // Each request that is admitted has one.
        Matched::of(extensions)?.slot.clone().ok_or(HttpError::PANICKED)
    }
}

impl Caller {
    /// The sender of the request with these extensions.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        let trail = extensions.get::<Matched>().and_then(|matched| matched.trail.clone());
        Self::new(extensions.get().cloned().unwrap_or(Principal::anonymous()), trail)
    }
}

/// Lets handlers have these of a request.
macro_rules! extracted {
    ($($name:ty: $of:expr,)+) => {
        $(impl<S: Send + Sync> FromRequestParts<S> for $name {
            type Rejection = HttpError;

            async fn from_request_parts(parts: &mut Parts, _state: &S) -> HttpResult<Self> {
                let of: fn(&Extensions) -> HttpResult<Self> = $of;
                of(&parts.extensions)
            }
        })+
    };
}

extracted! {
    RequestDialect: |extensions| Matched::of(extensions).map(|matched| Self(matched.dialect)),
    Mount: |extensions| Matched::of(extensions).map(|matched| matched.mount.clone()),
    Slot: Slot::of,
    Caller: |extensions| Ok(Caller::of(extensions)),
    PathText: |extensions| {
        let sent = Matched::of(extensions)?.parameter.as_deref().unwrap_or_default();
        Ok(Self(percent_decode_str(sent).decode_utf8().ok().map(Into::into)))
    },
}
