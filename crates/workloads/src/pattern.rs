//! Translates topic patterns from Java's regular expressions to POSIX extended ones, for images without Java.
//!
//! Translates only syntax with the same meaning in both. The result is used for topic names of printable ASCII, which
//! must match as a whole.

use std::fmt::Write as _;

/// Maximum number in `{n,m}` that POSIX guarantees.
const MAX_REPEAT: u32 = 255;
/// Maximum length of an expression.
const MAX_LENGTH: usize = 4096;

/// Translates a Java regular expression. None if POSIX has no equivalent.
pub(crate) fn to_posix(java: &str) -> Option<String> {
    if !java.is_ascii() || java.len() > MAX_LENGTH {
        return None;
    }
    let mut translation =
        Translation { rest: java.as_bytes(), out: String::new(), depth: 0, last: Last::Nothing };
    translation.run()?;
    (translation.depth == 0 && translation.last != Last::Nothing).then_some(translation.out)
}

/// The literal prefix of an expression, before its first special character.
pub(crate) fn literal_prefix(expression: &str) -> &str {
    if expression.contains('|') {
        return "";
    }
    let special = |letter: char| "\\[](){}.*+?^$#".contains(letter) || letter.is_whitespace();
    let end = expression.find(special).unwrap_or(expression.len());
    let (prefix, rest) = expression.split_at(end);
    // A quantifier can make the last character optional.
    if rest.starts_with(['*', '?', '{'])
        && let Some((last, _)) = prefix.char_indices().last()
    {
        return prefix.get(..last).unwrap_or_default();
    }
    prefix
}

/// The element before the current position, which a quantifier applies to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Last {
    Nothing,
    Atom,
    Quantified,
}

struct Translation<'a> {
    rest: &'a [u8],
    out: String,
    depth: u32,
    last: Last,
}

