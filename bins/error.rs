//! The error of a binary, and its exit code.

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

/// The result of a step of a binary.
pub(crate) type Result<T, E = CliError> = std::result::Result<T, E>;

/// All errors that end a binary, one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CliError {
    faults: Vec<String>,
    cause: ExitCause,
    /// Whether a command has failed: its exit code depends on the cause.
    is_command: bool,
}

/// The cause of a failure, with the exit code of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExitCause {
    /// The command ended, and has a finding.
    Finding = 1,
    /// Options or settings are wrong.
    Usage = 2,
    /// The command failed: a server is unavailable, or the log or store does not exist.
    Undone = 3,
}

impl CliError {
    /// One fault.
    pub(crate) fn new(fault: impl fmt::Display) -> Self {
        Self::all(vec![fault.to_string()])
    }

    const fn all(faults: Vec<String>) -> Self {
        Self {
            faults,
            cause: ExitCause::Undone,
            is_command: false,
        }
    }

    /// An error if there are `faults`.
    pub(crate) fn if_any(faults: Vec<String>) -> Result<()> {
        if faults.is_empty() {
            Ok(())
        } else {
            Err(Self::all(faults))
        }
    }

    /// All faults in the settings or options, of which there is at least one.
    pub(crate) const fn in_settings(faults: Vec<String>, is_command: bool) -> Self {
        Self {
            faults,
            cause: ExitCause::Usage,
            is_command,
        }
    }

    /// A finding of a command.
    pub(crate) fn finding(fault: impl fmt::Display) -> Self {
        Self {
            cause: ExitCause::Finding,
            ..Self::new(fault)
        }
    }

    /// A wrong option or setting.
    pub(crate) fn usage(fault: impl fmt::Display) -> Self {
        Self {
            cause: ExitCause::Usage,
            ..Self::new(fault)
        }
    }

    /// Converts an error of a port; `what` is its prefix.
    pub(crate) fn about(what: &str) -> impl Fn(shop_core::Error) -> Self {
        move |error| {
            let fault = format!("{what}: {}", error.chain());
            match error.kind() {
                shop_core::ErrorKind::Invalid | shop_core::ErrorKind::Unsupported => {
                    Self::usage(fault)
                }
                _ => Self::new(fault),
            }
        }
    }

    /// The same error, of a command.
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

/// Prints the error, if there is one, and returns the exit code.
///
/// A service exits with 0 or 1. A command exits with 0, 1 for a finding, 2 for wrong options or settings, and 3 when a
/// server is unavailable, or the log or store does not exist.
pub(crate) fn ended(result: Result<()>) -> ExitCode {
    let Err(failure) = result else {
        return ExitCode::SUCCESS;
    };
    // A closed standard error does not change the exit code.
    let _unread = writeln!(std::io::stderr(), "Error: {failure}");
    ExitCode::from(failure.exit_code())
}

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
