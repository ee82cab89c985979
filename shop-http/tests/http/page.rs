//! The page for browsers: content negotiation, security headers, and files.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::prelude::*;

/// The `Accept` header of browsers.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";

async fn accepting(router: &Router, path: &str, accept: &str) -> TestResponse {
    send(
        router,
        request(Method::GET, path, &[("accept", accept)], Body::empty()),
    )
    .await
}

/// The names and contents of the folder's files.
fn folder() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
    let files = fs::read_dir(folder).unwrap().map(|file| {
        let file = file.unwrap();
        (
            file.file_name().into_string().unwrap(),
            fs::read_to_string(file.path()).unwrap(),
        )
    });
    files.collect()
}

#[tokio::test]
async fn files_are_served_with_security_headers_and_revalidated() {
    let shop = Shop::new();
    let mut served = vec![
        (&shop.facing, "/".to_owned(), "facing.html".to_owned()),
        (
            &shop.management,
            "/".to_owned(),
            "management.html".to_owned(),
        ),
    ];
    let files = folder();
    for (name, _) in &files {
        // A script is served with the modules that it imports.
        if !name.ends_with(".html") && !name.ends_with(".js") {
            served.push((&shop.facing, format!("/page/{name}"), name.clone()));
        }
    }
    for (service, path, name) in served {
        let (_, content) = files.iter().find(|(known, _)| *known == name).unwrap();
        let first = accepting(service, &path, BROWSER).await;
        assert_eq!(
            (first.status, &first.text),
            (StatusCode::OK, content),
            "{path}"
        );
        assert_eq!(
            first.header("x-content-type-options"),
            Some("nosniff"),
            "{path}"
        );
        assert_eq!(first.header("cache-control"), Some("no-cache"), "{path}");
        let policy = first.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; "),
            "{path}: {policy}"
        );

        let tag = first.header("etag").unwrap();
        for (known, status) in [
            (tag, 304),
            ("*", 304),
            (&*format!("\"a\", {tag}"), 304),
            ("W/\"other\"", 200),
        ] {
            let headers = [("accept", BROWSER), ("if-none-match", known)];
            let again = request(Method::GET, &path, &headers, Body::empty());
            let again = send(service, again).await;
            assert_eq!(again.status, status, "{path} {known}");
            assert_eq!(again.text.is_empty(), status == 304, "{path} {known}");
            assert_eq!(again.header("etag"), Some(tag), "{path}");
        }
    }
}

/// The texts between `before` and the next quotation mark.
fn named<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
    text.split(before)
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect()
}

#[test]
fn pages_have_no_inline_scripts_and_no_external_resources() {
    let files = folder();
    let is_there = |name: &str| files.iter().any(|(known, _)| known == name);
    // The text of the runbooks is shown, and not run.
    for (name, text) in files.iter().filter(|(name, _)| name != "runbooks.txt") {
        for forbidden in [
            "innerHTML",
            "dangerouslySet",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            " style=",
            "<style",
            " onclick=",
            "//cdn",
        ] {
            // The library has such a property, which the pages do not use.
            let is_unused =
                name == "preact.js" && ["innerHTML", "dangerouslySet"].contains(&forbidden);
            assert!(
                is_unused || !text.contains(forbidden),
                "{name}: {forbidden}"
            );
        }
        let scripts = text.matches("<script").count();
        assert_eq!(
            scripts,
            text.matches(r#"<script type="module" src=""#).count(),
            "{name}: a script is inline"
        );
        let external = text.replace("http://www.w3.org/2000/svg", "");
        assert!(
            !external.contains("http:") && !external.contains("https:"),
            "{name} has an external address"
        );
        for asset in named(text, r#"src="page/"#)
            .into_iter()
            .chain(named(text, r#"href="page/"#))
            .chain(named(text, r#"from "./"#))
        {
            assert!(is_there(asset), "{name}: {asset}");
        }
    }
}

/// The modules that `name` imports, at any depth.
fn imported(files: &[(String, String)], name: &str, found: &mut BTreeSet<String>) {
    let (_, text) = files.iter().find(|(known, _)| known == name).unwrap();
    for module in named(text, r#"from "./"#) {
        if found.insert(module.to_owned()) {
            imported(files, module, found);
        }
    }
}

/// A script as served.
async fn script(service: &Router, name: &str) -> String {
    get(service, &format!("/page/{name}")).await.text
}

/// Asserts that the script `name` has the modules that it imports, without those that are there.
async fn assert_modules(
    name: &str,
    there: &BTreeSet<String>,
    files: &[(String, String)],
) -> BTreeSet<String> {
    let mut modules = BTreeSet::from([name.to_owned()]);
    imported(files, name, &mut modules);
    let script = script(&Shop::new().facing, name).await;
    assert!(
        !script.lines().any(|line| line.starts_with("import ")),
        "{name}"
    );
    for (module, _) in files.iter().filter(|(name, _)| name.ends_with(".js")) {
        let count = script.matches(&format!("modules[\"{module}\"] = ")).count();
        let is_expected = modules.contains(module) && !there.contains(module);
        assert_eq!(count, usize::from(is_expected), "{name}: {module}");
    }
    modules
}

#[tokio::test]
async fn each_page_has_one_script_with_all_its_modules() {
    let files = folder();
    let mut all = BTreeSet::new();
    for (document, name) in [
        ("facing.html", "facing.js"),
        ("management.html", "management.js"),
    ] {
        let (_, text) = files.iter().find(|(known, _)| known == document).unwrap();
        let loaded = named(text, r#"="page/"#);
        assert_eq!(
            loaded
                .iter()
                .filter(|name| name.ends_with(".js"))
                .collect::<Vec<_>>(),
            [&name]
        );
        let modules = assert_modules(name, &BTreeSet::new(), &files).await;
        // The views that are loaded when they are first shown.
        let (_, text) = files.iter().find(|(known, _)| known == name).unwrap();
        for view in named(text, r#"import("./"#) {
            all.extend(assert_modules(view, &modules, &files).await);
        }
        all.extend(modules);
    }
    let scripts = files
        .iter()
        .filter(|(name, _)| name.ends_with(".js"))
        .count();
    assert_eq!(
        all.len(),
        scripts,
        "every module belongs to a page: {all:?}"
    );
}

#[test]
fn the_logic_of_the_pages_passes_its_tests() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page");
    match Command::new("node")
        .args(["--test", "--test-reporter=tap"])
        .arg(&tests)
        .output()
    {
        Ok(run) => {
            let said = String::from_utf8_lossy(&run.stdout);
            assert!(run.status.success() && said.contains("# pass "), "{said}");
        }
        Err(error) => {
            #[expect(
                clippy::disallowed_methods,
                reason = "a switch of the tests, not a setting"
            )]
            let required = std::env::var("SHOP_TEST_REQUIRE").unwrap_or_default();
            assert!(
                !required.split(',').any(|name| name == "browser"),
                "a test needs node: {error}"
            );
            eprintln!("skipped: there is no node: {error}");
        }
    }
}
