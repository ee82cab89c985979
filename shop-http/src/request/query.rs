//! The query string of a request, validated.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use axum::extract::Query as Pairs;
use axum::http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use shop_core::domain::Reference;
use shop_core::import::{ColumnNames, Delimiter, FileZone, Import, TextEncoding};
use shop_core::log::{DeadLetterFilter, ReasonKind, RecordPosition};
use shop_core::ports::{
    Cursor, ListOrder, PageLimit, PageRequest, Period, Selector, TimeRange, TotalsRequest,
    UtcOffset,
};
use shop_core::{Invalid, PurchaseId, Timestamp, UserName};

use crate::compat::{By, View};
use crate::response::validation_error::{
    Location, ValidationError, invalid_parameter, unknown_name_text,
};
use crate::response::{HttpError, HttpResult};

/// The parameters of a request, each given at most once. Errors are collected, so that one response
/// has all of them: what is read in spite of one is only used if [`finish`](Self::finish) finds
/// none.
pub(crate) struct Query {
    parameters: BTreeMap<&'static str, String>,
    errors: Vec<ValidationError>,
}

/// The awaited purchase, and the maximum wait.
pub(crate) type Wait = Option<(PurchaseId, Duration)>;

/// Which dead letters are listed: the topic, the filter and the limit.
pub(crate) type DeadLetterPage = (Option<String>, DeadLetterFilter, usize);

/// So many errors are reported: each is compared with all names before it.
const MAX_ERRORS: usize = 64;

/// The default wait for a purchase.
pub(crate) const DEFAULT_WAIT: Duration = Duration::from_secs(2);

/// The maximum wait of a request.
const MAX_WAIT_SECONDS: f64 = 10.0;

/// The characters to encode in a query: all but the unreserved characters of RFC 3986.
const RESERVED: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

impl Query {
    /// The parameters of a listing outside of `/v1`.
    pub(crate) const LEGACY: &[&str] =
        &["by", "view", "order", "limit", "cursor", "wait_for", "wait"];
    /// The parameters of a listing.
    pub(crate) const LISTING: &[&str] = &[
        "userid",
        "username",
        "everyone",
        "reference",
        "from",
        "to",
        "order",
        "limit",
        "cursor",
        "wait_for",
        "wait",
    ];
    /// The parameters of a summary.
    pub(crate) const SUMMARY: &[&str] = &[
        "userid",
        "username",
        "everyone",
        "reference",
        "from",
        "to",
        "wait_for",
        "wait",
    ];
    /// The parameters of totals.
    pub(crate) const TOTALS: &[&str] = &[
        "userid",
        "username",
        "everyone",
        "reference",
        "from",
        "to",
        "per",
        "zone",
        "wait_for",
        "wait",
    ];
    /// The parameters of events.
    pub(crate) const EVENTS: &[&str] =
        &["userid", "username", "everyone", "reference", "lastEventId"];
    /// The parameters of a list of dead letters.
    pub(crate) const DEAD_LETTERS: &[&str] = &["topic", "reason", "since", "limit", "cursor"];
    /// The parameters of a search for user names.
    pub(crate) const NAMES: &[&str] = &["prefix"];
    /// The parameters of an import.
    pub(crate) const IMPORT: &[&str] = &[
        "columns",
        "decimal_comma",
        "delimiter",
        "dry_run",
        "encoding",
        "from_line",
        "time_zone",
    ];
    /// The parameters of one purchase.
    pub(crate) const PURCHASE: &[&str] = &["wait_for", "wait"];

    /// Refuses parameters.
    pub(crate) fn refuse(uri: &Uri) -> HttpResult<()> {
        Self::read_from(uri, &[], |_| Some(())).map(drop)
    }

