//! A row of the table of routes.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{OriginalUri, Request};
use axum::handler::Handler;
use axum::http::{Method, header};
use axum::response::{IntoResponse, Redirect, Response};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use shop_core::RequestContext;
use tower::{Layer, ServiceExt, service_fn};
use tower_http::compression::CompressionLayer;

use crate::compat::Dialect;
use crate::metrics::{MetricFamilies, RouteSeries};
use crate::request;
use crate::response::HttpError;
use crate::routes::groups::RouteGroup;

/// How requests are limited, and what they take of the pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestClass {
    /// Served even at the limit of concurrent requests.
    Probe,
    /// Has a separate pool, whose requests wait for each other: they query servers, or render all
    /// metrics.
    Operation,
    Read,
    /// A read that may outlive its token.
    Stream,
    Write,
    /// A write that counts as many purchases.
    Batch,
}

impl RequestClass {
    pub(crate) const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::Batch)
    }

    /// That of a request without a route.
    pub(crate) fn of(method: &Method) -> Self {
        if *method == Method::POST {
            Self::Write
        } else {
            Self::Read
        }
    }
}

/// Who reaches a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Requests that authentication accepts.
    Guarded,
    /// These, and requests without a token, whose response is shorter.
    Partial,
    /// All.
    Open,
}

/// Handles a request.
type RouteHandler = Arc<dyn Fn(Request) -> BoxFuture<'static, Response> + Send + Sync>;

/// The handler of one method of a route.
#[derive(Clone)]
pub(crate) struct Endpoint {
    /// `None` for all methods.
    method: Option<Method>,
    pub(crate) class: RequestClass,
    pub(crate) call: RouteHandler,
    /// What it does, for the index. Empty: the index does not have it.
    about: &'static str,
}

/// A handler that boxes its future, as async functions do.
pub(crate) trait Handles<T, S>:
    Handler<T, S, Future = BoxFuture<'static, Response>> + Sync
{
}

impl<T, S, H: Handler<T, S, Future = BoxFuture<'static, Response>> + Sync> Handles<T, S> for H {}

/// Makes routes whose handlers have this state.
#[derive(Clone)]
pub(crate) struct To<S>(pub(crate) S);

impl<S: Clone + Send + Sync + 'static> To<S> {
    /// A route for `GET` within the context of the request: other services that it calls get the
    /// same request id and trace. Responses are compressed if the client accepts that.
    pub(crate) fn read<T>(
        &self,
        row: RouteSpec,
        about: &'static str,
        handler: impl Handles<T, S>,
    ) -> Route {
        let called = self.called(handler);
        let handled = service_fn(move |request| called(request).map(Ok::<Response, Infallible>));
        let compressed = CompressionLayer::new().layer(handled);
        let call = move |request: Request| {
            let context = request::context::request_context(request.headers());
            let response = compressed.clone().oneshot(request);
            async move {
                let Ok(response) = match context {
                    Some(context) => Arc::<RequestContext>::from(context).scope(response).await,
                    None => response.await,
                };
                response.map(Body::new)
            }
            .boxed()
        };
        Route::new(row, Arc::new(call), about)
    }

    /// A route whose responses are small, or not worth compressing.
    pub(crate) fn plain<T>(
        &self,
        row: RouteSpec,
        about: &'static str,
        handler: impl Handles<T, S>,
    ) -> Route {
        Route::new(row, self.called(handler), about)
    }

    fn called<T>(&self, handler: impl Handles<T, S>) -> RouteHandler {
        let state = self.0.clone();
        Arc::new(move |request| handler.clone().call(request, state.clone()))
    }
}

/// The group of a route, its path, and the class of its requests, which are `POST` if they write,
/// else `GET`.
pub(crate) type RouteSpec = (RouteGroup, &'static str, RequestClass);

/// A path, and all that is known about it before a request.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) group: RouteGroup,
    /// With at most one parameter, below the prefix of outer routers. An action may follow the
    /// parameter.
    pub(crate) path: String,
    pub(crate) access: Access,
    pub(crate) measured: MetricFamilies,
    /// That of its errors and bodies.
    pub(crate) dialect: &'static Dialect,
    /// The path in the index, where that is another one.
    listed_as: Option<&'static str>,
    endpoints: Vec<Endpoint>,
    pub(crate) series: Arc<RouteSeries>,
}

