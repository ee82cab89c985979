//! The backends of logs and stores, and the components of a service that are in them.
//!
//! The settings alone select where the log is ([`Log`](backends::Log)), and where the store of the
//! purchases is ([`Store`](backends::Store)). [`Backends`] opens what a process uses of them, and
//! closes it at the end. Each system is a module, and only this folder depends on which of them are
//! compiled in. [`components()`] lists the components that a service uses.

mod backends;
mod components;
pub(crate) mod currency;
#[cfg(feature = "embedded")]
mod embedded;
#[cfg(any(feature = "mongodb", feature = "postgres"))]
mod inspection;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "mongodb")]
mod mongodb;
#[cfg(feature = "kafka")]
mod oauth;
mod operations;
mod port;
#[cfg(feature = "postgres")]
mod postgres;
mod shop;

pub(crate) use backends::{Backends, CLOSE_TIMEOUT, Closing};
pub(crate) use components::{ComponentKind, ServiceComponent, components, file_of};
pub(crate) use operations::{CopiedFile, find_damage};
pub(crate) use port::{
    OpenPort, OrderBackend, TopicSpec, UserBackend, client, source, with_service_token,
};
pub(crate) use shop::open_shop;

#[cfg(feature = "compat")]
pub(crate) use shop_compat::ReplacedSystem;
use shop_core::record::RecordDecoders;

/// Returns the decoders of the records of purchases: with the feature `compat`, also those of the
/// programs that this one replaces.
pub(crate) fn record_decoders() -> RecordDecoders {
    #[cfg(feature = "compat")]
    {
        shop_compat::records::record_decoders()
    }
    #[cfg(not(feature = "compat"))]
    {
        RecordDecoders::default()
    }
}
