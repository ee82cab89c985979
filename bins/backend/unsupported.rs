//! The placeholder for the embedded files in a program that was built without them.

use super::port::Backend;
use crate::settings::Settings;

/// A backend without operations of its own: it uses the defaults of [`Backend`].
///
/// Settings that select it are refused at the start, with the setting or the feature to change.
pub(super) struct Embedded<'a>(pub(super) &'a Settings);

impl Backend for Embedded<'_> {}
