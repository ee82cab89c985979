//! The import of files on the console.

use super::NASTY;
use super::driver::Browser;
use crate::prelude::*;

/// An import gets no answer until it is cancelled. The page also asks for other things by itself, whose answers come.
const HOLD: &str = "const real = window.fetch; window.fetch = (path, options) => {
    if (!path.includes(':import') || path.includes('dry_run')) return real(path, options);
    window.fetch = real;
    return new Promise((resolve, reject) => options.signal.addEventListener('abort', () => reject(new Error('aborted'))));
};";
/// Presses the button as a key does: clicks that follow each other within half a second are double clicks, and ignored.
const PRESS_IMPORT: &str = "document.getElementById('import-button').click()";

#[tokio::test]
async fn files_are_shown_mapped_and_imported_once() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let management = Process::start(Binary::Management, &folder.path().join("data"), &[]).await;
    let file = folder.path().join("purchases.csv");
    let rows = format!(
        "username,userid,price,timestamp\r\n\"{NASTY}\",u1,12.50,2026-03-01T09:00:00Z\r\nada,u1,much,\r\n"
    );
    std::fs::write(&file, rows).unwrap();
    let problem = "price much must be a valid number";
    browser.open(&management.path("/#import")).await;
    for said in ["1 imported, 1 rejected.", "1 imported before, 1 rejected."] {
        browser.counts("#import-file", 1).await;
        let input = browser.by_id("import-file").await;
        input.send_keys(file.to_str().unwrap()).await.unwrap();
        browser.has("#import-lines .result", &["", problem]).await;
        browser.has("#import-lines .name", &[NASTY]).await;
        browser.click("import-button").await;
        browser.shows("import-said", said).await;
        browser
            .has("#import-problems .result", &[&format!("{problem}.")])
            .await;
        browser.focuses("import-button").await;
        browser.is_accessible().await;
        browser.reload().await;
    }

    browser.was_quiet(&management.url).await;

    // A file of another system is pasted, and its columns are chosen.
    browser.counts("#import-text", 1).await;
    let set = async |id: &str, value: &str, event: &str| {
        let script = format!(
            "const field = document.getElementById({id:?}); field.value = {};
             field.dispatchEvent(new Event({event:?}, {{ bubbles: true }}))",
            json!(value)
        );
        browser.run(&script).await;
    };
    let pasted = "Kunde;username;Summe\nu1;ada;12,50\nu2;bob;1\n";
    set("import-text", pasted, "input").await;
    browser
        .says("#import-said", "which has: Kunde, username, Summe")
        .await;
    set("column-0", "userid", "change").await;
    browser
        .says("#import-said", "the column \"price\" is missing")
        .await;
    set("column-2", "price", "change").await;
    browser.is_accessible().await;
    let comma = "const form = document.querySelector('#import-options form');
        form.decimal_comma.checked = true;
        form.dispatchEvent(new Event('change', { bubbles: true }))";
    browser.run(comma).await;
    browser.has("#import-lines .result", &["", ""]).await;

    // An import is cancelled, and repeated.
    browser.run(HOLD).await;
    browser.run(PRESS_IMPORT).await;
    browser.shows("import-button", "Cancel").await;
    browser.run(PRESS_IMPORT).await;
    let cancelled = "Cancelled. What was imported stays. Import again for the rest.";
    browser.shows("import-said", cancelled).await;
    browser.run(PRESS_IMPORT).await;
    browser.shows("import-said", "2 imported.").await;
    browser.go("#purchases?range=all").await;
    browser.shows("count", "3").await;
    browser.shows("total", "26.00").await;
    browser.end().await;
}
