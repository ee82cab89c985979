//! The rules for browsers: which pages may send requests, and the headers that protect responses.
//!
//! [`Browsers`] answers preflight requests, refuses writes by pages of foreign origins, and adds
//! the headers of CORS and of browser security to responses. The rules themselves are the layers of
//! `tower_http`. They decide by the head of a request alone, so a copy of the head is passed
//! through them, and the request itself stays with the pipeline.
//!
//! Programs other than browsers do not send the headers that these rules read.

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

/// The header in which a browser says whether a request comes from a page of the same origin, of
/// the same site, or of another site.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// The header that keeps pages of other origins from embedding a response, whatever CORS allows
/// their scripts to read.
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
/// The headers of browser security, which a response gets unless its handler set them.
static DEFAULT_HEADERS: [(HeaderName, HeaderValue); 4] = [
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
/// How long a browser may cache the response to a preflight request. This is the maximum of
/// Chromium.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(7_200);

/// The rules of one service for browsers.
pub(crate) struct Browsers {
    /// The layer that adds the headers of CORS. Only facing uses this layer, and not on its admin
    /// listener.
    cors: Option<CorsLayer>,
    /// The headers of all responses: the defaults, and the headers of CORS without an origin.
    constant_headers: HeaderMap,
    /// The layer that refuses writes by pages of foreign origins: neither the origin of the service
    /// nor an origin that CORS allows. `None` on facing if CORS allows all origins.
    write_protection: Option<CsrfLayer>,
    /// The layer that detects writes by pages of any other origin, which are marked with
    /// [`ForeignOrigin`]. Only facing uses this layer, if neither authentication nor a policy
    /// decides who may refund.
    refund_protection: Option<CsrfLayer>,
}

/// The mark of a request by a page of another origin that may buy but not refund, because nothing
/// says who sends the request.
#[derive(Clone)]
pub(crate) struct ForeignOrigin;

impl ForeignOrigin {
    /// Refuses a request whose `extensions` contain this mark.
    ///
    /// # Errors
    /// 403 if the request carries the mark.
    pub(crate) fn refuse(extensions: &Extensions) -> HttpResult<()> {
        if extensions.get::<Self>().is_some() {
            return Err(HttpError::FOREIGN_ORIGIN);
        }
        Ok(())
    }
}

impl Browsers {
    /// Creates the rules of `service` for browsers.
    ///
    /// `authenticates` says whether some of its routes need credentials.
    ///
    /// Only facing supports CORS, because pages of shops buy there; probes and operators use the
    /// admin listener. Where authentication is not required, a page that may buy could also refund,
    /// so refunds are protected separately.
    pub(crate) fn new(service: &service::Service, authenticates: bool) -> Self {
        let has_cors = service.kind == ServiceKind::Facing && service.listener != Listener::Admin;
        let cors = has_cors.then(|| cors_layer(&service.options.cors, authenticates));

        // The capacity leaves room for the headers of the response that each copy is merged with.
        let mut constant_headers = HeaderMap::with_capacity(24);
        constant_headers.extend(DEFAULT_HEADERS.clone());
        if let Some(cors) = &cors {
            constant_headers.extend(cors_headers(cors, &Request::default()));
        }

        let is_anonymous = !authenticates && service.policy.authorize.is_none();
        Self {
            cors,
            constant_headers,
            write_protection: write_protection(service),
            refund_protection: (has_cors && is_anonymous).then(CsrfLayer::new),
        }
    }

    /// Returns the response to `request` if it is a preflight request and the service supports
    /// CORS.
    pub(crate) fn preflight(&self, request: &Request) -> Option<Response> {
        let cors = self.cors.as_ref()?;
        if *request.method() != Method::OPTIONS {
            return None;
        }

        let mut response = cors_response(cors, request);
        response.headers_mut().extend(DEFAULT_HEADERS.clone());
        Some(response)
    }

    /// Returns the headers of CORS for the origin of `request`, or none if the request names no
    /// origin.
    pub(crate) fn asked(&self, request: &Request) -> HeaderMap {
        match &self.cors {
            Some(cors) if request.headers().contains_key(header::ORIGIN) => {
                cors_headers(cors, request)
            }
            _ => HeaderMap::default(),
        }
    }

    /// Refuses a write by a page of a foreign origin, or marks the write with [`ForeignOrigin`] if
    /// its origin may buy but not refund.
    ///
    /// # Errors
    /// 403 if the service does not allow the origin to write.
    pub(crate) fn check(&self, request: &mut Request) -> HttpResult<()> {
        let headers = request.headers();
        if !headers.contains_key(SEC_FETCH_SITE) && !headers.contains_key(header::ORIGIN) {
            return Ok(());
        }

        if is_refused(self.write_protection.as_ref(), request) {
            return Err(HttpError::FOREIGN_ORIGIN);
        }
        if is_refused(self.refund_protection.as_ref(), request) {
            request.extensions_mut().insert(ForeignOrigin);
        }
        Ok(())
    }

    /// Adds the constant headers and `cors_headers`, which [`asked`](Self::asked) returned for the
    /// request, to `response`.
    ///
    /// The headers of the response take precedence over the constant ones, except that `Vary` names
    /// the headers of both.
    pub(crate) fn add_headers(&self, response: &mut Response, mut cors_headers: HeaderMap) {
        // The constant headers contain the same value, and `extend` would replace a handler's.
        cors_headers.remove(header::VARY);

        let headers = response.headers_mut();
        let handler_headers = std::mem::replace(headers, self.constant_headers.clone());
        let has_vary = handler_headers.contains_key(header::VARY);
        headers.extend(handler_headers);
        headers.extend(cors_headers);

        // The handler's `Vary` replaced the constant one.
        if has_vary && let Some(vary) = self.constant_headers.get(header::VARY) {
            headers.append(header::VARY, vary.clone());
        }
    }
}

/// A service that responds to every request with an empty response.
type EmptyService = ServiceFn<fn(Request) -> Ready<Result<Response, Infallible>>>;

/// Passes a copy of the head of `request` through `layer`, around an [`EmptyService`].
///
/// Returns the response, or `None` if the layer waits, which no layer of this module does.
fn pass_through<L>(layer: &L, request: &Request) -> Option<Response>
where
    L: Layer<EmptyService, Service: Service<Request, Response = Response, Error = Infallible>>,
{
    let mut head: Request = Request::default();
    *head.method_mut() = request.method().clone();
    *head.uri_mut() = request.uri().clone();
    *head.headers_mut() = request.headers().clone();

    let empty_service: EmptyService = service_fn(|_request| ready(Ok(Response::default())));
    let response_future = layer.layer(empty_service).oneshot(head);
    response_future.now_or_never()?.ok()
}

/// Returns whether `protection` refuses `request` as a write by a page of a foreign origin.
fn is_refused(protection: Option<&CsrfLayer>, request: &Request) -> bool {
    let Some(protection) = protection else {
        return false;
    };
    // Without a response, nothing shows that the layer allows the request.
    pass_through(protection, request)
        .is_none_or(|response| response.extensions().get::<ProtectionError>().is_some())
}

/// Returns the response of `cors` to `request`.
///
/// If the request is a preflight request, this is the whole response. Otherwise, it is an empty
/// response with the headers of CORS.
fn cors_response(cors: &CorsLayer, request: &Request) -> Response {
    pass_through(cors, request).unwrap_or_default()
}

/// Returns the headers of CORS in the response to `request`.
fn cors_headers(cors: &CorsLayer, request: &Request) -> HeaderMap {
    cors_response(cors, request).into_parts().0.headers
}

/// Creates the layer that refuses writes by pages of foreign origins, or returns `None` on facing
/// if CORS allows all origins.
///
/// The layer only decides. The pipeline writes the refusal in the form of the route.
fn write_protection(service: &service::Service) -> Option<CsrfLayer> {
    let trusted_origins = match (service.kind, &service.options.cors) {
        (ServiceKind::Facing, CorsOrigins::Any) => return None,
        (ServiceKind::Facing, CorsOrigins::List(origins)) => &origins[..],
        (ServiceKind::Management, _) => &[],
    };

    let mut protection = CsrfLayer::new();
    for value in trusted_origins {
        // A value that is not an origin is skipped: no browser sends such a value.
        if let Ok(origin) = value.to_str()
            && let Ok(extended) = protection.clone().add_trusted_origin(origin)
        {
            protection = extended;
        }
    }
    Some(protection)
}

/// Creates the layer that allows pages of `origins` to send requests and to read the responses.
fn cors_layer(origins: &CorsOrigins, authenticates: bool) -> CorsLayer {
    let allowed_origins = match origins {
        CorsOrigins::Any => AllowOrigin::any(),
        CorsOrigins::List(origins) => AllowOrigin::list(origins.iter().cloned()),
    };
    // To browsers, the wildcard `*` does not include `Authorization`.
    let allowed_headers = if authenticates {
        AllowHeaders::mirror_request()
    } else {
        AllowHeaders::any()
    };

    CorsLayer::new()
        .allow_origin(allowed_origins)
        .allow_methods(Any)
        .allow_headers(allowed_headers)
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
