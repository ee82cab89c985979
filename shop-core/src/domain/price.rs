//! Exact money: the [`Price`] of one purchase, and the [`Total`] of many prices.
//!
//! Both are decimals with at most 8 digits after the point, and nothing is rounded silently: a
//! conversion or a sum that would lose a digit is an error. Only functions whose names say so
//! round.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;

use super::{Invalid, InvalidKind};
use crate::json::is_json_number;
use crate::macros::format_as;
use crate::{Error, ErrorKind};

/// The price of a purchase: an exact decimal from 0 to 10^15 with at most 8 decimals.
///
/// Prices compare by value (`29.9 == 29.90`) and keep their scale, up to 8 decimals. Further zeros,
/// as in `29.9000000000`, are dropped. In JSON, a price is a number with all its digits, and is
/// also read from text.
///
/// ```
/// use shop_core::Price;
///
/// let price: Price = "1195.30".parse()?;
/// assert_eq!(price.to_string(), "1195.30");
/// assert_eq!(price, "1195.3".parse()?);
/// # Ok::<(), shop_core::Invalid>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Price(Decimal);

format_as!(Price: |this| Debug = Display(this));

/// Returns the error of a value that is not a [`Price`].
const fn invalid(kind: InvalidKind) -> Invalid {
    let reason = match kind {
        InvalidKind::Negative => "must not be negative",
        InvalidKind::TooLarge => "must not be larger than 1000000000000000",
        InvalidKind::TooManyDecimals => "must not have more than 8 decimals",
        _ => "must be a valid number",
    };
    Invalid::new(kind, "the price", reason)
}

impl Price {
    /// The price zero.
    pub const ZERO: Self = Self(Decimal::ZERO);
    /// The maximum price, 10^15.
    pub const MAX: Self = Self(Decimal::from_parts(2_764_472_320, 232_830, 0, false, 0));
    /// The maximum number of decimals.
    pub const MAX_DECIMALS: u32 = 8;

    /// Creates a price from `units` minor units, of which a major unit contains 10^`scale`.
    ///
    /// ```
    /// use shop_core::Price;
    ///
    /// assert_eq!(Price::from_minor(2999, 2)?.to_string(), "29.99");
    /// # Ok::<(), shop_core::Invalid>(())
    /// ```
    ///
    /// # Errors
    /// [`Invalid`] for a price that is negative, is too large, or has too many decimals.
    pub fn from_minor(units: i64, scale: u32) -> Result<Self, Invalid> {
        let value = Decimal::try_new(units, scale)
            .map_err(|_scale| invalid(InvalidKind::TooManyDecimals))?;
        value.try_into()
    }

    /// Parses a number of another system, and rounds it to 8 decimals.
    ///
    /// A calculation of the other system may leave more decimals, as in `0.30000000000000004`.
    ///
    /// ```
    /// use shop_core::Price;
    ///
    /// assert_eq!(Price::parse_rounded("182.45000000000002")?.to_string(), "182.45");
    /// # Ok::<(), shop_core::Invalid>(())
    /// ```
    ///
    /// # Errors
    /// [`Invalid`] for text that is not a number, and for a price that is negative or too large.
    pub fn parse_rounded(text: &str) -> Result<Self, Invalid> {
        // Only a price with too many decimals is rounded.
        let too_many_decimals = match Self::from_any_decimal(text) {
            Err(error) if error.kind() == InvalidKind::TooManyDecimals => error,
            result => return result,
        };

        let unrounded: Decimal = text
            .parse()
            .or_else(|_exponent| Decimal::from_scientific(text))
            .map_err(|_unreadable| too_many_decimals)?;
        unrounded
            .round_dp(Self::MAX_DECIMALS)
            .normalize()
            .try_into()
    }

