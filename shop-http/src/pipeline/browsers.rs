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
use crate::routes::groups::{Listener, is_native_path};
use crate::service::{self, ServiceKind};

/// The header in which a browser says whether a request comes from a page of the same origin, of
/// the same site, or of another site.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// The header that keeps pages of other origins from embedding a response, whatever CORS allows
/// their scripts to read.
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
/// The names of the headers in which a browser describes where a request comes from begin with this.
const FETCH_METADATA_PREFIX: &str = "sec-fetch-";
/// The default of `Cache-Control`: nobody stores a response unless its handler allows that.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// The headers of browser security, which a response to a browser gets unless its handler set them.
static SECURITY_HEADERS: [(HeaderName, HeaderValue); 3] = [
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
    /// The headers of responses to browsers: those of browser security, and those of CORS that do
    /// not depend on the origin.
    browser_headers: Vec<(HeaderName, HeaderValue)>,
    /// The allowed origin, if it is the same for all requests: `*`.
    constant_origin: Option<HeaderValue>,
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

/// What the head of a request says about the headers for browsers that its response needs.
pub(crate) struct RequestOrigin {
    /// Whether a browser sent the request: it has the header `Origin`, or one of `Sec-Fetch-*`.
    is_browser: bool,
    /// Whether the path belongs to the native API. On other paths, every client gets
    /// `Access-Control-Allow-Origin`.
    is_native_path: bool,
    /// The headers of CORS for the origin of the request, or `None` if the request names no origin.
    /// Boxed, because most requests name none.
    cors_headers: Option<Box<HeaderMap>>,
}

impl Browsers {
    /// Creates the rules of `service` for browsers.
    ///
    /// `authenticates` says whether some routes of the service need credentials.
    ///
    /// Only facing supports CORS, because the pages of shops buy there. Its admin listener does not,
    /// because only probes and operators use it. Without authentication, a page that may buy could
    /// also refund, so refunds are protected separately.
    pub(crate) fn new(service: &service::Service, authenticates: bool) -> Self {
        let has_cors = service.kind == ServiceKind::Facing && service.listener != Listener::Admin;
        let cors = has_cors.then(|| cors_layer(&service.options.cors, authenticates));

        let mut browser_headers = SECURITY_HEADERS.to_vec();
        let mut constant_origin = None;
        if let Some(cors) = &cors {
            // The headers for a request without an origin do not depend on the origin.
            let constant_headers = cors_headers(cors, &Request::default());
            constant_origin = constant_headers
                .get(header::ACCESS_CONTROL_ALLOW_ORIGIN)
                .cloned();
            let owned_headers = constant_headers
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()));
            browser_headers.extend(owned_headers);
        }

        let is_anonymous = !authenticates && service.policy.authorize.is_none();
        Self {
            cors,
            browser_headers,
            constant_origin,
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
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, NO_STORE);
        headers.extend(SECURITY_HEADERS.clone());
        Some(response)
    }

    /// Returns where `request` comes from, for [`add_headers`](Self::add_headers).
    pub(crate) fn origin_of(&self, request: &Request) -> RequestOrigin {
        let headers = request.headers();
        let has_origin = headers.contains_key(header::ORIGIN);
        let is_browser = has_origin
            || headers
                .keys()
                .any(|name| name.as_str().starts_with(FETCH_METADATA_PREFIX));

        let cors_headers = match &self.cors {
            Some(cors) if has_origin => Some(Box::new(cors_headers(cors, request))),
            _ => None,
        };
        RequestOrigin {
            is_browser,
            is_native_path: is_native_path(request.uri().path()),
            cors_headers,
        }
    }

    /// Refuses a write by a page of a foreign origin, or marks the write with [`ForeignOrigin`] if
    /// its origin may buy but not refund.
    ///
    /// # Errors
    /// 403 if the service does not allow the origin to write.
    pub(crate) fn check(&self, request: &mut Request) -> HttpResult<()> {
        let headers = request.headers();
        let may_be_browser =
            headers.contains_key(SEC_FETCH_SITE) || headers.contains_key(header::ORIGIN);
        if !may_be_browser {
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

    /// Adds `Cache-Control` to `response`, and the headers for browsers if a browser may show the
    /// response. A header that the handler set takes precedence, except that `Vary` then has two
    /// values.
    ///
    /// A browser that navigates to a document names no origin, and over plain HTTP sends no
    /// `Sec-Fetch-*` either. So an HTML response always gets the headers for browsers. A response that
    /// a cache may store always gets them as well, because a shared cache may give a browser the
    /// response to a program. Other responses are not stored, and need no `Vary`.
    pub(crate) fn add_headers(&self, response: &mut Response, origin: RequestOrigin) {
        let headers = response.headers_mut();
        let may_be_stored = headers.contains_key(header::CACHE_CONTROL);
        if !may_be_stored {
            headers.insert(header::CACHE_CONTROL, NO_STORE);
        }

        if origin.is_browser || may_be_stored || is_html(headers) {
            self.add_browser_headers(headers, origin.cors_headers);
        } else if !origin.is_native_path
            && let Some(constant_origin) = &self.constant_origin
        {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, constant_origin.clone());
        }
    }

    /// Adds the headers for browsers to those of a response, with the `cors_headers` of its request.
    fn add_browser_headers(&self, headers: &mut HeaderMap, cors_headers: Option<Box<HeaderMap>>) {
        headers.reserve(self.browser_headers.len());
        for (name, value) in &self.browser_headers {
            if *name == header::VARY {
                headers.append(name, value.clone());
            } else {
                headers.entry(name).or_insert_with(|| value.clone());
            }
        }

        if let Some(mut cors_headers) = cors_headers {
            // The same `Vary` was added above, and `extend` would replace the value of the handler.
            cors_headers.remove(header::VARY);
            headers.extend(*cors_headers);
        }
    }
}

/// Returns whether the response with these headers is a page, which a browser shows.
fn is_html(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|media_type| media_type.as_bytes().starts_with(b"text/html"))
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
    // Without a response of the layer, nothing shows that it allows the request, so it is refused.
    pass_through(protection, request)
        .is_none_or(|response| response.extensions().get::<ProtectionError>().is_some())
}

/// Returns the response of `cors` to `request`.
///
/// For a preflight request, this is the whole response. For any other request, it is an empty response
/// with the headers of CORS.
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
