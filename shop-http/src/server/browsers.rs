//! The headers for browsers: which pages may read and write, and the defaults of their security.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::time::Duration;

use axum::extract::Request;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::response::Response;
use futures_util::FutureExt;
use tower::util::ServiceFn;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, CorsLayer};
use tower_http::csrf::{CsrfLayer, ProtectionError};

use crate::header_names::{
    CORRELATION_ID, FOUND_BY, IDEMPOTENCY_KEY, PENDING, PURCHASE_ID, REPLAYED, REQUEST_ID,
};
use crate::options::CorsOrigins;
use crate::permits::rates::{RATE_LIMIT, RATE_LIMIT_POLICY};
use crate::response::{HttpError, HttpResult};
use crate::routes::groups::Listener;
use crate::service::{self, ServiceKind};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Pages of other origins may not embed a response, whatever CORS allows their scripts to read.
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
/// The headers of browsers' security, in responses that do not have them.
static DEFAULTS: [(HeaderName, HeaderValue); 4] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    ),
    (RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
];
/// How long a browser remembers what it may send: Chromium's maximum.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(7_200);

/// The rules for browsers of one service. Programs send no headers that these read.
pub(crate) struct Browsers {
    /// On facing.
    cors: Option<CorsLayer>,
    /// What all responses have: the defaults, and the headers of CORS.
    constant: HeaderMap,
    /// Refuses writes by pages of other origins than the service's and those that CORS allows.
    protection: Option<CsrfLayer>,
    /// Marks writes by pages of other origins with [`ForeignOrigin`]. On facing without
    /// authentication.
    refund_protection: Option<CsrfLayer>,
}

/// The mark of a request by a page of another origin that may buy, and not refund: nothing says who
/// sends it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ForeignOrigin;

impl ForeignOrigin {
    /// Refuses a request that has the mark, which is in its extensions.
    pub(crate) fn refuse(extensions: &Extensions) -> HttpResult<()> {
        match extensions.get::<Self>() {
            Some(Self) => Err(HttpError::FOREIGN_ORIGIN),
            None => Ok(()),
        }
    }
}

impl Browsers {
    /// `authenticates` says whether some routes need credentials.
    pub(crate) fn new(service: &service::Service, authenticates: bool) -> Self {
        let has_cors = service.kind == ServiceKind::Facing && service.listener != Listener::Admin;
        let cors = has_cors.then(|| cors(&service.options.cors, authenticates));
        // With room for those of a response.
        let mut constant = HeaderMap::with_capacity(24);
        constant.extend(DEFAULTS.clone());
        if let Some(cors) = &cors {
            constant.extend(of_cors(cors, Request::default()).into_parts().0.headers);
        }
        Self {
            cors,
            constant,
            protection: cross_site_protection(service),
            refund_protection: (has_cors && !authenticates && service.policy.authorize.is_none())
                .then(CsrfLayer::new),
        }
    }

    /// The response to a preflight request.
    pub(crate) fn preflight(&self, request: &Request) -> Option<Response> {
        let cors = self
            .cors
            .as_ref()
            .filter(|_| *request.method() == Method::OPTIONS)?;
        let mut preflight = of_cors(cors, head(request));
        preflight.headers_mut().extend(DEFAULTS.clone());
        Some(preflight)
    }

    /// The headers of CORS for the origin of `request`.
    pub(crate) fn asked(&self, request: &Request) -> HeaderMap {
        let cors = self
            .cors
            .as_ref()
            .filter(|_| request.headers().contains_key(header::ORIGIN));
        cors.map(|cors| of_cors(cors, head(request)).into_parts().0.headers)
            .unwrap_or_default()
    }

    /// Refuses a write by a page of another origin, or marks it.
    pub(crate) fn check(&self, request: &mut Request) -> HttpResult<()> {
        if !request.headers().contains_key(SEC_FETCH_SITE)
            && !request.headers().contains_key(header::ORIGIN)
        {
            return Ok(());
        }
        if is_refused(self.protection.as_ref(), request) {
            return Err(HttpError::FOREIGN_ORIGIN);
        }
        if is_refused(self.refund_protection.as_ref(), request) {
            request.extensions_mut().insert(ForeignOrigin);
        }
        Ok(())
    }

    /// Adds the defaults, and the headers of CORS, with these that it was `asked` for.
    pub(crate) fn add_headers(&self, response: &mut Response, mut asked: HeaderMap) {
        // That is constant, and handlers have others.
        asked.remove(header::VARY);
        let own = std::mem::replace(response.headers_mut(), self.constant.clone());
        let varies = own
            .contains_key(header::VARY)
            .then(|| self.constant.get(header::VARY))
            .flatten();
        let headers = response.headers_mut();
        headers.extend(own);
        headers.extend(asked);
        if let Some(origin) = varies {
            headers.append(header::VARY, origin.clone());
        }
    }
}

/// The response of `layer` around a service that responds with nothing; `None` if it waits, which
/// it does not.
fn passed<L, S>(layer: &L, request: Request) -> Option<Response>
where
    L: Layer<Nothing, Service = S>,
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let nothing: Nothing = service_fn(|_request| ready(Ok(Response::default())));
    layer.layer(nothing).oneshot(request).now_or_never()?.ok()
}

/// Whether `protection` refuses a request, as one by a page of another origin.
fn is_refused(protection: Option<&CsrfLayer>, request: &Request) -> bool {
    protection.is_some_and(|protection| {
        let passed = passed(protection, head(request));
        passed.is_none_or(|passed| passed.extensions().get::<ProtectionError>().is_some())
    })
}

fn of_cors(cors: &CorsLayer, request: Request) -> Response {
    passed(cors, request).unwrap_or_default()
}

type Nothing = ServiceFn<fn(Request) -> Ready<Result<Response, Infallible>>>;

/// The head of `request`.
fn head(request: &Request) -> Request {
    let mut head = Request::default();
    *head.method_mut() = request.method().clone();
    *head.uri_mut() = request.uri().clone();
    *head.headers_mut() = request.headers().clone();
    head
}

/// The site responds to a refused request in its dialect.
fn cross_site_protection(service: &service::Service) -> Option<CsrfLayer> {
    let trusted = match (service.kind, &service.options.cors) {
        (ServiceKind::Facing, CorsOrigins::Any) => return None,
        (ServiceKind::Facing, CorsOrigins::List(origins)) => &origins[..],
        (ServiceKind::Management, _) => &[],
    };
    let trusted = trusted.iter().filter_map(|origin| origin.to_str().ok());
    Some(trusted.fold(CsrfLayer::new(), |layer, origin| {
        // What is not an origin is never sent as one.
        layer.clone().add_trusted_origin(origin).unwrap_or(layer)
    }))
}

fn cors(origins: &CorsOrigins, authenticates: bool) -> CorsLayer {
    let origins = match origins {
        CorsOrigins::Any => AllowOrigin::from(Any),
        CorsOrigins::List(origins) => AllowOrigin::list(origins.iter().cloned()),
    };
    // `*` does not include `Authorization`.
    let headers = if authenticates {
        AllowHeaders::mirror_request()
    } else {
        AllowHeaders::from(Any)
    };
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods(Any)
        .allow_headers(headers)
        .max_age(PREFLIGHT_MAX_AGE)
        .expose_headers([
            PURCHASE_ID,
            PENDING,
            REQUEST_ID,
            CORRELATION_ID,
            IDEMPOTENCY_KEY,
            REPLAYED,
            FOUND_BY,
            header::LINK,
            header::LOCATION,
            header::RETRY_AFTER,
            RATE_LIMIT,
            RATE_LIMIT_POLICY,
        ])
}