    /// Parses decimal text in any form that other systems write, such as `.5`, `+05` or `5e2`.
    ///
    /// # Errors
    /// [`Invalid`] for text that is not a number, and for a price that is negative, is too large, or
    /// has too many decimals.
    fn from_any_decimal(text: &str) -> Result<Self, Invalid> {
        if let Ok(value) = parse_plain_decimal(text) {
            return value.try_into();
        }
        let value = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => apply_exponent(parse_plain_decimal(mantissa)?, exponent)?,
            None => parse_plain_decimal(trim_spare_zeros(text))?,
        };
        value.try_into()
    }

    /// Returns the amount with the other sign, which a refund of this price adds to a sum. Zero
    /// stays without a sign.
    #[must_use]
    pub fn negated(self) -> Self {
        if self.0.is_zero() {
            self
        } else {
            Self(-self.0)
        }
    }

    /// Checks whether this is the amount of a refund.
    #[must_use]
    pub const fn is_negative(&self) -> bool {
        self.0.is_sign_negative()
    }

    /// Parses a price, or the negative amount of a refund, as a store or a log contains it.
    ///
    /// Texts of clients are parsed by [`FromStr`], which rejects negative amounts.
    ///
    /// # Errors
    /// [`Invalid`] if the text, without one leading minus sign, is not a price.
    pub fn parse_signed(text: &str) -> Result<Self, Invalid> {
        match text.strip_prefix('-') {
            Some(amount) => amount.parse().map(Self::negated),
            None => text.parse(),
        }
    }

    /// Returns the price as a decimal, with its scale.
    #[must_use]
    pub const fn as_decimal(&self) -> &Decimal {
        &self.0
    }

    /// The maximum number of bytes of the text.
    pub(crate) const MAX_BYTES: usize = "-1000000000000000.00000000".len();

    /// Writes the text into the end of `buffer`, without the cost of formatting, and returns the
    /// text.
    ///
    /// The digits are written from the last to the first one.
    pub(crate) fn encode<'a>(&self, buffer: &'a mut [u8; Self::MAX_BYTES]) -> &'a [u8] {
        let units = self.0.mantissa().unsigned_abs();
        let decimal_count = self.0.scale() as usize;
        let units_of_one = 10_u64.pow(self.0.scale());
        // Most prices fit into 64 bits, whose division is much faster than a division of 128 bits.
        let (whole, fraction) = if let Ok(units) = u64::try_from(units) {
            (units / units_of_one, units % units_of_one)
        } else {
            let whole = units / u128::from(units_of_one);
            let fraction = units % u128::from(units_of_one);
            // Both are far below 2^64, so the defaults never apply.
            (
                u64::try_from(whole).unwrap_or_default(),
                u64::try_from(fraction).unwrap_or_default(),
            )
        };

        let mut start = buffer.len();
        if decimal_count > 0 {
            start = write_digits(buffer, start, fraction, decimal_count) - 1;
            buffer[start] = b'.';
        }
        let min_whole_digits = 1;
        start = write_digits(buffer, start, whole, min_whole_digits);
        if self.is_negative() {
            start -= 1;
            buffer[start] = b'-';
        }
        &buffer[start..]
    }
}

/// Writes the decimal digits of `number` in front of the index `end` of `buffer`, with leading
/// zeros up to `min_digits`, and returns the index of the first digit.
fn write_digits(buffer: &mut [u8], end: usize, mut number: u64, min_digits: usize) -> usize {
    let mut start = end;
    while number > 0 || end - start < min_digits {
        start -= 1;
        // The remainder is a single digit, so the default never applies.
        buffer[start] = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
    start
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (f.width(), f.precision()) {
            (None, None) => f.write_str(&String::from_utf8_lossy(
                self.encode(&mut [0; Self::MAX_BYTES]),
            )),
            // The decimal knows how to pad and to round.
            _ => fmt::Display::fmt(&self.0, f),
        }
    }
}

impl TryFrom<Decimal> for Price {
    type Error = Invalid;

    fn try_from(value: Decimal) -> Result<Self, Invalid> {
        if value.is_zero() {
            // This drops the sign of a negative zero.
            let zero = Decimal::new(0, value.scale().min(Self::MAX_DECIMALS));
            return Ok(Self(zero));
        }
        if value.is_sign_negative() {
            return Err(invalid(InvalidKind::Negative));
        }
        // The mantissas are compared first, because the comparison of decimals costs much more. The
        // maximum has no decimals. So a value with a mantissa up to that of the maximum is in
        // range, whatever its decimals are.
        if value.mantissa() > Self::MAX.0.mantissa() && value > Self::MAX.0 {
            return Err(invalid(InvalidKind::TooLarge));
        }
        if value.scale() <= Self::MAX_DECIMALS {
            return Ok(Self(value));
        }
        // Further decimals must be zeros.
        let rounded_value = value.round_dp(Self::MAX_DECIMALS);
        if rounded_value == value {
            Ok(Self(rounded_value))
        } else {
            Err(invalid(InvalidKind::TooManyDecimals))
        }
    }
}

impl FromStr for Price {
    type Err = Invalid;

