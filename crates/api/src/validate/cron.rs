//! Cron patterns with five fields, as far as every cron agrees: values, names, ranges, lists and steps.

use std::ops::RangeInclusive;

/// A field of a pattern.
struct Field {
    name: &'static str,
    values: RangeInclusive<u8>,
    /// Names of the first values.
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", values: 0..=59, names: &[] },
    Field { name: "hour", values: 0..=23, names: &[] },
    Field { name: "day of the month", values: 1..=31, names: &[] },
    Field {
        name: "month",
        values: 1..=12,
        names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
    },
    // Sunday is 0 and 7.
    Field {
        name: "day of the week",
        values: 0..=7,
        names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
    },
];
/// Most days of each month.
const DAYS: [u8; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// Why a pattern is invalid; None if it is valid and matches some time.
pub(super) fn error(pattern: &str) -> Option<String> {
    let texts: Vec<_> = pattern.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = texts.as_slice() else {
        return Some(
            "must be a cron pattern with five fields: minute, hour, day of the month, month, day of the week"
                .to_owned(),
        );
    };
    let mut sets = [0_u64; 5];
    for ((field, text), set) in FIELDS.iter().zip([minute, hour, day, month, weekday]).zip(&mut sets) {
        let Some(found) = field.parse(text) else {
            let (name, values) = (field.name, &field.values);
            return Some(format!(
                "invalid {name} {text:?}: must be `*` or values from {} to {}, such as `1`, `1-5`, `1,3` or `*/2`",
                values.start(),
                values.end()
            ));
        };
        *set = found;
    }
    let [_, _, days, months, _] = sets;
    // A day of the week beside a day of the month adds days.
    let is_possible = |(month, most): (u8, &u8)| {
        let possible = (1_u64 << (most + 1)) - 1;
        months & (1 << month) != 0 && days & possible != 0
    };
    let never = *weekday == "*" && !(1..).zip(&DAYS).any(is_possible);
    never.then(|| "no month has this day".to_owned())
}

impl Field {
    /// The values, a bit each.
    fn parse(&self, text: &str) -> Option<u64> {
        // In a list crons disagree about it.
        if text.split(',').count() > 1 && text.split(',').any(|item| item == "*") {
            return None;
        }
        text.split(',').try_fold(0, |set, item| Some(set | self.item(item)?))
    }

    fn item(&self, item: &str) -> Option<u64> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(number(step)?)),
            None => (item, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (*self.values.start(), *self.values.end()),
            Some((first, last)) => (self.value(first)?, self.last(last)?),
            // Crons disagree about a step from one value.
            None if step.is_some() => return None,
            None => (self.value(range)?, self.value(range)?),
        };
        let step = usize::from(step.unwrap_or(1));
        (first <= last && step > 0)
            .then(|| (first..=last).step_by(step).fold(0, |set, value| set | 1_u64 << value))
    }

    /// The end of a range: a week may end with Sunday.
    fn last(&self, text: &str) -> Option<u8> {
        let is_sunday = self.names.contains(&"SUN") && text.eq_ignore_ascii_case("SUN");
        if is_sunday { Some(*self.values.end()) } else { self.value(text) }
    }

    fn value(&self, text: &str) -> Option<u8> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let named = named.and_then(|index| u8::try_from(index).ok()).map(|index| self.values.start() + index);
        named.or_else(|| number(text)).filter(|value| self.values.contains(value))
    }
}

fn number(text: &str) -> Option<u8> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_have_five_fields_of_values_ranges_lists_and_steps() {
        for pattern in [
            "0 8 * * MON-FRI",
            "*/15 0-23/2 1,15 jan,JUL *",
            "59 23 31 12 7",
            "0 8 * * FRI-SUN",
            "0 0 29 2 *",
            "0 0 30 2 MON",
            "0  0\t* * SUN",
        ] {
            assert_eq!(error(pattern), None, "{pattern}");
        }
        for (pattern, expected) in [
            ("", "five fields"),
            ("@daily", "five fields"),
            ("0 0 8 * * *", "five fields"),
            ("60 8 * * *", "invalid minute \"60\": must be `*` or values from 0 to 59"),
            ("0 8 0 * *", "invalid day of the month"),
            ("0 8 * 13 *", "invalid month"),
            ("0 8 * * FRI-MON", "invalid day of the week"),
            ("0 8 * * 8", "invalid day of the week"),
            ("0 8 * * MONDAY", "invalid day of the week"),
            ("0 5/10 * * *", "invalid hour"),
            ("0 */0 * * *", "invalid hour"),
            ("0 8, * * *", "invalid hour"),
            ("0 8,* * * *", "invalid hour"),
            ("0 +8 * * *", "invalid hour"),
            ("0 8 L * *", "invalid day of the month"),
            ("0 ٣ * * *", "invalid hour"),
            ("0 0 30 2 *", "no month has this day"),
            ("0 0 31 4,6,9,11 *", "no month has this day"),
        ] {
            let found = error(pattern).unwrap_or_default();
            assert!(found.contains(expected), "{pattern}: {found}");
        }
    }
}
