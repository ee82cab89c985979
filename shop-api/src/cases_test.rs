//! Tables of values in text files, for snapshots of what is made of them.

use std::fmt::Display;

/// Returns the lines of a table, each with the value that `read` makes of it, or with the error.
///
/// Empty lines and headings, which begin with `# `, stay as they are.
pub(crate) fn outcomes<T: Display, E: Display>(
    table: &str,
    read: impl Fn(&str) -> Result<T, E>,
) -> String {
    let mut outcomes = String::new();
    for line in table.lines() {
        outcomes += line;
        if !line.is_empty() && !line.starts_with("# ") {
            outcomes += &match read(line) {
                Ok(value) => format!("\n    {value}"),
                Err(error) => format!("\n    refused: {error}"),
            };
        }
        outcomes.push('\n');
    }
    outcomes
}

/// Returns [`outcomes`] of a table of texts, which are written as in JSON.
pub(crate) fn outcomes_of_texts<T: Display, E: Display>(
    table: &str,
    read: impl Fn(&str) -> Result<T, E>,
) -> String {
    outcomes(table, |line| {
        let text: String = serde_json::from_str(line).unwrap();
        read(&text)
    })
}
