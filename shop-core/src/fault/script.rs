//! Which call goes wrong, and how.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::call::{Call, Fault};
use super::hooked::Hooks;

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
}

impl Faults {
    /// A script in which nothing goes wrong yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next `call` that has no fault of its own yet goes wrong.
    ///
    /// # Panics
    /// When that cannot happen to such a call: a test of nothing is no test.
    pub fn once(&self, call: Call, fault: Fault) {
        fault.must_fit(call);
        self.script().once.entry(call).or_default().push_back(fault);
    }

    /// Every `call` goes wrong until it is [cleared](Self::clear), after those that go wrong
    /// [`once`](Self::once).
    ///
    /// # Panics
    /// When that cannot happen to such a call.
    pub fn always(&self, call: Call, fault: Fault) {
        fault.must_fit(call);
        self.script().always.insert(call, fault);
    }

    /// No `call` goes wrong any more.
    pub fn clear(&self, call: Call) {
        let mut script = self.script();
        script.always.remove(&call);
        script.once.remove(&call);
    }

    /// How often `call` was made, faults included.
    #[must_use]
    pub fn calls(&self, call: Call) -> u64 {
        self.script().calls.get(&call).copied().unwrap_or_default()
    }

    /// How often each fault has happened so far, by the name of its variant: one that was scripted and never
    /// happened has tested nothing.
    #[must_use]
    pub fn injected(&self) -> BTreeMap<(Call, &'static str), u64> {
        self.script().injected.clone()
    }

    /// What goes wrong with this `call`, if anything.
    pub(super) fn take(&self, call: Call) -> Option<Fault> {
        let mut script = self.script();
        *script.calls.entry(call).or_default() += 1;
        let once = script.once.get_mut(&call).and_then(VecDeque::pop_front);
        let fault = once.or_else(|| script.always.get(&call).cloned())?;
        *script.injected.entry((call, fault.name())).or_default() += 1;
        Some(fault)
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hooks for Faults {
    fn before(&self, call: Call) -> Option<Fault> {
        self.take(call)
    }
}
