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

/// The maximum number of characters in a line, above which JSON is broken into lines.
const LINE_WIDTH: usize = 160;

/// Returns a response as a row: its status, its headers and, if it fits, its body. A longer body is below.
///
/// Of a page it has the first line, and those with files that it loads. A problem in the usual form is shortened to
/// `422 invalid: detail`: its members `type`, `status`, `title` and `detail` are in this order, and agree with the status.
pub(crate) fn show(response: &TestResponse, time: &str, shows_all_headers: bool) -> String {
    let text = without_changing_members(&response.text);
    let problem = (!shows_all_headers)
        .then(|| shorten_problem(response, &text))
        .flatten();
    let mut row = format!("{}{time}", response.status.as_u16());
    if let Some(problem) = &problem {
        row = format!("{row} {}", problem.summary);
    }
    for (name, value) in &response.headers {
        let value = value.to_str().unwrap();
        let is_long = name == "content-length" && value.len() > 3;
        let is_of_problem = problem.is_some() && name == "content-type";
        if name == "etag" || is_long {
            // It changes with each change of a page or a document.
            write!(row, "  {name}: ...").unwrap();
        } else if shows_all_headers || !is_usual(name.as_str(), value) && !is_of_problem {
            write!(row, "  {name}: {value}").unwrap();
        }
    }
    let lines = match problem {
        Some(problem) => problem.rest.into_iter().collect(),
        None => body_lines(response, &text),
    };
    append_lines(row, &lines)
}

/// Returns a request and its response as one row if they fit, else as two.
pub(crate) fn row(request: &str, response: &str) -> String {
    let is_one_line = !request.contains('\n') && !response.contains('\n');
    if is_one_line && request.len() + response.len() < LINE_WIDTH {
        format!("{request}  => {response}")
    } else {
        format!("{request}\n=> {response}")
    }
}

/// Adds the lines of a body to a row: behind it if it is one line that fits, else below.
pub(crate) fn append_lines(row: String, lines: &[String]) -> String {
    match lines {
        [] => row,
        [line] if !line.contains('\n') && row.len() + line.len() < LINE_WIDTH => {
            format!("{row}  {line}")
        }
        lines => {
            let mut text = row;
            for line in lines.iter().flat_map(|line| line.lines()) {
                text.push('\n');
                if !line.is_empty() {
                    write!(text, "   {line}").unwrap();
                }
            }
            text
        }
    }
}

fn body_lines(response: &TestResponse, text: &str) -> Vec<String> {
    let media_type = response.header("content-type").unwrap_or_default();
    if media_type.starts_with("text/html") || media_type.starts_with("text/javascript") {
        let mut lines = response.text.lines();
        let first = lines.next().unwrap_or_default();
        let loads_file = |line: &&str| line.contains("src=\"") || line.contains("href=\"");
        let loading = lines.filter(loads_file).map(str::trim);
        return [first]
            .into_iter()
            .chain(loading)
            .map(|line| format!("{line} ..."))
            .collect();
    }
    if media_type == "text/event-stream" {
        return events(&response.text);
    }
    without_middle(text.lines().map(|line| lay_out(line, 0)).collect())
}

/// A problem in the usual form.
struct Problem {
    /// Its type and its detail.
    summary: String,
    /// Its other members, if it has any.
    rest: Option<String>,
}

fn shorten_problem(response: &TestResponse, text: &str) -> Option<Problem> {
    if response.header("content-type") != Some("application/problem+json") {
        return None;
    }
    let members = split_members(text.strip_prefix('{')?.strip_suffix('}')?);
    let value_of = |at: usize, name: &str| {
        let member: &str = members.get(at)?;
        let value = member.strip_prefix(name)?;
        Some(value.strip_suffix(',').unwrap_or(value))
    };
    let kind = value_of(0, "\"type\":")?
        .strip_prefix("\"/problems/")?
        .strip_suffix('"')?;
    let status = response.status;
    let is_of_status = value_of(1, "\"status\":")? == status.as_str()
        && value_of(2, "\"title\":")? == format!("{:?}", status.canonical_reason()?);
    let detail = value_of(3, "\"detail\":")?;
    if !is_of_status {
        return None;
    }

    let mut summary = format!("{kind}: {}", detail.strip_prefix('"')?.strip_suffix('"')?);
    let rest = members[4..].concat();
    // The one error repeats the detail, and names the member or the parameter of `field`.
    let field = value_of(4, "\"field\":").unwrap_or_default();
    let name = field.trim_matches('"');
    for (kind, place) in [
        ("pointer", format!("#/{name}")),
        ("parameter", name.to_owned()),
    ] {
        let usual = format!(
            "\"field\":{field},\"errors\":[{{\"{kind}\":\"{place}\",\"detail\":{detail}}}]"
        );
        if rest == usual {
            summary = format!("{summary}  [{kind} {place}]");
            return Some(Problem {
                summary,
                rest: None,
            });
        }
    }
    let rest = (!rest.is_empty()).then(|| lay_out(&format!("{{{rest}}}"), 0));
    Some(Problem { summary, rest })
}

/// Returns the events of a stream, each once and in one line, without the id of the log in their positions: `<log>.0-7`.
fn events(stream: &str) -> Vec<String> {
    let mut events: Vec<_> = stream.split("\n\n").collect();
    events.dedup();
    let shown = events.iter().map(|event| {
        let fields = event.lines().map(|line| match line.split_once('.') {
            Some((id, position)) if id.starts_with("id: ") => format!("id: <log>.{position}"),
            _ => line.to_owned(),
        });
        fields.collect::<Vec<_>>().join("  ")
    });
    shown.filter(|event| !event.is_empty()).collect()
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

/// Breaks JSON into lines of at most [`LINE_WIDTH`] characters. Numbers, and the order of members, stay as they were sent.
fn lay_out(json: &str, indent: usize) -> String {
    let comma = if json.ends_with(',') { "," } else { "" };
    let json = json.trim_end_matches(',');
    let opening = structure(json).find(|(_, character)| "{[".contains(*character));
    let Some((opening, _)) = opening.filter(|_| json.len() + indent > LINE_WIDTH) else {
        return format!("{json}{comma}");
    };

    let (head, rest) = json.split_at(opening + 1);
    let (members, closing) = rest.split_at(rest.len() - 1);
    let indent = indent + 2;
    let members = split_members(members)
        .into_iter()
        .map(|member| lay_out(member, indent))
        .collect();
    let mut text = head.to_owned();
    let mut width = indent + head.len();
    for (number, member) in without_middle(members).iter().enumerate() {
        let is_multi_line = member.contains('\n');
        // Members that fit share a line.
        if width + member.len() < LINE_WIDTH && !is_multi_line {
            let space = if number == 0 { "" } else { " " };
            write!(text, "{space}{member}").unwrap();
            width += space.len() + member.len();
        } else {
            write!(text, "\n{:indent$}{member}", "").unwrap();
            width = if is_multi_line {
                LINE_WIDTH
            } else {
                indent + member.len()
            };
        }
    }
    format!("{text}{closing}{comma}")
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
        lines.push(format!("... {left_out} more ..."));
        lines.extend(last);
    }
    lines
}
