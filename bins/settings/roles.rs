//! The roles that a process has.

use clap::ValueEnum;

/// A role that a process may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProcessRole {
    /// Accepts, stores and lists purchases.
    Purchases,
    /// Owns users, and publishes their events.
    Users,
    /// Owns orders, and publishes their events.
    Orders,
}

/// The roles of a process, of which there is at least one.
#[derive(Debug, Clone)]
pub(crate) struct Roles(Vec<ProcessRole>);

impl Roles {
    /// Creates the roles from `setting`, the roles that the settings name.
    ///
    /// If the settings name none, the process has the role of purchases. With the dialect
    /// `ecommerce`, the replaced system that had users and orders, it has all roles.
    pub(super) fn new(setting: &[ProcessRole], dialect_name: &str) -> Self {
        Self(match setting {
            [] if dialect_name == "ecommerce" => ProcessRole::value_variants().to_vec(),
            [] => vec![ProcessRole::Purchases],
            roles => roles.to_vec(),
        })
    }

    /// Returns whether `role` is one of these roles.
    pub(crate) fn has(&self, role: ProcessRole) -> bool {
        self.0.contains(&role)
    }

    /// Returns whether the role of users or the role of orders is one of these roles.
    pub(super) fn has_entities(&self) -> bool {
        self.has(ProcessRole::Users) || self.has(ProcessRole::Orders)
    }

    /// Returns the names of these roles, separated by commas.
    pub(crate) fn names(&self) -> String {
        let mut names = Vec::new();
        for role in ProcessRole::value_variants() {
            if self.has(*role)
                && let Some(value) = role.to_possible_value()
            {
                names.push(value.get_name().to_owned());
            }
        }
        names.join(",")
    }
}

/// Reads the name of one role, in any case.
///
/// # Errors
/// Returns the text of an error if there is no role with this name.
pub(super) fn read_role(text: &str) -> Result<ProcessRole, String> {
    let ignore_case = true;
    ValueEnum::from_str(text.trim(), ignore_case).map_err(|_unknown| {
        format!("{text:?} is not a role: choose from purchases, users, orders, separated by commas")
    })
}
