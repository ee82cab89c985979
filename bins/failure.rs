//! Why a binary ends early.

use std::fmt;

/// The result of a step of a binary.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Everything that keeps a binary from doing its work, one line each.
///
/// `main` shows a returned error by its `Debug`, so that is the text for people here.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure {
    faults: Vec<String>,
}

impl Failure {
    /// One fault.
    #[must_use]
    pub fn new(fault: impl fmt::Display) -> Self {
        Self { faults: vec![fault.to_string()] }
    }

    /// All of `faults`; there is at least one.
    pub(crate) const fn all(faults: Vec<String>) -> Self {
        Self { faults }
    }

    /// Nothing, or all of `faults`.
    pub(crate) fn if_any(faults: Vec<String>) -> Result<()> {
        if faults.is_empty() { Ok(()) } else { Err(Self::all(faults)) }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.faults[..] {
            [one] => f.write_str(one),
            many => many.iter().try_for_each(|fault| write!(f, "\n  - {fault}")),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for Failure {}

impl From<shop_client::Error> for Failure {
    fn from(error: shop_client::Error) -> Self {
        shop_core::Error::from(error).into()
    }
}

impl From<shop_core::Error> for Failure {
    fn from(error: shop_core::Error) -> Self {
        Self::new(error.chain())
    }
}
