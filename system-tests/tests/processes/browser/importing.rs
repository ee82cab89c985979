//! The import of files on the console.

use serde_json::json;

use super::NASTY;
use super::driver::Browser;
use crate::process::{Binary, Process, until};

#[tokio::test]
async fn a_file_is_shown_and_imported_once_with_its_problems() {
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
    let problem = "price much must be a valid number";

    browser.open(&management.path("/#import")).await;
    for said in ["3 imported, 1 rejected.", "3 imported before, 1 rejected."] {
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
        until("show the first rows", async || {
            browser.texts("#import-lines .result").await == ["", "", problem, ""]
        })
        .await;
        assert_eq!(
            browser.texts("#import-lines .name").await,
            [NASTY, "=ada", "ada"]
        );
        browser.click("import-button").await;
        browser.shows("import-said", said).await;
        assert_eq!(
            browser.texts("#import-problems .result").await,
            [format!("{problem}.")]
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
async fn a_file_of_another_system_is_mapped_and_an_import_is_cancelled() {
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
    paste("Kunde;username;Summe;Ort\nu1;ada;12,50;Ulm\n").await;
    until("name what is missing", async || {
        let said = browser.texts("#import-said").await.join("");
        said.contains("which has: Kunde, username, Summe, Ort")
    })
    .await;
    let choose = async |column: u8, member: &str| {
        let script = format!(
            "const choice = document.getElementById('column-{column}'); choice.value = '{member}'; choice.dispatchEvent(new Event('change', {{ bubbles: true }}))"
        );
        browser.run(&script).await;
    };
    choose(0, "userid").await;
    until("miss the other one", async || {
        let said = browser.texts("#import-said").await.join("");
        said.starts_with("the column \"price\" is missing")
    })
    .await;
    choose(2, "price").await;
    let found = "The file pasted.csv of 1 kB has 4 columns, separated by semicolons.";
    browser.shows("import-found", found).await;
    browser.is_accessible().await;
    let fill = "document.getElementById('import-options').open = true;
        const form = document.querySelector('#import-options form');
        form.decimal_comma.checked = true;
        form.dispatchEvent(new Event('change', { bubbles: true }))";
    browser.run(fill).await;
    until("show what is not read", async || {
        let notes = browser.texts("#import .note").await.join("");
        notes.contains("Columns that are not read: Ort.")
    })
    .await;
    browser.click("import-button").await;
    browser.shows("import-said", "1 imported.").await;
    let rate = browser.text("import-rate").await;
    assert!(
        rate.starts_with("1 row in ") && rate.ends_with(" rows per second."),
        "{rate}"
    );

    // An import whose answer does not come is cancelled, and can be repeated. The page also asks for other things by itself,
    // whose answers come.
    let hold = "const real = window.fetch; window.fetch = (path, options) => {
        if (!path.includes(':import') || path.includes('dry_run')) return real(path, options);
        window.fetch = real;
        return new Promise((resolve, reject) => options.signal.addEventListener('abort', () => reject(new Error('aborted'))));
    };";
    browser.run(hold).await;
    paste("Kunde;username;Summe\nu1;ada;12,50\nu2;bob;1\n").await;
    until("show the rows", async || {
        browser.texts("#import-lines tr").await.len() == 2
    })
    .await;
    press_import(&browser).await;
    browser.shows("import-button", "Cancel").await;
    press_import(&browser).await;
    browser
        .shows(
            "import-said",
            "Cancelled. What was imported stays. Import again for the rest.",
        )
        .await;
    press_import(&browser).await;
    browser
        .shows("import-said", "1 imported, 1 imported before.")
        .await;
    browser.end().await;
}

/// Presses the button as a key does: clicks that follow each other within half a second are double clicks, and ignored.
async fn press_import(browser: &Browser) {
    browser
        .run("document.getElementById('import-button').click()")
        .await;
}
