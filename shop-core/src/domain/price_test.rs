//! Prices and totals as texts.

use proptest::prelude::*;

use super::*;
use crate::cases_test::outcomes_of_texts;

fn price(text: &str) -> Price {
    text.parse().unwrap()
}

const PRICES: &str = include_str!("cases/prices.txt");

/// What every reader takes and refuses: JSON, CSV, the library and, by way of the service, the
/// console.
#[test]
fn a_price_has_the_form_of_a_json_number() {
    insta::assert_snapshot!(outcomes_of_texts(PRICES, str::parse::<Price>));
}

#[test]
fn a_price_of_another_system_is_rounded() {
    insta::assert_snapshot!(outcomes_of_texts(PRICES, Price::parse_rounded));
}

#[test]
fn a_total_reads_back_as_written() {
    let totals = include_str!("cases/totals.txt");
    insta::assert_snapshot!(outcomes_of_texts(totals, str::parse::<Total>));
}

#[test]
fn a_price_of_integers_has_the_same_limits() {
    let minor = |units, scale| Price::from_minor(units, scale).map_err(|error| error.kind());
    let too_many_decimals = Err(InvalidKind::TooManyDecimals);
    assert_eq!(minor(119_530, 2), Ok(price("1195.30")));
    assert_eq!(minor(-1, 2), Err(InvalidKind::Negative));
    assert_eq!(minor(1, 9), too_many_decimals);
    assert_eq!(minor(1, 99), too_many_decimals);
    assert_eq!(minor(i64::MAX, 0), Err(InvalidKind::TooLarge));

    let decimal = |units, scale| Price::try_from(Decimal::new(units, scale));
    assert_eq!(decimal(29_990_000_000_000, 12), Ok(price("29.99")));
    assert_eq!(
        decimal(1, 9).map_err(|error| error.kind()),
        too_many_decimals
    );
}

#[test]
fn sums_are_exact_and_do_not_depend_on_the_scale_of_prices() {
    for (prices, sum) in [
        (&["0.1", "0.2"][..], "0.3"),
        (&["29.99", "15.50", "42.00"], "87.49"),
        (&["1.25", "1.25", "1.25", "1.25"], "5"),
        (&["0.00"], "0"),
        (&["5", "0.00"], "5"),
        (&["0", "5.0"], "5"),
        (&["1195.30", "0.2"], "1195.5"),
    ] {
        let total = Total::checked_sum(prices.iter().map(|text| price(text))).unwrap();
        assert_eq!(format!("{total} {total:?}"), format!("{sum} {sum}"));
    }

    let million_of_the_highest = Total::from_units(Total::from(Price::MAX).units() * 1_000_000);
    let with_the_lowest = million_of_the_highest.checked_add_price(price("0.00000001"));
    assert_eq!(
        with_the_lowest.unwrap().to_string(),
        "1000000000000000000000.00000001"
    );
    assert_eq!(
        Total::from_units(i128::MAX).checked_add(million_of_the_highest),
        Err(TotalOverflow)
    );
}

#[test]
fn rounding_is_half_to_even() {
    for (exact, rounded) in [
        ("0.125", "0.12"),
        ("0.135", "0.14"),
        ("2.5", "2.5"),
        ("0.30", "0.3"),
    ] {
        let total = Total::from(price(exact));
        assert_eq!(total.round_to_cents().to_string(), rounded);
    }
}

proptest! {
    #[test]
    fn any_price_reads_back_as_written(units in 0..=10_i64.pow(15), scale in 0..=8_u32) {
        let written = Price::from_minor(units, scale).unwrap();
        let text = written.to_string();
        let mut encoded = [0; Price::MAX_BYTES];
        prop_assert_eq!(&text, &Decimal::new(units, scale).to_string());
        prop_assert_eq!(&price(&text).to_string(), &text);
        prop_assert_eq!(str::from_utf8(written.encode(&mut encoded)), Ok(&*text));
    }
}
