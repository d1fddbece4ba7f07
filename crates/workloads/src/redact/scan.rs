//! Redacts secrets in plain text, in one pass, by their usual formats.

use super::{HIDDEN, Name};

/// Schemes of the header `Authorization`, which precede the secret.
const SCHEMES: [&str; 6] = ["basic", "bearer", "digest", "negotiate", "apikey", "sharedkey"];

/// Words that follow the name of a scheme in a sentence and are not secret.
const NO_SECRETS: [&str; 8] =
    ["auth", "authentication", "authorization", "token", "tokens", "scheme", "credentials", "plugin"];

/// Prefixes of well-known tokens.
const TOKENS: [&str; 12] = [
    "eyJ",
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "sk_live_",
    "AKIA",
    "ASIA",
];
/// Minimum length of a token.
const MIN_TOKEN_LENGTH: usize = 12;

/// Redacts the secrets in a text.
pub(super) fn text(text: &str) -> String {
    let mut scan =
        Scan { rest: text, shown: String::with_capacity(text.len()), left_at_user: Some(usize::MAX) };
    while !scan.rest.is_empty() {
        scan.step();
    }
    scan.shown
}

/// Whether a URL in a text ends before this character.
pub(super) fn ends_address(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '"' | '\'' | '<' | '>' | '`' | '\\')
}

/// The length of the user information of a URL, including `@`.
pub(super) fn user(address: &str) -> Option<usize> {
    let end = address.find(['/', '?', '#']).unwrap_or(address.len());
    let before = address.get(..end)?;
    if let Some(at) = before.rfind('@') {
        return Some(at + 1);
    }
    // A password can contain a slash, and then the text before it is not a port.
    let (_, port) = before.rsplit_once(':')?;
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) || before.ends_with(']');
    (!is_port).then(|| address.rfind('@').map(|at| at + 1)).flatten()
}

struct Scan<'a> {
    rest: &'a str,
    shown: String,
    /// The remaining length of the text at the next `@`, to search it only once.
    left_at_user: Option<usize>,
}

