//! The metrics registry of one service: its recorder, and the text for Prometheus.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use ::metrics::{
    Counter, Histogram, Key, Label, Level, Metadata, Recorder, SharedString, with_local_recorder,
};
use async_trait::async_trait;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};
use metrics_process::Collector;
use parking_lot::Mutex;
use serde_json::Value;
use shop_core::inspect::LogInspection;
use shop_core::retention::RetentionMonitor;

use super::history::History;
use super::ingest::approximately;
use super::names::{self, ALL, MetricKind, Name};
use crate::refreshed::{Freshness, Refreshed};

/// The metrics of one service, for its `/metrics`. Clones share the same metrics.
///
/// Ingest reports to an observer of them:
///
/// ```
/// use std::sync::Arc;
///
/// use shop_core::ingest::{Ingest, IngestOptions};
/// use shop_core::memory::{InMemoryLog, InMemoryStore};
/// use shop_http::{Metrics, Parts};
///
/// let (log, store) = (InMemoryLog::default(), InMemoryStore::new());
/// let (source, dead_letters) = (Arc::new(log.source("group")), Arc::new(log.dead_letters()));
/// let ingest = Ingest::new(source, Arc::new(store.clone()), dead_letters, IngestOptions::default());
///
/// let metrics = Metrics::new();
/// let ingest = ingest.with_observer(metrics.ingest_observer());
/// let mut parts = Parts::facing(Arc::new(log.sink()), Arc::new(store));
/// parts.metrics = metrics;
/// ```
#[derive(Clone, Default)]
pub struct Metrics {
    pub(super) shared: Arc<MetricsInner>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[derive(Default)]
pub(super) struct MetricsInner {
    /// What is counted between the scrapes.
    pub(super) registry: Registry,
    /// The service that reports here, if its router exists.
    source: Mutex<Option<Weak<dyn Source>>>,
    /// Set for the dialects of the replaced systems: whether durations are exported too.
    flask: OnceLock<bool>,
    /// The labels of `app_info` besides the version.
    build: OnceLock<Labels<'static>>,
    /// Held while the text is rendered, which takes milliseconds of processor time.
    rendering: tokio::sync::Mutex<()>,
    pub(super) in_flight: AtomicU64,
    /// The number of histogram samples so far.
    samples: AtomicUsize,
    /// What the log of each topic said last.
    pub(super) logs: Mutex<BTreeMap<String, LogInspection>>,
    /// What is counted elsewhere, and read for each scrape.
    counted: Mutex<Vec<(Name, ValueReader<u64>)>>,
    /// Whether the log of the program cannot be written.
    is_log_failing: OnceLock<Arc<AtomicBool>>,
    /// What is read again while it is in use, by name.
    watched: Mutex<BTreeMap<&'static str, ValueReader<Freshness>>>,
    /// The last hour.
    pub(super) history: History,
}

/// Reads what is known elsewhere.
type ValueReader<T> = Box<dyn Fn() -> T + Send + Sync>;

/// The labels of one series.
pub(super) type Labels<'a> = &'a [(&'static str, &'a str)];

/// After this many samples they are moved into their buckets even without a scrape: until then each takes 24 bytes
/// (`metrics-rs/metrics#467`).
const SAMPLES: usize = 4_096;
const VERSION: Labels<'_> = &[("version", env!("CARGO_PKG_VERSION"))];
/// The collector of `process_*` has no counter with fractions, and 0 for unlimited.
const PROCESS: [(&str, &str); 3] = [
    (
        "# TYPE process_cpu_seconds_total gauge\n",
        "# TYPE process_cpu_seconds_total counter\n",
    ),
    ("\nprocess_max_fds 0\n", "\nprocess_max_fds +Inf\n"),
    (
        "\nprocess_virtual_memory_max_bytes 0\n",
        "\nprocess_virtual_memory_max_bytes +Inf\n",
    ),
];
const METADATA: Metadata<'static> = Metadata::new("shop_http", Level::INFO, None);

impl Metrics {
    /// Creates an empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The metrics of the service in Prometheus' text format, version 0.0.4: those of its `/metrics` without `process_*`.
    /// Append them to the metrics of your own program, whose names must be others.
    ///
    /// ```
    /// use shop_core::Shop;
    /// use shop_http::{Parts, RouteGroup, routes};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let shop = Shop::in_memory();
    /// let parts = Parts::facing(shop.sink(), shop.query());
    /// let metrics = parts.metrics.clone();
    /// let router = routes(parts).without([RouteGroup::Metrics, RouteGroup::Dialects]).build();
    /// let text = format!("up 1\n{}", metrics.text().await);
    /// # assert!(text.contains("\napp_info{") && !text.contains("process_"));
    /// # drop(router);
    /// # }
    /// ```
    pub async fn text(&self) -> String {
        let source = self.shared.source.lock().clone();
        let scrape = self.scrape();
        if let Some(source) = source.and_then(|source| source.upgrade()) {
            source.read(&scrape).await;
        }
        scrape.rendered().await
    }

