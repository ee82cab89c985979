//! The metrics registry of one service, and the text that Prometheus scrapes.
//!
//! | type | holds |
//! |---|---|
//! | [`Metrics`] | the counts between the scrapes, and the sources that a scrape reads |
//! | [`Scrape`] | the state at the moment of one scrape, in a registry of its own |
//! | [`Registry`] | a recorder that knows the kind, help and buckets of each metric |
//!
//! The text combines both registries. A series that is not read for a scrape is absent, such as the
//! lag of a partition that another process consumes meanwhile.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use ::metrics::{
    Counter, Histogram, IntoF64, Key, Label, Level, Metadata, Recorder, SharedString,
    with_local_recorder,
};
use async_trait::async_trait;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};
use metrics_process::Collector;
use parking_lot::Mutex;
use serde_json::Value;
use shop_core::inspect::LogInspection;
use shop_core::retention::RetentionMonitor;

use super::history::History;
use super::ingest::gauge_value;
use super::names::{self, ALL, MetricDefinition, MetricKind, RequestFamily, SECONDS};
use crate::refreshed::{Freshness, Refreshed};

/// The metrics of one service, for its `/metrics`. Clones share the same metrics.
///
/// An ingest in the same process reports to their
/// [`ingest_observer`](Self::ingest_observer):
///
/// ```
/// use std::sync::Arc;
///
/// use shop_core::ingest::{Ingest, IngestOptions};
/// use shop_core::memory::{InMemoryLog, InMemoryStore};
/// use shop_http::{Metrics, Parts};
///
/// let (log, store) = (InMemoryLog::default(), InMemoryStore::new());
/// let source = Arc::new(log.source("group"));
/// let ingest = Ingest::new(source, Arc::new(store.clone()), Arc::new(log.clone()), IngestOptions::default());
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
    /// The metrics that are counted between the scrapes.
    pub(super) registry: Registry,
    /// The service whose state a scrape includes, while its router exists.
    source: Mutex<Option<Weak<dyn ScrapeSource>>>,
    /// The family of metrics of requests that a role has added, if one has.
    pub(super) request_family: OnceLock<&'static RequestFamily>,
    /// The labels of `app_info` besides the version.
    build_labels: OnceLock<Labels<'static>>,
    /// Locked while the text is rendered, which takes milliseconds of processor time.
    rendering: tokio::sync::Mutex<()>,
    /// The number of requests in flight.
    pub(super) in_flight: AtomicU64,
    /// The number of histogram samples so far.
    samples: AtomicUsize,
    /// The last inspection of the log of each topic.
    pub(super) logs: Mutex<BTreeMap<String, LogInspection>>,
    /// The metrics that are counted elsewhere, and read for each scrape.
    external_counts: Mutex<Vec<(MetricDefinition, ValueReader<u64>)>>,
    /// Whether the diagnostic log of the program cannot be written.
    is_diagnostic_log_failing: OnceLock<Arc<AtomicBool>>,
    /// The values that are read again while they are in use, by name.
    refreshed_values: Mutex<BTreeMap<&'static str, ValueReader<Freshness>>>,
    /// The last hour.
    pub(super) history: History,
}

/// A function that reads the current value of something that is held elsewhere.
type ValueReader<T> = Box<dyn Fn() -> T + Send + Sync>;

/// The labels of one series.
pub(super) type Labels<'a> = &'a [(&'static str, &'a str)];