impl<'a> Scan<'a> {
    /// Copies bytes to the output.
    fn show(&mut self, bytes: usize) {
        let (head, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.shown.push_str(head);
        self.rest = rest;
    }

    /// Redacts bytes.
    fn hide(&mut self, bytes: usize) {
        self.shown.push_str(HIDDEN);
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn step(&mut self) {
        if self.rest.starts_with("-----BEGIN ") {
            return self.pem();
        }
        if let Some(escape) = percent(self.rest) {
            return self.show(escape);
        }
        let length = self.rest.find(|letter| !is_of_name(letter)).unwrap_or(self.rest.len());
        let Some(word) = self.rest.get(..length).filter(|word| !word.is_empty()) else {
            let length = self.rest.chars().next().map_or(1, char::len_utf8);
            return self.show(length);
        };
        if TOKENS.iter().any(|begin| word.starts_with(begin)) && word.len() >= MIN_TOKEN_LENGTH {
            return self.hide(word.len());
        }
        self.word(word);
    }

    /// A word: possibly the name of a secret, a scheme, or the start of a URL.
    fn word(&mut self, word: &'a str) {
        let is_secret = Name::classify(word).is_secret();
        self.show(word.len());
        if let Some(mark) = scheme_mark(self.rest) {
            self.show(mark);
            return self.address();
        }
        if SCHEMES.iter().any(|scheme| word.eq_ignore_ascii_case(scheme)) && self.authorization() {
            return;
        }
        if is_secret {
            if let Some(mark) = assignment(self.rest) {
                let is_sentence = is_sentence(word, self.rest, mark);
                self.show(mark);
                if !is_sentence {
                    self.value();
                }
                return;
            }
            // An option with its value in the next word.
            if word.starts_with("--") {
                let blank = self.rest.len() - self.rest.trim_start().len();
                if blank > 0 && !self.rest.trim_start().starts_with('-') {
                    self.show(blank);
                    return self.value();
                }
            }
        }
        self.user_of_no_scheme(word);
    }

    /// The user information of a URL.
    fn address(&mut self) {
        let is_near = self.is_user_near();
        let ahead = ahead(self.rest);
        if !is_near && !ahead.contains('%') {
            return;
        }
        let end = ahead.find(ends_address).unwrap_or(ahead.len());
        let address = ahead.get(..end).unwrap_or_default();
        if let Some(length) = user(address) {
            self.hide(length - 1);
        } else if let Some(at) = address.find("%40").filter(|at| !address[..*at].contains("%2F")) {
            self.hide(at);
        }
    }

    /// The credentials after `Basic` or `Bearer`.
    fn authorization(&mut self) -> bool {
        let blank = match self.rest {
            rest if rest.starts_with("%20") => 3,
            rest if rest.starts_with([' ', '\t', '+']) => {
                rest.len() - rest.trim_start_matches([' ', '\t', '+']).len()
            }
            _ => return false,
        };
        let after = self.rest.get(blank..).unwrap_or_default();
        let end = after.find(ends_value).unwrap_or(after.len());
        let word = after.get(..end).unwrap_or_default();
        let plain = word.trim_end_matches(|letter: char| !letter.is_ascii_alphanumeric());
        if plain.is_empty() || NO_SECRETS.iter().any(|known| plain.eq_ignore_ascii_case(known)) {
            return false;
        }
        self.show(blank);
        self.hide(end);
        true
    }

    /// The value of a secret's name: within quotes or brackets, or up to the usual end of a value.
    fn value(&mut self) {
        if let Some(quote) = opening(self.rest) {
            self.show(quote);
            let end = closing(self.rest, quote);
            if end > 0 {
                self.hide(end);
            }
            let end = self.rest.len().min(quote);
            return self.show(end);
        }
        for (open, close) in [('[', ']'), ('{', '}')] {
            if self.rest.starts_with(open) {
                self.show(1);
                let end = self.rest.find(close).unwrap_or(self.rest.len());
                return self.hide(end);
            }
        }
        let mut end = value_length(self.rest);
        let first = self.rest.get(..end).unwrap_or_default();
        // The scheme and its credentials are one value.
        if SCHEMES.iter().any(|scheme| first.eq_ignore_ascii_case(scheme)) {
            let after = self.rest.get(end..).unwrap_or_default();
            let blank = after.len() - after.trim_start_matches([' ', '\t']).len();
            end += blank + value_length(after.get(blank..).unwrap_or_default());
        }
        if end > 0 {
            self.hide(end);
        }
    }

    /// Whether an `@` is near enough for user information.
    fn is_user_near(&mut self) -> bool {
        if self.left_at_user.is_some_and(|left| left > self.rest.len()) {
            self.left_at_user = self.rest.find('@').map(|at| self.rest.len() - at);
        }
        self.left_at_user.is_some_and(|left| self.rest.len() - left < LOOKAHEAD)
    }

    /// `user:password@host` without a scheme, or Oracle's `thin:user/password@host`.
    fn user_of_no_scheme(&mut self, word: &str) {
        let Some(after) = self.rest.strip_prefix(':').map(ahead) else { return };
        if !self.is_user_near() {
            return;
        }
        let is_oracle = word.eq_ignore_ascii_case("thin") || word.eq_ignore_ascii_case("oci");
        let end = after.find(|letter| {
            ends_address(letter) || matches!(letter, ',' | ';' | '=') || (letter == '/' && !is_oracle)
        });
        let piece = after.get(..end.unwrap_or(after.len())).unwrap_or_default();
        let Some(at) = piece.rfind('@').filter(|at| *at > 0) else { return };
        let host = piece.get(at + 1..).unwrap_or_default();
        // An image digest also follows `@`.
        if host.starts_with("sha256:") || host.starts_with("sha512:") {
            return;
        }
        self.show(1);
        self.hide(at);
    }

    /// A PEM block. Private keys are secret, certificates are not.
    fn pem(&mut self) {
        const BEGIN: &str = "-----BEGIN ";
        let label =
            self.rest.get(BEGIN.len()..).and_then(|rest| rest.split("-----").next()).unwrap_or_default();
        if !label.contains("PRIVATE") {
            return self.show(BEGIN.len());
        }
        let end = self.rest.find("-----END ").and_then(|at| {
            let mark = at + "-----END ".len();
            Some(mark + self.rest.get(mark..)?.find("-----")? + "-----".len())
        });
        self.hide(end.unwrap_or(self.rest.len()));
    }
}

/// Maximum lookahead for user information in bytes, which keeps the scan linear.
const LOOKAHEAD: usize = 512;

fn ahead(text: &str) -> &str {
    let end = (0..=LOOKAHEAD.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or_default()).unwrap_or_default()
}

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.')
}

/// The length of a percent-encoded character, encoded once or several times.
fn percent(text: &str) -> Option<usize> {
    let mut rest = text.strip_prefix('%')?;
    while let Some(more) = rest.strip_prefix("25") {
        rest = more;
    }
    let digits = rest.get(..2)?;
    let written = text.len() - rest.len();
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(written + 2)
}

/// The length of a punctuation mark at the start of a text, plain or percent-encoded.
fn mark(text: &str, plain: &[char], encoded: &[&str]) -> Option<usize> {
    if text.starts_with(plain) {
        return text.chars().next().map(char::len_utf8);
    }
    let length = percent(text)?;
    let code = text.get(length - 2..length)?;
    encoded.iter().any(|it| it.eq_ignore_ascii_case(code)).then_some(length)
}

/// The length of `://`, plain or percent-encoded.
fn scheme_mark(text: &str) -> Option<usize> {
    let colon = mark(text, &[':'], &["3A"])?;
    let first = colon + mark(text.get(colon..)?, &['/'], &["2F"])?;
    Some(first + mark(text.get(first..)?, &['/'], &["2F"])?)
}

/// The length of an assignment between a name and its value: the closing quote of the name, `=` or `:`, and spaces.
fn assignment(text: &str) -> Option<usize> {
    let blanks = |text: &str| text.len() - text.trim_start_matches([' ', '\t']).len();
    let mut at = 0;
    while text.get(at..)?.starts_with('\\') {
        at += 1;
    }
    let quoted = mark(text.get(at..)?, &['"', '\''], &["22", "27"]);
    at = quoted.map_or(0, |quote| at + quote);
    let blank = blanks(text.get(at..)?);
    let sign = at + blank;
    let equals = mark(text.get(sign..)?, &['='], &["3D"]);
    let colon = mark(text.get(sign..)?, &[':'], &["3A"]);
    let length = match (equals, colon) {
        (Some(length), _) => length,
        (None, Some(length)) => {
            // In a sentence, a blank can precede a colon; an assignment then has a quoted value.
            let after = text.get(sign + length..)?.trim_start_matches([' ', '\t']);
            if blank > 0 && !after.starts_with(['"', '\'', '\\']) {
                return None;
            }
            length
        }
        (None, None) => return None,
    };
    let mut end = sign + length;
    if text.get(end..)?.starts_with(['>', '=']) {
        end += 1;
    }
    Some(end + blanks(text.get(end..)?))
}

/// Whether a colon is part of a sentence, as in `authorization: server message`: tokens are not lowercase words.
fn is_sentence(name: &str, text: &str, mark: usize) -> bool {
    let (mark, after) = text.split_at_checked(mark).unwrap_or((text, ""));
    let word = after.get(..value_length(after)).unwrap_or_default();
    let name = name.to_ascii_lowercase();
    mark == ": "
        && !["pass", "pwd", "pw"].iter().any(|part| name.contains(part))
        && word.len() <= 16
        && word.trim_end_matches(':').bytes().all(|byte| byte.is_ascii_lowercase())
}

fn ends_value(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, ',' | ';' | '&' | '"' | '\'')
}

