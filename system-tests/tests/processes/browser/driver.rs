//! Headless Chromium, driven by WebDriver.

use rustix::process::{Pid, kill_process_group};
use thirtyfour::prelude::*;
use thirtyfour::{
    BrowserLogEntry, ChromeCapabilities, ChromiumLikeCapabilities, LoggingPrefsLogLevel,
};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::prelude::*;
use crate::servers::environment;

/// A browser for one test, which ends with it.
pub(super) struct Browser {
    // Dropped first: after a failed test, the session is not closed cleanly.
    _process: DriverProcess,
    pub(super) driver: WebDriver,
}

/// The driver's process, in one process group with the browsers that it has started.
struct DriverProcess(Child);

impl Drop for DriverProcess {
    fn drop(&mut self) {
        let id = self.0.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = id.and_then(Pid::from_raw)
            && let Err(error) = kill_process_group(group, Signal::KILL)
        {
            eprintln!("the test's browser could not be stopped: {error}");
        }
    }
}

impl Browser {
    /// Starts a browser. `None` if there is none, which is reported, and is a failure if `SHOP_TEST_REQUIRE` lists
    /// `browser`.
    pub(super) async fn start() -> Option<Self> {
        let Some((process, url)) = soon("start the driver", start_driver()).await else {
            skipped("browser", "there is no chromedriver");
            return None;
        };
        match WebDriver::new(url, capabilities()).await {
            Ok(driver) => Some(Self {
                driver,
                _process: process,
            }),
            Err(error) if error.to_string().contains("cannot find") => {
                skipped("browser", "there is no chromium");
                None
            }
            Err(error) => panic!("no session: {error}"),
        }
    }

    /// Sets the size of the page, which may be below the minimum of a window.
    pub(super) async fn set_size(&self, width: u32, height: u32) {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.driver
            .cdp()
            .send_raw("Emulation.setDeviceMetricsOverride", size)
            .await
            .unwrap();
        assert_eq!(self.run("return innerWidth").await, json!(width));
    }

    /// Shows pages in the colours of this scheme, `dark` or `light`.
    pub(super) async fn use_colours(&self, scheme: &str) {
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        let command = "Emulation.setEmulatedMedia";
        self.driver.cdp().send_raw(command, media).await.unwrap();
    }

    /// Presses keys where the focus is.
    pub(super) async fn press(&self, keys: String) {
        let chain = self.driver.action_chain().send_keys(keys);
        chain.perform().await.unwrap();
    }

    /// Waits until there is such an element.
    pub(super) async fn find(&self, element: By) -> WebElement {
        let found = async {
            loop {
                match self.driver.find(element.clone()).await {
                    Ok(found) => return found,
                    Err(_) => pause().await,
                }
            }
        };
        soon("be on the page", found).await
    }

    /// Waits until the script returns the value that `json` says.
    pub(super) async fn returns(&self, script: &str, json: &str) {
        let value: Value = serde_json::from_str(json).unwrap();
        let what = format!("return {value} from {script}");
        until(&what, async || self.run(script).await == value).await;
    }

    /// Runs a script in the page, and returns its result.
    pub(super) async fn run(&self, script: &str) -> Value {
        let result = self.driver.execute(script, Vec::new()).await;
        result.unwrap().json().clone()
    }

    /// The displayed texts of the elements that a selector finds, with spaces that do not break as spaces.
    pub(super) async fn texts(&self, selector: &str) -> Vec<String> {
        let script = format!(
            "return [...document.querySelectorAll({selector:?})].map((one) => one.checkVisibility() ? one.innerText.trim().replaceAll('\\u00a0', ' ') : '')"
        );
        serde_json::from_value(self.run(&script).await).unwrap()
    }

    /// Asserts that nothing was written to the console, and that all requests went to `origin`.
    pub(super) async fn was_quiet(&self, origin: &str) {
        let console: Vec<BrowserLogEntry> = self.driver.browser_log().await.unwrap();
        assert!(console.is_empty(), "{console:?}");
        let mut requests = 0;
        for entry in self.driver.get_log("performance").await.unwrap() {
            let event: Value = serde_json::from_str(&entry.message).unwrap();
            if event["message"]["method"] == "Network.requestWillBeSent" {
                let url = event["message"]["params"]["request"]["url"]
                    .as_str()
                    .unwrap();
                // Built-in images of the browser, such as the icon of a date field.
                assert!(
                    url.starts_with(&format!("{origin}/")) || url.starts_with("data:"),
                    "{url}"
                );
                requests += 1;
            }
        }
        assert!(requests > 0, "requests are logged");
    }

    /// Checks the page by axe-core, the path of whose script `SHOP_TEST_AXE` names.
    pub(super) async fn is_accessible(&self) {
        let Some(path) = environment("SHOP_TEST_AXE") else {
            return skipped("axe", "there is no axe-core");
        };
        self.run(&std::fs::read_to_string(path).unwrap()).await;
        let check = "return axe.run().then(({ violations, passes }) => [passes.length > 0, violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)])])";
        assert_eq!(self.run(check).await, json!([true, []]));
    }

    pub(super) async fn end(self) {
        self.driver.quit().await.unwrap();
    }
}

/// Starts the driver, and returns it with its address. `None` if it is not installed.
///
/// It takes a free port of `::1`, and exits if another process listens to that port of `127.0.0.1`, as the servers of
/// the tests beside this one may. It is started until it finds one that is free at both.
async fn start_driver() -> Option<(DriverProcess, String)> {
    loop {
        let mut command = Command::new("chromedriver");
        command
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let child = command.process_group(0).kill_on_drop(true).spawn().ok()?;
        let mut process = DriverProcess(child);
        if let Some(url) = address(&mut process.0).await {
            return Some((process, url));
        }
    }
}

/// The address of the driver, `None` if it has exited. Its output is read to the end, so that it never blocks.
async fn address(driver: &mut Child) -> Option<String> {
    let mut lines = BufReader::new(driver.stdout.take()?).lines();
    let port = loop {
        let line = lines.next_line().await.unwrap()?;
        if let Some((_, port)) = line.split_once("started successfully on port ") {
            break port.trim_end_matches('.').to_owned();
        }
    };
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Some(format!("http://127.0.0.1:{port}"))
}

/// Chromium without its windows, of the Debian package `chromium-headless-shell`: a test takes a third less of a processor
/// than with Chromium itself, which runs where this is not installed.
const HEADLESS_SHELL: &str = "/usr/lib/chromium/chromium-headless-shell";

fn capabilities() -> ChromeCapabilities {
    let mut capabilities = DesiredCapabilities::chrome();
    if Path::new(HEADLESS_SHELL).exists() {
        capabilities.set_binary(HEADLESS_SHELL).unwrap();
    }
    // A sandbox needs privileges that containers rarely have, and their shared memory is small.
    for argument in ["--headless", "--no-sandbox", "--disable-dev-shm-usage"] {
        capabilities.add_arg(argument).unwrap();
    }
    for log in ["browser", "performance"] {
        capabilities
            .set_logging_prefs(log, LoggingPrefsLogLevel::All)
            .unwrap();
    }
    capabilities
}
