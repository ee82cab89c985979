//! The commands of management: `migrate`, `verify`, `doctor`, `dlq`, `replay`, `groups`, `backup`, `restore`, `erase`,
//! `import`, `export`.

mod backup;
mod dlq;
mod doctor;
mod erase;
mod export;
mod groups;
mod import;
mod open;
mod output;
mod park;
mod replay;
mod text;
mod verify;

use crate::backend;
use crate::settings::{Command, Settings};
use crate::signal::Shutdown;
use crate::{CliError, Result};

pub(crate) use output::{print, print_json};

/// Runs `command` until it ends or `shutdown` begins.
///
/// # Errors
/// When a backend cannot be opened or fails, when a verification has findings, and when it was stopped.
pub(crate) async fn run(command: &Command, settings: &Settings, shutdown: &Shutdown) -> Result<()> {
    let done = match command {
        // A migration that was stopped resumes when it is run again.
        Command::Migrate => shutdown.run_until_cancelled(migrate(settings)).await.or(Some(Ok(()))),
        Command::Verify { wait, named } => {
            shutdown.run_until_cancelled(Box::pin(verify::run(settings, *wait, *named))).await
        }
        Command::Doctor => shutdown.run_until_cancelled(Box::pin(doctor::run(settings))).await,
        Command::Replay(role) => shutdown.run_until_cancelled(Box::pin(replay::run(settings, *role))).await,
        Command::Dlq(command) => shutdown.run_until_cancelled(Box::pin(dlq::run(settings, command))).await,
        Command::Groups(command) => {
            shutdown.run_until_cancelled(Box::pin(groups::run(settings, command))).await
        }
        // An erasure that was stopped is completed when it is run again.
        Command::EraseUser(command) => {
            shutdown.run_until_cancelled(Box::pin(erase::run(settings, command))).await
        }
        // An import that was stopped publishes nothing twice when it is run again.
        Command::Import(command) => {
            shutdown.run_until_cancelled(Box::pin(import::run(settings, command))).await
        }
        Command::Export(command) => {
            shutdown.run_until_cancelled(Box::pin(export::run(settings, command))).await
        }
        Command::Backup(into) => shutdown.run_until_cancelled(backup::backup(settings, into)).await,
        Command::Restore(from) => shutdown.run_until_cancelled(backup::restore(settings, from)).await,
    };
    let done = done.unwrap_or_else(|| Err(CliError::new("stopped before the end: run it again")));
    done.map_err(CliError::for_command)
}

async fn migrate(settings: &Settings) -> Result<()> {
    let has_server = settings.mongodb_uri.is_some();
    let backend = if has_server { backend::for_purchases(settings) } else { backend::for_files(settings) };
    let report = backend.migrate().await?;
    if settings.json {
        print_json(&report)?;
    }
    Ok(())
}
