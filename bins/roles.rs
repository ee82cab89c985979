//! The roles of a process.

use std::fmt;
use std::str::FromStr;

use shop_http::Dialect;

/// A role that a process may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProcessRole {
    /// Accepts, stores and lists purchases.
    Purchases,
    /// Owns users, and publishes their events.
    Users,
    /// Owns orders, and publishes their events.
    Orders,
}

impl ProcessRole {
    const ALL: [Self; 3] = [Self::Purchases, Self::Users, Self::Orders];

    /// Its name in settings.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Purchases => "purchases",
            Self::Users => "users",
            Self::Orders => "orders",
        }
    }
}

/// The roles of a process, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Roles(Vec<ProcessRole>);

impl Roles {
    /// Those of a process that names none.
    pub(crate) fn default_of(dialect: &Dialect) -> Self {
        // Its system has users and orders.
        match dialect.name() {
            "ecommerce" => Self(ProcessRole::ALL.to_vec()),
            _ => Self(vec![ProcessRole::Purchases]),
        }
    }

    /// Whether `role` is one of them.
    pub(crate) fn has(&self, role: ProcessRole) -> bool {
        self.0.contains(&role)
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", "))
    }
}

impl FromStr for Roles {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let role = |word: &str| {
            let known = ProcessRole::ALL.into_iter().find(|role| role.as_str() == word.trim());
            known.ok_or_else(|| {
                let all = ProcessRole::ALL.map(ProcessRole::as_str).join(", ");
                format!("{word:?} is not a role: choose from {all}, separated by commas")
            })
        };
        text.split(',').map(role).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_parsed_from_words_separated_by_commas() {
        let roles: Roles = "users, orders".parse().unwrap();
        assert!(
            roles.has(ProcessRole::Users)
                && roles.has(ProcessRole::Orders)
                && !roles.has(ProcessRole::Purchases)
        );
        assert_eq!("users,orders".parse::<Roles>().unwrap().to_string(), "users, orders");
        for text in ["", "users,", "klingons", "Users;orders"] {
            assert!(text.parse::<Roles>().unwrap_err().contains("purchases, users, orders"), "{text}");
        }
    }
}