    /// Scrapes include what `source` reads, while it exists.
    pub(crate) fn read_from(&self, source: Weak<dyn Source>) {
        *self.shared.source.lock() = Some(source);
    }

    /// Exports `flask_*` as well, for the dialects of the replaced systems; their durations for that which had them.
    pub(crate) fn enable_flask(&self, has_durations: bool) {
        self.shared.flask.get_or_init(|| {
            self.shared
                .registry
                .set(names::FLASK_EXPORTER_INFO, VERSION, 1.0);
            for method in ["GET", "POST"] {
                let labels = [("method", method), ("status", "500")];
                self.shared
                    .registry
                    .counter(names::FLASK_HTTP_REQUEST_EXCEPTIONS, &labels)
                    .absolute(0);
            }
            has_durations
        });
    }

    /// Whether `flask_*` are exported, and if so, whether with durations.
    pub(super) fn flask(&self) -> Option<bool> {
        self.shared.flask.get().copied()
    }
}

#[doc(hidden)]
impl Metrics {
    /// Exports `count`, the number of documents in a store that are not purchases.
    pub fn count_unreadable(&self, count: Arc<AtomicU64>) {
        self.read_count(names::STORE_UNREADABLE, move || {
            count.load(Ordering::Relaxed)
        });
    }

    /// Exports `labels` of the build of this program with `app_info`. The first call wins.
    pub fn note_build(&self, labels: &'static [(&'static str, &'static str)]) {
        self.shared.build.get_or_init(|| labels);
    }

    /// Exposes the number of lines that the log of the program has dropped, and whether it cannot be written.
    pub fn count_dropped_lines(&self, count: Arc<AtomicU64>, is_failing: Arc<AtomicBool>) {
        self.read_count(names::LOG_LINES_DROPPED, move || {
            count.load(Ordering::Relaxed)
        });
        self.shared.is_log_failing.get_or_init(|| is_failing);
    }

    /// Whether the log of the program cannot be written.
    pub(crate) fn is_log_failing(&self) -> bool {
        self.shared
            .is_log_failing
            .get()
            .is_some_and(|is_failing| is_failing.load(Ordering::Relaxed))
    }

    /// Exports what the retention has deleted, and what it will delete.
    pub fn count_expired(&self, monitor: Arc<RetentionMonitor>) {
        let deleted = Arc::clone(&monitor);
        self.read_count(names::STORE_EXPIRED, move || {
            deleted.deleted.load(Ordering::Relaxed)
        });
        self.read_count(names::STORE_EXPIRING, move || {
            monitor.due.load(Ordering::Relaxed)
        });
    }

    fn read_count(&self, name: Name, count: impl Fn() -> u64 + Send + Sync + 'static) {
        self.shared.counted.lock().push((name, Box::new(count)));
    }

    /// Exposes how current `value` is, as `what`, here and in `/health`. It is read again for that, if it is due.
    pub fn watch<T: Send + Sync + 'static>(&self, what: &'static str, value: &Arc<Refreshed<T>>) {
        let value = Arc::clone(value);
        self.shared
            .watched
            .lock()
            .insert(what, Box::new(move || value.freshness()));
    }

    /// How current each watched value is.
    pub(crate) fn freshness(&self) -> BTreeMap<&'static str, Freshness> {
        self.shared
            .watched
            .lock()
            .iter()
            .map(|(what, freshness)| (*what, freshness()))
            .collect()
    }

    /// The last hour of the service.
    pub(crate) fn history(&self) -> Value {
        self.shared.history.body()
    }

    /// Starts a scrape.
    pub(crate) fn scrape(&self) -> Scrape {
        Scrape {
            registry: Registry::default(),
            metrics: self.clone(),
        }
    }

    /// Counts histogram samples.
    pub(super) fn sampled(&self, count: usize) {
        let before = self.shared.samples.fetch_add(count, Ordering::Relaxed);
        if before / SAMPLES != before.wrapping_add(count) / SAMPLES {
            self.shared.registry.0.handle().run_upkeep();
        }
    }
}

