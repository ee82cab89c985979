//! Metrics, and their exposition to Prometheus. `docs/metrics.md` lists all of them.
//!
//! Every service has its own recorder, so that services in one process do not share metrics. What is known only at a
//! scrape is read for it. No label value comes from a client: a route is its template, a method one of those of HTTP.

mod history;
mod ingest;
mod names;
mod publishing;
mod registry;
mod requests;

pub(crate) use ingest::phase_word;
pub(crate) use publishing::Publishing;
pub use registry::Metrics;
pub(crate) use registry::{Scrape, Source};
pub(crate) use requests::{HasPanicked, Measured, RequestTimer, RouteSeries};
