//! Metrics of requests, by template of their route.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::HttpBody;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use metrics::{Counter, Histogram};
use parking_lot::RwLock;
use tokio::time::Instant;

use super::names;
use super::registry::Metrics;
use crate::watched_body::watched;

/// The route label of a request without a route: its path is chosen by the client and unbounded.
const UNMATCHED: &str = "unmatched";

/// Marks the response of a handler that has panicked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HasPanicked;

/// Which metrics have the requests of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Measured {
    #[default]
    Everywhere,
    /// Only those of Flask, as in the replaced systems.
    InFlask,
    Nowhere,
}

/// What the metrics know about one route. The default is for all requests without one.
#[derive(Default)]
pub(crate) struct RouteSeries {
    /// The template of the path, below the prefix of outer routers.
    path: Option<String>,
    measured: Measured,
    /// There are few: comparing is cheaper than hashing.
    known: RwLock<Vec<(RequestLabels, Arc<Series>)>>,
}

/// The template of the prefix of outer routers, the method, and the status.
type RequestLabels = (String, &'static str, StatusCode);

impl RouteSeries {
    pub(crate) fn new(path: &str, measured: Measured) -> Arc<Self> {
        Arc::new(Self {
            path: Some(path.to_owned()),
            measured,
            known: RwLock::default(),
        })
    }

    /// The template of the whole path below the prefix `outer`; `None` without a route.
    pub(crate) fn template(&self, outer: &str) -> Option<Cow<'_, str>> {
        let path = self.path.as_deref()?;
        Some(match (outer, path) {
            ("", path) => path.into(),
            // What is mounted at `/shop` has its root there.
            (outer, "/") => outer.to_owned().into(),
            (outer, path) => format!("{outer}{path}").into(),
        })
    }

    fn get(
        &self,
        metrics: &Metrics,
        outer: &str,
        method: &'static str,
        status: StatusCode,
    ) -> Arc<Series> {
        let known = self.known.read();
        if let Some((_, series)) = known
            .iter()
            .find(|((prefix, of, code), _)| *code == status && *of == method && prefix == outer)
        {
            return Arc::clone(series);
        }
        drop(known);
        let route = self.template(outer).unwrap_or(UNMATCHED.into());
        let made = Arc::new(Series::new(metrics, &route, method, status, self.measured));
        let mut known = self.known.write();
        known.push(((outer.to_owned(), method, status), Arc::clone(&made)));
        made
    }
}

/// The metrics of requests with one route, method and status.
struct Series {
    /// The metrics that exclude probes, as in the replaced systems.
    of_work: Option<(Counter, Option<Histogram>)>,
    flask: Option<(Counter, Option<Histogram>)>,
}

impl Metrics {
    /// Starts measuring a request of `route`, below the prefix `outer`, at `begun`.
    pub(crate) fn begin(
        &self,
        route: Arc<RouteSeries>,
        outer: String,
        method: &Method,
        begun: Instant,
    ) -> RequestTimer {
        if route.measured == Measured::Everywhere {
            self.shared.in_flight.fetch_add(1, Ordering::Relaxed);
        }
        let metrics = self.clone();
        let method = word(method);
        RequestTimer {
            metrics,
            route,
            outer,
            method,
            begun,
            answered: None,
            is_stream: false,
        }
    }
}

impl Series {
    fn new(
        metrics: &Metrics,
        route: &str,
        method: &str,
        status: StatusCode,
        measured: Measured,
    ) -> Self {
        let method = ("method", method);
        let status = ("status", status.as_str());
        let (route, path) = (("route", route), ("path", route));
        let registry = &metrics.shared.registry;
        Self {
            of_work: (measured == Measured::Everywhere).then(|| {
                (
                    registry.counter(names::HTTP_REQUESTS, &[method, route, status]),
                    Some(registry.histogram(names::HTTP_REQUEST_DURATION, &[method, route])),
                )
            }),
            flask: metrics.flask().map(|has_durations| {
                let durations = has_durations.then(|| {
                    registry.histogram(names::FLASK_HTTP_REQUEST_DURATION, &[method, path, status])
                });
                (
                    registry.counter(names::FLASK_HTTP_REQUESTS, &[method, status]),
                    durations,
                )
            }),
        }
    }
}

/// A request in flight, measured until this is dropped.
pub(crate) struct RequestTimer {
    metrics: Metrics,
    route: Arc<RouteSeries>,
    outer: String,
    method: &'static str,
    begun: Instant,
    /// The status once it is known, and whether the handler panicked.
    answered: Option<(StatusCode, bool)>,
    /// Whether the reader of the response determines how long it takes.
    is_stream: bool,
}

impl RequestTimer {
    /// Measures until `response` was sent, or the client disconnected.
    pub(crate) fn until_sent(mut self, response: Response) -> Response {
        let has_panicked = response.extensions().get::<HasPanicked>().is_some();
        self.answered = Some((response.status(), has_panicked));
        if response.body().size_hint().exact().is_some() {
            // It is written at once.
            return response;
        }
        self.is_stream = true;
        watched(response, move |polled| {
            let _until_sent = &self;
            polled
        })
    }
}

impl Drop for RequestTimer {
    fn drop(&mut self) {
        let metrics = &self.metrics;
        let method = self.method;
        let measured = self.route.measured;
        if measured == Measured::Everywhere {
            metrics.shared.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
        // A client that disconnected earlier got no response. Scrapes of the metrics are not counted.
        let Some((status, has_panicked)) = self.answered.filter(|_| measured != Measured::Nowhere)
        else {
            return;
        };
        let series = self.route.get(metrics, &self.outer, method, status);
        let seconds = self.begun.elapsed().as_secs_f64();
        if series.of_work.is_some() {
            let seconds = (!self.is_stream).then_some(seconds);
            let is_error = status.is_server_error();
            metrics.shared.history.responded(seconds, is_error);
        }
        for (count, duration) in series.of_work.iter().chain(&series.flask) {
            count.increment(1);
            duration
                .iter()
                .for_each(|duration| duration.record(seconds));
        }
        if has_panicked && metrics.flask().is_some() {
            let labels = [("method", method), ("status", status.as_str())];
            metrics
                .shared
                .registry
                .counter(names::FLASK_HTTP_REQUEST_EXCEPTIONS, &labels)
                .increment(1);
        }
        metrics.sampled(2);
    }
}

/// The method if HTTP defines it: a client may send others.
fn word(method: &Method) -> &'static str {
    const DEFINED: [&str; 9] = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT",
    ];
    DEFINED
        .into_iter()
        .find(|name| *name == method.as_str())
        .unwrap_or("OTHER")
}
