//! The Markdown of the report, and its location in a file.

use std::path::{Path, PathBuf};

use benches::row::{Row, TABLE_HEAD};

const BEGIN: &str = "<!-- the report begins -->";
const END: &str = "<!-- the report ends -->";

/// The conditions.
pub(crate) fn head(conditions: &[(&str, String)]) -> String {
    let rows = conditions
        .iter()
        .map(|(name, value)| format!("|{name}|{value}|\n"));
    rows.fold("|condition||\n|---|---|\n".to_owned(), |text, row| {
        text + &row
    })
}

/// The table of a section. What a row has in common with the one above is left out.
pub(crate) fn part(title: &str, rows: &[Row]) -> String {
    let head = format!("\n### {title}\n\n");
    if rows.is_empty() {
        return head + "Not measured: no servers are configured.\n";
    }
    let (mut text, mut above) = (head + TABLE_HEAD + "\n", None);
    for row in rows {
        text += &(above
            .map_or_else(|| row.clone(), |above| row.below(above))
            .markdown()
            + "\n");
        above = Some(row);
    }
    text
}

/// A file with the markers of a report.
pub(crate) struct File {
    path: PathBuf,
    before: String,
    after: String,
}

impl File {
    pub(crate) fn open(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let (before, after) = around(&text).unwrap_or_else(|| {
            panic!("{} has no line {BEGIN} with {END} below it", path.display())
        });
        Self {
            path: path.to_owned(),
            before: before.to_owned(),
            after: after.to_owned(),
        }
    }

    pub(crate) fn write(&self, report: &str) {
        let Self {
            path,
            before,
            after,
        } = self;
        std::fs::write(path, format!("{before}\n\n{report}\n{after}")).unwrap();
    }
}

/// The text before and after the report, each with its marker.
fn around(text: &str) -> Option<(&str, &str)> {
    let begin = text.find(BEGIN)? + BEGIN.len();
    let end = begin + text[begin..].find(END)?;
    Some((&text[..begin], &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_replaces_the_previous_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page.md");
        std::fs::write(&path, format!("head\n{BEGIN}\nold\n{END}\nfoot\n")).unwrap();
        for _ in 0..2 {
            File::open(&path).write("new\n");
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(text, format!("head\n{BEGIN}\n\nnew\n\n{END}\nfoot\n"));
        }
        assert!(around("no place").is_none());
        assert!(around(&format!("{END} {BEGIN}")).is_none());
    }
}
