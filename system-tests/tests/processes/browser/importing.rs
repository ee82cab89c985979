//! The import of CSV on the console.

use serde_json::json;

use super::NASTY;
use super::driver::Browser;
use crate::process::{Binary, Process, until};

const BATCH: &str = "/v1/purchases:batch";

#[tokio::test]
async fn a_file_is_imported_once_with_a_result_per_line() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let management = Process::start(Binary::Management, &folder.path().join("data"), &[]).await;
    let file = folder.path().join("purchases.csv");
    let name = NASTY.replace('"', "\"\"");
    let text = format!(
        "\u{feff}username,userid,price,timestamp\r\n\"{name}\",u1,12.50,2026-03-01T09:00:00Z\r\n'=ada,u1,7,\r\nada,u1,much,\r\nada,u1,7,\r\n"
    );
    std::fs::write(&file, text).unwrap();
    let problem = "price must be a number such as 29.99.";

    browser.open(&management.path("/#import")).await;
    for (outcome, said) in [
        ("Recorded", "3 recorded, 1 failed."),
        ("Recorded before", "3 recorded before, 1 failed."),
    ] {
        until("show the form", async || {
            !browser.texts("#import-file").await.is_empty()
        })
        .await;
        browser
            .by_id("import-file")
            .await
            .send_keys(file.to_str().unwrap())
            .await
            .unwrap();
        browser
            .shows(
                "import-said",
                "4 lines, 1 with a problem. Nothing is sent yet.",
            )
            .await;
        assert_eq!(browser.requests(BATCH).await.len(), 0);
        assert_eq!(
            browser.texts("#import-lines .result").await,
            ["", "", problem, ""]
        );
        assert_eq!(
            browser.texts("#import-lines .name").await,
            [NASTY, "=ada", "ada", "ada"]
        );
        browser.click("import-button").await;
        browser.shows("import-said", said).await;
        assert_eq!(
            browser.texts("#import-lines .result").await,
            [outcome, outcome, problem, outcome]
        );
        assert_eq!(
            browser.run("return document.activeElement.id").await,
            json!("import-button")
        );
        browser.is_accessible().await;
        browser.driver.refresh().await.unwrap();
    }
    browser.run("location.hash = '#purchases?range=all'").await;
    browser.shows("count", "3").await;
    browser.shows("total", "26.50").await;
    browser.was_quiet(&management.url).await;
    browser.end().await;
}

#[tokio::test]
async fn an_import_is_cancelled_and_its_failed_lines_are_saved() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let (_folder, management) = Process::fresh(Binary::Management, &[]).await;
    browser.open(&management.path("/#import")).await;
    until("show the form", async || {
        !browser.texts("#import-text").await.is_empty()
    })
    .await;
    let paste = async |text: &str| {
        let script = format!(
            "const field = document.getElementById('import-text'); field.value = {}; field.dispatchEvent(new Event('input', {{ bubbles: true }}))",
            json!(text)
        );
        browser.run(&script).await;
    };
    paste("username,price\n").await;
    browser
        .shows(
            "import-said",
            "The column userid is missing in the first line.",
        )
        .await;

    // What is sent is recorded, and no more is sent.
    let lines: String = (0..500).map(|price| format!("ada,u1,{price}\n")).collect();
    let hold =
        "const real = window.fetch; window.fetch = (...call) => call[1]?.method !== 'POST' ? real(...call)
        : new Promise((resolve) => window.release = () => { window.fetch = real; resolve(real(...call)) });";
    browser.run(hold).await;
    paste(&format!("username,userid,price\n{lines}")).await;
    browser.shows("import-button", "Import 500 lines").await;
    browser.click("import-button").await;
    browser
        .shows("import-said", "Importing: 0 of 500 lines sent.")
        .await;
    browser.click("import-button").await;
    browser.run("window.release()").await;
    browser
        .shows("import-said", "200 recorded, 300 not sent.")
        .await;
    browser.click("import-button").await;
    browser
        .shows("import-said", "300 recorded, 200 recorded before.")
        .await;

    // The service refuses a line, and the others are recorded.
    paste("username,userid,price\nada,u1,0.123456789\nada,u2,5\n").await;
    browser.click("import-button").await;
    browser.shows("import-said", "1 recorded, 1 failed.").await;
    let keep = "window.saved = [];
        URL.createObjectURL = (file) => { window.saved.push(file); return '#saved'; };
        HTMLAnchorElement.prototype.click = function () { window.saved.push(this.download); };
        document.getElementById('import-save').click();
        return window.saved[0].text()";
    let saved = "line,problem,username,userid,price\r\n2,\"Refused: Price must not have more than 8 decimals.\",ada,u1,0.123456789\r\n";
    assert_eq!(browser.run(keep).await, json!(saved));
    assert_eq!(
        browser.run("return window.saved[1]").await,
        json!("failed-pasted.csv")
    );
    browser.end().await;
}