/// What is read for each scrape.
#[async_trait]
pub(crate) trait Source: Send + Sync {
    /// Exports the current state.
    async fn read(&self, scrape: &Scrape);
}

/// The metrics of one scrape: what is read for it, and what the service has counted. A series that is not read is absent,
/// such as the lag of a partition that another process has.
pub(crate) struct Scrape {
    pub(super) registry: Registry,
    pub(super) metrics: Metrics,
}

impl Scrape {
    /// Exports the metrics of the process. A program exports them once.
    pub(crate) fn note_process(&self) {
        let process = Collector::default();
        with_local_recorder(&self.registry.0, || {
            process.describe();
            process.collect();
        });
    }

    /// The same as [`text`](Self::text), when no other call renders it.
    pub(crate) async fn rendered(self) -> String {
        let _one = self.metrics.shared.rendering.lock().await;
        self.text()
    }

    /// All metrics in Prometheus' text format, version 0.0.4.
    pub(crate) fn text(&self) -> String {
        let MetricsInner {
            registry,
            build,
            in_flight,
            counted,
            ..
        } = &*self.metrics.shared;
        let build = build.get().copied().unwrap_or_default();
        let in_flight = approximately(in_flight.load(Ordering::Relaxed));
        self.registry
            .set(names::HTTP_REQUESTS_IN_FLIGHT, &[], in_flight);
        self.registry
            .set(names::APP_INFO, &[VERSION, build].concat(), 1.0);
        for (name, count) in &*counted.lock() {
            match name.kind {
                MetricKind::Counter => self.registry.counter(*name, &[]).absolute(count()),
                _ => self.registry.set(*name, &[], approximately(count())),
            }
        }
        for (what, Freshness { age, not_after, .. }) in self.metrics.freshness() {
            self.registry
                .set(names::RELOAD_AGE, &[("what", what)], age.as_secs_f64());
            if let Some(end) = not_after {
                let seconds = approximately((end.as_millis() / 1_000).unsigned_abs());
                self.registry.set(names::TLS_NOT_AFTER, &[], seconds);
            }
        }
        self.note_pending();
        let text = registry.0.handle().render() + &self.registry.0.handle().render();
        PROCESS.iter().fold(text, |text, (given, conventional)| {
            text.replacen(given, conventional, 1)
        })
    }
}

pub(super) struct Registry(PrometheusRecorder);

impl Default for Registry {
    #[expect(clippy::expect_used, reason = "`names` requires at least one bucket")]
    fn default() -> Self {
        let recorder = ALL
            .iter()
            .fold(PrometheusBuilder::new(), |builder, name| match name.kind {
                MetricKind::Histogram(buckets) => builder
                    .set_buckets_for_metric(Matcher::Full(name.name.to_owned()), buckets)
                    .expect("a list of buckets"),
                MetricKind::Counter | MetricKind::Gauge => builder,
            })
            .build_recorder();
        for &Name { name, kind, help } in ALL {
            let help = SharedString::const_str(help);
            match kind {
                MetricKind::Counter => recorder.describe_counter(name.into(), None, help),
                MetricKind::Gauge => recorder.describe_gauge(name.into(), None, help),
                MetricKind::Histogram(_) => recorder.describe_histogram(name.into(), None, help),
            }
        }
        Self(recorder)
    }
}

impl Registry {
    pub(super) fn counter(&self, name: Name, labels: Labels<'_>) -> Counter {
        self.0.register_counter(&key(name, labels), &METADATA)
    }

    /// Sets a gauge.
    pub(super) fn set(&self, name: Name, labels: Labels<'_>, value: f64) {
        self.0
            .register_gauge(&key(name, labels), &METADATA)
            .set(value);
    }

    pub(super) fn histogram(&self, name: Name, labels: Labels<'_>) -> Histogram {
        self.0.register_histogram(&key(name, labels), &METADATA)
    }
}

fn key(name: Name, labels: Labels<'_>) -> Key {
    let labels = labels
        .iter()
        .map(|(name, value)| Label::new(*name, (*value).to_owned()));
    Key::from_parts(name.name, labels.collect::<Vec<_>>())
}
