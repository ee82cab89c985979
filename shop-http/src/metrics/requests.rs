//! Metrics of requests, by template of their route.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use axum::body::HttpBody;
use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use metrics::{Counter, Gauge, Histogram};
use tokio::time::Instant;

use super::names;
use super::registry::Metrics;
use crate::watched_body::watched;

/// The route label of a request without a route: its path is chosen by the client and unbounded.
const UNMATCHED: &str = "unmatched";

/// Marks the response of a handler that has panicked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HasPanicked;

/// The template of the route of a request, below the prefix of outer routers.
#[derive(Debug, Clone)]
pub(crate) struct RouteTemplate {
    matched: MatchedPath,
    length: usize,
}

impl RouteTemplate {
    /// `None` if the request has no route.
    pub(crate) fn of(request: &Request) -> Option<Self> {
        let matched = request.extensions().get::<MatchedPath>()?.clone();
        let template = matched.as_str();
        // `nest_service` appends the root of what is mounted to `/shop` and to `/shop/`.
        let is_mounted = request.uri().path() == "/" && template != "/";
        let length = if is_mounted { template.trim_end_matches('/') } else { template }.len();
        Some(Self { matched, length })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.matched.as_str()[..self.length]
    }
}

/// Counts and measures requests. Each series is looked up once and cached: there is one per route, method and status.
pub(crate) struct Requests {
    metrics: Metrics,
    in_flight: Gauge,
    /// By route.
    series: RwLock<BTreeMap<String, OfRoute>>,
}

/// By method and status. There are few: comparing is cheaper than hashing.
type OfRoute = BTreeMap<(&'static str, StatusCode), Arc<Series>>;

/// The metrics of requests with one route, method and status.
struct Series {
    /// The metrics that exclude probes, as in the replaced systems.
    of_work: Option<(Counter, Option<Histogram>)>,
    flask: Option<(Counter, Option<Histogram>)>,
}

impl Requests {
    /// The metrics of one service.
    pub(crate) fn new(metrics: &Metrics) -> Arc<Self> {
        let in_flight = metrics.gauge(names::HTTP_REQUESTS_IN_FLIGHT, &[]);
        Arc::new(Self { metrics: metrics.clone(), in_flight, series: RwLock::default() })
    }

    /// Starts measuring a request.
    pub(crate) fn begin(self: Arc<Self>, route: Option<RouteTemplate>, method: &Method) -> RequestTimer {
        let measuring = RequestTimer {
            requests: self,
            route,
            method: word(method),
            begun: Instant::now(),
            answered: None,
            is_stream: false,
        };
        if is_work(measuring.route()) {
            measuring.requests.in_flight.increment(1.0);
        }
        measuring
    }

    fn series(&self, route: &str, method: &'static str, status: StatusCode) -> Arc<Series> {
        let known = self.series.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = known.get(route).and_then(|of_route| of_route.get(&(method, status))) {
            return Arc::clone(series);
        }
        drop(known);
        let made = Arc::new(Series::new(&self.metrics, route, method, status));
        let mut known = self.series.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(route.to_owned()).or_default().entry((method, status)).or_insert(made))
    }
}

impl Series {
    fn new(metrics: &Metrics, route: &str, method: &str, status: StatusCode) -> Self {
        let (method, status) = (("method", method), ("status", status.as_str()));
        let (route, path) = (("route", route), ("path", route));
        let of_work = || {
            let requests = metrics.counter(names::HTTP_REQUESTS, &[method, route, status]);
            (requests, Some(metrics.histogram(names::HTTP_REQUEST_DURATION, &[method, route])))
        };
        let flask = |has_durations: bool| {
            let requests = metrics.counter(names::FLASK_HTTP_REQUESTS, &[method, status]);
            let durations = || metrics.histogram(names::FLASK_HTTP_REQUEST_DURATION, &[method, path, status]);
            (requests, has_durations.then(durations))
        };
        Self { of_work: is_work(route.1).then(of_work), flask: metrics.flask().map(flask) }
    }
}

fn is_work(route: &str) -> bool {
    !route.ends_with("/health") && !is_of_metrics(route)
}

fn is_of_metrics(route: &str) -> bool {
    route.ends_with("/metrics")
}

/// A request in flight, measured until this is dropped.
pub(crate) struct RequestTimer {
    requests: Arc<Requests>,
    route: Option<RouteTemplate>,
    method: &'static str,
    begun: Instant,
    /// The status once it is known, and whether the handler panicked.
    answered: Option<(StatusCode, bool)>,
    /// Whether the reader of the response determines how long it takes.
    is_stream: bool,
}

impl RequestTimer {
    fn route(&self) -> &str {
        self.route.as_ref().map_or(UNMATCHED, RouteTemplate::as_str)
    }

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
        let (requests, method, route) = (&self.requests, self.method, self.route());
        if is_work(route) {
            requests.in_flight.decrement(1.0);
        }
        // A client that disconnected earlier got no response. Scrapes of the metrics are not counted.
        let Some((status, has_panicked)) = self.answered.filter(|_| !is_of_metrics(route)) else { return };
        let series = requests.series(route, method, status);
        let seconds = self.begun.elapsed().as_secs_f64();
        if series.of_work.is_some() {
            let (seconds, is_error) = ((!self.is_stream).then_some(seconds), status.is_server_error());
            requests.metrics.shared.history.responded(seconds, is_error);
        }
        for (count, duration) in series.of_work.iter().chain(&series.flask) {
            count.increment(1);
            duration.iter().for_each(|duration| duration.record(seconds));
        }
        if has_panicked && requests.metrics.flask().is_some() {
            let labels = [("method", method), ("status", status.as_str())];
            requests.metrics.counter(names::FLASK_HTTP_REQUEST_EXCEPTIONS, &labels).increment(1);
        }
        requests.metrics.sampled(2);
    }
}

/// The method if HTTP defines it: a client may send others.
fn word(method: &Method) -> &'static str {
    const DEFINED: [&str; 9] =
        ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];
    DEFINED.into_iter().find(|name| *name == method.as_str()).unwrap_or("OTHER")
}