/// The length of an unquoted value.
fn value_length(text: &str) -> usize {
    for (at, letter) in text.char_indices() {
        if ends_value(letter) || text.get(at..).is_some_and(|rest| rest.starts_with("\\\"")) {
            return at;
        }
        if letter == '%'
            && mark(text.get(at..).unwrap_or_default(), &[], &["26", "20", "22", "3B", "2C"]).is_some()
        {
            return at;
        }
    }
    text.len()
}

/// The length of an opening quote, with the backslashes of nested strings, or encoded.
fn opening(text: &str) -> Option<usize> {
    let slashes = text.len() - text.trim_start_matches('\\').len();
    let rest = text.get(slashes..)?;
    if rest.starts_with(['"', '\'']) {
        return Some(slashes + 1);
    }
    if rest.starts_with("&quot;") {
        return Some(slashes + "&quot;".len());
    }
    mark(text, &[], &["22", "27"])
}

/// The end of a value after an opening quote of this length, or of the text if the quote is not closed.
fn closing(text: &str, quote: usize) -> usize {
    // An encoded quote, or one of HTML, ends the value like a plain one.
    let mut slashes = 0;
    for (at, letter) in text.char_indices() {
        match letter {
            '\\' => slashes += 1,
            '"' | '\'' => {
                // A quote within the value has more backslashes than the closing one.
                let is_end = if quote == 1 { slashes % 2 == 0 } else { slashes < quote };
                if is_end {
                    return at - slashes.min(quote - 1);
                }
                slashes = 0;
            }
            '%' | '&' if quote > 2 && opening(text.get(at..).unwrap_or_default()).is_some() => return at,
            _ => slashes = 0,
        }
    }
    text.len()
}
