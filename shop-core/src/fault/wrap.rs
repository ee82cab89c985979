//! Wraps ports with faults.

use std::sync::Arc;

use super::hooked::Hooked;
use super::script::Faults;
use super::source::FaultySource;
use crate::log::{DeadLetters, LogAdmin, LogSource, LogWriter};
use crate::outbox::Outbox;
use crate::ports::{PurchaseQuery, PurchaseSink, PurchaseStore, RecordStore};
use crate::record::Record;

/// A method per port, under the name of its parameter.
macro_rules! wrap {
    ($($name:ident: $port:ty,)*) => {$(
        #[doc = concat!("`", stringify!($name), "` with the faults of this script.")]
        #[must_use]
        pub fn $name(&self, $name: Arc<$port>) -> Arc<$port> {
            Hooked::new($name, self.clone())
        }
    )*};
}

impl Faults {
    wrap! {
        sink: dyn PurchaseSink,
        store: dyn PurchaseStore,
        query: dyn PurchaseQuery,
        dead_letters: dyn DeadLetters,
        writer: dyn LogWriter,
        admin: dyn LogAdmin,
        outbox: dyn Outbox,
    }

    /// `store` with the faults of this script.
    #[must_use]
    pub fn record_store<R: Record>(&self, store: Arc<dyn RecordStore<R>>) -> Arc<dyn RecordStore<R>> {
        Hooked::new(store, self.clone())
    }

    /// `source` with the faults of this script.
    #[must_use]
    pub fn source(&self, source: Arc<dyn LogSource>) -> Arc<dyn LogSource> {
        let source: Arc<dyn LogSource> = Arc::new(FaultySource::new(source, self.clone()));
        Hooked::new(source, self.clone())
    }
}
