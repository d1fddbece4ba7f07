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
    fn rounds_bytes_up() {
        assert_eq!(bytes(&Quantity("1.1G".into())), Some(1_100_000_000));
        assert_eq!(bytes(&Quantity("0.5".into())), Some(1));
    }
}
