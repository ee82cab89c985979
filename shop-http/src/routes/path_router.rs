//! A router that keeps the list of its paths, which axum's does not.

use std::sync::Arc;

use axum::Router;
use axum::extract::{OriginalUri, Request};
use axum::handler::Handler;
use axum::middleware::{Next, from_fn};
use axum::response::{Redirect, Response};
use axum::routing::{MethodRouter, any, get};
use shop_core::RequestContext;
use tower_http::compression::CompressionLayer;

use crate::request;
use crate::service::Service;

/// Serves `GET` with `handler`. Responses are compressed if the client accepts that. Responses to writes are short:
/// compressing them costs more than it saves.
pub(crate) fn read<T: 'static, S: Clone + Send + Sync + 'static>(
    handler: impl Handler<T, S>,
) -> MethodRouter<S> {
    in_context(get(handler)).layer(CompressionLayer::new())
}

/// `routes`, within the context of the request: other services that they call get the same request id and trace.
pub(crate) fn in_context<S: Clone + Send + Sync + 'static>(routes: MethodRouter<S>) -> MethodRouter<S> {
    routes.layer(from_fn(async |request: Request, next: Next| -> Response {
        match request::purchase::context(request.headers()) {
            Some(context) => Arc::<RequestContext>::from(context).scope(next.run(request)).await,
            None => next.run(request).await,
        }
    }))
}

/// Redirects to the path without the slash at its end. The client repeats its method and body there.
async fn without_slash(OriginalUri(uri): OriginalUri) -> Redirect {
    let path = uri.path().trim_end_matches('/');
    Redirect::temporary(&uri.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}")))
}

/// A router whose handlers have the state `S`, with its paths.
#[derive(Debug, Clone)]
pub(crate) struct Routes<S = Arc<Service>> {
    /// The routes that an authentication layer surrounds.
    guarded: Router<S>,
    /// The routes that are open to all.
    open: Router<S>,
    paths: Vec<String>,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    pub(crate) fn new() -> Self {
        Self { guarded: Router::new(), open: Router::new(), paths: Vec::new() }
    }

    pub(crate) fn route(mut self, path: &str, methods: MethodRouter<S>) -> Self {
        self.paths.push(path.to_owned());
        Self { guarded: self.guarded.route(path, methods), ..self }
    }

    /// Adds a route that is open to all.
    pub(crate) fn open(mut self, path: &str, methods: MethodRouter<S>) -> Self {
        self.paths.push(path.to_owned());
        Self { open: self.open.route(path, methods), ..self }
    }

    pub(crate) fn merge(mut self, other: Self) -> Self {
        self.paths.extend(other.paths);
        Self {
            guarded: self.guarded.merge(other.guarded),
            open: self.open.merge(other.open),
            paths: self.paths,
        }
    }

    /// Adds each path with a slash at its end, which redirects to the one without. These are not in the list of paths.
    pub(crate) fn with_slashes(mut self) -> Self {
        for path in &self.paths {
            self.open = self.open.route(&format!("{path}/"), any(without_slash));
        }
        self
    }

    /// Adds `nested` below `prefix`.
    pub(crate) fn nest(mut self, prefix: &str, nested: Self) -> Self {
        // The root of nested routes has no slash.
        self.paths.extend(nested.paths.iter().map(|path| format!("{prefix}{}", path.trim_end_matches('/'))));
        Self {
            guarded: self.guarded.nest(prefix, nested.guarded),
            open: self.open.nest(prefix, nested.open),
            paths: self.paths,
        }
    }

    /// Adds the state, for routes with another one.
    pub(crate) fn with_state<Other>(self, state: S) -> Routes<Other> {
        let guarded = self.guarded.with_state(state.clone());
        Routes { guarded, open: self.open.with_state(state), paths: self.paths }
    }

    /// The paths of the routes.
    pub(crate) fn paths(&self) -> &[String] {
        &self.paths
    }

    /// The router of all routes. `guard` adds the layers around the guarded ones.
    pub(crate) fn into_router(self, state: S, guard: impl FnOnce(Router) -> Router) -> Router {
        guard(self.guarded.with_state(state.clone())).merge(self.open.with_state(state))
    }
}
