//! Runs scenarios: text files of requests, whose responses are in a snapshot beside the file.
//!
//! `scenarios/NAME.http` has the usual form of such files: `###` and a title begin a request, `#` a comment. The
//! snapshot, `scenarios/NAME.snap`, is a table: a row for each request, and `=>` in front of its response, which is below if
//! it does not fit into the row. So is a body.
//!
//! ```text
//! # Refunds: once, within the price of the purchase.
//! @stored u1 1
//!
//! ### an amount above the price
//! POST http://facing/v1/purchases/00000000-0000-0000-0000-000000000002:refund
//! POST http://management/v1/purchases/00000000-0000-0000-0000-000000000002:refund
//! content-type: application/json
//!
//! {"amount": 2.11}
//! ```
//!
//! - The host of a URL names the service. Several request lines are so many requests, with the same headers and body.
//! - `@name argument` is a directive of the [`Scene`], which is in force from there on.
//! - `@until 429` repeats the requests of its step until that is their status.
//! - `@background` sends the requests of its step, and does not wait for their responses.
//! - `@disconnect` sends them, and ends their connections before the responses.
//! - `@unfinished` sends their bodies without a length, and without an end.
//! - `@headers all` shows all headers from there on, `@headers unusual` those that not each response has.
//! - `{{name}}` is the header or the member `name` of an earlier response; `{{link}}` is the path in the header,
//!   `{{event}}` the id of the first event, and `{{body}}` the whole last body.
//! - `{{repeat 300 x}}` is text of that length, `{{count 300 #,}}` has the numbers from 0 to 299, and `{{hex fffe}}` are
//!   bytes.
//!
//! In a snapshot, generated ids are `<id-1>`, `<id-2>` in the order of their appearance. Times are of the paused clock of
//! tokio. Headers that each response has are left out, and so are the middle elements of long lists. A response without
//! `content-type` is JSON, or a problem if its row has the type and the detail of one: `=> 422 invalid: price is missing`.
//! `[pointer #/price]` behind it is the one element of `errors`, which repeats the detail, and names `field`.

mod shown;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request};
use futures_util::{StreamExt as _, stream};
use serde_json::Value;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use self::shown::{append_lines, row, show};
use crate::shop::{TestResponse, send};

/// The services that a scenario sends requests to.
pub(crate) trait Scene {
    /// Returns the service that the host of a URL names.
    async fn service(&mut self, host: &str) -> Router;

    /// Carries out the directive `@name argument`. The text that it returns is shown in the snapshot.
    async fn direct(&mut self, name: &str, argument: &str) -> Option<String>;

    /// Takes the lines that the services have logged, to show them below the response.
    fn take_log(&mut self) -> String {
        String::new()
    }
}

/// Declares a test for each named file of this folder in `tests/http`, and a test that no file is without a name.
macro_rules! scenarios {
    ($scene:ty: $($name:ident)+) => {
        crate::scenario::scenarios! { $scene, in "scenarios": $($name)+ }
    };
    ($scene:ty, in $folder:literal: $($name:ident)+) => {
        pub(crate) const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/http/", $folder);

        $(
            #[tokio::test(start_paused = true)]
            async fn $name() {
                crate::scenario::run(FOLDER, stringify!($name), <$scene>::default()).await;
            }
        )+

        #[test]
        fn each_file_of_the_folder_is_a_test() {
            let mut files: Vec<_> = std::fs::read_dir(FOLDER)
                .unwrap()
                .map(|file| file.unwrap().file_name().into_string().unwrap())
                .filter_map(|file| Some(file.strip_suffix(".http")?.to_owned()))
                .collect();
            files.sort();

            assert_eq!(files, [$(stringify!($name)),+]);
        }
    };
}
pub(crate) use scenarios;

/// Sends the requests of a scenario, and asserts that the responses are those of the snapshot.
pub(crate) async fn run(folder: &str, name: &str, scene: impl Scene) {
    let text = std::fs::read_to_string(Path::new(folder).join(format!("{name}.http"))).unwrap();
    let mut runner = Runner {
        scene,
        variables: HashMap::new(),
        shows_all_headers: false,
        transcript: String::new(),
    };
    for block in format!("\n{text}").split("\n###") {
        runner.play(&Step::parse(block)).await;
    }
    let transcript = with_named_ids(&runner.transcript, &text);

    let package = env!("CARGO_PKG_NAME");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(folder);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_description(format!(
        "The responses to {name}.http. After a change that is meant: \
         INSTA_UPDATE=always cargo test -p {package} --test http {name}"
    ));
    settings.bind(|| insta::assert_snapshot!(name, transcript));
}

