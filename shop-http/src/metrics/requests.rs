//! Metrics of requests, by the template of their route.
//!
//! Each route owns a [`RouteSeries`], which remembers the series of the route, so that a request
//! finds its counters without building labels. A [`RequestTimer`] measures one request, from its
//! head until its response was sent, and records it when it is dropped.
//!
//! There are two families of metrics: the metrics of this service leave out `/health` and
//! `/metrics`; the [`RequestFamily`](super::names::RequestFamily) of a role, if there is one, leaves
//! out `/metrics` alone.

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
use crate::watched_body::watch_body;

/// The route label of requests without a route, whose path is chosen by the client and unbounded.
const UNMATCHED: &str = "unmatched";

/// A response extension that marks the response of a handler that panicked.
#[derive(Clone)]
pub(crate) struct HasPanicked;

/// The families of metrics that count the requests of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum MetricFamilies {
    /// The metrics of this service and of a role.
    #[default]
    All,
    /// The metrics of a role alone.
    OfRoles,
    /// No metrics at all.
    None,
}

/// The series of one route. The default is for all requests without a route.
#[derive(Default)]
pub(crate) struct RouteSeries {
    /// The template of the path, below the prefix of outer routers.
    path: Option<String>,
    families: MetricFamilies,
    /// The series that were used already. There are few: comparing is cheaper than hashing.
    series: RwLock<Vec<Arc<Series>>>,
}

impl RouteSeries {
    /// Creates the series of the route with the template `path`.
    pub(crate) fn new(path: &str, families: MetricFamilies) -> Arc<Self> {
        Arc::new(Self {
            path: Some(path.to_owned()),
            families,
            series: RwLock::default(),
        })
    }

    /// Returns the template of the whole path below `outer_prefix`, or `None` without a route.
    pub(crate) fn template(&self, outer_prefix: &str) -> Option<Cow<'_, str>> {
        let path = self.path.as_deref()?;
        Some(match (outer_prefix, path) {
            ("", path) => path.into(),
            // The root of a service that is mounted at `/shop` is `/shop`, without a slash.
            (prefix, "/") => prefix.to_owned().into(),
            (prefix, path) => format!("{prefix}{path}").into(),
        })
    }
}

/// The metrics of requests with one route, method and status.
struct Series {
    /// The template of the prefix of outer routers.
    outer_prefix: String,
    method: &'static str,
    status: StatusCode,
    /// The metrics of this service, unless the route is `/health` or `/metrics`, and the metrics of a
    /// role, if they are exported.
    metrics: Vec<RequestMetrics>,
}

/// The number of requests, and their durations, which are not recorded if they are not exported.
struct RequestMetrics {
    requests: Counter,
    durations: Histogram,
}

impl Metrics {
    /// Starts measuring a request of `route`, below `outer_prefix`, whose head came at `start`.
    pub(crate) fn start_request(
        &self,
        route: Arc<RouteSeries>,
        outer_prefix: String,
        method: &Method,
        start: Instant,
    ) -> RequestTimer {
        if route.families == MetricFamilies::All {
            self.shared.in_flight.fetch_add(1, Ordering::Relaxed);
        }
        RequestTimer {
            metrics: self.clone(),
            route,
            outer_prefix,
            method: method_label_value(method),
            start,
            made_at: None,
            status: None,
            has_panicked: false,
            is_stream: false,
        }
    }
}

/// A request in flight, which is recorded in the metrics when this timer is dropped.
pub(crate) struct RequestTimer {
    metrics: Metrics,
    route: Arc<RouteSeries>,
    /// The template of the prefix of outer routers.
    outer_prefix: String,
    method: &'static str,
    start: Instant,
    /// When the response was made, if its body is of a known size, which is written at once.
    made_at: Option<Instant>,
    /// The status of the response, once there is one.
    status: Option<StatusCode>,
    /// Whether the handler panicked.
    has_panicked: bool,
    /// Whether the response is a stream, whose reader determines how long it takes.
    is_stream: bool,
}

