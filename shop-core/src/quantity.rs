//! Parsers of durations and sizes with units, for the settings of programs.

use std::time::Duration;

/// The units of a duration, in milliseconds.
const TIME_UNITS: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 24 * 3_600_000),
];
/// The units of a size, in bytes.
const SIZE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];
/// The maximum of a duration without another limit, in milliseconds: 100,000 days, which is far
/// beyond any retention, and within the range of dates.
pub const MAX_MILLIS: u64 = 100_000 * 24 * 3_600_000;

/// Reads a whole number with one of `units`, and converts the number to the smallest unit.
///
/// # Errors
/// Returns the text of an error if the number or the unit is missing or unknown, or if the quantity
/// is beyond the range of `u64`.
fn read_quantity(text: &str, units: &[(&str, u64)]) -> Result<u64, String> {
    let digit_count = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number_text, unit_text) = text.split_at(digit_count);
    for (unit, factor) in units {
        if *unit == unit_text
            && let Ok(number) = number_text.parse::<u64>()
            && let Some(quantity) = number.checked_mul(*factor)
        {
            return Ok(quantity);
        }
    }

    let unit_names: Vec<_> = units.iter().map(|(name, _)| *name).collect();
    Err(format!(
        "{text:?} is not a whole number with a unit of {}",
        unit_names.join(", ")
    ))
}

/// Returns a parser of durations from `min_millis` to `max_millis`.
///
/// The parser returns a message if the text is no duration, or if the duration is beyond these
/// limits.
pub fn duration_parser(
    min_millis: u64,
    max_millis: u64,
) -> impl Fn(&str) -> Result<Duration, String> + Clone {
    let min_duration = Duration::from_millis(min_millis);
    let max_duration = Duration::from_millis(max_millis);
    move |text| {
        let duration = Duration::from_millis(read_quantity(text, TIME_UNITS)?);
        if duration < min_duration {
            return Err(format!("must be at least {min_duration:?}"));
        }
        if duration > max_duration {
            return Err(format!("must be at most {max_duration:?}"));
        }
        Ok(duration)
    }
}

/// Returns a parser of sizes in bytes, of at least `min_mebibytes`.
///
/// The parser returns the text of an error if the text is no size, or if the size is too small.
pub fn size_parser(min_mebibytes: u64) -> impl Fn(&str) -> Result<u64, String> + Clone {
    move |text| {
        let size = read_quantity(text, SIZE_UNITS)?;
        let min_bytes = min_mebibytes << 20;
        if size < min_bytes {
            return Err(format!("must be at least {min_mebibytes}MiB"));
        }
        Ok(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases_test::outcomes;

    #[test]
    fn a_quantity_is_a_number_with_a_unit() {
        let duration =
            |text: &str| duration_parser(1, MAX_MILLIS)(text).map(|time| format!("{time:?}"));
        let durations = "1s\n250ms\n90s\n5m\n12h\n7d\n7\nd\n-1d\n1.5h\n7 d\n1w\n5ü\n0s\n9999999d\n99999999999999999999d";
        let size = |text: &str| size_parser(1)(text);
        let sizes = "64MiB\n1048576B\n1048576\n1048575B\n1KiB\n1MB\nMiB";
        insta::assert_snapshot!(outcomes(durations, duration) + "\n" + &outcomes(sizes, size));
    }
}
