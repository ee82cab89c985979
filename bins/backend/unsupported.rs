//! What stands for a backend that this program was built without.

use super::port::Backend;
use crate::Failure;
use crate::settings::{Settings, unbuilt};

/// A backend that keeps nothing, and says which setting and which feature would make it another one.
pub(super) struct Unsupported<'a>(pub(super) &'a Settings);

impl Backend for Unsupported<'_> {
    fn unsupported(&self) -> Failure {
        let Self(settings) = self;
        Failure::all(unbuilt(settings.kafka_bootstrap_servers.is_some(), settings.mongodb_uri.is_some()))
    }
}
