//! The scripts of the pages, without a browser. `services/page.http` shows how the pages are served.

use std::path::Path;
use std::process::Command;

use shop_core::conformance::skip;

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
            skip(
                "browser",
                Some(&required),
                &format!("there is no node: {error}"),
            );
        }
    }
}
