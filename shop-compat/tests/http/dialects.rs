//! The replaced systems. Their responses are in the scenarios `dialect_*` and `dialects_*`, and what differs on purpose is in
//! the scenario `differences`, whose titles with a dash are a list in `docs/compatibility.md`.

const PAGE: &str = include_str!("../../../docs/compatibility.md");

#[test]
fn differences_are_those_that_the_page_lists() {
    let scenario = include_str!("scenarios/differences.http");
    let titles = scenario
        .lines()
        .filter_map(|line| line.strip_prefix("### "));
    let listed: Vec<_> = titles.filter(|title| title.starts_with("- ")).collect();

    let list = format!("## What differs on purpose\n\n{}\n\n", listed.join("\n"));
    assert!(PAGE.contains(&list), "docs/compatibility.md lacks:\n{list}");
}

#[test]
fn the_page_names_the_status_of_each_difference() {
    let snapshot = include_str!("scenarios/differences.snap");
    for difference in snapshot.split("\n### - ").skip(1) {
        let (text, responses) = difference.split_once('\n').unwrap();
        for line in responses.lines() {
            let first_word = line.split(' ').next().unwrap();
            let is_status = first_word.len() == 3 && first_word.parse::<u16>().is_ok();
            assert!(!is_status || text.contains(first_word), "{text}: {line}");
        }
    }
}

#[test]
fn the_table_of_dialects_is_that_of_the_sources() {
    for source in [
        include_str!("../../src/dialect.rs"),
        include_str!("../../src/scalable_shop.rs"),
        include_str!("../../src/user_buy_list.rs"),
        include_str!("../../src/purchase_tracking.rs"),
        include_str!("../../src/shopping_system.rs"),
        include_str!("../../src/ecommerce/mod.rs"),
    ] {
        let rows = source
            .lines()
            .filter_map(|line| line.strip_prefix("//! | ")?.split_once(" |"));
        let row: String = rows.skip(1).map(|(_name, cell)| cell).collect();
        assert!(
            PAGE.contains(&format!("\n|{row}\n")),
            "docs/compatibility.md lacks {row}"
        );
    }
}
