//! The arguments of `import` and `export`.

use std::path::PathBuf;

use conf::Conf;
use shop_core::UserId;
use shop_core::api::RowFormat;

use super::command::{Command, Export, Import};
use super::variables::Variables;

#[derive(Debug, Conf)]
pub(super) struct ImportArguments {
    /// File with one purchase per line or row; - for standard input
    #[conf(pos)]
    file: PathBuf,
    /// ndjson or csv [default: csv for a file *.csv, else ndjson]
    #[conf(long)]
    format: Option<RowFormat>,
    /// The first line to import. A stopped import prints where to continue
    #[conf(long, default_value = "1")]
    from_line: u64,
    #[conf(flatten)]
    settings: Variables,
}

#[derive(Debug, Conf)]
pub(super) struct ExportArguments {
    /// Only purchases of this user id, oldest first [default: all, in the order of the store]
    #[conf(long)]
    userid: Option<UserId>,
    /// ndjson or csv
    #[conf(long, default_value = "ndjson")]
    format: RowFormat,
    #[conf(flatten)]
    settings: Variables,
}

impl ImportArguments {
    pub(super) fn into_parts(self) -> (Command, Variables) {
        let Self { file, format, from_line, settings } = self;
        let is_csv = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        let format = format.unwrap_or(if is_csv { RowFormat::Csv } else { RowFormat::Ndjson });
        (Command::Import(Import { file, format, from_line }), settings)
    }
}

impl ExportArguments {
    pub(super) fn into_parts(self) -> (Command, Variables) {
        let Self { userid: user, format, settings } = self;
        (Command::Export(Export { user, format }), settings)
    }
}
