//! The query string of a request: reads its parameters, and collects everything that is wrong with
//! them.
//!
//! A handler gives [`Query::read_from`] the names of the parameters that it allows, and a function
//! that reads the values. Each value is read by one of the methods of [`Query`], which notes an
//! error instead of returning it. [`Query::finish`] returns the value that was made of the
//! parameters, or else all errors, so that a client can correct them at once. [`Query::finish`]
//! also reads the wait that the client requests.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

use axum::extract::Query as Pairs;
use axum::http::Uri;
use percent_encoding::{percent_decode_str, utf8_percent_encode};
use shop_api::files::{FileOptions, Import};
use shop_core::domain::{Reference, RefundReason};
use shop_core::log::{DeadLetterFilter, ReasonKind, RecordPosition};
use shop_core::ports::{
    Cursor, ListOrder, PageLimit, PageRequest, Period, Selector, TimeRange, TotalsRequest,
    UtcOffset,
};
use shop_core::{Invalid, Price, PurchaseId, Timestamp, UserName};

use crate::response::validation_error::{
    Location, QUERY_ENCODE_SET, ValidationError, invalid_parameter, unknown_name_text,
};
use crate::response::{HttpError, HttpResult};

/// The parameters of a request, each at most once, and the errors that were noted about them.
///
/// A value that was read despite an error is only used if `finish` finds no errors.
#[derive(Debug)]
pub struct Query {
    parameters: BTreeMap<&'static str, String>,
    errors: Vec<ValidationError>,
}

/// The wait that a client requests, or `None` if the client requests none.
pub(crate) type Wait = Option<RequestedWait>;

/// A purchase that a client wants to be stored before the request is answered.
#[derive(Clone, Copy)]
pub(crate) struct RequestedWait {
    pub(crate) id: PurchaseId,
    /// The maximum time to wait.
    pub(crate) max_wait: Duration,
}

/// The refund that a client asks for by the `Location` of a pending refund.
///
/// All refunds of a purchase have one id, so the id alone does not tell which of them is meant.
pub(crate) struct RequestedRefund {
    /// The id of the purchase that the refund pays back.
    pub(crate) purchase_id: PurchaseId,
    pub(crate) amount: Price,
    pub(crate) reason: Option<RefundReason>,
    pub(crate) timestamp: Timestamp,
}

/// A request for a page of dead letters.
pub(crate) struct DeadLetterPage {
    /// The topic of the log. `None` for the logs of all topics.
    pub(crate) topic: Option<String>,
    pub(crate) filter: DeadLetterFilter,
    /// The maximum number of positions on the page.
    pub(crate) limit: usize,
}

/// A request to import a file.
pub(crate) struct ImportRequest {
    pub(crate) import: Import,
    /// Whether the response only shows how the file would be read.
    pub(crate) is_dry_run: bool,
}

/// The maximum number of errors about the names of parameters. Each error is compared with all
/// errors before it.
const MAX_ERRORS: usize = 64;

/// The maximum time to wait for a purchase, if the client does not set one.
pub(crate) const DEFAULT_WAIT: Duration = Duration::from_secs(2);

/// The longest time to wait that a client may set.
const MAX_WAIT_SECONDS: f64 = 10.0;

impl Query {
    /// The names of the parameters of a listing outside of `/v1`.
    pub(crate) const SHORT_PATHS: &[&str] =
        &["by", "view", "order", "limit", "cursor", "wait_for", "wait"];
    /// The names of the parameters of a listing.
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
    /// The names of the parameters of a summary.
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
    /// The names of the parameters of totals.
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
    /// The names of the parameters of events.
    pub(crate) const EVENTS: &[&str] =
        &["userid", "username", "everyone", "reference", "lastEventId"];
    /// The names of the parameters of a list of dead letters.
    pub(crate) const DEAD_LETTERS: &[&str] = &["topic", "reason", "since", "limit", "cursor"];
    /// The names of the parameters of a search for user names.
    pub(crate) const NAMES: &[&str] = &["prefix"];
    /// The names of the parameters of an import.
    pub(crate) const IMPORT: &[&str] = &[
        "again",
        "columns",
        "currency_sign",
        "decimal_comma",
        "delimiter",
        "dry_run",
        "encoding",
        "from_line",
        "only",
        "preset",
        "skip_lines",
        "thousands",
        "time_pattern",
        "time_zone",
        "zone_abbreviations",
    ];
    /// The names of the parameters of one purchase, or of one refund that was pending.
    pub(crate) const PURCHASE: &[&str] =
        &["wait_for", "wait", "of", "amount", "reason", "timestamp"];

