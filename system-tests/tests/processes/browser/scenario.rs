//! Plays scenarios: text files with a step in each line, which the first word names.
//!
//! ```text
//! # A comment.
//! start facing SHOP_CURRENCY=EUR
//! open {facing}/
//! fill #price -> 5\n
//! has #purchases .amount -> €9.50 | €5.00
//! is window.sent -> 3
//! ```
//!
//! | step | what it does |
//! |---|---|
//! | `start SERVICE NAME=VALUE …`, `kill SERVICE` | starts a service on the data folder with these settings, or kills it |
//! | `buy SERVICE [KEY] -> JSON` | buys by `POST /v1/purchases` |
//! | `stored USER -> COUNT` | waits until facing lists so many purchases of the user |
//! | `append VALUE`, `letters COUNT` | appends a record to the log, or dead letters of records that can be replayed, and a gap |
//! | `sql STATEMENT`, `copy FILE -> NAME` | changes the file of the store, or adds a file of `scenarios` to the folder |
//! | `tab NAME`, `size WIDTH HEIGHT`, `colours dark` | turns to a tab, or sets the size, or the colours of pages |
//! | `open URL`, `go HASH`, `reload`, `back` | opens a page or a view |
//! | `click`, `double-click`, `hover SELECTOR` | uses the pointer |
//! | `follow TEXT` | clicks the link with this text |
//! | `fill SELECTOR -> TEXT`, `upload SELECTOR -> FILE` | replaces the content of a field, or chooses a file of `scenarios` |
//! | `press KEYS`, `type SELECTOR -> KEYS` | presses keys, there after Tab until the element has the focus, visibly |
//! | `has SELECTOR -> TEXT \| …` | waits until the elements show these texts |
//! | `says SELECTOR -> TEXT` | waits until the elements show a text with this part |
//! | `counts SELECTOR -> COUNT`, `focuses SELECTOR` | waits until as many elements match, or one has the focus |
//! | `is EXPRESSION -> JSON` | waits until the expression has this value |
//! | `note EXPRESSION`, `same EXPRESSION` | asserts that the expression has the value that was noted |
//! | `run SCRIPT`, `set NAME -> EXPRESSION` | runs a script, or keeps a value as `{NAME}` |
//! | `quiet URL` | asserts that nothing was written to the console, and that all requests went there |
//! | `accessible`, `fits URL` | asserts that axe-core finds no fault, or that a page has none in any size either |
//! | `times COUNT STEP` | repeats a step |
//!
//! `@NAME` is the script or the expression of the file `scenarios/NAME.js`. `{facing}` and `{management}` are addresses,
//! `{port}` is that of the service that was killed, `{id}` that of the last purchase, `{key}` a new UUIDv7, `{folder}` the
//! folder of the test, and `{nasty}` a name that would run as a script if a page inserted it as HTML.

use std::collections::BTreeMap;

use shop_core::Timestamp;
use shop_core::log::{DeadLetter, Gap, GapCause, Log as _, Partition, Reason};
use thirtyfour::{By, Key};

use super::driver::Browser;
use crate::prelude::*;

const FOLDER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/processes/browser/scenarios"
);
const NASTY: &str = r"<img src=x onerror='document.title=`run`'>";

/// The sizes of pages. Per change, the widest and the narrowest.
const SIZES: [(u32, u32); 6] = [
    (1400, 900),
    (320, 640),
    // A screen of 1440 px at 200 %.
    (720, 450),
    (1400, 500),
    (768, 1024),
    (390, 844),
];

/// Plays the steps of `scenarios/NAME.steps`. The last step that it prints is the one that fails.
pub(super) async fn play(name: &str) {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let variables = [
        ("folder", folder.path().to_str().unwrap().to_owned()),
        ("key", uuid::Uuid::now_v7().to_string()),
        ("nasty", NASTY.to_owned()),
    ];
    let first_tab = browser.driver.window().await.unwrap();
    let mut scenario = Scenario {
        tabs: BTreeMap::from([("first".to_owned(), first_tab)]),
        variables: variables
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
        browser,
        folder,
        services: BTreeMap::new(),
        notes: BTreeMap::new(),
    };
    for (index, line) in read(&format!("{name}.steps")).lines().enumerate() {
        if !line.is_empty() && !line.starts_with('#') {
            println!("{name}.steps:{}: {line}", index + 1);
            scenario.play(line).await;
        }
    }
    scenario.browser.end().await;
}

fn read(file: &str) -> String {
    let text = std::fs::read_to_string(Path::new(FOLDER).join(file));
    text.unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Returns the script `text`, or the content of the file that it names.
fn script(text: &str) -> String {
    match text.strip_prefix('@') {
        Some(name) => read(&format!("{name}.js")),
        None => text.to_owned(),
    }
}

/// Returns the script that returns the value of an expression.
fn expression(text: &str) -> String {
    if text.starts_with('@') {
        script(text)
    } else {
        format!("return {text}")
    }
}

/// A line of a scenario: `VERB TARGET -> TEXT`.
#[derive(Clone, Copy)]
struct Step<'a> {
    line: &'a str,
    verb: &'a str,
    /// What is behind the verb.
    rest: &'a str,
    target: &'a str,
    text: &'a str,
}

