//! Prices and totals as texts.

use proptest::prelude::*;

use super::*;

fn price(text: &str) -> Price {
    text.parse().unwrap()
}

#[test]
fn minor_units_keep_their_scale() {
    assert_eq!(
        Price::from_minor(119_530, 2).unwrap().to_string(),
        "1195.30"
    );
    assert_eq!(Price::from_minor(7, 0).unwrap().to_string(), "7");
    assert_eq!(
        Price::from_minor(-1, 2),
        Err(invalid(InvalidKind::Negative))
    );
    assert_eq!(
        Price::from_minor(1, 9),
        Err(invalid(InvalidKind::TooManyDecimals))
    );
    assert_eq!(
        Price::from_minor(1, 99),
        Err(invalid(InvalidKind::TooManyDecimals))
    );
    assert_eq!(
        Price::from_minor(i64::MAX, 0),
        Err(invalid(InvalidKind::TooLarge))
    );
}

proptest! {
    #[test]
    fn the_encoded_text_is_the_formatted_one(units in 0..=10_i64.pow(15), scale in 0..=8_u32) {
        let price = Price::from_minor(units, scale).unwrap();
        let mut text = [0; Price::MAX_BYTES];
        prop_assert_eq!(str::from_utf8(price.encode(&mut text)), Ok(&*price.as_decimal().to_string()));
    }
}

#[test]
fn the_scale_is_kept() {
    for text in [
        "1195.30",
        "0",
        "0.00000001",
        "29.99",
        "1000000000000000",
        "1000000000000000.00000000",
        "0.0",
    ] {
        assert_eq!(price(text).to_string(), text);
    }
    assert_eq!(price("1e2").to_string(), "100");
    assert_eq!(price("2.50e1").to_string(), "25.0");
    assert_eq!(price("1.0e-8").to_string(), "0.00000001");
    assert_eq!(price("90e-9").to_string(), "0.00000009");
    assert_eq!(price("0e32").to_string(), "0");
    assert_eq!(price("-0.00").to_string(), "0.00");
    assert_eq!(Price::MAX.to_string(), "1000000000000000");
}

#[test]
fn zeros_after_the_eighth_decimal_are_ignored() {
    for (text, kept) in [
        ("5.000000000", "5.00000000"),
        ("29.9900000000", "29.99000000"),
        ("0.000000010", "0.00000001"),
        ("0.000000000", "0.00000000"),
        ("1000000000000000.000000000", "1000000000000000.00000000"),
        (
            "29.99000000000000000000000000000000000000000000",
            "29.99000000",
        ),
        ("100", "100"),
        ("1.50", "1.50"),
    ] {
        assert_eq!(price(text).to_string(), kept, "{text}");
    }
    assert_eq!(
        Price::try_from(Decimal::new(29_990_000_000_000, 12)),
        Ok(price("29.99"))
    );
    assert_eq!(
        Price::try_from(Decimal::new(1, 9)),
        Err(invalid(InvalidKind::TooManyDecimals))
    );
    for text in [
        "0.0000000010",
        "0.1234567890",
        "0.00000000000000000000000000000000010",
    ] {
        assert_eq!(
            text.parse::<Price>(),
            Err(invalid(InvalidKind::TooManyDecimals)),
            "{text}"
        );
    }
    assert_eq!(
        "1.0000000000000000x00".parse::<Price>(),
        Err(invalid(InvalidKind::NotANumber))
    );
}

#[test]
fn the_text_of_a_total_does_not_depend_on_the_scale_of_prices() {
    for (prices, text) in [
        (&["1.25", "1.25", "1.25", "1.25"][..], "5"),
        (&["0.00"], "0"),
        (&["100"], "100"),
        (&["1195.30", "0.2"], "1195.5"),
    ] {
        let total = Total::checked_sum(prices.iter().map(|text| price(text))).unwrap();
        assert_eq!(
            (total.to_string(), format!("{total:?}")),
            (text.to_owned(), text.to_owned())
        );
        assert_eq!(text.parse(), Ok(total));
    }
}

/// What every reader takes and refuses: JSON, CSV, the library and, by way of the service, the
/// console.
#[test]
fn a_price_has_the_form_of_a_json_number() {
    for text in ["0", "5", "5.0", "0.50", "-0", "1e3", "1E-2", "1e+2"] {
        assert!(text.parse::<Price>().is_ok(), "{text}");
    }
    for text in [
        ".50", "5.", "05", "+5", " 5", "5 ", "5,0", "1e", "e1", "1.e1", "-", "- 5",
    ] {
        let error = text.parse::<Price>().unwrap_err();
        assert_eq!(error.kind(), InvalidKind::NotANumber, "{text}");
    }
    // Other systems have written some of them.
    for (text, read) in [(".50", "0.50"), ("5.", "5"), ("05", "5"), ("+5", "5")] {
        assert_eq!(
            Price::parse_rounded(text).unwrap().to_string(),
            read,
            "{text}"
        );
    }
}

