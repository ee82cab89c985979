//! What the query string of a request says, checked.

use std::time::Duration;

use axum::extract::Query;
use axum::http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Deserialize;
use shop_core::PurchaseId;
use shop_core::ports::{Cursor, ListOrder, PageLimit, PageRequest, Selector};

use crate::dialect::View;
use crate::failure::Failure;
use crate::waiting::USUAL_WAIT;

/// The parameters that a listing, a summary and a get know; others are ignored.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Parameters {
    userid: Option<String>,
    username: Option<String>,
    by: Option<String>,
    view: Option<String>,
    order: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
    wait_for: Option<String>,
    wait: Option<String>,
}

/// The longest that a request may ask to wait.
const LONGEST_WAIT: f64 = 10.0;

/// What must be encoded in a query: all but the unreserved characters of RFC 3986.
const RESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Whether a listing looks for a user id or for a user name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    UserId,
    UserName,
}

impl By {
    /// The member that it is about.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::UserId => "userid",
            Self::UserName => "username",
        }
    }
}

impl Parameters {
    /// Those of the request to `uri`.
    pub(crate) fn of(uri: &Uri) -> Result<Self, Failure> {
        let unreadable = |problem: &str| {
            let text = format!("the query string cannot be read: {problem}");
            Failure::Field { field: "query", text }
        };
        // What is no UTF-8 would be replaced below, and another user be asked for.
        let decoded = percent_decode_str(uri.query().unwrap_or_default()).decode_utf8();
        decoded.map_err(|_not_utf8| unreadable("it is not UTF-8"))?;
        let parameters = Query::try_from_uri(uri).map(|Query(parameters)| parameters);
        parameters.map_err(|rejection| unreadable(&rejection.body_text()))
    }

    /// Whose purchases are asked for; everybody's when nobody is named.
    pub(crate) fn selector(&self) -> Result<Selector, Failure> {
        match (&self.userid, &self.username) {
            (Some(_), Some(_)) => {
                Err(Failure::field("userid", "and username exclude each other: give one of them"))
            }
            (Some(id), None) => {
                id.parse().map(Selector::User).map_err(|error| Failure::field("userid", error))
            }
            (None, Some(name)) => {
                name.parse().map(Selector::Name).map_err(|error| Failure::field("username", error))
            }
            (None, None) => Ok(Selector::All),
        }
    }

    pub(crate) fn by(&self) -> Result<Option<By>, Failure> {
        match self.by.as_deref() {
            None => Ok(None),
            Some("userid") => Ok(Some(By::UserId)),
            Some("username") => Ok(Some(By::UserName)),
            Some(_) => Err(Failure::field("by", "must be userid or username")),
        }
    }

    /// What is to stand around the purchases, if not what usually does.
    pub(crate) fn view(&self) -> Result<Option<View>, Failure> {
        match self.view.as_deref() {
            None => Ok(None),
            Some("summary") => Ok(Some(View::Summary)),
            Some("list") => Ok(Some(View::List)),
            Some("user") => Ok(Some(View::Owner)),
            Some(_) => Err(Failure::field("view", "must be summary, list or user")),
        }
    }

    /// Whether a page is asked for, rather than the whole listing.
    pub(crate) const fn asks_for_a_page(&self) -> bool {
        self.limit.is_some() || self.cursor.is_some()
    }

    /// The page that is asked for, in `usual` order and of `usual_limit` unless others are named.
    pub(crate) fn page(&self, usual: ListOrder, usual_limit: PageLimit) -> Result<PageRequest, Failure> {
        let order = match self.order.as_deref() {
            None => usual,
            Some("newest") => ListOrder::NewestFirst,
            Some("oldest") => ListOrder::OldestFirst,
            Some(_) => return Err(Failure::field("order", "must be newest or oldest")),
        };
        let limit = match &self.limit {
            None => usual_limit,
            Some(text) => {
                let number = text.parse::<u16>().ok().and_then(|number| PageLimit::new(number).ok());
                number.ok_or_else(|| Failure::field("limit", "must be a whole number from 1 to 1000"))?
            }
        };
        let cursor = self.cursor.clone().map(Cursor::from_text);
        Ok(PageRequest::first(order, limit).starting_at(cursor))
    }

    /// The query string that asks for what these ask for, on the page of `limit` that begins at `cursor`.
    pub(crate) fn of_next_page(&self, limit: PageLimit, cursor: &Cursor) -> String {
        let limit = limit.get().to_string();
        let pairs = [
            ("by", self.by.as_deref()),
            ("view", self.view.as_deref()),
            ("order", self.order.as_deref()),
            ("limit", Some(limit.as_str())),
            ("cursor", Some(cursor.as_str())),
        ];
        let pair = |(name, value): (&str, Option<&str>)| {
            Some(format!("{name}={}", utf8_percent_encode(value?, &RESERVED)))
        };
        pairs.into_iter().filter_map(pair).collect::<Vec<_>>().join("&")
    }

    /// The purchase that is to be waited for, and how long.
    pub(crate) fn wait(&self) -> Result<Option<(PurchaseId, Duration)>, Failure> {
        let time = match &self.wait {
            None => USUAL_WAIT,
            Some(text) => {
                let seconds =
                    text.parse::<f64>().ok().filter(|seconds| (0.0..=LONGEST_WAIT).contains(seconds));
                let seconds = seconds
                    .ok_or_else(|| Failure::field("wait", "must be a number of seconds from 0 to 10"))?;
                Duration::from_secs_f64(seconds)
            }
        };
        let Some(id) = &self.wait_for else { return Ok(None) };
        let id = id
            .parse()
            .map_err(|error| Failure::field("wait_for", format!("must be a purchase id: {error}")))?;
        Ok(Some((id, time)))
    }
}
