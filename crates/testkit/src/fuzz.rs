//! Fuzz inputs: JSON of any depth and width, valid objects with replaced parts, and random bytes.
//!
//! Property tests generate few small inputs, and shrink them. This generates hundreds of thousands within a time limit,
//! some of them large, and measures the memory of the process. The seed and the number of an input reproduce it.

use std::env;
use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fastrand::Rng;
use serde_json::Value;

/// Maximum growth of the process after the first inputs, in bytes: the allocator keeps parts of a freed heap.
const GROWTH: u64 = 48 << 20;
/// Placeholder of a replaced value until the object is serialized.
const PLACE: &str = "fuzz-replaced-value";
const DEPTHS: [usize; 8] = [1, 3, 10, 63, 64, 130, 400, 3000];
/// Keys with a meaning for decoders.
const KEYS: [&str; 12] = [
    "metadata",
    "managedFields",
    "annotations",
    "labels",
    "name",
    "spec",
    "status",
    "items",
    "kind",
    "uid",
    "",
    "request",
];
const SCALARS: [&str; 14] = [
    "null",
    "true",
    "0",
    "-1",
    "1e999",
    "18446744073709551616",
    "0.1",
    r#""""#,
    r#""a""#,
    r#""\u0000""#,
    r#""\ud800""#,
    r#""persistent://a/b/c""#,
    r#""2026-01-01T00:00:00Z""#,
    r#""UPDATE""#,
];

/// Generates inputs from valid objects.
#[derive(Clone, Debug)]
pub struct Fuzz {
    samples: Vec<Value>,
    seed: u64,
    time: Duration,
}

/// Statistics of a run.
#[derive(Clone, Copy, Debug)]
pub struct FuzzReport {
    /// Number of inputs.
    pub inputs: u64,
    /// Total size of the inputs, in bytes.
    pub bytes: u64,
    /// Growth of the process after the first inputs, in bytes.
    pub growth: u64,
}

impl Fuzz {
    /// `FUZZ_SECONDS` (2) and `FUZZ_SEED` set the time limit and the seed.
    pub fn new(samples: impl IntoIterator<Item = Value>) -> anyhow::Result<Self> {
        let number = |name: &str| {
            let text = env::var(name).ok().filter(|text| !text.is_empty());
            text.map(|text| text.parse::<u64>().with_context(|| format!("{name}={text}"))).transpose()
        };
        let seed = number("FUZZ_SEED")?.unwrap_or_else(|| fastrand::u64(..));
        let time = Duration::from_secs(number("FUZZ_SECONDS")?.unwrap_or(2));
        Ok(Self { samples: samples.into_iter().collect(), seed, time })
    }

    /// Runs the check on inputs until the time limit. An error contains seed and number of the input.
    pub fn run(&self, mut check: impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<FuzzReport> {
        let begun = Instant::now();
        let (mut inputs, mut bytes, mut early) = (0_u64, 0, None);
        while begun.elapsed() < self.time || inputs < 100 {
            let input = self.input(inputs);
            let named = Named { seed: self.seed, number: inputs };
            check(&input).with_context(|| named.to_string())?;
            drop(named);
            inputs += 1;
            bytes += input.len() as u64;
            if early.is_none() && (begun.elapsed() > self.time / 3) {
                early = Some(resident());
            }
        }
        let growth = resident().saturating_sub(early.unwrap_or_default());
        ensure!(growth < GROWTH, "the process grew by {growth} bytes over {inputs} inputs");
        Ok(FuzzReport { inputs, bytes, growth })
    }

    /// The input with this number.
    pub fn input(&self, number: u64) -> Vec<u8> {
        let mut rng = Rng::with_seed(self.seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let mut input = match rng.u8(..100) {
            0..5 => return (0..rng.usize(..300)).map(|_| rng.u8(..)).collect(),
            5..20 => any_json(&mut rng),
            20..25 => wide(&mut rng),
            _ => self.changed(&mut rng),
        }
        .into_bytes();
        // Truncated, or with random bytes.
        if rng.u8(..100) < 15 && !input.is_empty() {
            for _ in 0..rng.usize(1..4) {
                let at = rng.usize(..input.len());
                input[at] = rng.u8(..);
            }
        }
        if rng.u8(..100) < 5 {
            input.truncate(rng.usize(..=input.len()));
        }
        input
    }

    /// A valid object in which some values are replaced.
    fn changed(&self, rng: &mut Rng) -> String {
        let Some(sample) = rng.choice(&self.samples) else { return any_json(rng) };
        let mut object = sample.clone();
        let mut values = Vec::new();
        for number in 0..rng.usize(..4) {
            let pointer = pointer(&object, rng);
            if let Some(place) = object.pointer_mut(&pointer) {
                *place = Value::String(format!("{PLACE}{number}"));
            }
            values.push(if rng.u8(..10) == 0 { wide(rng) } else { any_json(rng) });
        }
        let mut text = object.to_string();
        for (number, value) in values.iter().enumerate() {
            text = text.replacen(&format!("\"{PLACE}{number}\""), value, 1);
        }
        text
    }
}

/// A JSON pointer to a random place in a value.
fn pointer(mut value: &Value, rng: &mut Rng) -> String {
    let mut pointer = String::new();
    while rng.u8(..4) > 0 {
        let (key, next) = match value {
            Value::Object(map) if !map.is_empty() => {
                let Some((key, next)) = map.iter().nth(rng.usize(..map.len())) else { break };
                (key.replace('~', "~0").replace('/', "~1"), next)
            }
            Value::Array(list) if !list.is_empty() => {
                let index = rng.usize(..list.len());
                (index.to_string(), &list[index])
            }
            _ => break,
        };
        pointer = format!("{pointer}/{key}");
        value = next;
    }
    pointer
}

/// Prints the input on standard error if the check panics.
struct Named {
    seed: u64,
    number: u64,
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "input {} of FUZZ_SEED={}", self.number, self.seed)
    }
}

