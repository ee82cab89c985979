//! Decides whether a process may use a store on a server, by the inspection of the store.
//!
//! | process | faults of the store | no write succeeds at present | the server is unavailable |
//! |---|---|---|---|
//! | a service | does not start | waits | waits |
//! | a check of the configuration, a command that writes | fails | fails | fails |
//! | a command that only reads | warns | reads | fails |
//!
//! A command that only reads may be what saves the purchases of such a store, as `export` does, and
//! needs no right to write.

use shop_core::ErrorKind;
use shop_store::StoreInspection;

use crate::settings::Settings;
use crate::{CliError, Result};

/// Returns the inspection of the store `name`, if this process may use the store. Logs the
/// warnings, unless they are part of the output of the process.
///
/// The errors begin with `about`.
///
/// # Errors
/// - each fault of the store, unless a command only reads
/// - for a command or a check: the error of writes, and that of an inspection that failed
pub(super) fn accept_inspection(
    settings: &Settings,
    about: &str,
    name: &str,
    inspected: shop_core::Result<StoreInspection>,
) -> Result<StoreInspection> {
    let serves = settings.serves();
    let only_reads = settings
        .command
        .as_ref()
        .is_some_and(|command| !command.writes());
    let mut inspection = match inspected {
        Ok(inspection) => inspection,
        Err(error) if serves => {
            tracing::warn!(store = name, error = %error.chain(), "the store cannot be inspected now");
            return Ok(StoreInspection::default());
        }
        // The user may not have the right to see how the store is made.
        Err(error) if only_reads && error.kind() == ErrorKind::Denied => {
            let mut unknown = StoreInspection::default();
            unknown.exists = true;
            unknown.warnings.push(format!(
                "it is not known how the store is made: {}",
                error.chain()
            ));
            unknown
        }
        Err(error) => return Err(CliError::about(about)(error)),
    };

    if only_reads {
        inspection.write_error = None;
    } else if !inspection.faults.is_empty() {
        return Err(CliError::all_about(about, &inspection.faults));
    }
    match &inspection.write_error {
        Some(error) if serves => {
            tracing::warn!(store = name, error = %error.chain(), "the store cannot be written now");
        }
        Some(error) => return Err(CliError::about(about)(error.clone())),
        None => {}
    }
    if !settings.check_config {
        for warning in &inspection.warnings {
            tracing::warn!(store = name, "{warning}");
        }
    }
    Ok(inspection)
}

#[cfg(test)]
mod tests {
    use shop_core::Error;

    use super::*;
    use crate::settings::settings_test::read;

    /// Returns whether each process accepts `inspected`: a service, a check of the configuration, a
    /// command that writes, and one that only reads.
    fn accepted(inspected: &shop_core::Result<StoreInspection>) -> [bool; 4] {
        [
            "management",
            "management --check-config",
            "management status",
            "management doctor",
        ]
        .map(|command_line| {
            let settings = read(
                &format!("POSTGRES_URL=postgresql://h/shop {command_line}"),
                "",
            )
            .unwrap();
            let accepted = accept_inspection(&settings, "MongoDB", "shop", inspected.clone());
            if let Err(error) = &accepted {
                assert!(error.to_string().contains("MongoDB: "), "{error}");
            }
            accepted.is_ok()
        })
    }

    #[test]
    fn a_fault_ends_all_but_commands_that_read_and_a_missing_right_ends_no_service() {
        let sound = StoreInspection::default();
        let mut capped = sound.clone();
        let fault = |name| Error::new(ErrorKind::Unsupported, format!("{name} is capped"));
        capped.faults = vec![fault("a"), fault("b")];
        let mut read_only = sound.clone();
        read_only.write_error = Some(Error::new(ErrorKind::Denied, "no right"));
        let mut weak = sound.clone();
        weak.warnings.push("weak".to_owned());
        let unavailable = Error::new(ErrorKind::Unavailable, "no answer");
        for (inspected, expected) in [
            (Ok(sound), [true; 4]),
            (Ok(weak), [true; 4]),
            (Ok(capped), [false, false, false, true]),
            (Ok(read_only), [true, false, false, true]),
            (Err(unavailable), [true, false, false, false]),
        ] {
            assert_eq!(accepted(&inspected), expected, "{inspected:?}");
        }
    }

    #[test]
    fn all_faults_are_named() {
        let fault = |name| Error::new(ErrorKind::Unsupported, format!("{name} is capped"));
        let error = CliError::all_about("MongoDB", &[fault("a"), fault("b")]);
        assert_eq!(
            error.to_string(),
            "\n  - MongoDB: a is capped\n  - MongoDB: b is capped"
        );
    }
}
