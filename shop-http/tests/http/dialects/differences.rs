//! What differs from the replaced systems on purpose: the requests of `differences.txt` with their responses, and the
//! list in `docs/compatibility.md`, which is made of the same file.

use std::fmt::Write as _;

use axum::body::Body;
use axum::http::Method;
use shop_core::conformance::fault::{Call, Fault};
use shop_http::{Dialect, HttpOptions};

use crate::shop::{JSON, Shop, request, send};

const BUY: &str =
    r#"{"username":"joe","userid":"005","price":"1195.30","timestamp":"2024-01-15T13:45:00.5Z"}"#;

/// A line of the list, in which `{}` is where the statuses are; the headers and the requests below it.
struct Difference {
    text: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    cases: Vec<Case>,
}

struct Case {
    dialect: &'static str,
    method: Method,
    path: &'static str,
    /// Nothing is a purchase, `price=0` one with another value of a member. A number in braces is text of that length.
    body: &'static str,
    status: u16,
    /// A part of the response.
    part: &'static str,
}

fn differences() -> Vec<Difference> {
    let mut all = Vec::<Difference>::new();
    for line in include_str!("differences.txt").lines() {
        if let Some(text) = line.strip_prefix("- ") {
            all.push(Difference {
                text,
                headers: Vec::new(),
                cases: Vec::new(),
            });
            continue;
        }
        let row = all.last_mut().unwrap();
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        match cells[..] {
            ["with", header] => row.headers.push(header.split_once(": ").unwrap()),
            [dialect, request, body, status, part] => {
                let ((method, path), status) =
                    (request.split_once(' ').unwrap(), status.parse().unwrap());
                let method = method.parse().unwrap();
                row.cases.push(Case {
                    dialect,
                    method,
                    path,
                    body,
                    status,
                    part,
                });
            }
            _ => panic!("{line}"),
        }
    }
    all
}

/// `text` with text in place of lengths.
fn filled(text: &str) -> String {
    [129, 257, 5_000, 102_400]
        .into_iter()
        .fold(text.to_owned(), |text, length: usize| {
            text.replace(&format!("{{{length}}}"), &"x".repeat(length))
        })
}

/// A valid body but for one member.
fn purchase_with(member: &str, value: &str) -> Vec<u8> {
    let members = [
        ("username", "\"ada\""),
        ("userid", "\"u1\""),
        ("price", "1"),
    ]
    .map(|(name, usual)| format!("\"{name}\":{}", if name == member { value } else { usual }));
    format!("{{{}}}", members.join(",")).into_bytes()
}

async fn assert_responds(headers: &[(&str, &str)], case: &Case) {
    let Case {
        dialect,
        method,
        path,
        body,
        status,
        part,
    } = case;
    let has = |header: &str| headers.iter().any(|(name, _)| *name == header);
    let mut options = HttpOptions::default();
    if has("host") {
        options.hosts = "localhost".parse().unwrap();
    }
    options.dialect = Dialect::from_name(dialect).unwrap();
    let shop = Shop::with(options);
    if *status >= 500 {
        for call in [Call::Publish, Call::Query] {
            shop.faults.always(call, Fault::unavailable());
        }
    }
    let is_post = *method == Method::POST;
    let content: &[(&str, &str)] = if is_post && !has("content-type") {
        &[JSON]
    } else {
        &[]
    };
    let sent = filled(if body.is_empty() && is_post {
        BUY
    } else {
        body
    });
    let sent = match sent.split_once('=') {
        Some((member, value)) => purchase_with(member, value),
        None => sent.into_bytes(),
    };
    let sent = request(
        method.clone(),
        &filled(path),
        &[content, headers].concat(),
        Body::from(sent),
    );
    let response = send(shop.service(path), sent).await;
    let is_expected = response.status == *status && response.text.contains(*part);
    assert!(
        is_expected,
        "{dialect} {method} {path} {body}: {status} with {part}: {response:?}"
    );
}

/// The statuses of `cases`, each with the dialects or prefixes that have it, unless the default dialect has it.
fn statuses(cases: &[Case]) -> String {
    let mut groups = Vec::<(u16, Vec<&str>)>::new();
    for Case {
        dialect,
        path,
        status,
        ..
    } in cases
    {
        let prefix = ["/api/v1", "/v1"]
            .into_iter()
            .find(|prefix| path.starts_with(*prefix));
        let place = prefix.unwrap_or(dialect);
        match groups.iter_mut().find(|(known, _)| known == status) {
            Some((_, places)) if places.contains(&place) => {}
            Some((_, places)) => places.push(place),
            None => groups.push((*status, vec![place])),
        }
    }
    let group = |(status, places): &(u16, Vec<&str>)| match places.contains(&"default") {
        true => status.to_string(),
        false => format!("{status} in `{}`", places.join("`, `")),
    };
    groups.iter().map(group).collect::<Vec<_>>().join("; ")
}

#[tokio::test]
async fn differences_are_those_that_the_page_lists() {
    let mut list = String::new();
    for Difference {
        text,
        headers,
        cases,
    } in differences()
    {
        for case in &cases {
            assert_responds(&headers, case).await;
        }
        writeln!(list, "- {}", text.replace("{}", &statuses(&cases))).unwrap();
    }
    let page = include_str!("../../../../docs/compatibility.md");
    let (_, listed) = page.split_once("## What differs on purpose\n\n").unwrap();
    let (listed, _) = listed.split_once("\n\n").unwrap();
    assert_eq!(
        listed,
        list.trim_end(),
        "docs/compatibility.md is to have the list on the right"
    );
}

#[test]
fn the_table_of_dialects_is_that_of_the_sources() {
    let page = include_str!("../../../../docs/compatibility.md");
    for source in [
        include_str!("../../../src/compat/default_paths.rs"),
        include_str!("../../../src/compat/scalable_shop.rs"),
        include_str!("../../../src/compat/user_buy_list.rs"),
        include_str!("../../../src/compat/purchase_tracking.rs"),
        include_str!("../../../src/compat/shopping_system.rs"),
        include_str!("../../../../shop-accounts/src/http/mod.rs"),
    ] {
        let rows = source
            .lines()
            .filter_map(|line| line.strip_prefix("//! | ")?.split_once(" |"));
        let row: String = rows.skip(1).map(|(_name, cell)| cell).collect();
        assert!(
            page.contains(&format!("\n|{row}\n")),
            "docs/compatibility.md lacks {row}"
        );
    }
}