    /// Parses a number in the form of JSON, with or without an exponent: `29.99`, `1e2`.
    ///
    /// This is the one form of prices in JSON, CSV and code. Other forms, such as `.5`, `5.`, `05`,
    /// `+5` and ` 5 `, are rejected.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        if !is_json_number(text) {
            return Err(invalid(InvalidKind::NotANumber));
        }
        Self::from_any_decimal(text)
    }
}

/// The number of digits of the maximum price.
const MAX_WHOLE_DIGITS: usize = 16;

/// Removes the zeros at the end of `text` that are behind its eighth decimal. These zeros do not
/// change the value, but may be too many to parse.
fn trim_spare_zeros(text: &str) -> &str {
    let point_index = text.find('.').unwrap_or(text.len());
    let eighth_decimal_end = point_index + 1 + Price::MAX_DECIMALS as usize;
    match text.split_at_checked(eighth_decimal_end) {
        Some((kept_text, further_decimals)) => {
            &text[..kept_text.len() + further_decimals.trim_end_matches('0').len()]
        }
        None => text,
    }
}

/// Parses decimal text without an exponent.
///
/// # Errors
/// [`InvalidKind::NotANumber`] for other characters. If a [`Decimal`] cannot hold the number, the
/// error names the first rule of prices that the number breaks: its sign, its whole digits, or its
/// decimals.
fn parse_plain_decimal(text: &str) -> Result<Decimal, Invalid> {
    let number = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut digit_count = 0;
    let mut point_count = 0;
    for byte in number.bytes() {
        match byte {
            b'0'..=b'9' => digit_count += 1,
            b'.' => point_count += 1,
            // The parser below would also accept other characters, as in `1_000`.
            _ => return Err(invalid(InvalidKind::NotANumber)),
        }
    }
    if digit_count == 0 || point_count > 1 {
        return Err(invalid(InvalidKind::NotANumber));
    }

    Decimal::from_str_exact(text).map_err(|_too_many_digits| {
        // `split` yields at least one text.
        let whole = number.split('.').next().unwrap_or_default();
        if text.starts_with('-') {
            invalid(InvalidKind::Negative)
        } else if whole.trim_start_matches('0').len() > MAX_WHOLE_DIGITS {
            invalid(InvalidKind::TooLarge)
        } else {
            invalid(InvalidKind::TooManyDecimals)
        }
    })
}

/// Returns `mantissa * 10^exponent`, exactly.
///
/// # Errors
/// - [`InvalidKind::NotANumber`] if `exponent` is not an integer, or more than 308
/// - [`InvalidKind::Negative`] for a negative mantissa
/// - [`InvalidKind::TooLarge`] or [`InvalidKind::TooManyDecimals`] if a [`Decimal`] cannot hold the
///   product
fn apply_exponent(mantissa: Decimal, exponent: &str) -> Result<Decimal, Invalid> {
    /// The largest exponent of a double. Other systems read a larger exponent as infinity, which is
    /// not a valid number here.
    const MAX_EXPONENT: i32 = 308;

    let exponent: i32 = exponent
        .parse()
        .map_err(|_no_integer| invalid(InvalidKind::NotANumber))?;
    if exponent > MAX_EXPONENT {
        return Err(invalid(InvalidKind::NotANumber));
    }
    if mantissa.is_zero() {
        return Ok(Decimal::ZERO);
    }
    if mantissa.is_sign_negative() {
        return Err(invalid(InvalidKind::Negative));
    }

    let mut units = mantissa.mantissa();
    let mut scale = i64::from(mantissa.scale()) - i64::from(exponent);
    // Trailing zeros would count as decimals.
    while scale > i64::from(Price::MAX_DECIMALS) && units % 10 == 0 {
        units /= 10;
        scale -= 1;
    }

    if let Ok(scale) = u32::try_from(scale) {
        return Decimal::try_from_i128_with_scale(units, scale)
            .map_err(|_scale| invalid(InvalidKind::TooManyDecimals));
    }
    // A negative scale is a multiplication by a power of ten.
    multiply_by_power_of_ten(units, -scale).ok_or(invalid(InvalidKind::TooLarge))
}

/// Returns `units * 10^power`, or `None` if a [`Decimal`] cannot hold the product.
fn multiply_by_power_of_ten(units: i128, power: i64) -> Option<Decimal> {
    let factor = 10_i128.checked_pow(u32::try_from(power).ok()?)?;
    Decimal::try_from_i128_with_scale(units.checked_mul(factor)?, 0).ok()
}