struct Scenario {
    browser: Browser,
    folder: TempDir,
    services: BTreeMap<String, Process>,
    variables: BTreeMap<String, String>,
    tabs: BTreeMap<String, thirtyfour::WindowHandle>,
    /// The values of expressions that were noted.
    notes: BTreeMap<String, Value>,
}

impl Scenario {
    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    async fn play(&mut self, line: &str) {
        let (count, step) = match line.strip_prefix("times ") {
            Some(repeated) => repeated.split_once(' ').unwrap(),
            None => ("1", line),
        };
        for _ in 0..count.parse().unwrap() {
            self.step(step).await;
        }
    }

    async fn step(&mut self, line: &str) {
        let mut line = line.replace("\\n", "\n");
        for (name, value) in &self.variables {
            line = line.replace(&format!("{{{name}}}"), value);
        }
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let (target, text) = rest.split_once(" ->").unwrap_or((rest, ""));
        let step = Step {
            line: &line,
            verb,
            rest,
            target,
            text: text.strip_prefix(' ').unwrap_or(text),
        };
        let is_known =
            self.prepare(step).await || self.use_page(step).await || self.look(step).await;
        assert!(is_known, "there is no step {verb}");
    }

    /// Carries out a step on the services or their data. Returns whether it is one.
    async fn prepare(&mut self, step: Step<'_>) -> bool {
        let Step { target, text, .. } = step;
        match step.verb {
            "start" => self.start(target).await,
            "kill" => {
                let service = self.services.remove(target).unwrap();
                let port = service.port().to_owned();
                self.variables.insert("port".to_owned(), port);
                service.kill().await;
            }
            "buy" => self.buy(target, text).await,
            "stored" => {
                until_stored(&self.services["facing"], target, text.parse().unwrap()).await;
            }
            "append" => append(&self.data(), target).await,
            "letters" => put_dead_letters(&self.data(), target.parse().unwrap()).await,
            "sql" => open_file(&self.data()).execute_batch(step.rest).unwrap(),
            "copy" => {
                let to = self.folder.path().join(text);
                std::fs::copy(Path::new(FOLDER).join(target), to).unwrap();
            }
            _ => return false,
        }
        true
    }

    /// Carries out a step that a user makes. Returns whether it is one.
    async fn use_page(&mut self, step: Step<'_>) -> bool {
        let Step { target, text, .. } = step;
        let browser = &self.browser;
        match step.verb {
            "tab" => self.turn_to_tab(target).await,
            "size" => {
                let (width, height) = target.split_once(' ').unwrap();
                let [width, height] = [width, height].map(|number| number.parse().unwrap());
                browser.set_size(width, height).await;
            }
            "colours" => browser.use_colours(target).await,
            "open" => browser.driver.goto(target).await.unwrap(),
            "go" => drop(browser.run(&format!("location.hash = {target:?}")).await),
            "reload" => browser.driver.refresh().await.unwrap(),
            "back" => browser.driver.back().await.unwrap(),

            "click" => browser.find(By::Css(target)).await.click().await.unwrap(),
            "double-click" | "hover" => {
                let element = browser.find(By::Css(target)).await;
                let chain = browser.driver.action_chain();
                let chain = if step.verb == "hover" {
                    chain.move_to_element_center(&element)
                } else {
                    chain.double_click_element(&element)
                };
                chain.perform().await.unwrap();
            }
            "follow" => {
                let link = browser.find(By::LinkText(target)).await;
                link.click().await.unwrap();
            }
            "fill" => {
                let field = browser.find(By::Css(target)).await;
                field.clear().await.unwrap();
                field.send_keys(text).await.unwrap();
            }
            "upload" => {
                let field = browser.find(By::Css(target)).await;
                field.send_keys(format!("{FOLDER}/{text}")).await.unwrap();
            }
            "press" => browser.press(keys(target)).await,
            "type" => {
                let selector = format!("{target}:focus-visible");
                let is_reached = format!("return document.activeElement.matches({selector:?})");
                until(step.line, async || {
                    let is_reached = browser.run(&is_reached).await == json!(true);
                    if !is_reached {
                        browser.press(Key::Tab.value().to_string()).await;
                    }
                    is_reached
                })
                .await;
                browser.press(keys(text)).await;
            }
            _ => return false,
        }
        true
    }