/// The number of samples after which they are moved into their buckets even without a scrape.
///
/// Until then each sample takes 24 bytes (`metrics-rs/metrics#467`).
const SAMPLES_PER_UPKEEP: usize = 4_096;
/// The label of the version of this crate.
const VERSION: Labels<'_> = &[("version", env!("CARGO_PKG_VERSION"))];
/// Corrections of the text of `process_*`: what the collector writes, and what Prometheus expects.
///
/// The collector does not support counters with fractions, and writes 0 for an unlimited value.
const PROCESS_CORRECTIONS: [(&str, &str); 3] = [
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
/// The metadata that a recorder wants with each metric. The one of Prometheus ignores it.
const METADATA: Metadata<'static> = Metadata::new("shop_http", Level::INFO, None);

impl Metrics {
    /// Creates an empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the metrics of the service in Prometheus' text format, version 0.0.4.
    ///
    /// The text equals `/metrics` without `process_*`. Append it to the metrics of your own
    /// program, whose names must differ.
    ///
    /// ```
    /// use shop_core::Shop;
    /// use shop_http::{Parts, RouteGroup, routes};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let shop = Shop::in_memory();
    /// let parts = Parts::from(shop.backend());
    /// let metrics = parts.metrics.clone();
    /// let router = routes(parts).without([RouteGroup::Metrics, RouteGroup::ShortPaths]).build();
    /// let text = format!("up 1\n{}", metrics.text().await);
    /// # assert!(text.contains("\napp_info{") && !text.contains("process_"));
    /// # drop(router);
    /// # }
    /// ```
    pub async fn text(&self) -> String {
        let source = self.shared.source.lock().clone();
        let scrape = self.scrape();
        if let Some(source) = source.and_then(|source| source.upgrade()) {
            source.export_state(&scrape).await;
        }
        scrape.into_text().await
    }

    /// Sets the service whose state scrapes include while it exists.
    pub(crate) fn set_scrape_source(&self, source: Weak<dyn ScrapeSource>) {
        *self.shared.source.lock() = Some(source);
    }

    /// Exports the metrics of `family` as well, unless a family was added before.
    pub(crate) fn add_request_family(&self, family: &'static RequestFamily) {
        self.shared.request_family.get_or_init(|| {
            let registry = &self.shared.registry;
            let required_metrics = [family.requests(), family.panics(), family.version()];
            for metric in required_metrics.into_iter().chain(family.durations()) {
                describe(&registry.0, metric);
            }

            registry.set_gauge(family.version(), VERSION, 1.0);
            for method in ["GET", "POST"] {
                let labels = [("method", method), ("status", "500")];
                registry.counter(family.panics(), &labels).absolute(0);
            }
            family
        });
    }
}

impl Metrics {
    /// Exports `count`, the number of documents in a store that are not purchases.
    pub fn count_unreadable(&self, count: Arc<AtomicU64>) {
        self.read_count(names::STORE_UNREADABLE, move || {
            count.load(Ordering::Relaxed)
        });
    }

    /// Exports `labels` of the build of this program with `app_info`. The first call wins.
    pub fn note_build(&self, labels: Labels<'static>) {
        self.shared.build_labels.get_or_init(|| labels);
    }

    /// Exports `count`, the number of lines that the diagnostic log of the program dropped.
    ///
    /// `/health` reports that the diagnostic log fails while `is_failing` is set.
    pub fn count_dropped_lines(&self, count: Arc<AtomicU64>, is_failing: Arc<AtomicBool>) {
        self.read_count(names::LOG_LINES_DROPPED, move || {
            count.load(Ordering::Relaxed)
        });
        self.shared
            .is_diagnostic_log_failing
            .get_or_init(|| is_failing);
    }

    /// Returns whether the diagnostic log of the program cannot be written.
    pub(crate) fn is_diagnostic_log_failing(&self) -> bool {
        self.shared
            .is_diagnostic_log_failing
            .get()
            .is_some_and(|is_failing| is_failing.load(Ordering::Relaxed))
    }

    /// Exports how many purchases the retention deleted, and how many it will delete.
    pub fn count_expired(&self, monitor: Arc<RetentionMonitor>) {
        let monitor_of_deleted = Arc::clone(&monitor);
        self.read_count(names::STORE_EXPIRED, move || {
            monitor_of_deleted.deleted.load(Ordering::Relaxed)
        });
        self.read_count(names::STORE_EXPIRING, move || {
            monitor.due.load(Ordering::Relaxed)
        });
    }

    /// Exports the value that `count` returns at each scrape.
    fn read_count(
        &self,
        metric: MetricDefinition,
        count: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        self.shared
            .external_counts
            .lock()
            .push((metric, Box::new(count)));
    }

    /// Exports how current `value` is, with the label `what`, in the metrics and in `/health`.
    ///
    /// Each scrape, and each `/health`, starts a read in the background if one is due.
    pub fn watch<T: Send + Sync + 'static>(&self, what: &'static str, value: &Arc<Refreshed<T>>) {
        let value = Arc::clone(value);
        self.shared
            .refreshed_values
            .lock()
            .insert(what, Box::new(move || value.freshness()));
    }

    /// Returns how current each watched value is, by name.
    pub(crate) fn freshness(&self) -> BTreeMap<&'static str, Freshness> {
        self.shared
            .refreshed_values
            .lock()
            .iter()
            .map(|(what, read_freshness)| (*what, read_freshness()))
            .collect()
    }

    /// Returns the last hour of the service, for `/health`.
    pub(crate) fn history(&self) -> Value {
        self.shared.history.to_json()
    }

    /// Starts a scrape, to which the state at this moment is exported.
    pub(crate) fn scrape(&self) -> Scrape {
        Scrape {
            registry: Registry::default(),
            metrics: self.clone(),
        }
    }

    /// Adds `count` to the number of histogram samples. After every [`SAMPLES_PER_UPKEEP`] samples,
    /// moves them into their buckets.
    pub(super) fn count_samples(&self, count: usize) {
        let previous_total = self.shared.samples.fetch_add(count, Ordering::Relaxed);
        let total = previous_total.wrapping_add(count);
        if previous_total / SAMPLES_PER_UPKEEP != total / SAMPLES_PER_UPKEEP {
            self.shared.registry.0.handle().run_upkeep();
        }
    }
}

