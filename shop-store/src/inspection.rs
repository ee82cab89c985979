//! The result of an inspection of a store on a server.

use shop_core::{Error, Result};

/// What an inspection of a store on a server found out about its tables or collections.
///
/// Services, writing commands and checks of the configuration inspect the store once, before they
/// use it. An inspection changes nothing. Where the server does not let the user look, a warning
/// says what is not known.
///
/// | finding | meaning | a service |
/// |---|---|---|
/// | [`faults`](Self::faults) | the store loses, doubles, hides or mixes up what it contains, until an operator changes it | does not start |
/// | [`write_error`](Self::write_error) | no write succeeds at present | starts, and waits |
/// | [`warnings`](Self::warnings) | the store works, with a weakness | starts, and logs them |
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct StoreInspection {
    /// Whether the main table or collection exists, as far as is known. If it does not, a service
    /// creates it.
    pub exists: bool,
    /// The number of rows in the main table that another program wrote, and that the store takes
    /// over. `None` if there are no tables to take over.
    pub taken_over: Option<i64>,
    /// The errors because of which the store must not be written. Each says what to do.
    pub faults: Vec<Error>,
    /// The error of each write at present, such as a missing right or a read-only server.
    pub write_error: Option<Error>,
    /// The weaknesses of the store. Each is a sentence that says what to do.
    pub warnings: Vec<String>,
}

impl StoreInspection {
    /// Checks that the store can be written, and keeps what is written to it.
    ///
    /// # Errors
    /// The first of the [`faults`](Self::faults), or the [`write_error`](Self::write_error).
    pub fn check_writable(&self) -> Result<()> {
        match self.faults.first().or(self.write_error.as_ref()) {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }
}
