//! The placeholder for a backend that this program was built without.

use super::port::Backend;

/// A backend without operations. Settings that select it are refused at the start, with the setting or the feature to
/// change.
pub(super) struct Unsupported;

impl Backend for Unsupported {}
