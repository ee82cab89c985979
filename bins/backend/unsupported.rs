//! The placeholder for a backend that this program was built without.

use super::port::Backend;
use crate::CliError;
use crate::settings::{Settings, missing_features};

/// A backend whose operations fail with the setting or the feature to change.
pub(super) struct Unsupported<'a>(pub(super) &'a Settings);

impl Backend for Unsupported<'_> {
    fn unsupported(&self) -> CliError {
        let Self(settings) = self;
        CliError::all(missing_features(
            settings.kafka_bootstrap_servers.is_some(),
            settings.mongodb_uri.is_some(),
            settings.postgres_url.is_some(),
        ))
    }
}