    /// Reads what a request asks for from its parameters, of which `known` are allowed, and what it
    /// waits for.
    ///
    /// # Errors
    /// All errors of the parameters.
    pub(crate) fn read_from<T>(
        uri: &Uri,
        known: &[&'static str],
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> HttpResult<(T, Wait)> {
        let mut query = Self::new(uri, known)?;
        let read = read(&mut query);
        query.finish(read)
    }

    /// The parameters of the request to `uri`, of which `known` are allowed. Those of the replaced
    /// systems ignore others.
    pub(crate) fn new(uri: &Uri, known: &[&'static str]) -> HttpResult<Self> {
        let unreadable = |problem: &str| {
            Location::Query.error(format!("the query string cannot be read: {problem}"))
        };
        // Invalid UTF-8 would be replaced below, and select another user.
        percent_decode_str(uri.query().unwrap_or_default())
            .decode_utf8()
            .map_err(|_not_utf8| unreadable("it is not UTF-8"))?;
        let pairs = Pairs::<Vec<(String, String)>>::try_from_uri(uri);
        let Pairs(pairs) = pairs.map_err(|rejection| unreadable(&rejection.body_text()))?;
        let mut parameters = BTreeMap::new();
        let mut errors = Vec::<ValidationError>::new();
        for (name, value) in pairs {
            let text = match known.iter().find(|known| **known == name) {
                Some(known) if !parameters.contains_key(known) => {
                    parameters.insert(*known, value);
                    continue;
                }
                Some(_) => format!("{name} must be given once"),
                None if known == Self::LEGACY => continue,
                None => unknown_name_text(&name, known),
            };
            // A repeated name is reported once.
            let location = Location::Parameter(name.into());
            if errors.len() < MAX_ERRORS && !errors.iter().any(|known| known.location == location) {
                errors.push(location.error(text));
            }
        }
        Ok(Self { parameters, errors })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// Notes that a parameter is refused. `problem` continues the sentence after its name.
    fn note_invalid(&mut self, name: &'static str, problem: impl Display) {
        self.errors.push(invalid_parameter(name, problem));
    }

    /// Notes an error.
    pub(crate) fn note<T>(&mut self, read: Result<T, ValidationError>) -> Option<T> {
        read.map_err(|error| self.errors.push(error)).ok()
    }

    /// The value that is `read` from a parameter, if it is given and valid. An error is noted.
    fn read<T, P: Display>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&str) -> Result<T, P>,
    ) -> Option<T> {
        self.note(read(self.get(name)?).map_err(|problem| invalid_parameter(name, problem)))
    }

    /// The value of a parameter that is parsed from its text.
    fn parse<T: FromStr<Err = Invalid>>(&mut self, name: &'static str) -> Option<T> {
        self.read(name, |text| {
            text.parse().map_err(|error: Invalid| error.reason())
        })
    }

    /// The value of a parameter with a fixed set of words.
    fn word<T: Clone>(
        &mut self,
        name: &'static str,
        words: &[(&str, T)],
        problem: &str,
    ) -> Option<T> {
        self.read(name, |given| {
            words
                .iter()
                .find(|(word, _)| *word == given)
                .map(|(_, value)| value.clone())
                .ok_or(problem)
        })
    }

    pub(crate) fn by(&mut self) -> Option<By> {
        let words = [("userid", By::UserId), ("username", By::UserName)];
        self.word("by", &words, "must be userid or username")
    }

    /// The requested view, if any.
    pub(crate) fn view(&mut self) -> Option<View> {
        let words = [
            ("summary", View::Summary),
            ("list", View::List),
            ("user", View::Owner),
        ];
        self.word("view", &words, "must be summary, list or user")
    }

    /// The requested page, with defaults for its order and its limit, of all times.
    pub(crate) fn page_of_all_times(
        &mut self,
        default: ListOrder,
        default_limit: PageLimit,
    ) -> PageRequest {
        let words = [
            ("newest", ListOrder::NewestFirst),
            ("oldest", ListOrder::OldestFirst),
        ];
        let order = self.word("order", &words, "must be newest or oldest");
        let limit = self.limit(default_limit);
        let mut request = PageRequest::first(order.unwrap_or(default), limit);
        request.cursor = self
            .get("cursor")
            .map(|cursor| Cursor::from_text(cursor.to_owned()));
        request
    }

    fn limit(&mut self, default: PageLimit) -> PageLimit {
        self.read("limit", |text| {
            text.parse::<u16>()
                .ok()
                .and_then(|number| PageLimit::new(number).ok())
                .ok_or("must be a whole number from 1 to 1000")
        })
        .unwrap_or(default)
    }

    /// The requested import, with the other options of `import`; and whether it is only to show how
    /// the file would be read.
    pub(crate) fn import(&mut self, import: Import) -> (Import, bool) {
        let is_on = [("true", true), ("false", false)];
        let columns = self.read("columns", ColumnNames::from_str);
        let decimal_comma = self.word("decimal_comma", &is_on, "must be true or false");
        let delimiter = self.read("delimiter", Delimiter::from_str);
        let is_dry_run = self.word("dry_run", &is_on, "must be true or false");
        let encoding = self.read("encoding", TextEncoding::from_str);
        let from_line = self.read("from_line", |text| {
            let line: Option<u64> = text.parse().ok();
            line.filter(|line| *line > 0)
                .ok_or("must be a whole number from 1")
        });
        let import = import
            .columns(columns.unwrap_or_default())
            .decimal_comma(decimal_comma.unwrap_or_default())
            .delimiter(delimiter)
            .encoding(encoding)
            .from_line(from_line.unwrap_or(1))
            .time_zone(self.read("time_zone", FileZone::from_str));
        (import, is_dry_run.unwrap_or_default())
    }

    /// The query string of the page of `limit` at `cursor`, with the other parameters of this
    /// request.
    pub(crate) fn for_next_page(&self, limit: PageLimit, cursor: &Cursor) -> String {
        let [by, view, order] = ["by", "view", "order"].map(|name| (name, self.get(name)));
        let limit = limit.get().to_string();
        [
            by,
            view,
            order,
            ("limit", Some(&*limit)),
            ("cursor", Some(cursor.as_str())),
        ]
        .into_iter()
        .filter_map(|(name, value)| {
            let value = utf8_percent_encode(value?, &RESERVED);
            Some(format!("{name}={value}"))
        })
        .collect::<Vec<_>>()
        .join("&")
    }

    fn wait(&mut self) -> Wait {
        let time = self.read("wait", |text| {
            let seconds = text
                .parse()
                .ok()
                .filter(|seconds| (0.0..=MAX_WAIT_SECONDS).contains(seconds));
            seconds
                .map(Duration::from_secs_f64)
                .ok_or("must be a number of seconds from 0 to 10")
        });
        let id = self.read("wait_for", |text| {
            text.parse()
                .map_err(|error: Invalid| format!("must be a purchase id: {}", error.reason()))
        });
        Some((id?, time.unwrap_or(DEFAULT_WAIT)))
    }

    /// The selected purchases: of exactly one of three parameters, or with a reference, which may
    /// be of one user.
    pub(crate) fn selector(&mut self) -> Option<Selector> {
        let reference: Option<Reference> = self.parse("reference");
        if reference.is_none() && self.get("reference").is_some() {
            return None;
        }
        let given: Vec<_> = ["userid", "username", "everyone"]
            .into_iter()
            .filter(|name| self.get(name).is_some())
            .collect();
        if given.is_empty()
            && let Some(reference) = reference
        {
            return Some(Selector::Reference(reference, None));
        }
        match &given[..] {
            [_] => {}
            [] => self.note_invalid("userid", "or username must be given, or everyone=true"),
            [first, rest @ ..] => {
                let others = rest.join(" and ");
                self.note_invalid(
                    first,
                    format!("and {others} exclude each other: give one of them"),
                );
            }
        }
        let errors_before = self.errors.len();
        let user = self.parse("userid").map(Selector::User);
        let name = self.parse("username").map(Selector::Name);
        let all = self.word("everyone", &[("true", Selector::All)], "must be true");
        if self.errors.len() > errors_before {
            return None;
        }
        let users = user.or(name).or(all)?;
        let Some(reference) = reference else {
            return Some(users);
        };
        match users {
            Selector::User(user) => Some(Selector::Reference(reference, Some(user))),
            Selector::All => Some(Selector::Reference(reference, None)),
            _ => {
                let problem = "and username exclude each other: give one of them";
                self.note_invalid("reference", problem);
                None
            }
        }
    }

    /// The requested page: newest first, 50 purchases and all times by default.
    pub(crate) fn page(&mut self) -> PageRequest {
        self.page_of_all_times(ListOrder::NewestFirst, PageLimit::DEFAULT)
            .with_range(self.range())
    }

    /// Everything that is selected, for a file: newest first and all times by default.
    pub(crate) fn whole(&mut self) -> PageRequest {
        for name in ["limit", "cursor"] {
            if self.parameters.remove(name).is_some() {
                self.note_invalid(name, "is of pages: a file has everything that is selected");
            }
        }
        self.page()
    }

    /// A parameter that is parsed from its text. A `+` that is not encoded is read as a space.
    fn parsed<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> Option<T> {
        self.read(name, |text| {
            let hint = if text.contains(' ') {
                "; write + as %2B in a URL"
            } else {
                ""
            };
            parse(text).map_err(|problem| format!("{}{hint}", problem.reason()))
        })
    }

    /// The requested range of time.
    pub(crate) fn range(&mut self) -> TimeRange {
        let [from, to] = ["from", "to"].map(|name| self.parsed(name, Timestamp::from_rfc3339));
        TimeRange::new(from, to).unwrap_or_else(|_empty| {
            self.note_invalid("to", "must be after from");
            TimeRange::ALL
        })
    }

    /// The requested totals: per day in UTC by default.
    pub(crate) fn totals(&mut self) -> TotalsRequest {
        let words = [
            ("hour", Period::Hour),
            ("day", Period::Day),
            ("month", Period::Month),
        ];
        let range = self.range();
        let per = self.word("per", &words, "must be hour, day or month");
        let zone = self.parsed("zone", str::parse::<UtcOffset>);
        TotalsRequest::new(range, per.unwrap_or(Period::Day)).with_zone(zone.unwrap_or_default())
    }

    /// The beginning of the requested user names.
    pub(crate) fn prefix(&mut self) -> Option<UserName> {
        let prefix = self.get("prefix").unwrap_or_default().parse();
        self.note(prefix.map_err(|error: Invalid| invalid_parameter("prefix", error.reason())))
    }

    /// The requested dead letters, of one of these topics or of all, 50 by default.
    pub(crate) fn dead_letters(&mut self, topics: &[&str]) -> DeadLetterPage {
        let topic = self.read("topic", |topic| {
            topics
                .contains(&topic)
                .then(|| topic.to_owned())
                .ok_or_else(|| format!("must be one of {}", topics.join(", ")))
        });
        let reason = self.parsed("reason", str::parse::<ReasonKind>);
        let since = self.parsed("since", Timestamp::from_rfc3339);
        let after = self.read("cursor", |text| {
            text.parse::<RecordPosition>()
                .map_err(|_invalid| "does not belong to this list; omit it to start over")
        });
        let limit = self.limit(PageLimit::DEFAULT);
        let filter = DeadLetterFilter::default()
            .reason(reason)
            .since(since)
            .after(after);
        (topic, filter, limit.get())
    }

    /// Returns the value that was `read` from the parameters, and what the request waits for.
    ///
    /// # Errors
    /// All errors that were noted.
    pub(crate) fn finish<T>(&mut self, read: Option<T>) -> HttpResult<(T, Wait)> {
        let wait = self.wait();
        match read {
            Some(read) if self.errors.is_empty() => Ok((read, wait)),
            _ => Err(HttpError::invalid(std::mem::take(&mut self.errors))),
        }
    }
}
