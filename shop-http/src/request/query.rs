//! What the query string of a request says, checked.

use std::time::Duration;

use axum::extract::Query;
use axum::http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use shop_core::PurchaseId;
use shop_core::ports::{Cursor, ListOrder, PageLimit, PageRequest, Selector};

use crate::dialect::View;
use crate::request::validation_error::{InvalidField, unknown};
use crate::response::failure::Failure;

/// The parameters of a request, each given at most once.
#[derive(Debug, Default)]
pub(crate) struct Parameters {
    userid: Option<String>,
    username: Option<String>,
    everyone: Option<String>,
    by: Option<String>,
    view: Option<String>,
    order: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
    wait_for: Option<String>,
    wait: Option<String>,
}

/// What is read outside of `/v1`. Other parameters are ignored there.
const NAKED: &[&str] = &["by", "view", "order", "limit", "cursor", "wait_for", "wait"];

/// How long a listing waits for a purchase where the request names no time.
pub(crate) const DEFAULT_WAIT: Duration = Duration::from_secs(2);
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
    /// Those of the request to `uri`, outside of `/v1`.
    pub(crate) fn of(uri: &Uri) -> Result<Self, Failure> {
        let (parameters, mut wrong) = Self::known(uri, NAKED)?;
        wrong.retain(|wrong| NAKED.contains(&&*wrong.field));
        if wrong.is_empty() { Ok(parameters) } else { Err(Failure::Fields(wrong)) }
    }

    /// Those of the request to `uri` that are among `known`, and what is wrong with the names in it.
    fn known(uri: &Uri, known: &[&str]) -> Result<(Self, Vec<InvalidField>), Failure> {
        let unreadable = |problem: &str| InvalidField {
            field: "query".into(),
            text: format!("the query string cannot be read: {problem}"),
        };
        // What is no UTF-8 would be replaced below, and another user be asked for.
        let decoded = percent_decode_str(uri.query().unwrap_or_default()).decode_utf8();
        decoded.map_err(|_not_utf8| unreadable("it is not UTF-8"))?;
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri);
        let Query(pairs) = pairs.map_err(|rejection| unreadable(&rejection.body_text()))?;
        let (mut parameters, mut wrong) = (Self::default(), Vec::<InvalidField>::new());
        for (name, value) in pairs {
            let slot = if known.contains(&&*name) { parameters.slot(&name) } else { None };
            let fault = match slot {
                Some(slot) if slot.is_none() => {
                    *slot = Some(value);
                    continue;
                }
                Some(_) => InvalidField { text: format!("{name} must be given once"), field: name.into() },
                None => InvalidField { text: unknown(&name, known), field: name.into() },
            };
            // A name that comes often is named once.
            if !wrong.iter().any(|known| known.field == fault.field) {
                wrong.push(fault);
            }
        }
        Ok((parameters, wrong))
    }

    fn slot(&mut self, name: &str) -> Option<&mut Option<String>> {
        Some(match name {
            "userid" => &mut self.userid,
            "username" => &mut self.username,
            "everyone" => &mut self.everyone,
            "by" => &mut self.by,
            "view" => &mut self.view,
            "order" => &mut self.order,
            "limit" => &mut self.limit,
            "cursor" => &mut self.cursor,
            "wait_for" => &mut self.wait_for,
            "wait" => &mut self.wait,
            _ => return None,
        })
    }

    pub(crate) fn by(&self) -> Result<Option<By>, InvalidField> {
        match self.by.as_deref() {
            None => Ok(None),
            Some("userid") => Ok(Some(By::UserId)),
            Some("username") => Ok(Some(By::UserName)),
            Some(_) => Err(InvalidField::new("by", "must be userid or username")),
        }
    }

    /// What is to stand around the purchases, if not what usually does.
    pub(crate) fn view(&self) -> Result<Option<View>, InvalidField> {
        match self.view.as_deref() {
            None => Ok(None),
            Some("summary") => Ok(Some(View::Summary)),
            Some("list") => Ok(Some(View::List)),
            Some("user") => Ok(Some(View::Owner)),
            Some(_) => Err(InvalidField::new("view", "must be summary, list or user")),
        }
    }

    /// Whether a page is asked for, rather than the whole listing.
    pub(crate) const fn asks_for_a_page(&self) -> bool {
        self.limit.is_some() || self.cursor.is_some()
    }

    /// The page that is asked for, in `usual` order and of `usual_limit` unless others are named.
    pub(crate) fn page(&self, usual: ListOrder, usual_limit: PageLimit) -> Result<PageRequest, InvalidField> {
        Ok(self.page_of(self.order(usual)?, self.limit(usual_limit)?))
    }

    fn page_of(&self, order: ListOrder, limit: PageLimit) -> PageRequest {
        PageRequest::first(order, limit).starting_at(self.cursor.clone().map(Cursor::from_text))
    }

    fn order(&self, usual: ListOrder) -> Result<ListOrder, InvalidField> {
        match self.order.as_deref() {
            None => Ok(usual),
            Some("newest") => Ok(ListOrder::NewestFirst),
            Some("oldest") => Ok(ListOrder::OldestFirst),
            Some(_) => Err(InvalidField::new("order", "must be newest or oldest")),
        }
    }

    fn limit(&self, usual: PageLimit) -> Result<PageLimit, InvalidField> {
        let Some(text) = &self.limit else { return Ok(usual) };
        let number = text.parse::<u16>().ok().and_then(|number| PageLimit::new(number).ok());
        number.ok_or_else(|| InvalidField::new("limit", "must be a whole number from 1 to 1000"))
    }

    /// The query string that asks for what these ask for, on the page of `limit` that begins at `cursor`.
    pub(crate) fn of_next_page(&self, limit: PageLimit, cursor: &Cursor) -> String {
        let limit = limit.get().to_string();
        self.again([
            ("by", self.by.as_deref()),
            ("limit", Some(limit.as_str())),
            ("cursor", Some(cursor.as_str())),
        ])
    }

    /// The query string that asks for what these ask for, of the users whom `by` finds.
    pub(crate) fn looking_by(&self, by: By) -> String {
        self.again([("by", Some(by.name())), ("limit", self.limit.as_deref()), ("cursor", None)])
    }

    /// The query string with these parameters, and with those that only say what the answer looks like.
    fn again(&self, pairs: [(&str, Option<&str>); 3]) -> String {
        let [by, limit, cursor] = pairs;
        let form = [("view", self.view.as_deref()), ("order", self.order.as_deref())];
        let pair = |(name, value): (&str, Option<&str>)| {
            Some(format!("{name}={}", utf8_percent_encode(value?, &RESERVED)))
        };
        let pairs = [by, form[0], form[1], limit, cursor].into_iter().filter_map(pair);
        pairs.collect::<Vec<_>>().join("&")
    }

    /// The purchase that is to be waited for, and how long.
    pub(crate) fn wait(&self) -> Result<Option<(PurchaseId, Duration)>, InvalidField> {
        let time = self.wait_time()?;
        Ok(self.wait_for()?.map(|id| (id, time)))
    }

    fn wait_time(&self) -> Result<Duration, InvalidField> {
        let Some(text) = &self.wait else { return Ok(DEFAULT_WAIT) };
        let seconds = text.parse::<f64>().ok().filter(|seconds| (0.0..=LONGEST_WAIT).contains(seconds));
        let seconds =
            seconds.ok_or_else(|| InvalidField::new("wait", "must be a number of seconds from 0 to 10"))?;
        Ok(Duration::from_secs_f64(seconds))
    }

    fn wait_for(&self) -> Result<Option<PurchaseId>, InvalidField> {
        let id = self.wait_for.as_ref().map(|id| id.parse()).transpose();
        id.map_err(|error| InvalidField::new("wait_for", format!("must be a purchase id: {error}")))
    }
}