/// What stands between two `###`.
#[derive(Default)]
struct Step<'a> {
    /// Empty in front of the first `###`.
    title: &'a str,
    directives: Vec<&'a str>,
    /// A method and a URL each.
    request_lines: Vec<&'a str>,
    headers: Vec<(&'a str, &'a str)>,
    body: &'a str,
    /// The status until which the requests are repeated.
    until: Option<&'a str>,
}

impl<'a> Step<'a> {
    fn parse(block: &'a str) -> Self {
        let (title, mut rest) = block.split_once('\n').unwrap_or((block, ""));
        let mut step = Self {
            title: title.trim(),
            ..Self::default()
        };
        while !rest.is_empty() {
            let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
            rest = after;
            if let Some(status) = line.strip_prefix("@until ") {
                step.until = Some(status);
            } else if let Some(directive) = line.strip_prefix('@') {
                step.directives.push(directive);
            } else if line.is_empty() && !step.request_lines.is_empty() {
                step.body = rest.trim_end_matches('\n');
                break;
            } else if line.is_empty() || line.starts_with('#') {
                continue;
            } else if let Some((name, value)) = line.split_once(": ") {
                step.headers.push((name, value));
            } else {
                step.request_lines.push(line);
            }
        }
        step
    }

    /// Returns a request as a row: its line, its headers and, if it fits, its body.
    fn request(&self, request_line: &str) -> String {
        let mut row = request_line.to_owned();
        for (name, value) in &self.headers {
            write!(row, "  {name}: {value}").unwrap();
        }
        let body: Vec<_> = self.body.lines().map(str::to_owned).collect();
        append_lines(row, &body)
    }
}

struct Runner<S> {
    scene: S,
    /// Headers and members of the responses so far, by name.
    variables: HashMap<String, String>,
    shows_all_headers: bool,
    transcript: String,
}

impl<S: Scene> Runner<S> {
    async fn play(&mut self, step: &Step<'_>) {
        if !step.title.is_empty() {
            self.write_line(&format!("\n### {}", step.title));
        } else if !self.transcript.is_empty() {
            self.write_line("");
        }
        for directive in &step.directives {
            let (name, argument) = directive.split_once(' ').unwrap_or((directive, ""));
            let shown = match name {
                "headers" => {
                    self.shows_all_headers = argument == "all";
                    continue;
                }
                "background" | "disconnect" | "unfinished" => String::new(),
                _ => {
                    let argument = String::from_utf8(self.expand(argument)).unwrap();
                    self.scene.direct(name, &argument).await.unwrap_or_default()
                }
            };
            let separator = if shown.starts_with('\n') { "" } else { "  " };
            self.write_line(format!("@{directive}{separator}{shown}").trim_end());
        }

        let mut last_response = None;
        for request_line in &step.request_lines {
            let mut response = self.respond(step, request_line).await;
            while step
                .until
                .is_some_and(|status| !response.starts_with(status))
            {
                response = self.respond(step, request_line).await;
            }
            if last_response.as_ref() == Some(&response) {
                self.write_line(&format!("{request_line}  has the same response"));
                continue;
            }
            let request = if last_response.is_none() {
                step.request(request_line)
            } else {
                (*request_line).to_owned()
            };
            self.write_line(&row(&request, &response));
            last_response = Some(response);
        }
    }

    fn write_line(&mut self, line: &str) {
        writeln!(self.transcript, "{line}").unwrap();
    }

