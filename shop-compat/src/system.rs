//! The names of the replaced systems.

use std::str::FromStr;

use shop_core::Invalid;

/// A system that purchase tracking replaces, and whose documents and records it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReplacedSystem {
    /// The system scalable-shop. The prices and times in its documents are text.
    ScalableShop,
    /// The system user-buy-list. The prices in its documents are doubles.
    UserBuyList,
    /// The system ecommerce. The rows of its users and orders stay unchanged.
    Ecommerce,
    /// The purchase tracking system. The prices in its documents are doubles, and the times are
    /// text without a zone.
    PurchaseTracking,
    /// The system shopping-system-k8s. The prices in its documents are doubles, and the times are
    /// doubles in seconds.
    ShoppingSystem,
}

impl ReplacedSystem {
    /// All systems, in the order of their numbers.
    pub const ALL: [Self; 5] = [
        Self::ScalableShop,
        Self::UserBuyList,
        Self::Ecommerce,
        Self::PurchaseTracking,
        Self::ShoppingSystem,
    ];

    /// Returns the number of the system as text, such as `000`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ScalableShop => "000",
            Self::UserBuyList => "001",
            Self::Ecommerce => "002",
            Self::PurchaseTracking => "003",
            Self::ShoppingSystem => "004",
        }
    }
}

impl FromStr for ReplacedSystem {
    type Err = Invalid;

    fn from_str(number: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|system| system.as_str() == number)
            .ok_or_else(|| {
                Invalid::malformed("the replaced system", "must be 000, 001, 002, 003 or 004")
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_named_by_its_number() {
        for system in ReplacedSystem::ALL {
            assert_eq!(system.as_str().parse(), Ok(system));
        }
        let error = ReplacedSystem::from_str("005").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the replaced system must be 000, 001, 002, 003 or 004"
        );
    }
}
