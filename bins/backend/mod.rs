//! Opens the logs and stores that the settings select, for services and for commands.
//!
//! The settings alone select where the log is ([`Log`](backends::Log)), and where the store of the
//! purchases is ([`Store`](backends::Store)). [`Backends`] opens what a process uses of them, and
//! closes it at the end. Only this folder depends on which backends are compiled in.
//!
//! | module | content |
//! |---|---|
//! | `backends` | opens logs and stores, whatever their backend is |
//! | `kafka`, `mongodb`, `postgres`, `embedded` | one backend each, and `oauth`, the tokens for Kafka |
//! | `open_port` | an opened log or store, with the name of its backend |
//! | `topic` | the topics of a service, and their consumers |
//! | `inspection` | whether a process may use a store on a server |
//! | `currency` | whether the settings and the store agree on the currency |
//! | `shop` | the shop on which commands refund and import |
//! | `maintenance` | commands that only one backend supports, such as `backup` |
//! | `components` | lists the components that a service uses, and opens none |

mod backends;
mod components;
pub(crate) mod currency;
#[cfg(feature = "embedded")]
mod embedded;
#[cfg(any(feature = "mongodb", feature = "postgres"))]
mod inspection;
#[cfg(feature = "kafka")]
mod kafka;
mod maintenance;
#[cfg(feature = "mongodb")]
mod mongodb;
#[cfg(feature = "kafka")]
mod oauth;
mod open_port;
#[cfg(feature = "postgres")]
mod postgres;
mod shop;
mod topic;

pub(crate) use backends::{Backends, CLOSE_TIMEOUT, Closing};
pub(crate) use components::{ComponentKind, ServiceComponent, components, file_of};
pub(crate) use maintenance::{CopiedFile, find_damage};
pub(crate) use open_port::{OpenPort, OrderBackend, UserBackend};
pub(crate) use shop::open_shop;
pub(crate) use topic::{TopicSpec, create_log_source};

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