/// A service whose state is read for each scrape.
#[async_trait]
pub(crate) trait ScrapeSource: Send + Sync {
    /// Exports the current state to `scrape`.
    async fn export_state(&self, scrape: &Scrape);
}

/// The metrics of one scrape: the state that is read for it, and the counts of the service.
pub(crate) struct Scrape {
    registry: Registry,
    pub(super) metrics: Metrics,
}

impl Scrape {
    /// Exports the metrics of the process, such as its memory. A program with several services does
    /// this once per scrape.
    pub(crate) fn export_process(&self) {
        let process = Collector::default();
        with_local_recorder(&self.registry.0, || {
            process.describe();
            process.collect();
        });
    }

    /// Renders all metrics as [`text`](Self::text) does. Waits until other scrapes are rendered.
    pub(crate) async fn into_text(self) -> String {
        let _rendering = self.metrics.shared.rendering.lock().await;
        self.text()
    }

    /// Renders all metrics in Prometheus' text format, version 0.0.4.
    pub(crate) fn text(&self) -> String {
        self.export_service();
        self.export_external_counts();
        self.export_freshness();
        self.export_pending_dead_letters();

        let counts_text = self.metrics.shared.registry.0.handle().render();
        let state_text = self.registry.0.handle().render();
        let mut text = counts_text + &state_text;
        for (written, expected) in PROCESS_CORRECTIONS {
            text = text.replacen(written, expected, 1);
        }
        text
    }

    /// Exports the version and the build of the service, and its requests in flight.
    fn export_service(&self) {
        let shared = &self.metrics.shared;
        let in_flight = gauge_value(shared.in_flight.load(Ordering::Relaxed));
        self.set_gauge(names::HTTP_REQUESTS_IN_FLIGHT, &[], in_flight);

        let build_labels = shared.build_labels.get().copied().unwrap_or_default();
        self.set_gauge(names::APP_INFO, &[VERSION, build_labels].concat(), 1.0);
    }