    /// Carries out a step that looks at the page, or runs a script in it. Returns whether it is one.
    async fn look(&mut self, step: Step<'_>) -> bool {
        let Step {
            line,
            rest,
            target,
            text,
            ..
        } = step;
        let browser = &self.browser;
        match step.verb {
            "has" => {
                let expected: Vec<_> = text.split('|').map(str::trim).collect();
                until(line, async || browser.texts(target).await == expected).await;
            }
            "says" => {
                until(line, async || {
                    browser.texts(target).await.concat().contains(text)
                })
                .await;
            }
            "counts" => {
                let count = format!("return document.querySelectorAll({target:?}).length");
                browser.returns(&count, text).await;
            }
            "focuses" => {
                let has_focus = format!("return document.activeElement.matches({target:?})");
                browser.returns(&has_focus, "true").await;
            }
            "is" => browser.returns(&expression(target), text).await,
            "note" => {
                let value = browser.run(&expression(rest)).await;
                self.notes.insert(rest.to_owned(), value);
            }
            "same" => {
                let value = browser.run(&expression(rest)).await;
                assert_eq!(value, self.notes[rest], "{rest}");
            }
            "run" => drop(browser.run(&script(rest)).await),
            "set" => {
                let value = browser.run(&expression(text)).await;
                let value = value.as_str().unwrap().to_owned();
                self.variables.insert(target.to_owned(), value);
            }
            "quiet" => browser.was_quiet(target).await,
            "accessible" => browser.is_accessible().await,
            "fits" => self.fits(target).await,
            _ => return false,
        }
        true
    }

    /// Starts the service that the first word names, with the settings of the others.
    async fn start(&mut self, words: &str) {
        let (name, settings) = words.split_once(' ').unwrap_or((words, ""));
        let settings = settings.split(' ').filter_map(|word| word.split_once('='));
        let settings: Vec<_> = settings.collect();
        let binary = if name == "facing" {
            Binary::Facing
        } else {
            Binary::Management
        };
        let service = Process::start(binary, &self.data(), &settings).await;
        self.variables.insert(name.to_owned(), service.url.clone());
        self.services.insert(name.to_owned(), service);
    }

    async fn buy(&mut self, service_and_key: &str, body: &str) {
        let key = uuid::Uuid::now_v7().to_string();
        let (service, key) = service_and_key
            .split_once(' ')
            .unwrap_or((service_and_key, &key));
        let request = plain()
            .post(self.services[service].path("/v1/purchases"))
            .header("content-type", "application/json")
            .header("idempotency-key", key)
            .body(body.to_owned());
        let (status, answer) = exchange(request).await;
        assert_eq!(status, 201, "{answer}");
        let id = answer["purchase"]["id"].as_str().unwrap();
        self.variables.insert("id".to_owned(), id.to_owned());
    }

    /// Turns to the tab of this name, which is opened at first.
    async fn turn_to_tab(&mut self, name: &str) {
        let driver = &self.browser.driver;
        if !self.tabs.contains_key(name) {
            let opened = driver.new_tab().await.unwrap();
            self.tabs.insert(name.to_owned(), opened);
        }
        let tab = self.tabs[name].clone();
        driver.switch_to_window(tab).await.unwrap();
    }

    /// Asserts that the page has no fault of the layout, and none of accessibility, in any size.
    async fn fits(&self, url: &str) {
        let browser = &self.browser;
        let is_night = chosen("SHOP_TEST_ROUNDS").is_some();
        let count = if is_night { SIZES.len() } else { 2 };
        for (width, height) in &SIZES[..count] {
            browser.set_size(*width, *height).await;
            let is_upright = height > width;
            browser
                .use_colours(if is_upright { "dark" } else { "light" })
                .await;
            browser.driver.goto(url).await.unwrap();
            browser.driver.refresh().await.unwrap();
            browser.returns(&script("@loaded"), "true").await;
            let faults = browser.run(&script("@faults-of-the-layout")).await;
            assert_eq!(faults, json!([[], [], 0]), "{width}x{height}");
            browser.is_accessible().await;
        }
    }
}

/// Returns the keys that `text` names, or types.
fn keys(text: &str) -> String {
    match text {
        "Left" => Key::Left.value().to_string(),
        "Home" => Key::Home.value().to_string(),
        "End" => Key::End.value().to_string(),
        "Space" => " ".to_owned(),
        typed => typed.to_owned(),
    }
}

/// Writes `count` dead letters of records that the log of `folder` never had, and one of a gap.
async fn put_dead_letters(folder: &Path, count: u64) {
    let partition = || Partition::new("c".into(), "purchases".into(), 0, 0);
    let letter = |offset| {
        let value = format!(r#"{{"username":"kim","userid":"u3","price":{offset}}}"#);
        let record = LogRecord::new(offset, Timestamp::MIN, Some(value.into()));
        DeadLetter::new(record, partition(), Reason::parked("a note"), 2)
    };
    let gap = Gap::new(partition(), 100, 103, GapCause::Deleted).to_dead_letter(Timestamp::MIN);
    let all: Vec<_> = (1_000..1_000 + count).map(letter).chain([gap]).collect();
    let options = EmbeddedLogOptions::default();
    let log = EmbeddedLog::open(folder, options).await.unwrap();
    log.put_dead_letters(&all).await.unwrap();
}
