//! The routes of a service: a path, its handlers, and everything that the pipeline needs to know
//! about the requests for it.

use std::fmt;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{Method, header};
use axum::response::{IntoResponse, Redirect, Response};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use shop_core::RequestContext;
use tower::{Layer, ServiceExt, service_fn};
use tower_http::compression::CompressionLayer;

use crate::metrics::{MetricFamilies, RouteSeries};
use crate::request;
use crate::request::write_request::WriteRequest;
use crate::response::{ErrorWriter, HttpError, HttpResult, RequestKind};
use crate::routes::groups::RouteGroup;
use crate::routes::mount::original_uri;

/// The class of a request: how the request is limited, and which permits it acquires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestClass {
    /// A probe, which is served even at the limit of concurrent requests.
    Probe,
    /// A request that queries servers, or renders all metrics. Such requests wait for each other.
    Operation,
    /// A read.
    Read,
    /// A read that may outlive its token.
    Stream,
    /// A write of one purchase.
    Write,
    /// A write that counts as many purchases.
    Batch,
}

impl RequestClass {
    /// Returns whether requests of this class write.
    pub(crate) const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::Batch)
    }

    /// Returns whether requests of this class read or write.
    pub(crate) const fn kind(self) -> RequestKind {
        if self.writes() {
            RequestKind::Write
        } else {
            RequestKind::Read
        }
    }

    /// Returns the class of a request without a handler.
    pub(crate) fn from_method(method: &Method) -> Self {
        if *method == Method::POST {
            Self::Write
        } else {
            Self::Read
        }
    }
}

/// The requests that reach the handlers of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Requests that authentication accepts.
    Guarded,
    /// Requests that authentication accepts, and requests without a token, whose response is
    /// shorter.
    Partial,
    /// All requests.
    Open,
}

/// A handler together with its state. It is called with a request and what the pipeline knows about
/// the request. The route writes the error that the handler returns.
type RouteHandler = Arc<dyn Fn(WriteRequest) -> BoxFuture<'static, HttpResult> + Send + Sync>;

/// The handler of one method of a route.
#[derive(Clone)]
pub(crate) struct Endpoint {
    /// The method, or `None` for all methods.
    method: Option<Method>,
    class: RequestClass,
    pub(crate) handler: RouteHandler,
    /// The description for the index, which does not list the endpoint if this is empty.
    description: &'static str,
}

/// Builds routes whose handlers receive the state `S`.
///
/// A handler is an async function of this state and of a request. A handler that reads gets only the
/// head of the request, whose extensions contain what the pipeline knows about the request.
#[derive(Debug, Clone)]
pub struct RouteBuilder<S>(pub S);

impl<S: Clone + Send + Sync + 'static> RouteBuilder<S> {
    /// Builds a route for `GET` whose responses are compressed if the client accepts that.
    ///
    /// The handler runs within the context of the request: other services that it calls get the
    /// same request id and trace.
    pub fn read<F: Future<Output = HttpResult> + Send + 'static>(
        &self,
        spec: RouteSpec,
        description: &'static str,
        handler: fn(S, Parts) -> F,
    ) -> Route {
        let state = self.0.clone();
        let service = service_fn(move |request: Request| {
            let (head, _body) = request.into_parts();
            handler(state.clone(), head).boxed()
        });
        let compressed_service = CompressionLayer::new().layer(service);
        let route_handler = move |request: WriteRequest| {
            let context = request::context::request_context(request.headers());
            let responding = compressed_service.clone().oneshot(request.into_request());
            async move {
                let response = match context {
                    Some(context) => {
                        Arc::<RequestContext>::from(context)
                            .scope(responding)
                            .await?
                    }
                    None => responding.await?,
                };
                Ok(response.map(Body::new))
            }
            .boxed()
        };
        Route::new(spec, Arc::new(route_handler), description)
    }

    /// Builds a route for `GET` whose responses are small, or not worth compressing.
    pub fn read_uncompressed<F: Future<Output = HttpResult> + Send + 'static>(
        &self,
        spec: RouteSpec,
        description: &'static str,
        handler: fn(S, Parts) -> F,
    ) -> Route {
        let state = self.0.clone();
        let route_handler = move |request: WriteRequest| {
            let (head, _body) = request.into_request().into_parts();
            handler(state.clone(), head).boxed()
        };
        Route::new(spec, Arc::new(route_handler), description)
    }

    /// Builds a route for `POST`.
    pub fn write<F: Future<Output = HttpResult> + Send + 'static>(
        &self,
        spec: RouteSpec,
        description: &'static str,
        handler: fn(S, WriteRequest) -> F,
    ) -> Route {
        let state = self.0.clone();
        let route_handler = move |request| handler(state.clone(), request).boxed();
        Route::new(spec, Arc::new(route_handler), description)
    }
}