impl Route {
    /// A route for requests that authentication accepts, in the dialect [`Dialect::DEFAULT`].
    fn new((group, path, class): RouteSpec, call: RouteHandler, about: &'static str) -> Self {
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
            dialect: Dialect::DEFAULT,
            listed_as: None,
            endpoints: vec![Endpoint {
                method,
                class,
                call,
                about,
            }],
            series: Arc::default(),
        }
    }

    /// The same route, with the endpoints of another one for other methods.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.endpoints.extend(other.endpoints);
        self
    }

    /// The same route, open to all.
    pub(crate) fn open(self) -> Self {
        self.with(Access::Open, MetricFamilies::All)
    }

    pub(crate) fn with(self, access: Access, measured: MetricFamilies) -> Self {
        Self {
            access,
            measured,
            ..self
        }
    }

    pub(crate) fn listed_as(self, path: &'static str) -> Self {
        Self {
            listed_as: Some(path),
            ..self
        }
    }

    pub(crate) fn at(self, path: String) -> Self {
        Self { path, ..self }
    }

    /// The same route below `prefix`, which the index does not have.
    pub(crate) fn below(&self, prefix: &str) -> Self {
        // The root of a prefix has no slash.
        let path = if self.path == "/" {
            prefix.to_owned()
        } else {
            format!("{prefix}{}", self.path)
        };
        let mut route = Self {
            path,
            ..self.clone()
        };
        for endpoint in &mut route.endpoints {
            endpoint.about = "";
        }
        route
    }

    /// The route with a slash at its end, which redirects to the one without. The client repeats
    /// its method and body there.
    pub(crate) fn with_slash(&self) -> Self {
        let redirect = async |OriginalUri(uri): OriginalUri| {
            let path = uri.path().trim_end_matches('/');
            let path = uri
                .query()
                .map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
            Redirect::temporary(&path)
        };
        let mut route = To(())
            .plain((self.group, "", RequestClass::Read), "", redirect)
            .open();
        route.path = format!("{}/", self.path);
        for endpoint in &mut route.endpoints {
            endpoint.method = None;
        }
        route
    }

    /// The path of what it acts on, and the end of this path, such as `:refund` in
    /// `/v1/purchases/{id}:refund`.
    pub(crate) fn action(&self) -> Option<(&str, &str)> {
        self.path.split_at_checked(self.path.find("}:")? + 1)
    }

    /// The endpoint for `method`.
    pub(crate) fn endpoint(&self, method: &Method) -> Option<&Endpoint> {
        let wanted = if *method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        self.endpoints
            .iter()
            .find(|endpoint| endpoint.method.as_ref().is_none_or(|known| known == wanted))
    }

    /// The class of requests with `method`, also where no endpoint has it: a probe is never
    /// limited.
    pub(crate) fn class(&self, method: &Method) -> RequestClass {
        self.endpoint(method)
            .or_else(|| {
                self.endpoints
                    .iter()
                    .find(|it| matches!(it.class, RequestClass::Probe | RequestClass::Operation))
            })
            .map_or_else(|| RequestClass::of(method), |endpoint| endpoint.class)
    }

    /// The response to other methods than those of the endpoints.
    pub(crate) fn not_allowed(&self) -> Response {
        let methods = self
            .endpoints
            .iter()
            .filter_map(|endpoint| endpoint.method.as_ref());
        let names: Vec<_> = methods
            .map(|method| {
                if *method == Method::GET {
                    "GET,HEAD"
                } else {
                    method.as_str()
                }
            })
            .collect();
        (
            [(header::ALLOW, names.join(","))],
            HttpError::METHOD_NOT_ALLOWED,
        )
            .into_response()
    }
}

/// What a service tells about its routes.
pub(crate) struct Listed {
    /// The paths, without those that redirect.
    pub(crate) paths: Vec<String>,
    /// What they are for.
    pub(crate) index: Vec<(String, &'static str)>,
}

impl Listed {
    pub(crate) fn new(routes: &[Route]) -> Self {
        let mut listed = Self {
            paths: Vec::new(),
            index: Vec::new(),
        };
        for Route {
            group,
            path,
            listed_as,
            endpoints,
            ..
        } in routes
        {
            if endpoints.iter().any(|endpoint| endpoint.method.is_some()) {
                listed.paths.push(path.clone());
            }
            let path = listed_as.unwrap_or(path);
            for Endpoint { method, about, .. } in endpoints
                .iter()
                .filter(|endpoint| !endpoint.about.is_empty())
            {
                // Those of the replaced systems have no method, as they had it.
                let method = method.as_ref().filter(|_| *group == RouteGroup::V1);
                let path =
                    method.map_or_else(|| path.to_owned(), |method| format!("{method} {path}"));
                listed.index.push((path, about));
            }
        }
        listed
    }
}
