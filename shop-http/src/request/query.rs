//! The query string of a request, validated.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use axum::extract::Query;
use axum::http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use shop_core::log::{DeadLetterFilter, ReasonKind, RecordPosition};
use shop_core::ports::{
    Cursor, ListOrder, PageLimit, PageRequest, Period, Selector, TimeRange, TotalsRequest, UtcOffset,
};
use shop_core::{PurchaseId, Timestamp};

use crate::dialect::{By, View};
use crate::response::HttpError;
use crate::response::validation_error::{Location, ValidationError, invalid_parameter, unknown};
use crate::service::dead_letters::DeadLetterPage;
use crate::service::waiting::DEFAULT_WAIT;

/// The parameters of a request, each given at most once.
#[derive(Debug, Default)]
pub(crate) struct Parameters(BTreeMap<&'static str, String>);

/// The parameters outside of `/v1`. Others are ignored there.
const LEGACY_PARAMETERS: &[&str] = &["by", "view", "order", "limit", "cursor", "wait_for", "wait"];

/// The maximum wait of a request.
const MAX_WAIT_SECONDS: f64 = 10.0;

/// The characters to encode in a query: all but the unreserved characters of RFC 3986.
const RESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

impl Parameters {
    /// The parameters of a request outside of `/v1`.
    pub(crate) fn from_uri(uri: &Uri) -> Result<Self, HttpError> {
        let (parameters, mut wrong) = Self::known(uri, LEGACY_PARAMETERS)?;
        wrong.retain(|wrong| LEGACY_PARAMETERS.iter().any(|known| wrong.location.name() == Some(known)));
        if wrong.is_empty() { Ok(parameters) } else { Err(HttpError::invalid(wrong)) }
    }

    /// The parameters in `known`, and errors for the others.
    fn known(uri: &Uri, known: &[&'static str]) -> Result<(Self, Vec<ValidationError>), HttpError> {
        let unreadable = |problem: &str| {
            let text = format!("the query string cannot be read: {problem}");
            ValidationError { text, ..Location::Query.invalid("") }
        };
        // Invalid UTF-8 would be replaced below, and select another user.
        let decoded = percent_decode_str(uri.query().unwrap_or_default()).decode_utf8();
        decoded.map_err(|_not_utf8| unreadable("it is not UTF-8"))?;
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri);
        let Query(pairs) = pairs.map_err(|rejection| unreadable(&rejection.body_text()))?;
        let (mut parameters, mut wrong) = (BTreeMap::new(), Vec::<ValidationError>::new());
        for (name, value) in pairs {
            let text = match known.iter().find(|known| **known == name) {
                Some(known) => match parameters.entry(*known) {
                    Entry::Vacant(slot) => {
                        slot.insert(value);
                        continue;
                    }
                    Entry::Occupied(_) => format!("{name} must be given once"),
                },
                None => unknown(&name, known),
            };
            // A repeated name is reported once.
            let location = Location::Parameter(name.into());
            if !wrong.iter().any(|known| known.location == location) {
                wrong.push(ValidationError { text, ..location.invalid("") });
            }
        }
        Ok((Self(parameters), wrong))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value of a parameter with a fixed set of words, if given.
    fn word<T: Copy>(
        &self,
        name: &'static str,
        words: &[(&str, T)],
        problem: &str,
    ) -> Result<Option<T>, ValidationError> {
        let Some(given) = self.get(name) else { return Ok(None) };
        let found = words.iter().find(|(word, _)| *word == given);
        found.map(|(_, value)| Some(*value)).ok_or_else(|| invalid_parameter(name, problem))
    }

    pub(crate) fn by(&self) -> Result<Option<By>, ValidationError> {
        let words = [("userid", By::UserId), ("username", By::UserName)];
        self.word("by", &words, "must be userid or username")
    }

    /// The requested view, if any.
    pub(crate) fn view(&self) -> Result<Option<View>, ValidationError> {
        let words = [("summary", View::Summary), ("list", View::List), ("user", View::Owner)];
        self.word("view", &words, "must be summary, list or user")
    }

    /// Whether the request is for a page rather than the whole listing.
    pub(crate) fn is_for_a_page(&self) -> bool {
        self.get("limit").is_some() || self.get("cursor").is_some()
    }

    /// The requested page, with defaults for its order and its limit.
    pub(crate) fn page(
        &self,
        default: ListOrder,
        default_limit: PageLimit,
    ) -> Result<PageRequest, ValidationError> {
        Ok(self.page_of(self.order(default)?, self.limit(default_limit)?))
    }

    fn page_of(&self, order: ListOrder, limit: PageLimit) -> PageRequest {
        PageRequest::first(order, limit)
            .with_cursor(self.get("cursor").map(|cursor| Cursor::from_text(cursor.to_owned())))
    }

    fn order(&self, default: ListOrder) -> Result<ListOrder, ValidationError> {
        let words = [("newest", ListOrder::NewestFirst), ("oldest", ListOrder::OldestFirst)];
        Ok(self.word("order", &words, "must be newest or oldest")?.unwrap_or(default))
    }

    fn limit(&self, default: PageLimit) -> Result<PageLimit, ValidationError> {
        let Some(text) = self.get("limit") else { return Ok(default) };
        let number = text.parse::<u16>().ok().and_then(|number| PageLimit::new(number).ok());
        number.ok_or_else(|| invalid_parameter("limit", "must be a whole number from 1 to 1000"))
    }

    /// The query string of the page of `limit` at `cursor`, with the other parameters of this request.
    pub(crate) fn for_next_page(&self, limit: PageLimit, cursor: &Cursor) -> String {
        let limit = limit.get().to_string();
        self.again([
            ("by", self.get("by")),
            ("limit", Some(limit.as_str())),
            ("cursor", Some(cursor.as_str())),
        ])
    }

    /// The query string of the same request for the users that `by` selects.
    pub(crate) fn with_lookup(&self, by: By) -> String {
        self.again([("by", Some(by.name())), ("limit", self.get("limit")), ("cursor", None)])
    }

    /// The query string with these parameters, and with those that only affect the form of the response.
    fn again(&self, pairs: [(&str, Option<&str>); 3]) -> String {
        let [by, limit, cursor] = pairs;
        let form = [("view", self.get("view")), ("order", self.get("order"))];
        let pair = |(name, value): (&str, Option<&str>)| {
            Some(format!("{name}={}", utf8_percent_encode(value?, &RESERVED)))
        };
        let pairs = [by, form[0], form[1], limit, cursor].into_iter().filter_map(pair);
        pairs.collect::<Vec<_>>().join("&")
    }

    /// The awaited purchase, and the maximum wait.
    pub(crate) fn wait(&self) -> Result<Option<(PurchaseId, Duration)>, ValidationError> {
        let time = self.wait_time()?;
        Ok(self.wait_for()?.map(|id| (id, time)))
    }

    fn wait_time(&self) -> Result<Duration, ValidationError> {
        let Some(text) = self.get("wait") else { return Ok(DEFAULT_WAIT) };
        let seconds = text.parse::<f64>().ok().filter(|seconds| (0.0..=MAX_WAIT_SECONDS).contains(seconds));
        let seconds =
            seconds.ok_or_else(|| invalid_parameter("wait", "must be a number of seconds from 0 to 10"))?;
        Ok(Duration::from_secs_f64(seconds))
    }

    fn wait_for(&self) -> Result<Option<PurchaseId>, ValidationError> {
        let id = self.get("wait_for").map(str::parse).transpose();
        id.map_err(|error| invalid_parameter("wait_for", format!("must be a purchase id: {error}")))
    }
}

/// The problem of a value. A `+` that is not encoded is read as a space.
fn unencoded(text: &str, problem: &str) -> String {
    let hint = if text.contains(' ') { "; write + as %2B in a URL" } else { "" };
    format!("{problem}{hint}")
}

/// The parameters of a request under `/v1`, where unknown ones are rejected. Errors are collected, so that one response
/// has all of them.
#[derive(Debug)]
pub(crate) struct Strict {
    parameters: Parameters,
    wrong: Vec<ValidationError>,
}

impl Strict {
    /// The parameters of a listing.
    pub(crate) const LISTING: &[&str] =
        &["userid", "username", "everyone", "from", "to", "order", "limit", "cursor", "wait_for", "wait"];
    /// The parameters of a summary.
    pub(crate) const SUMMARY: &[&str] = &["userid", "username", "everyone", "from", "to", "wait_for", "wait"];
    /// The parameters of totals.
    pub(crate) const TOTALS: &[&str] =
        &["userid", "username", "everyone", "from", "to", "per", "zone", "wait_for", "wait"];
    /// The parameters of events.
    pub(crate) const EVENTS: &[&str] = &["userid", "username", "everyone"];
    /// The parameters of a list of dead letters.
    pub(crate) const DEAD_LETTERS: &[&str] = &["topic", "reason", "since", "limit", "cursor"];
    /// The parameters of one purchase.
    pub(crate) const PURCHASE: &[&str] = &["wait_for", "wait"];

    /// The parameters of the request to `uri`, of which `known` are allowed.
    pub(crate) fn from_uri(uri: &Uri, known: &[&'static str]) -> Result<Self, HttpError> {
        let (parameters, wrong) = Parameters::known(uri, known)?;
        Ok(Self { parameters, wrong })
    }

    /// Notes an error.
    pub(crate) fn note<T>(&mut self, read: Result<T, ValidationError>) -> Option<T> {
        read.map_err(|wrong| self.wrong.push(wrong)).ok()
    }

    /// The selected purchases. Exactly one of the three parameters must be given.
    pub(crate) fn selector(&mut self) -> Option<Selector> {
        let get = |name| self.parameters.get(name);
        let id = get("userid").map(|id| {
            let id = id.parse().map(Selector::User);
            ("userid", id.map_err(|error| invalid_parameter("userid", error)))
        });
        let name = get("username").map(|name| {
            let name = name.parse().map(Selector::Name);
            ("username", name.map_err(|error| invalid_parameter("username", error)))
        });
        let all = get("everyone").map(|everyone| {
            let all = (everyone == "true").then_some(Selector::All);
            ("everyone", all.ok_or_else(|| invalid_parameter("everyone", "must be true")))
        });
        let (names, mut selectors): (Vec<_>, Vec<_>) = [id, name, all].into_iter().flatten().unzip();
        match (&names[..], selectors.pop()) {
            ([_], Some(selector)) => self.note(selector),
            ([], _) => {
                self.note(Err(invalid_parameter("userid", "or username must be given, or everyone=true")))
            }
            ([first, rest @ ..], last) => {
                let text = format!("and {} exclude each other: give one of them", rest.join(" and "));
                self.wrong.push(invalid_parameter(first, text));
                self.wrong.extend(selectors.into_iter().chain(last).filter_map(Result::err));
                None
            }
        }
    }

    /// The requested page: newest first, 50 purchases and all times by default.
    pub(crate) fn page(&mut self) -> Option<PageRequest> {
        let (order, limit) =
            (self.parameters.order(ListOrder::NewestFirst), self.parameters.limit(PageLimit::DEFAULT));
        let (order, limit, range) = (self.note(order), self.note(limit), self.range());
        Some(self.parameters.page_of(order?, limit?).with_range(range?))
    }

    /// Everything that is selected, for a file: newest first and all times by default.
    pub(crate) fn whole(&mut self) -> Option<PageRequest> {
        for name in ["limit", "cursor"] {
            if self.parameters.get(name).is_some() {
                self.wrong
                    .push(invalid_parameter(name, "is of pages: a file has everything that is selected"));
            }
        }
        let order = self.parameters.order(ListOrder::NewestFirst);
        let (order, range) = (self.note(order), self.range());
        Some(PageRequest::first(order?, PageLimit::DEFAULT).with_range(range?))
    }

    /// The requested range of time.
    pub(crate) fn range(&mut self) -> Option<TimeRange> {
        let [from, to] = ["from", "to"].map(|name| {
            let time =
                self.parameters.get(name).map(|text| text.parse::<Timestamp>().map_err(|why| (text, why)));
            let time = time.transpose();
            self.note(time.map_err(|(text, why)| invalid_parameter(name, unencoded(text, &why.to_string()))))
        });
        let range = TimeRange::new(from?, to?);
        self.note(range.map_err(|_empty| invalid_parameter("to", "must be after from")))
    }

    /// The requested totals: per day in UTC by default.
    pub(crate) fn totals(&mut self) -> Option<TotalsRequest> {
        let words = [("hour", Period::Hour), ("day", Period::Day), ("month", Period::Month)];
        let per = self.parameters.word("per", &words, "must be hour, day or month");
        let zone = self.parameters.get("zone").map(|text| {
            text.parse::<UtcOffset>()
                .map_err(|why| invalid_parameter("zone", unencoded(text, &why.to_string())))
        });
        let (range, per, zone) = (self.range(), self.note(per), self.note(zone.transpose()));
        Some(TotalsRequest::of(range?, per?.unwrap_or(Period::Day)).in_zone(zone?.unwrap_or_default()))
    }

    /// The requested dead letters, of one of these topics or of all, 50 by default.
    pub(crate) fn dead_letters(&mut self, topics: &[&str]) -> Option<DeadLetterPage> {
        let get = |name| self.parameters.get(name);
        let topic = get("topic").map(|topic| {
            let known = topics.contains(&topic).then(|| topic.to_owned());
            known.ok_or_else(|| invalid_parameter("topic", format!("must be one of {}", topics.join(", "))))
        });
        let reason = get("reason")
            .map(|text| text.parse::<ReasonKind>().map_err(|error| invalid_parameter("reason", error)));
        let since = get("since").map(|text| {
            let time = text.parse::<Timestamp>();
            time.map_err(|why| invalid_parameter("since", unencoded(text, &why.to_string())))
        });
        let after = get("cursor").map(|text| {
            let position = text.parse::<RecordPosition>();
            position.map_err(|_invalid| {
                invalid_parameter("cursor", "does not belong to this list; omit it to start over")
            })
        });
        let limit = self.parameters.limit(PageLimit::DEFAULT);
        let (topic, reason) = (self.note(topic.transpose()), self.note(reason.transpose()));
        let (since, after, limit) =
            (self.note(since.transpose()), self.note(after.transpose()), self.note(limit));
        let filter = DeadLetterFilter::default().reason(reason?).since(since?).after(after?);
        Some(DeadLetterPage { topic: topic?, filter, limit: limit?.get() })
    }

    /// Returns the parameters, and the value that was `read` from them.
    ///
    /// # Errors
    /// All errors that were noted.
    pub(crate) fn finish<T>(mut self, read: Option<T>) -> Result<(Parameters, T), HttpError> {
        let (time, id) = (self.parameters.wait_time(), self.parameters.wait_for());
        self.note(time);
        self.note(id);
        match read {
            Some(read) if self.wrong.is_empty() => Ok((self.parameters, read)),
            _ => Err(HttpError::invalid(self.wrong)),
        }
    }
}
