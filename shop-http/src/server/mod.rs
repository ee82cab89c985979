//! What is around every route, and the listener that serves them.

pub(crate) mod access_log;
pub(crate) mod admission;
pub(crate) mod browsers;
pub(crate) mod client;
mod client_stream;
mod connection;
mod connections;
pub(crate) mod gate;
pub(crate) mod observe;
mod pace;
pub(crate) mod serve;
#[cfg(feature = "tls")]
pub(crate) mod tls;
#[cfg(feature = "otel")]
pub(crate) mod traces;
