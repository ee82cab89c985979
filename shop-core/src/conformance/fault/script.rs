//! Scripts of faults.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use fastrand::Rng;

use super::super::prelude::*;
use super::faulty::Faulty;
use super::simulated::random_fault;
use super::source::FaultySource;
use crate::lock::lock;
use crate::log::Log;
use crate::ports::PurchaseSink;

/// A script of faults, shared by all ports that it wraps. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    script: Arc<Mutex<Script>>,
}

/// The faults to inject, and the counts of calls and faults so far.
#[derive(Debug, Default)]
struct Script {
    /// The faults of the next calls, each for one call.
    once: BTreeMap<Call, VecDeque<Fault>>,
    /// The faults of all further calls.
    always: BTreeMap<Call, Fault>,
    /// The number of calls, faults included.
    calls: BTreeMap<Call, u64>,
    /// The number of injected faults, by the name of the fault.
    injected: BTreeMap<(Call, &'static str), u64>,
    /// The source of the random faults of calls without another fault.
    random: Option<Rng>,
}

impl Faults {
    /// Creates an empty script.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates the random faults of a [simulated](crate::Shop::simulated) shop, which are the same
    /// for the same `seed`.
    pub(super) fn seeded(seed: u64) -> Self {
        let script = Script {
            random: Some(Rng::with_seed(seed)),
            ..Script::default()
        };
        Self {
            script: Arc::new(Mutex::new(script)),
        }
    }

    /// Injects `fault` into the next `call` that has no fault yet.
    ///
    /// # Panics
    /// Panics if `fault` does not apply to such a call, because the test would test nothing.
    pub fn once(&self, call: Call, fault: Fault) {
        fault.must_fit(call);
        self.script().once.entry(call).or_default().push_back(fault);
    }

    /// Injects `fault` into every `call` until [`clear`](Self::clear). Faults that are injected
    /// [`once`](Self::once) come first.
    ///
    /// # Panics
    /// Panics if `fault` does not apply to such a call.
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

    /// Returns the number of times that `call` was made, faults included.
    #[must_use]
    pub fn calls(&self, call: Call) -> u64 {
        self.script().calls.get(&call).copied().unwrap_or_default()
    }

    /// Returns the number of times that each fault was injected, by the call and the name of the
    /// variant. A scripted fault that was never injected has tested nothing.
    #[must_use]
    pub fn injected(&self) -> BTreeMap<(Call, &'static str), u64> {
        self.script().injected.clone()
    }

    /// Counts this `call`, and returns the fault to inject into it, if there is one.
    pub(super) fn take(&self, call: Call) -> Option<Fault> {
        let mut script = self.script();
        *script.calls.entry(call).or_default() += 1;
        let single_fault = script.once.get_mut(&call).and_then(VecDeque::pop_front);
        let scripted_fault = single_fault.or_else(|| script.always.get(&call).cloned());
        let injected_fault =
            scripted_fault.or_else(|| random_fault(script.random.as_mut()?, call))?;
        *script
            .injected
            .entry((call, injected_fault.name()))
            .or_default() += 1;
        Some(injected_fault)
    }

    /// Locks the script.
    fn script(&self) -> MutexGuard<'_, Script> {
        lock(&self.script)
    }
}

/// Defines a method for each port, with the name of its parameter.
macro_rules! wrap {
    ($($name:ident: $port:ty,)*) => {$(
        #[doc = concat!("Returns `", stringify!($name), "` with the faults of this script.")]
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

    /// Returns `source` with the faults of this script.
    #[must_use]
    pub fn source(&self, source: Arc<dyn LogSource>) -> Arc<dyn LogSource> {
        Arc::new(FaultySource::new(source, self))
    }
}
