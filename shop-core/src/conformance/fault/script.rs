//! Scripts of faults.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use fastrand::Rng;

use super::super::prelude::*;
use super::faulty::Faulty;
use super::simulated::fault;
use super::source::FaultySource;
use crate::lock::lock;
use crate::log::Log;
use crate::ports::PurchaseSink;

/// A script of faults, shared by all ports that it wraps. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    script: Arc<Mutex<Script>>,
}

#[derive(Debug, Default)]
struct Script {
    once: BTreeMap<Call, VecDeque<Fault>>,
    always: BTreeMap<Call, Fault>,
    calls: BTreeMap<Call, u64>,
    injected: BTreeMap<(Call, &'static str), u64>,
    /// Of calls without another fault.
    random: Option<Rng>,
}

impl Faults {
    /// An empty script.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Faults of a [simulated](crate::Shop::simulated) shop.
    pub(super) fn seeded(seed: u64) -> Self {
        let script = Script {
            random: Some(Rng::with_seed(seed)),
            ..Script::default()
        };
        Self {
            script: Arc::new(Mutex::new(script)),
        }
    }

    /// Injects the fault into the next `call` that has no fault yet.
    ///
    /// # Panics
    /// When the fault does not apply to such a call: the test would test nothing.
    pub fn once(&self, call: Call, fault: Fault) {
        fault.must_fit(call);
        self.script().once.entry(call).or_default().push_back(fault);
    }

    /// Injects the fault into every `call` until [`clear`](Self::clear), after those injected
    /// [`once`](Self::once).
    ///
    /// # Panics
    /// When the fault does not apply to such a call.
    pub fn always(&self, call: Call, fault: Fault) {
        fault.must_fit(call);
        self.script().always.insert(call, fault);
    }

    /// Removes all faults of `call`.
    pub fn clear(&self, call: Call) {
        let mut script = self.script();
        script.always.remove(&call);
        script.once.remove(&call);
    }

    /// The number of times `call` was made, faults included.
    #[must_use]
    pub fn calls(&self, call: Call) -> u64 {
        self.script().calls.get(&call).copied().unwrap_or_default()
    }

    /// The number of times each fault was injected, by variant name. A scripted fault that was
    /// never injected has tested nothing.
    #[must_use]
    pub fn injected(&self) -> BTreeMap<(Call, &'static str), u64> {
        self.script().injected.clone()
    }

    /// The fault to inject into this `call`, if any.
    pub(super) fn take(&self, call: Call) -> Option<Fault> {
        let mut script = self.script();
        *script.calls.entry(call).or_default() += 1;
        let once = script.once.get_mut(&call).and_then(VecDeque::pop_front);
        let scripted = once.or_else(|| script.always.get(&call).cloned());
        let fault = scripted.or_else(|| fault(script.random.as_mut()?, call))?;
        *script.injected.entry((call, fault.name())).or_default() += 1;
        Some(fault)
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        lock(&self.script)
    }
}

/// A method per port, under the name of its parameter.
macro_rules! wrap {
    ($($name:ident: $port:ty,)*) => {$(
        #[doc = concat!("`", stringify!($name), "` with the faults of this script.")]
        #[must_use]
        pub fn $name(&self, $name: Arc<$port>) -> Arc<$port> {
            Faulty::new($name, self)
        }
    )*};
}

impl Faults {
    wrap! {
        sink: dyn PurchaseSink,
        store: dyn PurchaseStore,
        query: dyn PurchaseQuery,
        log: dyn Log,
    }

    /// `source` with the faults of this script.
    #[must_use]
    pub fn source(&self, source: Arc<dyn LogSource>) -> Arc<dyn LogSource> {
        Arc::new(FaultySource::new(source, self))
    }
}
