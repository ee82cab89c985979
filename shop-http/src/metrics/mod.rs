//! Metrics of a service, and their exposition to Prometheus. `docs/metrics.md` lists all metrics.
//!
//! Every service uses its own [`Metrics`], so that services in one process do not share them.
//! Requests, publishes and batches of ingest are counted as they happen. The current state of other
//! parts is read when Prometheus asks: a [`ScrapeSource`] exports it to a [`Scrape`].
//!
//! No label value comes from a client: a route is labelled by its template, and a method is one of
//! those that HTTP defines. So a client cannot make the number of series grow.

mod history;
mod ingest;
mod names;
mod publishing;
mod registry;
mod requests;

pub(crate) use ingest::phase_name;
pub use names::RequestFamily;
pub(crate) use publishing::PublishMetrics;
pub use registry::Metrics;
pub(crate) use registry::{Scrape, ScrapeSource};
pub(crate) use requests::{HasPanicked, MetricFamilies, RequestTimer, RouteSeries};