impl RequestTimer {
    /// Measures the request until `response` is sent or the client disconnects. `made_at` is the time
    /// at which the response was made.
    pub(crate) fn until_sent(mut self, response: Response, made_at: Instant) -> Response {
        self.status = Some(response.status());
        self.has_panicked = response.extensions().get::<HasPanicked>().is_some();

        // A body of a known size is written at once.
        if response.body().size_hint().exact().is_some() {
            self.made_at = Some(made_at);
            return response;
        }

        self.is_stream = true;
        watch_body(response, move |polled| {
            // The closure owns the timer, and is dropped with the body.
            let _timer = &self;
            polled
        })
    }

    /// Returns the series of the route for a response with `status`. The first call registers the
    /// series.
    fn get_or_register_series(&self, status: StatusCode) -> Arc<Series> {
        let is_same_series = |series: &&Arc<Series>| {
            series.status == status
                && series.method == self.method
                && series.outer_prefix == self.outer_prefix
        };
        if let Some(series) = self.route.series.read().iter().find(is_same_series) {
            return Arc::clone(series);
        }

        let series = Arc::new(self.register_series(status));
        self.route.series.write().push(Arc::clone(&series));
        series
    }

    /// Registers the series of the route for responses with `status`.
    fn register_series(&self, status: StatusCode) -> Series {
        let shared = &self.metrics.shared;
        let registry = &shared.registry;
        let template = self
            .route
            .template(&self.outer_prefix)
            .unwrap_or(UNMATCHED.into());
        let method_label = ("method", self.method);
        let status_label = ("status", status.as_str());
        let route_label = ("route", &*template);
        let path_label = ("path", &*template);

        let mut metrics = Vec::new();
        if self.route.families == MetricFamilies::All {
            metrics.push(RequestMetrics {
                requests: registry.counter(
                    names::HTTP_REQUESTS,
                    &[method_label, route_label, status_label],
                ),
                durations: registry
                    .histogram(names::HTTP_REQUEST_DURATION, &[method_label, route_label]),
            });
        }
        if let Some(family) = shared.request_family.get() {
            metrics.push(RequestMetrics {
                requests: registry.counter(family.requests(), &[method_label, status_label]),
                durations: match family.durations() {
                    Some(durations) => {
                        registry.histogram(durations, &[method_label, path_label, status_label])
                    }
                    None => Histogram::noop(),
                },
            });
        }
        Series {
            outer_prefix: self.outer_prefix.clone(),
            method: self.method,
            status,
            metrics,
        }
    }
}

impl Drop for RequestTimer {
    fn drop(&mut self) {
        let shared = &self.metrics.shared;
        let families = self.route.families;
        if families == MetricFamilies::All {
            shared.in_flight.fetch_sub(1, Ordering::Relaxed);
        }

        // A client that disconnected before the head of the response got none.
        let Some(status) = self.status else {
            return;
        };
        if families == MetricFamilies::None {
            return;
        }

        let series = self.get_or_register_series(status);
        let ended_at = self.made_at.unwrap_or_else(Instant::now);
        let seconds = (ended_at - self.start).as_secs_f64();
        if families == MetricFamilies::All {
            let counted_seconds = if self.is_stream { None } else { Some(seconds) };
            shared
                .history
                .record_response(ended_at, counted_seconds, status.is_server_error());
        }
        for metrics in &series.metrics {
            metrics.requests.increment(1);
            metrics.durations.record(seconds);
        }
        if self.has_panicked
            && let Some(family) = shared.request_family.get()
        {
            let labels = [("method", self.method), ("status", status.as_str())];
            let panics = shared.registry.counter(family.panics(), &labels);
            panics.increment(1);
        }
        // The durations of up to two families.
        self.metrics.count_samples(2);
    }
}

/// Returns the label of `method`: its name if HTTP defines the method, else `OTHER`. A client may
/// send any method, and the number of labels must be bounded.
fn method_label_value(method: &Method) -> &'static str {
    const DEFINED_METHODS: [&str; 9] = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT",
    ];
    DEFINED_METHODS
        .into_iter()
        .find(|name| *name == method.as_str())
        .unwrap_or("OTHER")
}