impl Drop for Named {
    #[allow(clippy::print_stderr, reason = "a test says so when it fails")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the check panicked at {self}");
        }
    }
}

/// A value with random depth, and a few siblings on each level.
fn any_json(rng: &mut Rng) -> String {
    // Most are flat, for a higher throughput.
    let depth = if rng.u8(..8) == 0 { DEPTHS[rng.usize(..DEPTHS.len())] } else { 4 };
    let depth = rng.usize(..=depth);
    let (mut text, mut closing) = (String::new(), Vec::with_capacity(depth));
    for _ in 0..depth {
        let siblings = if rng.u8(..4) == 0 { rng.usize(..4) } else { 0 };
        if rng.bool() {
            text.push('[');
            closing.push(']');
            for _ in 0..siblings {
                _ = write!(text, "{},", scalar(rng));
            }
        } else {
            text.push('{');
            closing.push('}');
            for _ in 0..siblings {
                _ = write!(text, "\"{}\":{},", key(rng), scalar(rng));
            }
            _ = write!(text, "\"{}\":", key(rng));
        }
    }
    text.push_str(scalar(rng));
    text.extend(closing.iter().rev());
    text
}

/// Many repetitions: the most expensive values as a tree, strings, keys.
fn wide(rng: &mut Rng) -> String {
    let items = [r#"{"":0}"#, "{}", "[]", "0", r#""""#, "null", r#"{"a":{"a":{}}}"#];
    let item = items[rng.usize(..items.len())];
    let count = if rng.u16(..500) == 0 { rng.usize(..100_000) } else { rng.usize(..40) };
    match rng.u8(..4) {
        0 => format!("\"{}\"", "\\u0007".repeat(count)),
        1 => {
            let mut text = "{".to_owned();
            for number in 0..count {
                _ = write!(text, "\"{number}\":{item},");
            }
            text.push_str("\"\":0}");
            text
        }
        _ => format!("[{}{item}]", format!("{item},").repeat(count)),
    }
}

fn key(rng: &mut Rng) -> &'static str {
    KEYS[rng.usize(..KEYS.len())]
}

fn scalar(rng: &mut Rng) -> &'static str {
    SCALARS[rng.usize(..SCALARS.len())]
}

/// Resident memory of this process, in bytes; 0 if the kernel does not report it.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    line.and_then(|kib| kib.trim().parse::<u64>().ok()).unwrap_or_default() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fuzz() -> Fuzz {
        let sample =
            json!({ "metadata": { "name": "f", "labels": { "a": "b" } }, "spec": { "list": [1, 2] } });
        Fuzz { samples: vec![sample], seed: 7, time: Duration::ZERO }
    }

    #[test]
    fn input_is_reproducible_from_its_number() {
        assert_eq!(fuzz().input(12), fuzz().input(12));
        assert_ne!(fuzz().input(12), fuzz().input(13));
    }

    #[test]
    fn inputs_are_valid_invalid_deep_and_wide() {
        let fuzz = fuzz();
        let inputs: Vec<_> = (0..5000).map(|number| fuzz.input(number)).collect();
        let parsed = inputs.iter().filter(|input| serde_json::from_slice::<Value>(input).is_ok()).count();
        assert!((1000..4900).contains(&parsed), "{parsed} of 5000 are JSON");
        let deep = |input: &&Vec<u8>| input.iter().filter(|byte| b"[{".contains(byte)).count() > 200;
        assert!(inputs.iter().filter(deep).count() > 10);
        assert!(inputs.iter().any(|input| input.len() > 20_000));
        assert!(inputs.iter().any(|input| String::from_utf8_lossy(input).contains("managedFields")));
    }

    #[test]
    fn error_names_the_input() {
        let error =
            fuzz().run(|input| if input.len() > 3 { anyhow::bail!("bad") } else { Ok(()) }).unwrap_err();
        assert!(format!("{error:#}").contains("FUZZ_SEED=7"), "{error:#}");
    }
}
