//! The fuzz targets: one function each, for libFuzzer (`fuzz_targets`) and for the tests of the workspace, which run the
//! corpora (`bins/tests/fuzz`).

mod http;
mod values;

pub use http::{bodies, requests, tokens};
pub use values::{cursors, records, settings};

/// A fuzz target. It panics if the input breaks a rule.
pub type Target = fn(&[u8]);

/// All targets, by the name of their corpus.
pub const TARGETS: [(&str, Target); 6] = [
    ("bodies", bodies),
    ("cursors", cursors),
    ("records", records),
    ("requests", requests),
    ("settings", settings),
    ("tokens", tokens),
];