/// The exact sum of prices, with room for 10^15 purchases at the maximum price.
///
/// `Display` prints as many decimals as the value needs: the sum of four prices of `1.25` is `5`,
/// however a store adds them up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Total(i128);

format_as!(Total: |this| Debug = Display(this));

/// The number of units of a [`Total`] in 1.
const UNITS: i128 = 10_i128.pow(Price::MAX_DECIMALS);

/// The error of a sum that is too large. It converts into an [`Error`] of the kind
/// [`Corrupt`](ErrorKind::Corrupt).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sum is too large to be held exactly")]
pub struct TotalOverflow;

impl From<TotalOverflow> for Error {
    fn from(overflow: TotalOverflow) -> Self {
        Self::new(ErrorKind::Corrupt, "the purchases cannot be summed exactly")
            .with_source(overflow)
    }
}

impl Total {
    /// The empty sum.
    pub const ZERO: Self = Self(0);

    /// Creates a sum from its number of units of 10^-8, as a store contains it.
    #[must_use]
    pub const fn from_units(units: i128) -> Self {
        Self(units)
    }

    /// Returns the sum in units of 10^-8.
    #[must_use]
    pub const fn units(self) -> i128 {
        self.0
    }

    /// Adds one price.
    ///
    /// # Errors
    /// [`TotalOverflow`] instead of a rounded sum.
    pub fn checked_add_price(self, price: Price) -> Result<Self, TotalOverflow> {
        self.checked_add(price.into())
    }

    /// Adds another sum.
    ///
    /// # Errors
    /// [`TotalOverflow`] instead of a rounded sum.
    pub fn checked_add(self, other: Self) -> Result<Self, TotalOverflow> {
        self.0.checked_add(other.0).map(Self).ok_or(TotalOverflow)
    }

    /// Adds up all `prices`.
    ///
    /// # Errors
    /// [`TotalOverflow`] instead of a rounded sum.
    pub fn checked_sum(prices: impl IntoIterator<Item = Price>) -> Result<Self, TotalOverflow> {
        prices
            .into_iter()
            .try_fold(Self::ZERO, Self::checked_add_price)
    }

    /// Rounds the sum to hundredths, half to even.
    #[must_use]
    pub const fn round_to_cents(self) -> Self {
        const CENT: i128 = UNITS / 100;
        let cents = self.0.div_euclid(CENT);
        let remainder = self.0.rem_euclid(CENT);
        let is_above_half = remainder * 2 > CENT;
        let is_half_above_odd = remainder * 2 == CENT && cents % 2 != 0;
        let rounds_up = is_above_half || is_half_above_odd;
        Self((cents + rounds_up as i128) * CENT)
    }
}

impl From<Price> for Total {
    fn from(price: Price) -> Self {
        Self(price.0.mantissa() * 10_i128.pow(Price::MAX_DECIMALS.saturating_sub(price.0.scale())))
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0.abs() / UNITS;
        let fraction = self.0.abs() % UNITS;
        let text = format!("{whole}.{fraction:08}");
        f.pad_integral(
            self.0 >= 0,
            "",
            text.trim_end_matches('0').trim_end_matches('.'),
        )
    }
}

impl FromStr for Total {
    type Err = Invalid;

    /// Parses decimal text, such as the sum in a response of another service.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        const INVALID: Invalid =
            Invalid::malformed("the sum", "must be a number with no more than 8 decimals");

        let (is_negative, unsigned_text) = match text.strip_prefix('-') {
            Some(unsigned_text) => (true, unsigned_text),
            None => (false, text),
        };
        let (whole, fraction) = unsigned_text.split_once('.').unwrap_or((unsigned_text, ""));
        let fraction = fraction.trim_end_matches('0');
        let is_number = unsigned_text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'.'))
            && unsigned_text.contains(|char: char| char.is_ascii_digit());
        if !is_number || fraction.len() > Price::MAX_DECIMALS as usize {
            return Err(INVALID);
        }

        // The digits of the whole and eight decimals are the number of units. A second point is
        // still among them, and is an error here.
        let units: i128 = format!("{whole}{fraction:0<8}")
            .parse()
            .map_err(|_no_integer| INVALID)?;
        Ok(Self(if is_negative { -units } else { units }))
    }
}

#[cfg(test)]
#[path = "price_test.rs"]
mod tests;
