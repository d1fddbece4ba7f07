//! Resolves plain YAML scalars as `kubectl` does.
//!
//! `kubectl` uses YAML 1.1, where `yes` and `on` are booleans and `017` is a number. With YAML 1.2 this program would
//! accept manifests that the cluster rejects.

use serde_json::{Number, Value};

/// The value of a plain scalar.
pub fn resolve(word: &str) -> Value {
    match word {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Value::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Value::Bool(false)
        }
        word => number(word).map_or_else(|| Value::String(word.to_owned()), Value::Number),
    }
}

fn number(word: &str) -> Option<Number> {
    let first = word.chars().next()?;
    if !(first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) {
        return None;
    }
    let plain: String = word.chars().filter(|letter| *letter != '_').collect();
    integer(&plain).or_else(|| float(&plain))
}

fn integer(word: &str) -> Option<Number> {
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    let prefixed = |prefixes: [&str; 2]| prefixes.iter().find_map(|prefix| digits.strip_prefix(prefix));
    let (digits, radix) = if let Some(digits) = prefixed(["0x", "0X"]) {
        (digits, 16)
    } else if let Some(digits) = prefixed(["0o", "0O"]) {
        (digits, 8)
    } else if let Some(digits) = prefixed(["0b", "0B"]) {
        (digits, 2)
    } else if digits.len() > 1 && digits.starts_with('0') {
        (digits, 8)
    } else {
        (digits, 10)
    };
    if !digits.starts_with(|digit: char| digit.is_digit(radix)) {
        return None;
    }
    let amount = i128::from_str_radix(digits, radix).ok()?;
    let amount = if negative { -amount } else { amount };
    u64::try_from(amount).map(Number::from).or_else(|_| i64::try_from(amount).map(Number::from)).ok()
}

/// A number with a fraction or an exponent, but not infinity and NaN, which JSON does not have.
fn float(word: &str) -> Option<Number> {
    let is_number = word.contains(|letter: char| letter.is_ascii_digit())
        && word
            .chars()
            .all(|letter| letter.is_ascii_digit() || matches!(letter, '+' | '-' | '.' | 'e' | 'E'));
    if !is_number {
        return None;
    }
    from_f64(word.parse().ok()?)
}

/// A number that `kubectl` sends: without a fraction it becomes an integer.
pub(super) fn from_f64(value: f64) -> Option<Number> {
    #[allow(clippy::cast_possible_truncation, reason = "checked before")]
    let whole = (value.fract() == 0.0 && value.abs() < 1e18).then(|| Number::from(value as i64));
    whole.or_else(|| Number::from_f64(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scalars_resolve_as_in_kubectl() {
        for (word, value) in [
            ("yes", json!(true)),
            ("off", json!(false)),
            ("~", json!(null)),
            ("017", json!(15)),
            ("0x1F", json!(31)),
            ("1_000", json!(1000)),
            ("1e3", json!(1000)),
            ("1.0", json!(1)),
            ("-2.50", json!(-2.5)),
            ("1e300", json!(1e300)),
            (".5", json!(0.5)),
            ("-7", json!(-7)),
            ("18446744073709551615", json!(u64::MAX)),
            ("9007199254740993", json!(9_007_199_254_740_993_i64)),
            ("1Gi", json!("1Gi")),
            ("1.2.3", json!("1.2.3")),
            (".inf", json!(".inf")),
            ("-", json!("-")),
            ("0x", json!("0x")),
            ("0x-1", json!("0x-1")),
            ("1e999", json!("1e999")),
            ("2001-01-01", json!("2001-01-01")),
        ] {
            assert_eq!(resolve(word), value, "{word}");
        }
    }
}