#[test]
fn invalid_text_is_rejected() {
    for (text, why) in [
        ("", InvalidKind::NotANumber),
        ("abc", InvalidKind::NotANumber),
        ("NaN", InvalidKind::NotANumber),
        ("Infinity", InvalidKind::NotANumber),
        ("0x10", InvalidKind::NotANumber),
        ("1_000", InvalidKind::NotANumber),
        ("1,5", InvalidKind::NotANumber),
        ("1e999", InvalidKind::NotANumber),
        ("1e", InvalidKind::NotANumber),
        ("-", InvalidKind::NotANumber),
        ("1.2.3", InvalidKind::NotANumber),
        ("--1", InvalidKind::NotANumber),
        ("-0.01", InvalidKind::Negative),
        ("-1e30", InvalidKind::Negative),
        ("1000000000000000.01", InvalidKind::TooLarge),
        ("1e16", InvalidKind::TooLarge),
        ("1e30", InvalidKind::TooLarge),
        ("99999999999999999999999999999999", InvalidKind::TooLarge),
        ("0.123456789", InvalidKind::TooManyDecimals),
        ("1e-9", InvalidKind::TooManyDecimals),
        ("1e-40", InvalidKind::TooManyDecimals),
        ("1e-999999999999", InvalidKind::NotANumber),
        ("1e-+5", InvalidKind::NotANumber),
        ("1e5e5", InvalidKind::NotANumber),
        (
            "0.00000000000000012345678901249e20",
            InvalidKind::TooManyDecimals,
        ),
        (
            "0.00000000000000000000000000001e0",
            InvalidKind::TooManyDecimals,
        ),
        ("12345678901234567890123456789012e-3", InvalidKind::TooLarge),
        (".", InvalidKind::NotANumber),
        (
            "0.1234567890123456789012345678901234",
            InvalidKind::TooManyDecimals,
        ),
    ] {
        assert_eq!(text.parse::<Price>(), Err(invalid(why)), "{text:?}");
    }
}

#[test]
fn sums_are_exact_or_an_error() {
    let total = Total::checked_sum([price("0.1"), price("0.2")]).unwrap();
    assert_eq!(total.to_string(), "0.3");
    let total = Total::checked_sum(["29.99", "15.50", "42.00"].map(price)).unwrap();
    assert_eq!(total.to_string(), "87.49");
    for zeros in [["5", "0.00"], ["0.00", "5"], ["0", "5.0"], ["5.0", "0"]] {
        assert_eq!(
            Total::checked_sum(zeros.map(price)).unwrap(),
            Total::checked_sum([price("5")]).unwrap(),
            "{zeros:?}"
        );
    }
    // A million purchases at the maximum price, and one of the smallest unit.
    let many = Total::from_units(Total::from(Price::MAX).units() * 1_000_000);
    let text = "1000000000000000000000.00000001";
    assert_eq!(
        many.checked_add_price(price("0.00000001"))
            .unwrap()
            .to_string(),
        text
    );
    for text in [
        text,
        "-12.5",
        "0",
        "1701411834604692317316873037158.84105727",
    ] {
        assert_eq!(text.parse::<Total>().unwrap().to_string(), text);
    }
    assert_eq!(
        "1701411834604692317316873037158.84105727"
            .parse::<Total>()
            .unwrap()
            .checked_add(many),
        Err(TotalOverflow)
    );
    for text in [
        "",
        "-",
        ".",
        "+1",
        "1e3",
        "1.2.3",
        "0.000000001",
        &"9".repeat(39),
    ] {
        text.parse::<Total>().unwrap_err();
    }
}

#[test]
fn rounding_is_half_to_even() {
    for (exact, rounded) in [
        ("0.125", "0.12"),
        ("0.135", "0.14"),
        ("2.5", "2.5"),
        ("0.30", "0.3"),
    ] {
        assert_eq!(
            Total::from(price(exact)).round_to_cents().to_string(),
            rounded
        );
    }
}

proptest! {
    #[test]
    fn any_price_reads_back_as_written(units in 0_i64..=1_000_000_000_000_000, decimals in 0_u32..=8) {
        let text = Decimal::new(units, decimals).to_string();
        prop_assert_eq!(price(&text).to_string(), text);
    }

    #[test]
    fn no_text_panics(text in "[-+0-9.eE]{0,40}") {
        let _unused = text.parse::<Price>();
    }
}
