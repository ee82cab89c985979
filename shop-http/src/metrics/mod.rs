//! What a service counts and measures, and how Prometheus reads it. `docs/metrics.md` lists all of it.
//!
//! Every service has its own recorder, so that several in one process do not mix their figures. Nothing is
//! labelled with what a client chooses: a route is its template, a method one of those that HTTP knows.

mod accounts;
mod ingest;
mod names;
mod publishing;
mod registry;
mod requests;

pub(crate) use publishing::Publishing;
pub use registry::Metrics;
pub(crate) use requests::{HasPanicked, RequestTimer, Requests};
