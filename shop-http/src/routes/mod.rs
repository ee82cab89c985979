//! Routes that know where they stand: a router does not tell its paths, and the document of the API must hold
//! all of them.

pub(crate) mod facing;
pub(crate) mod management;
pub(crate) mod shared;

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodRouter, get};
use tower_http::compression::CompressionLayer;

use crate::service::Service;

/// What can be done at a path.
pub(crate) type Methods = MethodRouter<Arc<Service>>;

/// `handler` for `GET`, whose answers are compressed for whoever takes that. Answers to writes are short: to compress
/// them costs more than it spares.
pub(crate) fn read<T: 'static>(handler: impl Handler<T, Arc<Service>>) -> Methods {
    get(handler).layer(CompressionLayer::new())
}

/// A router, and the paths in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Routes {
    router: Router<Arc<Service>>,
    paths: Vec<String>,
}

impl Routes {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn route(mut self, path: &str, methods: Methods) -> Self {
        self.paths.push(path.to_owned());
        Self { router: self.router.route(path, methods), paths: self.paths }
    }

    pub(crate) fn merge(mut self, other: Self) -> Self {
        self.paths.extend(other.paths);
        Self { router: self.router.merge(other.router), paths: self.paths }
    }

    /// These routes, and `nested` below `prefix`.
    pub(crate) fn nest(mut self, prefix: &str, nested: Self) -> Self {
        // The root of nested routes has no slash of its own.
        self.paths.extend(nested.paths.iter().map(|path| format!("{prefix}{}", path.trim_end_matches('/'))));
        Self { router: self.router.nest(prefix, nested.router), paths: self.paths }
    }

    /// Where the routes stand.
    pub(crate) fn paths(&self) -> &[String] {
        &self.paths
    }

    pub(crate) fn into_router(self) -> Router<Arc<Service>> {
        self.router
    }
}
