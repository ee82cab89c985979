//! Rows of responses, and the outcome of each.

use std::fmt::Debug;

use shop_client::{Error, Result, ShopClient};

use crate::shop::{Script, Turn, refusal};

/// Returns `rows`, each with the first request and the outcome of its call below it. The service of a
/// row gives the response of the row to every request.
///
/// A row has the name of the call, the status, headers as `name=value`, and the body, in which `\n`
/// is a line feed. Empty rows and comments are copied. Long rows are cut off in the result.
pub(crate) async fn outcomes_of(
    rows: &str,
    call: impl AsyncFn(ShopClient, &str) -> Result<String>,
) -> String {
    let mut result = String::new();
    for row in rows.lines() {
        result.push_str(&format!("{row:.500}\n"));
        if row.is_empty() || row.starts_with('#') {
            continue;
        }

        let (name, response) = row.split_once(' ').unwrap();
        let script = Script::default();
        script.then(100, || response_of(response));
        let client = script.client().await;
        let outcome = call(client, name).await;
        let requests = script.seen();
        let outcome = outcome.unwrap_or_else(|error| describe_error(&error, requests.len()));
        let first = &requests[0];
        let request = format!("{} {} {:?}", first.method, first.path, first.body);
        result.push_str(&format!("    {request}\n    {outcome}\n"));
    }
    result
}

/// The response of a row: `404 content-type=text/html <html>`.
fn response_of(text: &str) -> Turn {
    let (status, mut rest) = text.split_once(' ').unwrap_or((text, ""));
    let mut headers = Vec::new();
    while let Some((word, after)) = rest.split_once(' ')
        && let Some(header) = word.split_once('=')
    {
        headers.push(header);
        rest = after;
    }
    let body = rest.replace("\\n", "\n");
    Turn::Say(refusal(status.parse().unwrap(), &headers, body))
}

pub(crate) fn describe(value: impl Debug) -> String {
    format!("{value:?}")
}

fn describe_error(error: &Error, requests: usize) -> String {
    let retries = if requests > 1 {
        "sent again"
    } else {
        "sent once"
    };
    let caller_may_retry = if error.is_retryable() {
        ", retryable"
    } else {
        ""
    };
    format!(
        "{:?}, {:?}, {retries}{caller_may_retry}: {}",
        error.kind(),
        error.outcome(),
        error.message()
    )
}
