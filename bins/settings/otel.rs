//! The variables of OpenTelemetry that the SDK reads itself.
//!
//! The SDK ignores a value that it does not understand, and logs nothing about it. The export of
//! traces then lacks a header, for example, or the traces are sampled by the default rule. So
//! [`faults`] refuses such values at the start, and names their variables. Variables of metrics and
//! logs are ignored, because only traces are exported.
//!
//! The specification of the variables:
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use reqwest::header::{HeaderName, HeaderValue};

/// The values of the variables `OTEL_*`, by their names.
pub(super) type OtelVariables = BTreeMap<String, String>;

/// What the value of a variable must be.
enum Rule {
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A list of these words.
    SomeOf(&'static [&'static str]),
    /// Pairs of names and values: `name=value,name=value`, percent-encoded.
    Pairs,
    /// Pairs of names and values that are headers of HTTP.
    Headers,
    /// A whole number of 0 or more.
    Number,
    /// A number from 0 to 1, if the sampler uses one.
    Ratio,
    /// The program does not support the variable.
    Unsupported,
}

/// The samplers that the SDK has.
const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

/// The variables that apply to traces, each with the rule of its value.
const RULES: [(&str, Rule); 24] = [
    ("OTEL_TRACES_SAMPLER", Rule::OneOf(&SAMPLERS)),
    ("OTEL_TRACES_SAMPLER_ARG", Rule::Ratio),
    ("OTEL_RESOURCE_ATTRIBUTES", Rule::Pairs),
    ("OTEL_EXPORTER_OTLP_HEADERS", Rule::Headers),
    ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", Rule::Headers),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", Rule::OneOf(&["none"])),
    (
        "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
        Rule::OneOf(&["none"]),
    ),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", Rule::Number),
    ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", Rule::Number),
    ("OTEL_BSP_SCHEDULE_DELAY", Rule::Number),
    ("OTEL_BSP_EXPORT_TIMEOUT", Rule::Number),
    ("OTEL_BSP_MAX_QUEUE_SIZE", Rule::Number),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", Rule::Number),
    ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", Rule::Number),
    ("OTEL_SPAN_EVENT_COUNT_LIMIT", Rule::Number),
    ("OTEL_SPAN_LINK_COUNT_LIMIT", Rule::Number),
    (
        "OTEL_PROPAGATORS",
        Rule::SomeOf(&["tracecontext", "baggage"]),
    ),
    ("OTEL_CONFIG_FILE", Rule::Unsupported),
    ("OTEL_EXPORTER_OTLP_CERTIFICATE", Rule::Unsupported),
    ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", Rule::Unsupported),
    ("OTEL_EXPORTER_OTLP_CLIENT_KEY", Rule::Unsupported),
    ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", Rule::Unsupported),
    ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", Rule::Unsupported),
    (
        "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
        Rule::Unsupported,
    ),
];

/// Returns the faults of the variables whose values cannot be followed. The values are not in the
/// faults, because they may be secret.
pub(super) fn faults(variables: &OtelVariables) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, rule) in &RULES {
        if let Some(value) = variables.get(*name)
            && let Some(reason) = broken_rule(rule, value.trim(), variables)
        {
            faults.push(format!("{name}: {reason}"));
        }
    }
    faults
}

/// Returns why `value` breaks `rule`, or `None` if it follows the rule. `variables` contain the
/// sampler, on which the rule of a ratio depends.
fn broken_rule(rule: &Rule, value: &str, variables: &OtelVariables) -> Option<String> {
    const PAIRS: &str = "must be pairs such as name=value,name=value, without quotes, and with other characters \
        percent-encoded";
    let reason = match rule {
        Rule::OneOf(words) if !words.contains(&value) => {
            format!("is not supported: set {}", words.join(" or "))
        }
        Rule::SomeOf(words) if !value.split(',').all(|word| words.contains(&word.trim())) => {
            format!("is not supported: set {}", words.join(" or "))
        }
        Rule::Pairs if parse_pairs(value).is_none() => PAIRS.to_owned(),
        Rule::Headers => match parse_pairs(value) {
            None => PAIRS.to_owned(),
            Some(pairs) if !pairs.iter().all(is_header) => {
                "must be names and values of headers of HTTP".to_owned()
            }
            Some(_) => return None,
        },
        Rule::Number if value.parse::<u64>().is_err() => {
            "must be a whole number of 0 or more".to_owned()
        }
        Rule::Ratio if uses_ratio(variables) && !is_ratio(value) => {
            "must be a number from 0 to 1, such as 0.1".to_owned()
        }
        Rule::Unsupported => "is not supported: unset it".to_owned(),
        // The value follows its rule.
        _ => return None,
    };
    Some(reason)
}

/// Returns whether the sampler takes a ratio as its argument.
fn uses_ratio(variables: &OtelVariables) -> bool {
    let sampler = variables.get("OTEL_TRACES_SAMPLER");
    sampler.is_some_and(|sampler| sampler.trim().ends_with("traceidratio"))
}

