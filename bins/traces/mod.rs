//! Traces, which are exported to an OpenTelemetry collector.
//!
//! A trace follows a purchase from its request through the log into the store:
//!
//! | span | kind | from | parent |
//! |---|---|---|---|
//! | `POST /buy` | server | `shop-http` | `traceparent` of the request |
//! | `send purchases` | producer | `shop-http` | the request |
//! | `process purchases` | consumer | `ingest` | `traceparent` of the record: the producer |
//! | `page`, `summary` and other calls | client | `shop-client` | the request |

#[cfg(feature = "otel")]
mod otel;
#[cfg(not(feature = "otel"))]
mod unsupported;

#[cfg(feature = "otel")]
pub(crate) use otel::{Exporter, start_record_spans};
#[cfg(not(feature = "otel"))]
pub(crate) use unsupported::{Exporter, start_record_spans};