impl Translation<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn take(&mut self, text: &[u8]) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn run(&mut self) -> Option<()> {
        while let Some(letter) = self.next() {
            match letter {
                b'\\' => self.escape()?,
                b'.' => self.atom("."),
                b'[' => self.class()?,
                b'(' => self.open()?,
                b')' => self.close()?,
                b'|' => self.alternative()?,
                b'*' | b'+' | b'?' | b'{' => self.quantifier(letter)?,
                // At the end, `$` is redundant, since the whole name must match.
                b'$' if self.rest.is_empty() && self.depth == 0 => {}
                b'^' | b'$' => return None,
                literal => self.literal(literal)?,
            }
        }
        Some(())
    }

    fn atom(&mut self, text: &str) {
        self.out.push_str(text);
        self.last = Last::Atom;
    }

    fn literal(&mut self, letter: u8) -> Option<()> {
        let text = char::from(letter);
        match text {
            '^' => self.atom("\\^"),
            _ if text.is_ascii_alphanumeric() || "-_/:=,@%~".contains(text) => {
                self.atom(text.encode_utf8(&mut [0; 4]));
            }
            _ if text.is_ascii_graphic() || text == ' ' => self.atom(&format!("[{text}]")),
            _ => return None,
        }
        Some(())
    }

    fn escape(&mut self) -> Option<()> {
        match self.next()? {
            b'd' => self.atom("[0-9]"),
            b'D' => self.atom("[^0-9]"),
            b'w' => self.atom("[A-Za-z0-9_]"),
            b'W' => self.atom("[^A-Za-z0-9_]"),
            b'Q' => {
                while !self.rest.is_empty() && !self.take(b"\\E") {
                    let letter = self.next()?;
                    self.literal(letter)?;
                }
            }
            letter if letter.is_ascii_alphanumeric() => return None,
            letter => self.literal(letter)?,
        }
        Some(())
    }

    fn open(&mut self) -> Option<()> {
        if self.rest.first() == Some(&b'?') && !self.take(b"?:") {
            return None;
        }
        self.depth += 1;
        self.out.push('(');
        self.last = Last::Nothing;
        Some(())
    }

    fn close(&mut self) -> Option<()> {
        if self.last == Last::Nothing {
            return None;
        }
        self.depth = self.depth.checked_sub(1)?;
        self.atom(")");
        Some(())
    }

    fn alternative(&mut self) -> Option<()> {
        if self.last == Last::Nothing {
            return None;
        }
        self.out.push('|');
        self.last = Last::Nothing;
        Some(())
    }

    fn quantifier(&mut self, letter: u8) -> Option<()> {
        if self.last != Last::Atom {
            return None;
        }
        if letter == b'{' {
            self.repeat()?;
        } else {
            self.out.push(char::from(letter));
        }
        self.last = Last::Quantified;
        // POSIX has no possessive quantifiers. Lazy ones match the same names.
        if self.take(b"+") {
            return None;
        }
        self.take(b"?");
        Some(())
    }

    fn repeat(&mut self) -> Option<()> {
        let end = self.rest.iter().position(|letter| *letter == b'}')?;
        let (inside, rest) = self.rest.split_at(end);
        let inside = std::str::from_utf8(inside).ok()?;
        self.rest = rest.get(1..)?;
        let number = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|letter| letter.is_ascii_digit());
            text.parse::<u32>().ok().filter(|number| is_number && *number <= MAX_REPEAT)
        };
        let (least, most) = inside.split_once(',').unwrap_or((inside, inside));
        let least = number(least)?;
        if most.is_empty() {
            return write!(self.out, "{{{least},}}").ok();
        }
        let most = number(most).filter(|most| *most >= least)?;
        write!(self.out, "{{{least},{most}}}").ok()
    }

    fn class(&mut self) -> Option<()> {
        let is_negated = self.take(b"^");
        let mut set = [false; 128];
        let mut is_empty = true;
        loop {
            let from = match self.next()? {
                b']' if !is_empty => break,
                b']' | b'[' => return None,
                b'&' if self.rest.first() == Some(&b'&') => return None,
                b'\\' => match self.next()? {
                    letter @ (b'd' | b'w') => {
                        let is_in = |it: u8| {
                            it.is_ascii_digit() || letter == b'w' && (it.is_ascii_alphabetic() || it == b'_')
                        };
                        (0..128).filter(|it| is_in(*it)).for_each(|it| set[usize::from(it)] = true);
                        is_empty = false;
                        continue;
                    }
                    letter if letter.is_ascii_alphanumeric() => return None,
                    letter => letter,
                },
                letter => letter,
            };
            is_empty = false;
            let is_range = self.rest.first() == Some(&b'-') && self.rest.get(1).is_some_and(|it| *it != b']');
            let to = if is_range {
                self.next()?;
                match self.next()? {
                    b'\\' => self.next().filter(|it| !it.is_ascii_alphanumeric())?,
                    b'[' => return None,
                    letter => letter,
                }
            } else {
                from
            };
            if to < from {
                return None;
            }
            (from..=to).for_each(|it| set[usize::from(it)] = true);
        }
        let chosen: Vec<u8> = (0x21..0x7f).filter(|it| set[usize::from(*it)] != is_negated).collect();
        let text = bracket(&chosen)?;
        self.atom(&text);
        Some(())
    }
}

