//! Traces, exported to an OpenTelemetry collector: a purchase from its request through the log into the store.
//!
//! | span | kind | from | parent |
//! |---|---|---|---|
//! | `POST /buy` | server | `shop-http` | `traceparent` of the request |
//! | `send purchases` | producer | `sink` | the request |
//! | `process purchases` | consumer | `ingest` | `traceparent` of the record: the producer |
//! | `page`, `summary` and other calls | client | `shop-client` | the request |

#[cfg(feature = "otel")]
mod exporter;
#[cfg(feature = "otel")]
mod ingest;
#[cfg(feature = "otel")]
mod sink;
#[cfg(not(feature = "otel"))]
mod unsupported;

#[cfg(feature = "otel")]
pub(crate) use exporter::Exporter;
#[cfg(feature = "otel")]
pub(crate) use ingest::with_spans as observer_with_spans;
#[cfg(feature = "otel")]
pub(crate) use sink::with_spans as sink_with_spans;
#[cfg(not(feature = "otel"))]
pub(crate) use unsupported::{Exporter, observer_with_spans, sink_with_spans};
