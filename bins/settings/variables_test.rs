use super::*;

#[test]
fn a_quantity_is_a_number_with_a_unit() {
    let millis = |text| duration(0, MAX_MILLIS)(text).map(|time| time.as_millis());
    for (text, expected) in [
        ("0s", 0),
        ("250ms", 250),
        ("90s", 90_000),
        ("5m", 300_000),
        ("12h", 43_200_000),
        ("7d", 604_800_000),
    ] {
        assert_eq!(millis(text), Ok(expected));
    }
    for wrong in [
        "",
        "7",
        "d",
        "-1d",
        "1.5h",
        "7 d",
        "1w",
        "5\u{fc}",
        "99999999999999999999d",
        "9999999d",
    ] {
        assert!(millis(wrong).is_err(), "{wrong}");
    }
    assert_eq!(
        duration(1_000, 2_000)("0s"),
        Err("must be at least 1s".to_owned())
    );
    assert_eq!(
        duration(1_000, 2_000)("1h"),
        Err("must be at most 2s".to_owned())
    );
    assert_eq!(
        (read_log_size("64MiB"), read_log_size("1048576B")),
        (Ok(64 << 20), Ok(1 << 20))
    );
    for wrong in ["1048576", "1048575B", "1KiB", "1MB", "MiB"] {
        assert!(read_log_size(wrong).is_err(), "{wrong}");
    }
}