/// The group of a route, its path, and the class of its requests. The method of the requests follows
/// from the class: `POST` if they write, and `GET` if they read.
pub type RouteSpec = (RouteGroup, &'static str, RequestClass);

/// A path, and everything that is known about its requests before they arrive.
#[derive(Clone)]
pub struct Route {
    /// The group that the route belongs to.
    pub group: RouteGroup,
    /// The path below the prefix of outer routers, with at most one parameter. An action may follow
    /// the parameter.
    pub path: String,
    pub(crate) access: Access,
    /// The families of metrics that measure the requests.
    pub(crate) measured: MetricFamilies,
    /// Writes the errors of the requests.
    pub(crate) write_error: ErrorWriter,
    /// The path in the index, if it differs.
    listed_as: Option<&'static str>,
    endpoints: Vec<Endpoint>,
    pub(crate) series: Arc<RouteSeries>,
}

impl Route {
    /// Creates a route with one handler: for `POST` if requests of the class of `spec` write, and for
    /// `GET` if they read.
    ///
    /// Only requests that authentication accepts reach the handler, and its errors are written as
    /// problems (RFC 9457).
    fn new(spec: RouteSpec, handler: RouteHandler, description: &'static str) -> Self {
        let (group, path, class) = spec;
        let method = Some(if class.writes() {
            Method::POST
        } else {
            Method::GET
        });
        Self {
            group,
            path: path.to_owned(),
            access: Access::Guarded,
            measured: MetricFamilies::All,
            write_error: HttpError::problem,
            listed_as: None,
            endpoints: vec![Endpoint {
                method,
                class,
                handler,
                description,
            }],
            series: Arc::default(),
        }
    }

    /// Adds the endpoints of another route for other methods of the same path.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.endpoints.extend(other.endpoints);
        self
    }

    /// Opens this route to all requests.
    #[must_use]
    pub fn open(self) -> Self {
        self.with(Access::Open, MetricFamilies::All)
    }

    /// Sets who reaches this route, and which metrics measure it.
    pub(crate) fn with(self, access: Access, measured: MetricFamilies) -> Self {
        Self {
            access,
            measured,
            ..self
        }
    }

    /// Lists this route under another path in the index.
    #[must_use]
    pub fn listed_as(self, path: &'static str) -> Self {
        Self {
            listed_as: Some(path),
            ..self
        }
    }

    /// Moves this route to another path.
    #[must_use]
    pub fn at(self, path: String) -> Self {
        Self { path, ..self }
    }

    /// Returns a copy of this route whose path begins with `prefix`. The index does not list the
    /// copy.
    #[must_use]
    pub fn below(&self, prefix: &str) -> Self {
        // The root of a prefix ends without a slash.
        let path = if self.path == "/" {
            prefix.to_owned()
        } else {
            format!("{prefix}{}", self.path)
        };
        let mut route = self.clone().at(path);
        // The index leaves out endpoints without a description.
        for endpoint in &mut route.endpoints {
            endpoint.description = "";
        }
        route
    }

    /// Returns the route with a slash at its end, which redirects to this one.
    ///
    /// The client repeats the request there, with the same method and the same body.
    pub fn with_slash(&self) -> Self {
        let spec = (self.group, "", RequestClass::Read);
        let mut route = RouteBuilder(()).read_uncompressed(spec, "", redirect_without_slash);
        route.path = format!("{}/", self.path);
        for endpoint in &mut route.endpoints {
            endpoint.method = None;
        }
        route.open()
    }

    /// Splits the path of an action into the path of its object and the name of the action with its
    /// colon: `/v1/purchases/{id}:refund` becomes `/v1/purchases/{id}` and `:refund`. Returns `None`
    /// if this route is not an action.
    pub(crate) fn split_action(&self) -> Option<(&str, &str)> {
        let parameter_end = self.path.find("}:")? + 1;
        self.path.split_at_checked(parameter_end)
    }

    /// Returns the endpoint for `method`. `HEAD` has the endpoint of `GET`.
    pub(crate) fn endpoint(&self, method: &Method) -> Option<&Endpoint> {
        let method = if *method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        self.endpoints
            .iter()
            .find(|endpoint| match &endpoint.method {
                Some(endpoint_method) => endpoint_method == method,
                // This endpoint is for all methods.
                None => true,
            })
    }

    /// Returns the class of requests with `method`.
    ///
    /// A method without an endpoint gets the class of the other endpoints of the path if they are
    /// probes or operations, so that the limits of reads and writes never apply to these paths.
    pub(crate) fn class(&self, method: &Method) -> RequestClass {
        if let Some(endpoint) = self.endpoint(method) {
            return endpoint.class;
        }

        let mut classes = self.endpoints.iter().map(|endpoint| endpoint.class);
        classes
            .find(|class| matches!(class, RequestClass::Probe | RequestClass::Operation))
            .unwrap_or_else(|| RequestClass::from_method(method))
    }

    /// Returns the response to a method that no endpoint handles.
    pub(crate) fn refuse_method(&self) -> Response {
        let methods: Vec<_> = self
            .endpoints
            .iter()
            .filter_map(|endpoint| endpoint.method.as_ref())
            .map(|method| match *method {
                Method::GET => "GET,HEAD",
                _ => method.as_str(),
            })
            .collect();
        let allowed = [(header::ALLOW, methods.join(","))];
        (allowed, (self.write_error)(&HttpError::METHOD_NOT_ALLOWED)).into_response()
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Route").field(&self.path).finish()
    }
}