/// The parameters of a request under `/v1`, where only what is known is taken. Its faults are gathered, so that one
/// answer names all of them.
#[derive(Debug)]
pub(crate) struct Strict {
    parameters: Parameters,
    wrong: Vec<InvalidField>,
}

impl Strict {
    /// Those of a listing.
    pub(crate) const LISTING: &[&str] =
        &["userid", "username", "everyone", "order", "limit", "cursor", "wait_for", "wait"];
    /// Those of a summary.
    pub(crate) const SUMMARY: &[&str] = &["userid", "username", "everyone", "wait_for", "wait"];
    /// Those of one purchase.
    pub(crate) const PURCHASE: &[&str] = &["wait_for", "wait"];

    /// Those of the request to `uri`, which may have the parameters `known`.
    pub(crate) fn of(uri: &Uri, known: &[&str]) -> Result<Self, Failure> {
        let (parameters, wrong) = Parameters::known(uri, known)?;
        Ok(Self { parameters, wrong })
    }

    /// Notes what is wrong.
    pub(crate) fn note<T>(&mut self, read: Result<T, InvalidField>) -> Option<T> {
        read.map_err(|wrong| self.wrong.push(wrong)).ok()
    }

    /// Whose purchases are asked for: exactly one way to say so must be given.
    pub(crate) fn selector(&mut self) -> Option<Selector> {
        let Parameters { userid, username, everyone, .. } = &self.parameters;
        let id = userid.as_ref().map(|id| {
            let id = id.parse().map(Selector::User);
            ("userid", id.map_err(|error| InvalidField::new("userid", error)))
        });
        let name = username.as_ref().map(|name| {
            let name = name.parse().map(Selector::Name);
            ("username", name.map_err(|error| InvalidField::new("username", error)))
        });
        let all = everyone.as_ref().map(|everyone| {
            let all = (everyone == "true").then_some(Selector::All);
            ("everyone", all.ok_or_else(|| InvalidField::new("everyone", "must be true")))
        });
        let (names, mut selectors): (Vec<_>, Vec<_>) = [id, name, all].into_iter().flatten().unzip();
        match (&names[..], selectors.pop()) {
            ([_], Some(selector)) => self.note(selector),
            ([], _) => {
                self.note(Err(InvalidField::new("userid", "or username must be given, or everyone=true")))
            }
            ([first, rest @ ..], last) => {
                let text = format!("and {} exclude each other: give one of them", rest.join(" and "));
                self.wrong.push(InvalidField::new(first, text));
                self.wrong.extend(selectors.into_iter().chain(last).filter_map(Result::err));
                None
            }
        }
    }

    /// The page that is asked for: the newest first, and of 50, unless asked otherwise.
    pub(crate) fn page(&mut self) -> Option<PageRequest> {
        let (order, limit) =
            (self.parameters.order(ListOrder::NewestFirst), self.parameters.limit(PageLimit::DEFAULT));
        let (order, limit) = (self.note(order), self.note(limit));
        Some(self.parameters.page_of(order?, limit?))
    }

    /// The parameters, and what was `read` from them.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(crate) fn finish<T>(mut self, read: Option<T>) -> Result<(Parameters, T), Failure> {
        let (time, id) = (self.parameters.wait_time(), self.parameters.wait_for());
        self.note(time);
        self.note(id);
        match read {
            Some(read) if self.wrong.is_empty() => Ok((self.parameters, read)),
            _ => Err(Failure::Fields(self.wrong)),
        }
    }
}
