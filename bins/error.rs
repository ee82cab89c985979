//! The error of a binary, and its exit code.
//!
//! A service exits with 0 or 1. A command exits with 0, 1 for a finding, 2 for wrong options or
//! settings, and 3 for every other failure, such as an unavailable server, or a log or store that
//! does not exist.

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

use shop_core::ErrorKind;

/// The result of a step of a binary.
pub type Result<T, E = CliError> = std::result::Result<T, E>;

/// An error that ends a binary. It consists of one or more faults, one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliError {
    faults: Vec<String>,
    cause: ExitCause,
    /// Whether a command failed. Only the exit code of a command depends on the cause.
    is_command: bool,
}

/// The cause of a failure, with the exit code of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExitCause {
    /// The command ended with a finding.
    Finding = 1,
    /// Options or settings are wrong.
    Usage = 2,
    /// The command failed in another way, such as because a server is unavailable.
    Failed = 3,
}

impl CliError {
    /// Creates an error with one fault.
    pub(crate) fn new(fault: impl fmt::Display) -> Self {
        Self::with_cause(ExitCause::Failed, fault)
    }

    /// Creates an error with one fault, whose exit code follows from `cause`.
    fn with_cause(cause: ExitCause, fault: impl fmt::Display) -> Self {
        Self {
            faults: vec![fault.to_string()],
            cause,
            is_command: false,
        }
    }

    /// Returns an error with all `faults`, or `Ok` if there are none.
    ///
    /// # Errors
    /// An error with all `faults`, if there are any.
    pub(crate) fn if_any(faults: Vec<String>) -> Result<()> {
        if faults.is_empty() {
            return Ok(());
        }
        Err(Self {
            faults,
            cause: ExitCause::Failed,
            is_command: false,
        })
    }

    /// Creates an error with all faults in the settings or options, of which there is at least one.
    pub(crate) const fn in_settings(faults: Vec<String>) -> Self {
        Self {
            faults,
            cause: ExitCause::Usage,
            is_command: false,
        }
    }

    /// Creates an error for a command that ended with a finding.
    pub(crate) fn finding(fault: impl fmt::Display) -> Self {
        Self::with_cause(ExitCause::Finding, fault)
    }

    /// Creates an error for a wrong option or setting.
    pub(crate) fn usage(fault: impl fmt::Display) -> Self {
        Self::with_cause(ExitCause::Usage, fault)
    }

    /// Returns whether an option or a setting is wrong.
    pub(crate) fn is_usage(&self) -> bool {
        self.cause == ExitCause::Usage
    }

    /// Returns a function that converts the error of a port. The converted text begins with
    /// `prefix`, such as the name of a setting.
    pub(crate) fn about(prefix: &str) -> impl Fn(shop_core::Error) -> Self {
        move |error| {
            let cause = match error.kind() {
                ErrorKind::Invalid | ErrorKind::Unsupported => ExitCause::Usage,
                _ => ExitCause::Failed,
            };
            Self::with_cause(cause, format!("{prefix}: {}", error.chain()))
        }
    }

    /// Creates an error with a fault for each of `errors`. Each fault begins with `prefix`.
    #[cfg(any(feature = "mongodb", feature = "postgres"))]
    pub(crate) fn all_about(prefix: &str, errors: &[shop_core::Error]) -> Self {
        let about = Self::about(prefix);
        let mut error_of_all = Self {
            faults: Vec::new(),
            cause: ExitCause::Failed,
            is_command: false,
        };
        for error in errors {
            let single = about(error.clone());
            // The cause of the last error decides the exit code.
            error_of_all.cause = single.cause;
            error_of_all.faults.extend(single.faults);
        }
        error_of_all
    }

    /// Returns this error as the error of a command.
    pub(crate) fn for_command(self) -> Self {
        Self {
            is_command: true,
            ..self
        }
    }

    fn exit_code(&self) -> u8 {
        if self.is_command { self.cause as u8 } else { 1 }
    }
}

/// Prints the error, if there is one, to standard error, and returns the exit code of the process.
pub(crate) fn report_result(result: Result<()>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    // A closed standard error does not change the exit code.
    let _result = writeln!(std::io::stderr(), "Error: {error}");
    ExitCode::from(error.exit_code())
}

impl std::error::Error for CliError {}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.faults[..] {
            [one] => f.write_str(one),
            many => many.iter().try_for_each(|fault| write!(f, "\n  - {fault}")),
        }
    }
}

impl From<shop_core::Error> for CliError {
    fn from(error: shop_core::Error) -> Self {
        Self::new(error.chain())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_code_depends_on_the_cause_for_commands_only() {
        let failures = [
            CliError::finding("x"),
            CliError::usage("x"),
            CliError::new("x"),
        ];
        assert_eq!(
            failures.clone().map(|failure| failure.exit_code()),
            [1, 1, 1]
        );
        assert_eq!(
            failures.map(|failure| failure.for_command().exit_code()),
            [1, 2, 3]
        );
    }
}