/// A bracket expression of the characters, in an order in which each is literal.
fn bracket(chosen: &[u8]) -> Option<String> {
    match chosen {
        [] => return None,
        [b'^'] => return Some("\\^".to_owned()),
        _ => {}
    }
    let has = |letter: u8| chosen.contains(&letter);
    let mut text = "[".to_owned();
    if has(b']') {
        text.push(']');
    }
    let apart = b"]^[-";
    text.extend(chosen.iter().filter(|letter| !apart.contains(letter)).map(|letter| char::from(*letter)));
    // `^` negates only at the start, and `[` is special only before `.`, `=` or `:`.
    text.extend(b"^[-".iter().filter(|letter| has(**letter)).map(|letter| char::from(*letter)));
    if text.starts_with("[^") {
        // The set contains only `^`, `[` and `-`.
        let others = text.split_off(2);
        return others
            .starts_with('[')
            .then(|| format!("[[^{}]", others.get(1..).unwrap_or_default()))
            .or(Some("[-^]".into()));
    }
    text.push(']');
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    const NAMES: [&str; 14] = [
        "t/n/orders",
        "t/n/orders-1",
        "t/n/orders-eu-12",
        "t/n/payments",
        "t/n/a.b",
        "t/n/axb",
        "t/n/a^b",
        "t/n/a-b",
        "t/n/a]b",
        "t/n/a[b",
        "t/n/a$b",
        "b",
        "t/n/a\\b",
        "t/n/ORDERS-1",
    ];

    fn matched(mut command: Command, input: &str) -> Vec<String> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a program");
        child.stdin.take().expect("an input").write_all(input.as_bytes()).expect("written");
        let output = child.wait_with_output().expect("an end");
        let code = output.status.code();
        assert!(code == Some(0) || code == Some(1), "{input}: {output:?}");
        String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect()
    }

    #[test]
    fn posix_and_java_match_the_same_topics() {
        for expression in [
            "t/n/orders-.*",
            "t/n/.*",
            "t/n/a.b",
            r"t/n/a\.b",
            "t/n/(orders|payments)",
            "t/n/(?:orders)(-[0-9]+)?",
            r"t/n/orders-\d{1,2}",
            r"t/n/orders-\w+-\d\d$",
            "t/n/a[.^x]b",
            "t/n/a[^.^x]b",
            r"t/n/a[\]\[]b",
            "t/n/a|b",
            "t/n/a[$-]b",
            r"t/n/\Qa.b\E",
            "t/n/[a-p]+.*?",
            r"t/n/a[^\d]b",
            "t/n/[A-Z]+-1",
            r"t/n/a\\b",
            r"t/n/a\^b",
            "t/n/a[\\^]b",
            "t/n/a[\\^-]b",
            "t/n/a[\\^\\[]b",
            "t/n/o{1}rders{0,}",
        ] {
            let posix = to_posix(expression).expect(expression);
            let names = NAMES.join("\n") + "\n";
            let mut grep = Command::new("grep");
            grep.env("LC_ALL", "C").args(["-Ex", "--", &posix]);
            let mut java = Command::new("java");
            java.args(["-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp"])
                .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/src/cleanup"))
                .arg("TopicMatcher");
            let by_java = matched(java, &format!("{expression}\n{names}"));
            assert_eq!(matched(grep, &names), by_java, "{expression} as {posix}");
        }
    }

    #[test]
    fn untranslatable_expressions_are_rejected() {
        for expression in [
            "t/n/(?!x).*",
            "t/n/(?i)x",
            r"t/n/(a)\1",
            "t/n/a*+",
            "t/n/a**",
            "t/n/(a|)",
            "t/n/(",
            "t/n/a)",
            "t/n/[a",
            "t/n/[a&&b]",
            "t/n/[a[b]]",
            r"t/n/\pL",
            r"t/n/\bx",
            "t/n/é",
            "t/n/a{300}",
            "t/n/a{2,1}",
            "t/n/^a",
            "t/n/$a",
            "",
            r"t/n/\",
            "t/n/[b-a]",
            "t/n/|",
        ] {
            assert_eq!(to_posix(expression), None, "{expression}");
        }
    }

    #[test]
    fn literal_prefix_ends_before_special_characters() {
        for (expression, prefix) in [
            ("orders-.*", "orders-"),
            ("orders?", "order"),
            ("orders+", "orders"),
            ("a|b", ""),
            ("(?i)a", ""),
            ("ab{2}", "a"),
            ("plain", "plain"),
        ] {
            assert_eq!(literal_prefix(expression), prefix, "{expression}");
        }
    }
}