    /// Exports the metrics that are counted elsewhere.
    fn export_external_counts(&self) {
        for (metric, read_count) in &*self.metrics.shared.external_counts.lock() {
            match metric.kind {
                MetricKind::Counter => self.set_counter(*metric, &[], read_count()),
                _ => self.set_gauge(*metric, &[], gauge_value(read_count())),
            }
        }
    }

    /// Exports the age of each watched value, and the end of the validity of a certificate.
    fn export_freshness(&self) {
        for (what, freshness) in self.metrics.freshness() {
            self.set_gauge(names::RELOAD_AGE, &[("what", what)], freshness.age);
            if let Some(end) = freshness.not_after {
                let seconds = gauge_value((end.as_millis() / 1_000).unsigned_abs());
                self.set_gauge(names::TLS_NOT_AFTER, &[], seconds);
            }
        }
    }

    /// Sets a gauge of this scrape.
    pub(super) fn set_gauge(
        &self,
        metric: MetricDefinition,
        labels: Labels<'_>,
        value: impl IntoF64,
    ) {
        self.registry.set_gauge(metric, labels, value);
    }

    /// Sets a counter of this scrape.
    pub(super) fn set_counter(&self, metric: MetricDefinition, labels: Labels<'_>, value: u64) {
        self.registry.counter(metric, labels).absolute(value);
    }
}

/// A recorder of the metrics of this crate.
pub(super) struct Registry(PrometheusRecorder);

impl Default for Registry {
    #[expect(clippy::expect_used, reason = "`names` requires at least one bucket")]
    fn default() -> Self {
        // These buckets are for the durations in the `RequestFamily` of a role, whose name is not
        // known yet.
        let mut builder = PrometheusBuilder::new()
            .set_buckets(SECONDS)
            .expect("a list of buckets");
        for metric in ALL {
            if let MetricKind::Histogram(buckets) = metric.kind {
                builder = builder
                    .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)
                    .expect("a list of buckets");
            }
        }

        let recorder = builder.build_recorder();
        for &metric in ALL {
            describe(&recorder, metric);
        }
        Self(recorder)
    }
}

/// Sets the kind and the help text of `metric`.
fn describe(recorder: &PrometheusRecorder, metric: MetricDefinition) {
    let MetricDefinition { name, kind, help } = metric;
    let help = SharedString::const_str(help);
    match kind {
        MetricKind::Counter => recorder.describe_counter(name.into(), None, help),
        MetricKind::Gauge => recorder.describe_gauge(name.into(), None, help),
        MetricKind::Histogram(_) => recorder.describe_histogram(name.into(), None, help),
    }
}

impl Registry {
    /// Returns the counter with these labels. The first call registers the counter.
    pub(super) fn counter(&self, metric: MetricDefinition, labels: Labels<'_>) -> Counter {
        self.0
            .register_counter(&series_key(metric, labels), &METADATA)
    }

    /// Sets the gauge with these labels.
    pub(super) fn set_gauge(
        &self,
        metric: MetricDefinition,
        labels: Labels<'_>,
        value: impl IntoF64,
    ) {
        self.0
            .register_gauge(&series_key(metric, labels), &METADATA)
            .set(value);
    }

    /// Returns the histogram with these labels. The first call registers the histogram.
    pub(super) fn histogram(&self, metric: MetricDefinition, labels: Labels<'_>) -> Histogram {
        self.0
            .register_histogram(&series_key(metric, labels), &METADATA)
    }
}

/// Returns the key of the series of `metric` with these labels.
fn series_key(metric: MetricDefinition, labels: Labels<'_>) -> Key {
    let labels = labels
        .iter()
        .map(|(name, value)| Label::new(*name, (*value).to_owned()));
    Key::from_parts(metric.name, labels.collect::<Vec<_>>())
}
