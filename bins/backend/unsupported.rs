//! The placeholder for a backend that this program was built without.

use super::port::Backend;

/// A backend without operations of its own: it uses the defaults of [`Backend`].
///
/// Settings that select such a backend are refused at the start, with the setting or the feature to
/// change.
pub(super) struct Unsupported;

impl Backend for Unsupported {}
