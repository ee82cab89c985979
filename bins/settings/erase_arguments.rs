//! The arguments of `erase`.

use conf::{Conf, Subcommands};
use shop_core::UserId;

use super::command::{Command, EraseUser};
use super::variables::Variables;

#[derive(Debug, Conf)]
pub(super) struct EraseArguments {
    /// For the help: settings are moved behind the word after `erase`.
    #[conf(flatten)]
    _settings: Variables,
    #[conf(subcommands)]
    what: EraseSubcommand,
}

#[derive(Debug, Subcommands)]
enum EraseSubcommand {
    /// Erases the purchases of a user id; if it is a number, the user of that number, too
    ///
    /// The store deletes the purchases, and keeps their ids, so that they are not stored again. The user's row loses
    /// its address, name and key; its number stays taken. The embedded log erases its records, and dead letters about the
    /// user are dropped. Kafka deletes no single record: the command prints what it keeps, and until when. Orders stay:
    /// they have no name and no address, only the number of a user who is not known any more.
    ///
    /// The embedded files overwrite what is deleted, but unused parts of them may have copies of rows that were moved.
    /// --vacuum rewrites the files afterwards and removes these. Registrations and ingest wait meanwhile, seconds for a
    /// million purchases; buying continues. It takes free disk space of twice the largest file.
    ///
    /// Purchases that are made after it began are not erased. Backups are not changed. It can be stopped and run again,
    /// and runs beside services. Choose one of --dry-run and --confirm.
    ///
    /// management erase user u1 --dry-run
    /// management erase user u1 --confirm
    /// management erase user u1 --confirm --vacuum
    ///
    /// It takes the settings of the service.
    User(EraseUserArguments),
}

#[derive(Debug, Conf)]
#[conf(validation_predicate = requires_choice)]
struct EraseUserArguments {
    /// Id of the user
    #[conf(pos)]
    user: UserId,
    /// Erase. It cannot be undone
    #[conf(long)]
    confirm: bool,
    /// Only count what would be erased
    #[conf(long)]
    dry_run: bool,
    /// Rewrite the embedded files afterwards
    #[conf(long)]
    vacuum: bool,
    #[conf(flatten)]
    settings: Variables,
}

impl EraseArguments {
    pub(super) fn into_parts(self) -> (Command, Variables) {
        let EraseSubcommand::User(EraseUserArguments { user, dry_run, vacuum, settings, .. }) = self.what;
        (Command::EraseUser(EraseUser { user, dry_run, vacuum }), settings)
    }
}

fn requires_choice(arguments: &EraseUserArguments) -> Result<(), &'static str> {
    let is_one = arguments.confirm != arguments.dry_run;
    is_one.then_some(()).ok_or("management erase user: choose one of --dry-run and --confirm")
}
