//! The commands of management: `status`, `migrate`, `replace`, `verify`, `doctor`, `dlq`, `replay`,
//! `groups`, `backup`, `restore`, `erase`, `refund`, `import`, `export`.
//!
//! [`run`] runs one command, and ends it at a shutdown. The commands are in modules by
//! topic, which open the logs and stores that a command needs, and print the result by `output`;
//! `migrate` is here. A command returns a finding, such as lost purchases, as an error with an exit
//! code of its own.

mod backup;
mod dlq;
mod doctor;
mod erase;
mod groups;
mod output;
mod refund;
#[cfg(feature = "compat")]
mod replace;
mod replay;
mod status;
mod transfer;
mod verify;

use std::time::Duration;

use shop_core::verify::VerifyOptions;

#[cfg(feature = "compat")]
use crate::backend::ReplacedSystem;
use crate::backend::{Backends, CLOSE_TIMEOUT, TopicSpec, currency};
use crate::settings::{Command, Settings};
use crate::signal::Shutdown;
use crate::{CliError, Result};

use output::{format_table, start_progress};
pub(crate) use output::{print_report, print_unless_closed};

/// Runs `command` until the command ends or `shutdown` begins. Closes what the command opened, also
/// if it failed.
///
/// # Errors
/// - an error if a backend cannot be opened or fails, or if `shutdown` began before the end
/// - a finding of the command
pub(crate) async fn run(command: &Command, settings: &Settings, shutdown: &Shutdown) -> Result<()> {
    let backends = Backends::new(settings);
    // `None` if the shutdown began first.
    let result = shutdown
        .run_until_cancelled(Box::pin(execute(command, &backends)))
        .await;
    backends.close(CLOSE_TIMEOUT).await;
    result
        .unwrap_or_else(|| Err(CliError::new("stopped before the end: run it again")))
        .map_err(CliError::for_command)
}

/// Executes `command` to its end.
///
/// # Errors
/// - a usage error if the store has another currency than the settings, and the command depends on it
/// - an error if a backend cannot be opened or fails
/// - a finding of the command
async fn execute(command: &Command, backends: &Backends<'_>) -> Result<()> {
    let settings = backends.settings;
    if command.depends_on_currency() {
        currency::check_command(backends).await?;
    }
    match command {
        Command::Status => status::run(backends).await,
        #[cfg(feature = "compat")]
        Command::Migrate => convert_store(backends, TO_CURRENT_FORMAT).await,
        #[cfg(feature = "compat")]
        Command::Replace(options) => replace::run(backends, options).await,
        Command::Verify { wait, named } => {
            let options = VerifyOptions::default()
                .quiet_period(Duration::from_secs((*wait).into()))
                .max_reported(*named);
            verify::run(backends, TopicSpec::purchases(settings), options).await
        }
        Command::Doctor => doctor::run(backends).await,
        Command::Replay { role, .. } => replay::run(backends, *role).await,
        Command::Dlq(command) => dlq::run(backends, command).await,
        Command::Groups(command) => groups::run(backends, command).await,
        Command::Erase(command) => erase::run(backends, command).await,
        Command::Refund(command) => refund::run(backends, command).await,
        Command::Import(file) => transfer::import(backends, file).await,
        Command::Export { user, format } => {
            transfer::export(backends, user.as_ref(), *format).await
        }
        Command::Backup { folder } => backup::backup(backends, folder).await,
        Command::Restore { folder } => backup::restore(backends, folder).await,
    }
}

/// The `back_to` of [`convert_store`] that converts purchases to the current format.
#[cfg(feature = "compat")]
const TO_CURRENT_FORMAT: Option<ReplacedSystem> = None;

/// Converts the stored purchases of replaced systems to the current format, or back to the format
/// of the system `back_to`, and prints the counts of the converted documents.
///
/// # Errors
/// - a usage error if the store is not one in which replaced systems stored purchases
/// - the errors of the store and of standard output
#[cfg(feature = "compat")]
async fn convert_store(backends: &Backends<'_>, back_to: Option<ReplacedSystem>) -> Result<()> {
    let report = backends.convert(back_to).await?;

    let mut counts = Vec::new();
    for (name, value) in report.as_object().into_iter().flatten() {
        counts.push(format!("{name} {value}"));
    }
    print_report(backends.settings.process.json, counts.join(", "), &report)
}

#[cfg(all(test, feature = "embedded"))]
mod tests {
    use shop_store::embedded::{EmbeddedLog, EmbeddedLogOptions, FILE};

    use super::*;
    use crate::settings::settings_test::read;

    #[tokio::test]
    async fn a_command_that_fails_closes_what_it_opened() {
        let folder = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(folder.path(), EmbeddedLogOptions::default()).await;
        let created = log.unwrap().closed();
        created.await;

        let arguments = "management refund 0198c5ab-0000-7000-8000-000000000000";
        let line = format!("SHOP_DATA_DIR={} {arguments}", folder.path().display());
        let settings = read(&line, "").unwrap();
        let command = settings.command.as_ref().unwrap();
        let error = run(command, &settings, &Shutdown::new()).await.unwrap_err();
        assert!(error.to_string().contains("0198c5ab"), "{error}");
        // The last process that closes the file removes its write-ahead log.
        let left = folder.path().join(format!("{FILE}.db-wal"));
        assert!(!left.exists());
    }
}
