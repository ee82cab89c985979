//! Decides whether a process may use a store on a server, by the inspection of the store.
//!
//! | process | faults of the store | no write succeeds at present | the server is unavailable |
//! |---|---|---|---|
//! | a service | does not start, or ends | waits | starts, and inspects the store later |
//! | a check of the configuration, a command that writes | fails | fails | fails |
//! | a command that only reads | warns | reads | fails |
//!
//! A command that only reads may be what saves the purchases of such a store, as `export` does, and
//! needs no right to write.

use std::time::Duration;

use shop_core::{Error, ErrorKind};
use shop_store::StoreInspection;
use shop_store::retries::pauses;
use tokio::time::sleep;

use super::Backends;
use crate::settings::Settings;
use crate::{CliError, Result};

/// The pauses between the inspections of a store whose server was unavailable at the start.
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// A store on a server that a process inspects before it uses the store.
#[derive(Clone)]
pub(super) struct InspectedStore {
    /// The setting that names the server, with which the errors begin.
    pub(super) setting: &'static str,
    /// The name of the store for output.
    pub(super) name: String,
}

/// What a process does with a store.
#[derive(Clone, Copy, PartialEq, Eq)]
enum StoreUse {
    /// A service reads and writes the store for as long as it runs.
    Serves,
    /// `--check-config` only says whether a service could use it. The warnings are part of its
    /// output.
    Checks,
    /// A command reads and writes the store.
    Writes,
    /// A command only reads the store.
    Reads,
}

impl StoreUse {
    /// Returns what a process with these settings does.
    fn of(settings: &Settings) -> Self {
        match &settings.command {
            // A check does not run its command.
            _ if settings.process.check_config => Self::Checks,
            Some(command) if command.writes() => Self::Writes,
            Some(_) => Self::Reads,
            None => Self::Serves,
        }
    }
}

impl InspectedStore {
    /// Runs `inspect`, and returns the inspection if this process may use the store. Logs the
    /// warnings, unless they are part of the output of the process.
    ///
    /// If the server of the store is unavailable, a service uses the store without an inspection.
    /// The store is then inspected as soon as the server is available, see
    /// [`Backends::take_late_inspections`].
    ///
    /// # Errors
    /// - each fault of the store, unless a command only reads
    /// - for a command or a check, the error of a failed inspection
    /// - for a check or a command that writes, the error with which writes fail at present
    pub(super) async fn accept<I>(
        &self,
        backends: &Backends<'_>,
        inspect: impl Fn() -> I + Send + 'static,
    ) -> Result<StoreInspection>
    where
        I: Future<Output = shop_core::Result<StoreInspection>> + Send + 'static,
    {
        let store_use = StoreUse::of(backends.settings);
        match inspect().await {
            Err(error) if store_use == StoreUse::Serves => {
                self.warn("the store cannot be inspected now", &error);
                backends.inspect_later(self.clone().accept_later(inspect));
                Ok(StoreInspection::default())
            }
            result => self.judge(store_use, result),
        }
    }

    /// Inspects the store of a service until the inspection succeeds.
    ///
    /// # Errors
    /// Each fault of the store.
    async fn accept_later<I>(self, inspect: impl Fn() -> I + Send) -> Result<()>
    where
        I: Future<Output = shop_core::Result<StoreInspection>> + Send,
    {
        // The pauses never end.
        for pause in pauses(MIN_PAUSE, MAX_PAUSE) {
            sleep(pause).await;
            if let Ok(inspection) = inspect().await {
                tracing::info!(store = self.name, "the store is inspected");
                return self.judge(StoreUse::Serves, Ok(inspection)).map(drop);
            }
        }
        Ok(())
    }

