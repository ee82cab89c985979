//! What the setting `SHOP_DIALECT` decides. A build without the feature `compat` does not have the
//! setting, and behaves as with the dialect `default`.

use std::sync::Arc;

use clap::Arg;
use shop_accounts::http::Accounts;
use shop_http::{HttpOptions, Role};

use super::variables::ProcessArgs;

#[cfg(feature = "compat")]
impl ProcessArgs {
    /// Returns the name of the dialect.
    pub(crate) fn dialect_name(&self) -> &'static str {
        self.compat.dialect.name()
    }

    /// Returns whether a log line is written for each purchase.
    pub(crate) fn logs_purchases(&self) -> bool {
        self.compat.dialect.logs_purchases()
    }

    /// Applies the defaults of the dialect to those `options` that no setting sets.
    pub(super) fn apply_dialect_defaults(&self, options: &mut HttpOptions) {
        self.compat.apply_defaults(&self.http, options);
    }

    /// Returns the roles that serve the paths of the replaced systems: one role for purchases, and
    /// one for the users and orders of `accounts`. If `accounts` is empty, the second role answers
    /// `/users` with a 404 in the form of the replaced system.
    pub(crate) fn compat_roles(&self, accounts: Accounts) -> Vec<Arc<dyn Role>> {
        let systems = shop_compat::ReplacedSystems::new(self.compat.dialect);
        let ecommerce = shop_compat::ecommerce::Ecommerce::new(accounts);
        vec![Arc::new(systems), Arc::new(ecommerce)]
    }
}

#[cfg(not(feature = "compat"))]
#[expect(
    clippy::unused_self,
    reason = "the dialect is a setting of other builds"
)]
impl ProcessArgs {
    /// Returns the name of the dialect.
    pub(crate) fn dialect_name(&self) -> &'static str {
        "default"
    }

    /// Returns whether a log line is written for each purchase.
    pub(crate) fn logs_purchases(&self) -> bool {
        false
    }

    /// Leaves the options as they are.
    pub(super) fn apply_dialect_defaults(&self, _options: &mut HttpOptions) {}

    /// Returns no role.
    pub(crate) fn compat_roles(&self, _accounts: Accounts) -> Vec<Arc<dyn Role>> {
        Vec::new()
    }
}

/// Returns `argument` with a help text that says how its default depends on the dialect.
pub(super) fn describe_default(argument: Arg) -> Arg {
    #[cfg(feature = "compat")]
    return shop_compat::CompatArgs::describe_default(argument);
    #[cfg(not(feature = "compat"))]
    argument
}