fn is_ratio(text: &str) -> bool {
    text.parse()
        .is_ok_and(|ratio: f64| (0.0..=1.0).contains(&ratio))
}

fn is_header((name, value): &(String, String)) -> bool {
    HeaderName::try_from(name).is_ok() && HeaderValue::try_from(value).is_ok()
}

/// Returns the attributes of the resource that exports, from `OTEL_RESOURCE_ATTRIBUTES`.
/// `OTEL_SERVICE_NAME`, if it is set, replaces the attribute `service.name`.
#[cfg(feature = "otel")]
pub(super) fn resource_attributes(variables: &OtelVariables) -> BTreeMap<String, String> {
    let listed = variables.get("OTEL_RESOURCE_ATTRIBUTES");
    // An invalid value is a fault of the settings already.
    let pairs = listed
        .and_then(|text| parse_pairs(text))
        .unwrap_or_default();
    let mut attributes = BTreeMap::from_iter(pairs);

    if let Some(name) = variables.get("OTEL_SERVICE_NAME") {
        attributes.insert("service.name".to_owned(), name.trim().to_owned());
    }
    attributes
}

/// Parses pairs of the form `name=value,name=value`, whose names and values are percent-encoded, as
/// in the header `Baggage` of W3C.
///
/// Returns `None` if an item is no pair, lacks a name, contains a quotation mark, or is not encoded
/// properly. Text after a `;` is part of the value: the properties of `Baggage` are not supported.
fn parse_pairs(text: &str) -> Option<Vec<(String, String)>> {
    let items = text.split(',').map(str::trim);
    items
        .filter(|item| !item.is_empty())
        .map(|item| {
            let (name, value) = item.split_once('=')?;
            let name = name.trim();
            // A quotation mark must be percent-encoded. Usually an operator has quoted the value, and the
            // marks would become a part of the value.
            let has_quote = item.contains('"');
            if name.is_empty() || has_quote {
                return None;
            }
            Some((percent_decode(name)?, percent_decode(value.trim())?))
        })
        .collect()
}

/// Decodes percent-encoded text. Returns `None` if a `%` has no two hexadecimal digits behind it,
/// or if the result is not UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    let mut encoded_bytes = text.split('%').skip(1).map(|rest| rest.as_bytes().get(..2));
    let is_valid = encoded_bytes
        .all(|digits| digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)));
    if !is_valid {
        return None;
    }
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> OtelVariables {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn values_that_cannot_be_followed_are_faults() {
        let ratio = ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio");
        for (name, value, is_followed) in [
            ("OTEL_TRACES_SAMPLER", "always_off", true),
            ("OTEL_TRACES_SAMPLER", "xray", false),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25", true),
            ("OTEL_TRACES_SAMPLER_ARG", "10%", false),
            ("OTEL_TRACES_SAMPLER_ARG", "10", false),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "none", true),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", false),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "zstd", false),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b, x = y,", true),
            ("OTEL_EXPORTER_OTLP_HEADERS", "\"api-key=a\"", false),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "api-key=\"a\"", false),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api key=a", false),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%0Ab", false),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key", false),
            ("OTEL_RESOURCE_ATTRIBUTES", "team=a%2Cb", true),
            ("OTEL_RESOURCE_ATTRIBUTES", "team=100%", false),
            ("OTEL_RESOURCE_ATTRIBUTES", "team=%FF", false),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "5s", false),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "2048", true),
            ("OTEL_PROPAGATORS", "tracecontext, baggage", true),
            ("OTEL_PROPAGATORS", "b3", false),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem", false),
            ("OTEL_METRICS_EXPORTER", "prometheus", true),
        ] {
            let mut given = variables(&[ratio]);
            given.insert(name.to_owned(), value.to_owned());
            let faults = faults(&given);
            assert_eq!(faults.is_empty(), is_followed, "{name}={value}: {faults:?}");
            let names_variable = faults.iter().all(|fault| fault.starts_with(name));
            assert!(names_variable, "{faults:?}");
        }
        // The argument of a sampler without a ratio is for another SDK.
        let other = variables(&[("OTEL_TRACES_SAMPLER_ARG", "endpoint=http://h")]);
        assert_eq!(faults(&other), [""; 0]);
    }

    #[cfg(feature = "otel")]
    #[test]
    fn the_name_of_the_service_wins_over_the_attributes() {
        let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=b,team=a%2Cb%20c");
        let name = ("OTEL_SERVICE_NAME", "a");
        for (given, service) in [(&[attributes][..], "b"), (&[attributes, name], "a")] {
            let resource = resource_attributes(&variables(given));
            assert_eq!(resource["service.name"], service);
            assert_eq!(resource["team"], "a,b c");
        }
    }
}
