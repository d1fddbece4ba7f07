//! Compares what a function and its shadow wrote, by the input messages that caused it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::message::{Input, Message, MessageId, Output};

/// Most differences that are listed.
pub const MAX_LISTED: usize = 20;

/// The messages of one side.
#[derive(Clone, Debug, Default)]
pub struct Side {
    outputs: BTreeMap<Input, Vec<Output>>,
    /// Messages that do not name their input.
    unnamed: usize,
}

impl Side {
    /// Takes messages of an entry.
    pub fn take(&mut self, messages: impl IntoIterator<Item = Message>) {
        for Message { input, output } in messages {
            match input {
                Some(input) => self.outputs.entry(input).or_default().push(output),
                None => self.unnamed += 1,
            }
        }
    }

    /// The first and the last input of each topic.
    fn ranges(&self) -> BTreeMap<&str, (MessageId, MessageId)> {
        let mut ranges = BTreeMap::new();
        for Input { topic, id } in self.outputs.keys() {
            // Inputs are sorted.
            ranges.entry(topic.as_str()).and_modify(|(_, last)| *last = *id).or_insert((*id, *id));
        }
        ranges
    }
}

/// What differs between a function and its shadow.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// Inputs between the first and the last that both answered, on each topic.
    pub compared: usize,
    /// Those with the same results.
    pub equal: usize,
    /// Those with different results.
    pub different: usize,
    /// Those with a result of the function only: the shadow dropped them, failed, or has not got to them yet.
    pub only_real: usize,
    /// Those with a result of the shadow only.
    pub only_shadow: usize,
    /// Results that do not name their input, as those of Go functions: they cannot be compared.
    pub unnamed: usize,
    /// The first differences, in the order of the input.
    pub differences: Vec<Difference>,
}

/// One input with different results.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// The input message, as TOPIC LEDGER:ENTRY or TOPIC LEDGER:ENTRY:BATCH-INDEX.
    pub input: String,
    /// The results of the function.
    pub real: Vec<String>,
    /// The results of the shadow.
    pub shadow: Vec<String>,
}

impl Comparison {
    /// Compares what both wrote. Results of an input count in any order: a function may send several at once.
    pub fn of(mut real: Side, mut shadow: Side) -> Self {
        let mut comparison = Self { unnamed: real.unnamed + shadow.unnamed, ..Self::default() };
        let common = common(&real.ranges(), &shadow.ranges());
        let inputs: BTreeSet<Input> = real.outputs.keys().chain(shadow.outputs.keys()).cloned().collect();
        for input in inputs {
            let is_common =
                common.get(&input.topic).is_some_and(|(first, last)| (first..=last).contains(&&input.id));
            if !is_common {
                continue;
            }
            comparison.compared += 1;
            let sorted = |side: &mut Side| {
                let mut outputs = side.outputs.remove(&input).unwrap_or_default();
                outputs.sort();
                outputs
            };
            let (ours, theirs) = (sorted(&mut real), sorted(&mut shadow));
            match (ours.is_empty(), theirs.is_empty()) {
                _ if ours == theirs => {
                    comparison.equal += 1;
                    continue;
                }
                (true, _) => comparison.only_shadow += 1,
                (_, true) => comparison.only_real += 1,
                (false, false) => comparison.different += 1,
            }
            if comparison.differences.len() < MAX_LISTED {
                comparison.differences.push(Difference {
                    input: input.to_string(),
                    real: ours.iter().map(Output::to_string).collect(),
                    shadow: theirs.iter().map(Output::to_string).collect(),
                });
            }
        }
        comparison
    }

    /// Whether something was compared, and nothing differs.
    pub const fn is_equal(&self) -> bool {
        self.compared > 0 && self.compared == self.equal
    }
}

type Ranges<'a> = BTreeMap<&'a str, (MessageId, MessageId)>;

/// The inputs of each topic that both sides were read for. What was written before the shadow began, or after one of them was
/// read, says nothing.
fn common(real: &Ranges<'_>, shadow: &Ranges<'_>) -> BTreeMap<String, (MessageId, MessageId)> {
    let both = real.iter().filter_map(|(topic, ours)| Some((topic, ours, shadow.get(topic)?)));
    both.map(|(topic, ours, theirs)| ((*topic).to_owned(), (ours.0.max(theirs.0), ours.1.min(theirs.1))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Payload;

    fn side(messages: &[(u64, &str)]) -> Side {
        let mut side = Side::default();
        side.take(messages.iter().map(|(entry, text)| Message {
            input: Some(Input {
                topic: "in".to_owned(),
                id: MessageId { ledger: 1, entry: *entry, batch_index: -1 },
            }),
            output: Output { payload: Some(Payload::of(text.as_bytes())), ..Output::default() },
        }));
        side
    }

    #[test]
    fn results_are_compared_by_input() {
        let real = side(&[(1, "a"), (2, "b"), (3, "c"), (3, "c2"), (4, "d"), (6, "f"), (7, "later")]);
        let shadow = side(&[(2, "b"), (3, "c2"), (3, "c"), (4, "D"), (5, "e"), (6, "f")]);
        let found = Comparison::of(real, shadow);
        let expected = Comparison {
            compared: 5,
            equal: 3,
            different: 1,
            only_real: 0,
            only_shadow: 1,
            unnamed: 0,
            differences: vec![
                Difference {
                    input: "in 1:4".to_owned(),
                    real: vec![r#""d""#.to_owned()],
                    shadow: vec![r#""D""#.to_owned()],
                },
                Difference {
                    input: "in 1:5".to_owned(),
                    real: Vec::new(),
                    shadow: vec![r#""e""#.to_owned()],
                },
            ],
        };
        assert_eq!(found, expected);
        assert!(!found.is_equal());
    }

    #[test]
    fn nothing_in_common_is_not_equal() {
        let none = Comparison::of(side(&[(1, "a")]), side(&[]));
        assert_eq!((none.compared, none.is_equal()), (0, false));
        let apart = Comparison::of(side(&[(1, "a"), (2, "b")]), side(&[(3, "c")]));
        assert_eq!((apart.compared, apart.is_equal()), (0, false));
        let equal = Comparison::of(side(&[(1, "a"), (2, "b")]), side(&[(2, "b"), (3, "c")]));
        assert_eq!((equal.compared, equal.is_equal()), (1, true));
    }

    #[test]
    fn a_missing_result_and_an_unnamed_one_are_counted() {
        let mut real = side(&[(1, "a"), (2, "b"), (3, "c")]);
        real.take([Message { input: None, output: Output::default() }]);
        let found = Comparison::of(real, side(&[(1, "a"), (3, "c")]));
        assert_eq!((found.equal, found.only_real, found.unnamed), (2, 1, 1));
    }

    #[test]
    fn the_list_of_differences_is_bounded() {
        let all = |text: &'static str| side(&(0..100).map(|entry| (entry, text)).collect::<Vec<_>>());
        let found = Comparison::of(all("a"), all("b"));
        assert_eq!((found.different, found.differences.len()), (100, MAX_LISTED));
        let long = Output { payload: Some(Payload::of("x".repeat(500).as_bytes())), ..Output::default() };
        assert!(long.to_string().ends_with("x\"… (500 bytes)"), "{long}");
    }
}
