//! The commands of management: `status`, `migrate`, `replace`, `verify`, `doctor`, `dlq`, `replay`,
//! `groups`, `backup`, `restore`, `erase`, `refund`, `import`, `export`.
//!
//! [`run`] runs one command, and ends it at a shutdown. The commands are in modules by
//! topic, which open the logs and stores that a command needs, and print the result by `output`;
//! `migrate` is here. A command
//! returns a finding, such as lost purchases, as an error with an exit code of its own.

mod backup;
mod dlq;
mod doctor;
mod erase;
mod groups;
mod output;
mod refund;
mod replace;
mod replay;
mod status;
mod transfer;
mod verify;

use std::time::Duration;

use shop_core::record::ReplacedSystem;
use shop_core::verify::VerifyOptions;

use crate::backend::{self, TopicSpec};
use crate::settings::{Command, Settings};
use crate::signal::Shutdown;
use crate::{CliError, Result};

pub(crate) use output::{print, print_report};
use output::{progress, table};

/// Runs `command` until the command ends or `shutdown` begins.
///
/// # Errors
/// - an error if a backend cannot be opened or fails, or if `shutdown` began before the end
/// - a finding of the command
pub(crate) async fn run(command: &Command, settings: &Settings, shutdown: &Shutdown) -> Result<()> {
    shutdown
        .run_until_cancelled(Box::pin(execute(command, settings)))
        .await
        .unwrap_or_else(|| Err(CliError::new("stopped before the end: run it again")))
        .map_err(CliError::for_command)
}

/// Executes `command` to its end.
///
/// # Errors
/// - a usage error if the store has another currency than the settings, and the command depends on it
/// - an error if a backend cannot be opened or fails
/// - a finding of the command
async fn execute(command: &Command, settings: &Settings) -> Result<()> {
    if command.depends_on_currency() {
        backend::currency::check_command(settings).await?;
    }
    match command {
        Command::Status => status::run(settings).await,
        Command::Migrate => convert_store(settings, None).await,
        Command::Replace(options) => replace::run(settings, options).await,
        Command::Verify { wait, named } => {
            let options = VerifyOptions::default()
                .quiet_period(Duration::from_secs((*wait).into()))
                .max_reported(*named);
            verify::run(settings, TopicSpec::purchases(settings), options).await
        }
        Command::Doctor => doctor::run(settings).await,
        Command::Replay { role, .. } => replay::run(settings, *role).await,
        Command::Dlq(command) => dlq::run(settings, command).await,
        Command::Groups(command) => groups::run(settings, command).await,
        Command::Erase(command) => erase::run(settings, command).await,
        Command::Refund(command) => refund::run(settings, command).await,
        Command::Import(file) => transfer::import(settings, file).await,
        Command::Export { user, format } => {
            transfer::export(settings, user.as_ref(), *format).await
        }
        Command::Backup { folder } => backup::backup(settings, folder).await,
        Command::Restore { folder } => backup::restore(settings, folder).await,
    }
}

/// Converts the stored purchases of replaced systems to the current format, or back to the format
/// of the system `back_to`, and prints the counts of the converted documents.
///
/// # Errors
/// - a usage error if the store is not one in which replaced systems stored purchases
/// - the errors of the store and of standard output
async fn convert_store(settings: &Settings, back_to: Option<ReplacedSystem>) -> Result<()> {
    let report = backend::for_purchases(settings).convert(back_to).await?;

    let mut counts = Vec::new();
    for (name, value) in report.as_object().into_iter().flatten() {
        counts.push(format!("{name} {value}"));
    }
    print_report(settings.json, counts.join(", "), &report)
}
