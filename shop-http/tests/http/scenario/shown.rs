//! A response as text.

use std::fmt::Write as _;

use crate::shop::TestResponse;

/// Headers that responses have without regard to the request. One with another value is shown.
const USUAL_HEADERS: [(&str, &str); 7] = [
    ("access-control-allow-origin", "*"),
    ("cache-control", "no-store"),
    ("content-type", "application/json"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    ("vary", "accept-encoding"),
    ("x-content-type-options", "nosniff"),
];

/// Returns status, headers and body as text. Of a page it returns the first line, and those with files that it loads.
pub(crate) fn show(response: &TestResponse, time: &str, shows_all_headers: bool) -> String {
    let mut shown = format!("{}{time}\n", response.status);
    for (name, value) in &response.headers {
        let value = value.to_str().unwrap();
        let is_long = name == "content-length" && value.len() > 3;
        if name == "etag" || is_long {
            // It changes with each change of a page or a document.
            writeln!(shown, "{name}: ...").unwrap();
        } else if shows_all_headers || !is_usual(name.as_str(), value) {
            writeln!(shown, "{name}: {value}").unwrap();
        }
    }
    let media_type = response.header("content-type").unwrap_or_default();
    if response.text.is_empty() {
        // It has a head alone.
    } else if media_type.starts_with("text/html") || media_type.starts_with("text/javascript") {
        let mut lines = response.text.lines();
        writeln!(shown, "\n{} ...", lines.next().unwrap_or_default()).unwrap();
        for loading in lines.filter(|line| line.contains("src=\"") || line.contains("href=\"")) {
            writeln!(shown, "{} ...", loading.trim()).unwrap();
        }
    } else if media_type == "text/event-stream" {
        writeln!(shown, "\n{}", events(&response.text)).unwrap();
    } else {
        let text = without_changing_members(&response.text);
        let lines: Vec<_> = text.lines().map(|line| lay_out(line, 0)).collect();
        writeln!(shown, "\n{}", without_middle(lines).join("\n")).unwrap();
    }
    shown.trim_end().to_owned()
}

/// Returns the events of a stream, each once, without the id of the log in their positions: `<log>.0-7`.
fn events(stream: &str) -> String {
    let mut events: Vec<_> = stream.split("\n\n").collect();
    events.dedup();
    let lines = events.iter().flat_map(|event| event.lines().chain([""]));
    let shown = lines.map(|line| match line.split_once('.') {
        Some((id, position)) if id.starts_with("id: ") => format!("id: <log>.{position}\n"),
        _ => format!("{line}\n"),
    });
    shown.collect()
}

/// Leaves out times that differ from run to run, and the version of this crate.
fn without_changing_members(body: &str) -> String {
    let version = concat!("\"version\":\"", env!("CARGO_PKG_VERSION"), "\"");
    let mut shown = body.replace(version, "\"version\":\"...\"");
    for name in ["\"age_seconds\":", "\"freshness_ms\":"] {
        if let Some((before, after)) = shown.split_once(name) {
            let after = after.trim_start_matches(|character: char| character.is_ascii_digit());
            shown = format!("{before}{name}\"...\"{after}");
        }
    }
    shown
}

fn is_usual(name: &str, value: &str) -> bool {
    ["access-control-expose-headers", "x-request-id"].contains(&name)
        || USUAL_HEADERS.contains(&(name, value))
}

/// Breaks JSON into lines of at most 100 characters. Numbers, and the order of members, stay as they were sent.
fn lay_out(json: &str, indent: usize) -> String {
    let comma = if json.ends_with(',') { "," } else { "" };
    let json = json.trim_end_matches(',');
    let opening = structure(json).find(|(_, character)| "{[".contains(*character));
    let Some((opening, _)) = opening.filter(|_| json.len() + indent > 100) else {
        return format!("{json}{comma}");
    };

    let (head, rest) = json.split_at(opening + 1);
    let (members, closing) = rest.split_at(rest.len() - 1);
    let members = split_members(members)
        .into_iter()
        .map(|member| format!("{:indent$}  {}", "", lay_out(member, indent + 2)))
        .collect();
    let members = without_middle(members).join("\n");
    format!("{head}\n{members}\n{:indent$}{closing}{comma}", "")
}

/// Returns the characters of JSON that are not in a string, with their positions.
fn structure(json: &str) -> impl Iterator<Item = (usize, char)> {
    let mut is_in_string = false;
    let mut is_escaped = false;
    json.char_indices().filter(move |(_, character)| {
        if is_escaped {
            is_escaped = false;
            return false;
        }
        is_escaped = *character == '\\';
        if *character == '"' {
            is_in_string = !is_in_string;
        }
        !is_in_string
    })
}

/// Splits the members of an object, or the elements of an array, behind their commas.
fn split_members(members: &str) -> Vec<&str> {
    let mut split = Vec::new();
    let mut start = 0;
    let mut depth = 0;
    for (at, character) in structure(members) {
        match character {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ',' if depth == 0 => {
                split.push(&members[start..=at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    split.push(&members[start..]);
    split
}

/// Returns the first and last lines, and in the middle how many others there are.
fn without_middle(mut lines: Vec<String>) -> Vec<String> {
    if lines.len() > 24 {
        let last = lines.split_off(lines.len() - 2);
        let left_out = lines.split_off(2).len();
        lines.push(format!("  ... {left_out} more ..."));
        lines.extend(last);
    }
    lines
}
