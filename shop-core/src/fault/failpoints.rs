//! Failpoints at which a test can kill the process, as a crash would.

use std::sync::Arc;

use fail::FailScenario;

use super::hooked::{Hooked, Hooks};
use super::{Call, Fault};

/// The names of all failpoints, in the order in which a purchase passes them. Each is before or after a step that
/// writes to a disk.
///
/// The action `return` exits the process at once, for example `FAILPOINTS=inserted=3*off->return`
/// (<https://docs.rs/fail/0.5.1/fail/>).
pub const FAILPOINTS: [&str; 10] = [
    "before-publish",
    "publish-on-its-way",
    "published",
    "before-insert",
    "inserted",
    "before-dead-letters",
    "dead-letters-put",
    "before-commit",
    "committed",
    "before-close",
];

/// The failpoints of a row with an outbox event, in the order in which the row and its event pass them.
pub const OUTBOX_FAILPOINTS: [&str; 8] = [
    "before-row",
    "row-written",
    "before-append",
    "appended",
    "before-forget",
    "forgotten",
    "before-apply",
    "applied",
];

/// Reads `FAILPOINTS` from the environment. Call once per process.
pub fn init_failpoints() {
    std::mem::forget(FailScenario::setup());
}

/// `port` with a failpoint before and after each step.
#[must_use]
pub fn with_failpoints<P: ?Sized>(port: Arc<P>) -> Arc<Hooked<P>> {
    Hooked::new(port, Failpoints)
}

/// The failpoints before and after a call, if any.
const AROUND: [(Call, &str, Option<&str>); 9] = [
    (Call::Publish, "before-publish", Some("published")),
    (Call::Insert, "before-insert", Some("inserted")),
    (Call::PutDeadLetters, "before-dead-letters", Some("dead-letters-put")),
    (Call::Commit, "before-commit", Some("committed")),
    (Call::Close, "before-close", None),
    (Call::InsertEntity, "before-row", Some("row-written")),
    (Call::Append, "before-append", Some("appended")),
    (Call::Delete, "before-forget", Some("forgotten")),
    (Call::Apply, "before-apply", Some("applied")),
];

#[derive(Debug)]
struct Failpoints;

impl Hooks for Failpoints {
    fn before(&self, call: Call) -> Option<Fault> {
        AROUND.iter().filter(|(of, ..)| *of == call).for_each(|(_, before, _)| reached(before));
        None
    }

    fn begun(&self, call: Call) {
        if call == Call::Publish {
            reached("publish-on-its-way");
        }
    }

    fn after(&self, call: Call) {
        AROUND.iter().filter(|(of, ..)| *of == call).filter_map(|(.., after)| *after).for_each(reached);
    }
}

fn reached(point: &'static str) {
    // No unwinding and no cleanup, as in a crash.
    let _not_to_end_here: Option<()> = fail::eval(point, |_| std::process::abort());
}
