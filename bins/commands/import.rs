//! `management import`: publishes the purchases of a file.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use shop_core::api::RowFormat;
use shop_core::import::{Import, ImportReport};

use super::output::{print_report, progress};
use crate::backend::{self, Topic};
use crate::settings::Settings;
use crate::{CliError, Result};

/// Imports `file`; without a `format`, it follows from the file's name.
pub(super) async fn run(
    settings: &Settings,
    file: &Path,
    format: Option<RowFormat>,
    from_line: u64,
) -> Result<()> {
    let is_csv = file
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    let format = format.unwrap_or(if is_csv {
        RowFormat::Csv
    } else {
        RowFormat::Ndjson
    });
    let input = open(file)?;
    let log = backend::for_log(settings)
        .log(Topic::purchases(settings))
        .await?;
    let import = Import::new(format)
        .from_line(from_line)
        .retention(settings.purchase_retention);
    let import = import.currency(settings.currency.clone());
    let (sink, mut report, progress) = ((log.port.sink)(), ImportReport::default(), progress());
    let show = |report: &ImportReport| {
        let ImportReport {
            lines, rejected, ..
        } = report;
        progress.set_message(format!("{lines} lines read, {rejected} rejected"));
    };
    let imported = import.run(&*sink, input, &mut report, show).await;
    drop(progress);
    let name = log.name;
    if imported.is_ok() || report.lines > 0 {
        print_report(
            settings.json,
            &[("log", &name)],
            format!("log    {name}\n{report}"),
            &report,
        )?;
    }
    imported.map_err(|error| match report.resume_at {
        Some(line) => {
            let error = error.chain();
            CliError::new(format!(
                "line {line}: {error}: run it again, with --from-line {line} for the rest"
            ))
        }
        None => CliError::about(&file.display().to_string())(error),
    })?;
    match report.rejected {
        0 => Ok(()),
        1 => Err(CliError::finding("1 line was rejected")),
        rejected => Err(CliError::finding(format!("{rejected} lines were rejected"))),
    }
}

fn open(file: &Path) -> Result<Box<dyn BufRead + Send>> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    let opened =
        File::open(file).map_err(|error| CliError::new(format!("{}: {error}", file.display())))?;
    Ok(Box::new(BufReader::new(opened)))
}
