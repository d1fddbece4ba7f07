//! Finds names that may differ by one typo, without comparing all pairs.
//!
//! Two names at edit distance one (insertion, deletion, substitution or transposition) become equal when each loses
//! at most one letter. So the index contains each name by its own hash and by the hashes of its deletions (symmetric
//! delete search).

use crate::budget::Budget;
use crate::names::TopicName;

/// Maximum entries, of 16 bytes each.
const MAX_ENTRIES: usize = 500_000;
/// Any odd number works: candidates are compared letter by letter.
const BASE: u64 = 0x9e37_79b9_7f4a_7c15;

/// Names by hash.
pub(super) struct TypoIndex(Vec<(u64, usize)>);

impl TypoIndex {
    /// Indexes names. None if the budget is exceeded.
    pub(super) fn of<'a>(names: impl Iterator<Item = &'a TopicName>, budget: &mut Budget) -> Option<Self> {
        let mut entries = Vec::new();
        for (position, name) in names.enumerate() {
            budget.spend(name.local.len()).then_some(())?;
            entries.extend(hashes(name).into_iter().map(|hash| (hash, position)));
            if entries.len() > MAX_ENTRIES {
                // Exceeds the budget, since some names are not compared.
                budget.spend(usize::MAX);
                return None;
            }
        }
        entries.sort_unstable();
        Some(Self(entries))
    }

    /// The indices of names that may differ by a typo, sorted. None if the budget is exceeded.
    pub(super) fn candidates(&self, name: &TopicName, budget: &mut Budget) -> Option<Vec<usize>> {
        budget.spend(name.local.len()).then_some(())?;
        let mut found = Vec::new();
        for hash in hashes(name) {
            let start = self.0.partition_point(|(other, _)| *other < hash);
            let same = self.0.get(start..).unwrap_or_default().iter().take_while(|(other, _)| *other == hash);
            for (_, position) in same {
                // The cost of comparing the two names.
                budget.spend(name.local.len()).then_some(())?;
                found.push(*position);
            }
        }
        found.sort_unstable();
        found.dedup();
        Some(found)
    }
}

/// Whether a character can be a typo. Numbers differ on purpose.
pub(super) fn is_letter(character: char) -> bool {
    character.is_alphabetic() || matches!(character, '-' | '_' | '.')
}

/// The hashes of a name, of its lowercase form, and of its deletions.
fn hashes(name: &TopicName) -> Vec<u64> {
    let whole = |text: &mut dyn Iterator<Item = char>| text.fold(1, step);
    let small = whole(&mut name.local.chars().map(|letter| letter.to_ascii_lowercase()));
    let letters: Vec<char> = name.local.chars().collect();
    // The hash of each suffix, and the weight of the prefix before it.
    let mut behind = vec![(0_u64, 1_u64)];
    for letter in letters.iter().rev() {
        let (hash, weight) = behind.last().copied().unwrap_or_default();
        behind.push((u64::from(*letter).wrapping_mul(weight).wrapping_add(hash), weight.wrapping_mul(BASE)));
    }
    behind.reverse();
    let mut hashes = vec![small, whole(&mut letters.iter().copied())];
    let mut before = 1_u64;
    for (letter, (hash, weight)) in letters.iter().zip(behind.iter().skip(1)) {
        if is_letter(*letter) {
            hashes.push(before.wrapping_mul(*weight).wrapping_add(*hash));
        }
        before = step(before, *letter);
    }
    hashes.sort_unstable();
    hashes.dedup();
    hashes
}

fn step(hash: u64, letter: char) -> u64 {
    hash.wrapping_mul(BASE).wrapping_add(u64::from(letter))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(local: &str) -> TopicName {
        TopicName {
            persistent: true,
            tenant: "public".to_owned(),
            namespace: "default".to_owned(),
            local: local.to_owned(),
        }
    }

    fn finds(one: &str, other: &str) -> bool {
        let mut budget = Budget::default();
        let index = TypoIndex::of([name("x"), name(one)].iter(), &mut budget).unwrap();
        index.candidates(&name(other), &mut budget).unwrap().contains(&1)
    }

    proptest! {
        #[test]
        fn finds_every_typo(text in "[a-dA-Dé._-]{1,12}", at in 0..12_usize, letter in "[a-dé._-]") {
            let letters: Vec<char> = text.chars().collect();
            let at = at % letters.len();
            let (before, after) = (&letters[..at], &letters[at..]);
            let text_of = |parts: &[&[char]]| parts.concat().into_iter().collect::<String>();
            let letter: Vec<char> = letter.chars().collect();
            let mut swapped = letters.clone();
            swapped.swap(at, (at + 1) % letters.len());
            for other in [
                text_of(&[before, &letter, after]),
                text_of(&[before, &after[1..]]),
                text_of(&[before, &letter, &after[1..]]),
                text.to_ascii_uppercase(),
            ] {
                prop_assert!(finds(&text, &other) && finds(&other, &text), "{} {}", text, other);
            }
            if at + 1 < letters.len() {
                prop_assert!(finds(&text, &text_of(&[&swapped])));
            }
        }
    }

    #[test]
    fn ignores_numbers() {
        assert!(!finds("in-1", "in-2"));
        assert!(!finds("orders", "payments"));
    }
}