    /// Returns the inspection in `inspection_result` if the store permits `store_use`. Logs the
    /// warnings.
    ///
    /// # Errors
    /// The errors of [`accept`](Self::accept).
    fn judge(
        &self,
        store_use: StoreUse,
        inspection_result: shop_core::Result<StoreInspection>,
    ) -> Result<StoreInspection> {
        let mut inspection = match inspection_result {
            // The user may not have the right to see how the store is made.
            Err(error) if store_use == StoreUse::Reads && error.kind() == ErrorKind::Denied => {
                unknown_state(&error)
            }
            result => result.map_err(CliError::about(self.setting))?,
        };

        if store_use == StoreUse::Reads {
            inspection.write_error = None;
        } else {
            self.require_fit_for_writes(store_use, &inspection)?;
        }
        if store_use != StoreUse::Checks {
            for warning in &inspection.warnings {
                tracing::warn!(store = self.name, "{warning}");
            }
        }
        Ok(inspection)
    }

    /// Checks that a process that writes may use the store. A service that cannot write now logs a
    /// warning, and waits until it can.
    ///
    /// # Errors
    /// - each fault of the store
    /// - for a check or a command, the error with which writes fail at present
    fn require_fit_for_writes(
        &self,
        store_use: StoreUse,
        inspection: &StoreInspection,
    ) -> Result<()> {
        if !inspection.faults.is_empty() {
            return Err(CliError::all_about(self.setting, &inspection.faults));
        }
        match &inspection.write_error {
            None => Ok(()),
            Some(error) if store_use == StoreUse::Serves => {
                self.warn("the store cannot be written now", error);
                Ok(())
            }
            Some(error) => Err(CliError::about(self.setting)(error.clone())),
        }
    }

    /// Logs `message` as a warning, with the `error` of the store.
    fn warn(&self, message: &str, error: &Error) {
        tracing::warn!(store = self.name, error = %error.chain(), "{message}");
    }
}

/// Returns the inspection of a store that exists, but whose state cannot be read because of `error`.
fn unknown_state(error: &Error) -> StoreInspection {
    let mut inspection = StoreInspection::default();
    inspection.exists = true;
    inspection.warnings.push(format!(
        "it is not known how the store is made: {}",
        error.chain()
    ));
    inspection
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::settings::settings_test::read;

    fn store() -> InspectedStore {
        InspectedStore {
            setting: "MongoDB",
            name: "shop".to_owned(),
        }
    }

    /// Returns whether each process accepts `inspected`: a service, a check of the configuration, a
    /// command that writes, and one that only reads.
    async fn accepted(inspected: &shop_core::Result<StoreInspection>) -> [bool; 4] {
        let accepts = async |command_line| {
            let settings = format!("POSTGRES_URL=postgresql://h/shop {command_line}");
            let settings = read(&settings, "").unwrap();
            let backends = Backends::new(&settings);
            let inspected = inspected.clone();
            let inspect = move || std::future::ready(inspected.clone());
            let accepted = store().accept(&backends, inspect).await;
            if let Err(error) = &accepted {
                assert!(error.to_string().contains("MongoDB: "), "{error}");
            }
            accepted.is_ok()
        };
        [
            accepts("management").await,
            accepts("management --check-config").await,
            accepts("management status").await,
            accepts("management doctor").await,
        ]
    }

    #[tokio::test]
    async fn a_fault_ends_all_but_commands_that_read_and_a_missing_right_ends_no_service() {
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
            assert_eq!(accepted(&inspected).await, expected, "{inspected:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_inspects_a_store_when_its_server_is_back() {
        let settings = read("POSTGRES_URL=postgresql://h/shop management", "").unwrap();
        let backends = Backends::new(&settings);
        let calls = AtomicUsize::new(0);
        let inspect = move || {
            let is_back = calls.fetch_add(1, Ordering::Relaxed) == 3;
            let mut capped = StoreInspection::default();
            capped.faults = vec![Error::new(ErrorKind::Unsupported, "it is capped")];
            let unavailable = Error::new(ErrorKind::Unavailable, "no answer");
            std::future::ready(if is_back {
                Ok(capped)
            } else {
                Err(unavailable)
            })
        };
        store().accept(&backends, inspect).await.unwrap();

        let [later] = <[_; 1]>::try_from(backends.take_late_inspections())
            .ok()
            .unwrap();
        assert!(
            later
                .await
                .unwrap_err()
                .to_string()
                .contains("MongoDB: it is capped")
        );
        assert!(backends.take_late_inspections().is_empty());
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