    /// Sends a request. Returns the response as it is shown, and keeps its variables.
    async fn respond(&mut self, step: &Step<'_>, request_line: &str) -> String {
        let (method, url) = request_line.split_once(" http://").unwrap();
        let (host, path) = url.split_at(url.find(['/', '{']).unwrap_or(url.len()));
        let mut request = Request::builder().method(method).uri(self.expand(path));
        for (name, value) in &step.headers {
            request = request.header(*name, HeaderValue::from_bytes(&self.expand(value)).unwrap());
        }
        let mut body = Body::from(self.expand(step.body));
        if step.directives.contains(&"unfinished") {
            body = Body::from_stream(body.into_data_stream().chain(stream::pending()));
        }
        let request = request.body(body).unwrap();

        let service = self.scene.service(host).await;
        if step.directives.contains(&"background") {
            tokio::spawn(async move { send(&service, request).await });
            // Time passes once the request waits for something.
            tokio::time::sleep(Duration::from_millis(1)).await;
            return "is in progress".to_owned();
        }
        if step.directives.contains(&"disconnect") {
            let sent = timeout(Duration::from_millis(1), send(&service, request));
            sent.await.unwrap_err();
            return format!("has no response{}", self.scene.take_log());
        }
        let start = Instant::now();
        let response = send(&service, request).await;
        let waited = start.elapsed().as_millis() / 100;

        self.keep_variables(&response);
        let time = match waited {
            0 => String::new(),
            tenths => format!(" after {}.{} s", tenths / 10, tenths % 10),
        };
        let shown = show(&response, &time, self.shows_all_headers);
        shown + &self.scene.take_log()
    }

    fn keep_variables(&mut self, response: &TestResponse) {
        for name in response.headers.keys() {
            let value = response.header(name.as_str()).unwrap();
            self.variables.insert(name.to_string(), value.to_owned());
        }
        if let Some(path) = response.next() {
            self.variables.insert("link".to_owned(), path.to_owned());
        }
        self.variables
            .insert("body".to_owned(), response.text.clone());
        let mut lines = response.text.lines();
        if let Some(id) = lines.find_map(|line| line.strip_prefix("id: ")) {
            self.variables.insert("event".to_owned(), id.to_owned());
        }
        if let Ok(body) = serde_json::from_str(&response.text) {
            self.keep_members(&body);
        }
    }

    fn keep_members(&mut self, body: &Value) {
        match body {
            Value::Array(elements) => elements
                .iter()
                .for_each(|element| self.keep_members(element)),
            Value::Object(members) => {
                for (name, value) in members {
                    if let Value::String(text) = value {
                        self.variables.insert(name.clone(), text.clone());
                    }
                    self.keep_members(value);
                }
            }
            _ => {}
        }
    }

    /// Returns the text with the values of what is in double braces.
    fn expand(&self, text: &str) -> Vec<u8> {
        let mut expanded = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (placeholder, after) = after.split_once("}}").unwrap();
            expanded.extend(before.as_bytes());
            expanded.extend(self.value_of(placeholder));
            rest = after;
        }
        expanded.extend(rest.as_bytes());
        expanded
    }

    fn value_of(&self, placeholder: &str) -> Vec<u8> {
        let words: Vec<_> = placeholder.splitn(3, ' ').collect();
        match words[..] {
            ["repeat", count, text] => text.repeat(count.parse().unwrap()).into_bytes(),
            ["count", count, text] => (0..count.parse::<u32>().unwrap())
                .flat_map(|number| text.replace('#', &number.to_string()).into_bytes())
                .collect(),
            ["hex", digits] => (0..digits.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
                .collect(),
            _ => {
                let value = self.variables.get(placeholder);
                let value = value.unwrap_or_else(|| panic!("no response has {placeholder}"));
                value.clone().into_bytes()
            }
        }
    }
}

/// Replaces generated ids by names, in the order of their appearance. Those that the scenario or the fixture have chosen
/// stay, and so does the example in messages.
fn with_named_ids(transcript: &str, scenario: &str) -> String {
    let mut named = transcript.to_owned();
    let mut count = 0;
    for at in 0..transcript.len() {
        let Some(id) = transcript.get(at..at + 36) else {
            continue;
        };
        let is_chosen = id.starts_with("00000000-0000-")
            || id == "0190163d-8694-739b-aea5-966c26f8ad91"
            || scenario.contains(id);
        if Uuid::try_parse(id).is_ok() && !is_chosen && named.contains(id) {
            count += 1;
            named = named.replace(id, &format!("<id-{count}>"));
        }
    }
    named
}
