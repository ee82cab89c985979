//! The arguments of the commands for embedded files: `groups`, `backup` and `restore`.

use std::path::PathBuf;

use conf::{Conf, Subcommands};

use super::command::{Command, GroupsAction, GroupsCommand, ResetTo};
use super::variables::Variables;

#[derive(Debug, Conf)]
pub(super) struct GroupsArguments {
    /// For the help: settings are moved behind the action.
    #[conf(flatten)]
    _settings: Variables,
    #[conf(subcommands)]
    action: GroupsSubcommand,
}

#[derive(Debug, Subcommands)]
enum GroupsSubcommand {
    /// Lists the groups, one line each: name, next offset, number of records behind the end
    ///
    /// The last line has the size of the log and its oldest record. It takes the settings of the service.
    Ls(TopicArguments),
    /// Deletes the position of a group that is not used any more
    ///
    /// The log keeps every record that a group has not consumed. After this, the services delete the records that the
    /// other groups have consumed and that are older than SHOP_LOG_RETENTION. A consumer of the group would start again
    /// at the first record. It fails while the group has an active consumer.
    ///
    /// management groups forget rehearsal
    ///
    /// It takes the settings of the service.
    Forget(GroupArguments),
    /// Sets the position of a group: --to-beginning, --to-end or --to-offset
    ///
    /// Records are consumed again from there; stored purchases are not duplicated. Records before the position are
    /// skipped. It fails while the group has an active consumer.
    ///
    /// management groups reset purchase-group --to-beginning
    ///
    /// It takes the settings of the service.
    Reset(ResetArguments),
}

#[derive(Debug, Conf)]
struct TopicArguments {
    /// Topic of the groups, such as user_created [default: the topic of purchases]
    #[conf(long)]
    topic: Option<String>,
    #[conf(flatten)]
    settings: Variables,
}

#[derive(Debug, Conf)]
struct GroupArguments {
    /// Name of the group
    #[conf(pos)]
    group: String,
    #[conf(flatten)]
    of: TopicArguments,
}

#[derive(Debug, Conf)]
#[conf(validation_predicate = requires_position)]
struct ResetArguments {
    /// Name of the group
    #[conf(pos)]
    group: String,
    /// To the first record of the log
    #[conf(long)]
    to_beginning: bool,
    /// Behind the last record of the log
    #[conf(long)]
    to_end: bool,
    /// To this offset
    #[conf(long)]
    to_offset: Option<u64>,
    #[conf(flatten)]
    of: TopicArguments,
}

#[derive(Debug, Conf)]
pub(super) struct FolderArguments {
    /// Folder of the backup
    #[conf(pos)]
    folder: PathBuf,
    #[conf(flatten)]
    settings: Variables,
}

impl GroupsArguments {
    pub(super) fn into_parts(self) -> (Command, Variables) {
        let (of, action) = match self.action {
            GroupsSubcommand::Ls(of) => (of, GroupsAction::List),
            GroupsSubcommand::Forget(GroupArguments { group, of }) => (of, GroupsAction::Forget(group)),
            GroupsSubcommand::Reset(ResetArguments { group, to_end, to_offset, of, .. }) => {
                let to = match to_offset {
                    Some(offset) => ResetTo::Offset(offset),
                    None if to_end => ResetTo::End,
                    None => ResetTo::Beginning,
                };
                (of, GroupsAction::Reset { group, to })
            }
        };
        (Command::Groups(GroupsCommand { topic: of.topic, action }), of.settings)
    }
}

impl FolderArguments {
    pub(super) fn into_parts(self, command: fn(PathBuf) -> Command) -> (Command, Variables) {
        (command(self.folder), self.settings)
    }
}

fn requires_position(arguments: &ResetArguments) -> Result<(), &'static str> {
    let given = [arguments.to_beginning, arguments.to_end, arguments.to_offset.is_some()];
    let is_one = given.into_iter().filter(|is_given| *is_given).count() == 1;
    is_one
        .then_some(())
        .ok_or("management groups reset: choose one of --to-beginning, --to-end and --to-offset")
}
