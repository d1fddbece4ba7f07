//! Values of Kubernetes quantities: `500m`, `1Gi`, `1e3`.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The value in cores of CPU, or bytes of memory or storage. None for an invalid quantity.
pub fn value(quantity: &Quantity) -> Option<f64> {
    let text = quantity.0.trim();
    let end =
        text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    if number.is_empty() || !number.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    number.parse::<f64>().ok().zip(scale(suffix)).map(|(number, scale)| number * scale)
}

fn scale(suffix: &str) -> Option<f64> {
    Some(match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        "Pi" => 1_125_899_906_842_624.0,
        "Ei" => 1_152_921_504_606_846_976.0,
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            10_f64.powi(exponent.parse::<i32>().ok().filter(|e| (-30..=30).contains(e))?)
        }
    })
}

/// Whether two quantities are equal for the API server: by value, rounded up to its precision, a billionth, and capped
/// at its largest number. False if one is invalid.
pub fn is_equal(a: &Quantity, b: &Quantity) -> bool {
    let nanos = nanos(&a.0);
    nanos.is_some() && nanos == self::nanos(&b.0)
}

/// The value in billionths.
fn nanos(text: &str) -> Option<i128> {
    /// The largest number of the API server, 2^63 - 1.
    const MAX: i128 = (i64::MAX as i128) * 1_000_000_000;
    let text = text.trim();
    let end =
        text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (is_negative, number) = match number.strip_prefix('-') {
        Some(number) => (true, number),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let (factor, exponent) = exact_scale(suffix)?;
    // The value is `digits * factor * 10^exponent`, with the billionth as the unit.
    let exponent = exponent + 9 - i32::try_from(fraction.len()).ok()?;
    let digits = digits.trim_start_matches('0');
    let value = match (digits.len(), digits.parse::<i128>()) {
        (0, _) => 0,
        (_, Ok(value)) => scaled(value, factor, exponent).unwrap_or(MAX).min(MAX),
        (_, Err(_)) => return None,
    };
    Some(if is_negative { -value } else { value })
}

/// `value * factor * 10^exponent`, rounded up. None if it is too large.
fn scaled(value: i128, factor: i128, exponent: i32) -> Option<i128> {
    let value = value.checked_mul(factor)?;
    match u32::try_from(exponent) {
        Ok(exponent) => value.checked_mul(10_i128.checked_pow(exponent)?),
        // A divisor beyond the range leaves less than one.
        Err(_) => match 10_i128.checked_pow(exponent.unsigned_abs()) {
            Some(divisor) => Some(value / divisor + i128::from(value % divisor != 0)),
            None => Some(1),
        },
    }
}

/// The factor of a suffix as an integer and a power of ten.
fn exact_scale(suffix: &str) -> Option<(i128, i32)> {
    let binary = |power: u32| Some((1024_i128.pow(power), 0));
    let decimal = |exponent: i32| Some((1, exponent));
    match suffix {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?.parse::<i32>().ok();
            decimal(exponent.filter(|exponent| (-30..=30).contains(exponent))?)
        }
    }
}

/// The value in bytes, rounded up. None for an invalid quantity.
#[allow(clippy::cast_possible_truncation, reason = "a cast saturates, and no node has 2^63 bytes")]
pub fn bytes(quantity: &Quantity) -> Option<i64> {
    value(quantity).map(|quantity| quantity.ceil() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_all_suffixes() {
        for (text, expected) in [
            ("1", 1.0),
            ("0.2", 0.2),
            ("200m", 0.2),
            ("1.1G", 1.1e9),
            ("1Gi", 1_073_741_824.0),
            ("1e3", 1000.0),
            ("1E3", 1000.0),
            ("2E", 2e18),
            ("-1", -1.0),
            (".5", 0.5),
        ] {
            let found = value(&Quantity(text.into())).expect(text);
            assert!((found - expected).abs() <= f64::EPSILON * expected.abs(), "{text}: {found}");
        }
    }

    #[test]
    fn rejects_invalid_quantities() {
        for text in ["", "abc", "1 G", "1KB", "m", "1e", "--", "1e999"] {
            assert_eq!(value(&Quantity(text.into())), None, "{text}");
        }
    }

    #[test]
    fn equality_is_exact() {
        let is_equal = |a: &str, b: &str| is_equal(&Quantity(a.into()), &Quantity(b.into()));
        for (a, b) in [
            ("0.5", "500m"),
            ("2000m", "2"),
            ("0.7", "700m"),
            ("1.1", "1100m"),
            ("0.29", "290m"),
            ("1e3", "1k"),
            ("1E3", "1000"),
            ("1.0Gi", "1073741824"),
            ("0.5Gi", "512Mi"),
            ("00.50", "5e-1"),
            ("-1", "-1000m"),
            ("+1", "1"),
            ("0", "-0"),
            ("0", "0Gi"),
            // Rounded up to a billionth.
            ("0.1n", "1n"),
            ("1e-30", "1n"),
            ("-0.1n", "-1n"),
            // Capped.
            ("100E", "20E"),
            ("9223372036854775807", "1e30"),
        ] {
            assert!(is_equal(a, b) && is_equal(b, a), "{a} {b}");
        }
        for (a, b) in [
            ("0.5", "0.50001"),
            ("1G", "1Gi"),
            ("1", "-1"),
            ("9007199254740993", "9007199254740992"),
            ("1n", "2n"),
            ("x", "x"),
            ("", ""),
            ("1..2", "1..2"),
            ("1 G", "1 G"),
        ] {
            assert!(!is_equal(a, b), "{a} {b}");
        }
    }

    #[test]
    fn rounds_bytes_up() {
        assert_eq!(bytes(&Quantity("1.1G".into())), Some(1_100_000_000));
        assert_eq!(bytes(&Quantity("0.5".into())), Some(1));
    }
}