    /// Checks that a request contains no parameters.
    ///
    /// # Errors
    /// 422 with an error for each parameter.
    pub fn refuse(uri: &Uri) -> HttpResult<()> {
        Self::refuse_with(uri, Ok(()))
    }

    /// Checks that a request contains no parameters, and returns the value of `path_result`, which
    /// was read from the path.
    ///
    /// # Errors
    /// 422 with the error of `path_result`, and an error for each parameter.
    pub fn refuse_with<T>(uri: &Uri, path_result: Result<T, ValidationError>) -> HttpResult<T> {
        let no_names = &[];
        let (value, _no_wait) =
            Self::read_from(uri, no_names, |query| query.value_or_note(path_result))?;
        Ok(value)
    }

    /// Reads a value with `read_value` from the parameters of the request to `uri`. Also returns the
    /// wait that the client requests.
    ///
    /// # Errors
    /// 422 with all errors of the parameters.
    pub(crate) fn read_from<T>(
        uri: &Uri,
        allowed_names: &[&'static str],
        read_value: impl FnOnce(&mut Self) -> Option<T>,
    ) -> HttpResult<(T, Wait)> {
        let mut query = Self::new(uri, allowed_names)?;
        let value = read_value(&mut query);
        query.finish(value)
    }

    /// Parses the query string of `uri`. Notes an error for each parameter whose name is not allowed
    /// or is repeated.
    ///
    /// With [`SHORT_PATHS`](Self::SHORT_PATHS), other names are ignored.
    ///
    /// # Errors
    /// 422 if the query string cannot be read, such as because it is not UTF-8.
    pub(crate) fn new(uri: &Uri, allowed_names: &[&'static str]) -> HttpResult<Self> {
        // `Pairs` would replace invalid UTF-8, and so select another user.
        percent_decode_str(uri.query().unwrap_or_default())
            .decode_utf8()
            .map_err(|_not_utf8| unreadable("it is not UTF-8"))?;
        let Pairs(pairs) = Pairs::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|rejection| unreadable(&rejection.body_text()))?;

        let mut parameters = BTreeMap::new();
        let mut errors = Vec::<ValidationError>::new();
        for (name, value) in pairs {
            let allowed_name = allowed_names.iter().find(|allowed| **allowed == name);
            let problem = match allowed_name {
                Some(allowed_name) if !parameters.contains_key(allowed_name) => {
                    parameters.insert(*allowed_name, value);
                    continue;
                }
                Some(_) => format!("{name} must be given once"),
                None if allowed_names == Self::SHORT_PATHS => continue,
                None => unknown_name_text(&name, allowed_names),
            };

            // A name that is repeated several times is reported once.
            let location = Location::Parameter(name.into());
            let is_reported = errors.iter().any(|error| error.location == location);
            if !is_reported && errors.len() < MAX_ERRORS {
                errors.push(location.error(problem));
            }
        }
        Ok(Self { parameters, errors })
    }

    /// Returns the text of the parameter `name`, if the request contains the parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// Notes that the parameter `name` is refused. `problem` continues the sentence after the name.
    fn note_refused(&mut self, name: &'static str, problem: impl Display) {
        self.errors.push(invalid_parameter(name, problem));
    }

    /// Returns the value of `result`, or notes its error.
    pub(crate) fn value_or_note<T>(&mut self, result: Result<T, ValidationError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.errors.push(error);
                None
            }
        }
    }

    /// Reads a parameter with `read_text`. Returns `None` if the parameter is absent, or notes an
    /// error if it is invalid.
    ///
    /// The error of `read_text` continues a sentence that begins with the name of the parameter.
    fn read<T, P: Display>(
        &mut self,
        name: &'static str,
        read_text: impl FnOnce(&str) -> Result<T, P>,
    ) -> Option<T> {
        let result = read_text(self.get(name)?);
        self.value_or_note(result.map_err(|problem| invalid_parameter(name, problem)))
    }

    /// Parses the text of a parameter. Returns `None` if the parameter is absent, or notes an error
    /// if the text is invalid.
    fn parse<T: FromStr<Err = Invalid>>(&mut self, name: &'static str) -> Option<T> {
        self.read(name, |text| {
            text.parse().map_err(|error: Invalid| error.reason())
        })
    }

    /// Parses a parameter whose text may contain a `+`, such as a time with an offset.
    ///
    /// In a query string, a `+` that is not encoded stands for a space. So if the text contains a
    /// space, the error also says how to encode a `+`.
    fn parse_with_plus<T>(
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
            parse(text).map_err(|error| format!("{}{hint}", error.reason()))
        })
    }

    /// Reads a parameter whose text is one of `words`, and returns the value of the word. Notes
    /// `problem` for another text.
    pub(crate) fn read_word<T: Clone>(
        &mut self,
        name: &'static str,
        words: &[(&str, T)],
        problem: &str,
    ) -> Option<T> {
        self.read(name, |text| {
            for (word, value) in words {
                if *word == text {
                    return Ok(value.clone());
                }
            }
            Err(problem)
        })
    }

    /// Reads a request for a page of all times. `default_order` and `default_limit` replace absent
    /// parameters.
    pub(crate) fn page_of_all_times(
        &mut self,
        default_order: ListOrder,
        default_limit: PageLimit,
    ) -> PageRequest {
        let order = self.read_word(
            "order",
            &[
                ("newest", ListOrder::NewestFirst),
                ("oldest", ListOrder::OldestFirst),
            ],
            "must be newest or oldest",
        );
        let limit = self.read_limit(default_limit);

        let mut request = PageRequest::first(order.unwrap_or(default_order), limit);
        request.cursor = self.get("cursor").map(str::to_owned).map(Cursor::from_text);
        request
    }

    /// Reads the maximum number of entries on a page, or returns `default_limit`.
    fn read_limit(&mut self, default_limit: PageLimit) -> PageLimit {
        self.read("limit", |text| {
            // A text that is not a number counts as 0, which causes the same error.
            PageLimit::new(text.parse().unwrap_or_default()).map_err(|error| error.reason())
        })
        .unwrap_or(default_limit)
    }

    /// Reads a request for a page: newest first, 50 purchases and all times by default.
    pub(crate) fn page(&mut self) -> PageRequest {
        self.page_of_all_times(ListOrder::NewestFirst, PageLimit::DEFAULT)
            .with_range(self.range())
    }

    /// Reads a request for a whole listing, as a file: newest first and all times by default. Notes
    /// an error for the parameters of pages.
    pub(crate) fn whole_listing(&mut self) -> PageRequest {
        for name in ["limit", "cursor"] {
            if self.parameters.remove(name).is_some() {
                self.note_refused(name, "is of pages: a file has everything that is selected");
            }
        }
        self.page()
    }

    /// Returns the query string for the next page of a listing outside of `/v1`: at most `limit`
    /// purchases at `cursor`.
    ///
    /// The next page keeps `by`, `view` and `order` of this request. The wait of this request is for
    /// this page only.
    pub(crate) fn next_page_query(&self, limit: PageLimit, cursor: &Cursor) -> String {
        let limit = limit.get().to_string();
        let parameters = [
            ("by", self.get("by")),
            ("view", self.get("view")),
            ("order", self.get("order")),
            ("limit", Some(&*limit)),
            ("cursor", Some(cursor.as_str())),
        ];

        let mut pairs = Vec::new();
        for (name, value) in parameters {
            if let Some(value) = value {
                let encoded_value = utf8_percent_encode(value, &QUERY_ENCODE_SET);
                pairs.push(format!("{name}={encoded_value}"));
            }
        }
        pairs.join("&")
    }

    /// Reads the selection of purchases: exactly one of `userid`, `username` and `everyone`, or a
    /// reference.
    ///
    /// A reference selects the purchases of all users, or of the user with the `userid`.
    ///
    /// Returns `None` if a parameter is invalid or missing, and notes the error. If parameters
    /// exclude each other, the error is noted and all of them are still read, so that all errors are
    /// reported.
    pub(crate) fn selector(&mut self) -> Option<Selector> {
        let reference: Option<Reference> = self.parse("reference");
        if reference.is_none() && self.get("reference").is_some() {
            return None;
        }
        self.check_user_parameters(reference.is_some());

        let earlier_error_count = self.errors.len();
        let user = self.parse("userid").map(Selector::User);
        let name = self.parse("username").map(Selector::Name);
        let everyone = self.read_word("everyone", &[("true", Selector::All)], "must be true");
        if self.errors.len() > earlier_error_count {
            return None;
        }

        let user_selector = user.or(name).or(everyone);
        let Some(reference) = reference else {
            return user_selector;
        };
        let reference_user = match user_selector {
            Some(Selector::User(user)) => Some(user),
            Some(Selector::All) | None => None,
            Some(_) => {
                self.note_refused(
                    "reference",
                    "and username exclude each other: give one of them",
                );
                return None;
            }
        };
        Some(Selector::Reference(reference, reference_user))
    }

    /// Notes an error if the request contains several of `userid`, `username` and `everyone`, or if
    /// it contains none of them and no reference.
    fn check_user_parameters(&mut self, has_reference: bool) {
        let mut names = vec!["userid", "username", "everyone"];
        names.retain(|name| self.get(name).is_some());
        match &names[..] {
            [] => {
                if !has_reference {
                    self.note_refused("userid", "or username must be given, or everyone=true");
                }
            }
            [_only_one] => {}
            [first, others @ ..] => {
                let others = others.join(" and ");
                let problem = format!("and {others} exclude each other: give one of them");
                self.note_refused(first, problem);
            }
        }
    }

    /// Reads the range of time of a listing: all times by default.
    pub(crate) fn range(&mut self) -> TimeRange {
        let from = self.parse_with_plus("from", Timestamp::from_rfc3339);
        let to = self.parse_with_plus("to", Timestamp::from_rfc3339);
        let Ok(range) = TimeRange::new(from, to) else {
            self.note_refused("to", "must be after from");
            return TimeRange::ALL;
        };
        range
    }

    /// Reads a request for totals: per day in UTC by default.
    pub(crate) fn totals(&mut self) -> TotalsRequest {
        let range = self.range();
        let period = self.read_word(
            "per",
            &[
                ("hour", Period::Hour),
                ("day", Period::Day),
                ("month", Period::Month),
            ],
            "must be hour, day or month",
        );
        let zone = self.parse_with_plus("zone", UtcOffset::from_str);
        TotalsRequest::new(range, period.unwrap_or(Period::Day)).with_zone(zone.unwrap_or_default())
    }

    /// Reads the prefix of the names in a search. A missing prefix causes the same error as an
    /// empty one.
    pub(crate) fn prefix(&mut self) -> Option<UserName> {
        let prefix = self.get("prefix").unwrap_or_default().parse();
        self.value_or_note(
            prefix.map_err(|error: Invalid| invalid_parameter("prefix", error.reason())),
        )
    }

    /// Reads a request for a page of dead letters: all dead letters in the logs of `topics`, 50 per
    /// page, by default.
    pub(crate) fn dead_letter_page(&mut self, topics: &[&str]) -> DeadLetterPage {
        let topic = self.read("topic", |topic| {
            if topics.contains(&topic) {
                Ok(topic.to_owned())
            } else {
                Err(format!("must be one of {}", topics.join(", ")))
            }
        });
        let reason = self.parse_with_plus("reason", ReasonKind::from_str);
        let since = self.parse_with_plus("since", Timestamp::from_rfc3339);
        let after = self.read("cursor", |text| {
            RecordPosition::from_str(text)
                .map_err(|_invalid| "does not belong to this list; omit it to start over")
        });
        DeadLetterPage {
            topic,
            filter: DeadLetterFilter::default()
                .reason(reason)
                .since(since)
                .after(after),
            limit: self.read_limit(PageLimit::DEFAULT).get(),
        }
    }

    /// Reads a request to import a file. `import` contains the settings that are not parameters, and
    /// the encoding of a file without the parameter `encoding`.
    pub(crate) fn import(&mut self, import: Import) -> ImportRequest {
        let booleans = [("true", true), ("false", false)];
        let allow_reimport = self.read_word("again", &booleans, "must be true or false");
        let is_dry_run = self
            .read_word("dry_run", &booleans, "must be true or false")
            .unwrap_or_default();
        let from_line = self.read("from_line", |text| {
            NonZeroU64::from_str(text).map_err(|_invalid| "must be a whole number from 1")
        });
        let options = FileOptions {
            preset: self.parse("preset"),
            columns: self.parse("columns"),
            delimiter: self.parse("delimiter"),
            encoding: self.parse("encoding"),
            skip_lines: self.read("skip_lines", |text| {
                u64::from_str(text).map_err(|_invalid| "must be a whole number from 0")
            }),
            only: self.parse("only"),
            decimal_comma: self.read_word("decimal_comma", &booleans, "must be true or false"),
            thousands: self.parse("thousands"),
            currency_sign: self.parse("currency_sign"),
            time_pattern: self.parse("time_pattern"),
            zone_abbreviations: self.parse_with_plus("zone_abbreviations", str::parse),
            time_zone: self.parse("time_zone"),
        };

        let import = import
            .again(allow_reimport.unwrap_or_default())
            .from_line(from_line.map_or(1, NonZeroU64::get))
            .file_options(options);
        ImportRequest { import, is_dry_run }
    }

    /// Reads the refund that a `Location` names: `of`, `amount` and `timestamp`, and `reason` if the
    /// refund has one. Returns `None` if the request contains none of these parameters.
    pub(crate) fn refund(&mut self) -> Option<RequestedRefund> {
        let purchase_id = self.parse("of");
        let amount = self.parse("amount");
        let reason = self.parse("reason");
        let timestamp = self.parse_with_plus("timestamp", Timestamp::from_rfc3339);

        let required_names = ["of", "amount", "timestamp"];
        let has_parameter = |name: &&str| self.get(name).is_some();
        let has_any = self.get("reason").is_some() || required_names.iter().any(has_parameter);
        let has_all = required_names.iter().all(has_parameter);
        if has_any && !has_all {
            self.note_refused("of", "must be given together with amount and timestamp");
        }
        Some(RequestedRefund {
            purchase_id: purchase_id?,
            amount: amount?,
            reason,
            timestamp: timestamp?,
        })
    }

    /// Reads the wait that the client requests. Without `wait_for`, there is nothing to wait for, and
    /// `wait` is only checked.
    fn read_wait(&mut self) -> Wait {
        let max_wait = self.read("wait", |text| match text.parse() {
            Ok(seconds) if (0.0..=MAX_WAIT_SECONDS).contains(&seconds) => {
                Ok(Duration::from_secs_f64(seconds))
            }
            _ => Err("must be a number of seconds from 0 to 10"),
        });
        let id = self.read("wait_for", |text| {
            text.parse()
                .map_err(|error: Invalid| format!("must be a purchase id: {}", error.reason()))
        });
        Some(RequestedWait {
            id: id?,
            max_wait: max_wait.unwrap_or(DEFAULT_WAIT),
        })
    }

    /// Returns `value`, which the handler read from the parameters, and the wait that the client
    /// requests. `value` is `None` only if an error was noted.
    ///
    /// # Errors
    /// 422 with all errors, if any were noted.
    pub(crate) fn finish<T>(&mut self, value: Option<T>) -> HttpResult<(T, Wait)> {
        let wait = self.read_wait();
        if let Some(value) = value
            && self.errors.is_empty()
        {
            return Ok((value, wait));
        }
        Err(HttpError::invalid(std::mem::take(&mut self.errors)))
    }
}

/// Creates the error of a query string that is not a list of parameters.
fn unreadable(problem: &str) -> ValidationError {
    Location::Query.error(format!("the query string cannot be read: {problem}"))
}