/// Redirects a request to its path without the slash at the end.
async fn redirect_without_slash(_state: (), head: Parts) -> HttpResult {
    let uri = original_uri(&head.uri, &head.extensions);
    let path = uri.path().trim_end_matches('/');
    let target = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    Ok(Redirect::temporary(&target).into_response())
}

/// The paths of a service, for its index and its OpenAPI document.
#[derive(Default)]
pub(crate) struct RouteIndex {
    /// The paths, without those that redirect.
    pub(crate) paths: Vec<String>,
    /// The paths that the index lists, with their descriptions.
    pub(crate) descriptions: Vec<(String, &'static str)>,
}

impl RouteIndex {
    /// Creates the index of `routes`.
    pub(crate) fn new(routes: &[Route]) -> Self {
        let mut index = Self::default();
        for route in routes {
            // Only the endpoint of a redirect is for all methods.
            let redirects = route
                .endpoints
                .iter()
                .all(|endpoint| endpoint.method.is_none());
            if !redirects {
                index.paths.push(route.path.clone());
            }

            let listed_path = route.listed_as.unwrap_or(&route.path);
            for endpoint in &route.endpoints {
                if endpoint.description.is_empty() {
                    continue;
                }
                let entry = match &endpoint.method {
                    Some(method) if route.group == RouteGroup::V1 => {
                        format!("{method} {listed_path}")
                    }
                    // Outside of `/v1`, the descriptions name the methods.
                    _ => listed_path.to_owned(),
                };
                index.descriptions.push((entry, endpoint.description));
            }
        }
        index
    }
}
