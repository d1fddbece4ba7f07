//! Shell commands, built from words.
//!
//! A word is text, which reaches the program as it is whatever it holds, or names something that the shell is
//! to put in. Quoting happens once, when a command is written out, and only where the shell needs it.

use std::fmt::{self, Display, Write};

/// Where Kubernetes reads a container's last message from.
const LAST_WORDS: &str = "/dev/termination-log";

/// A piece of a word.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Piece {
    /// Text as it is.
    Text(String),
    /// The value of a variable, or else a default, as one word.
    Variable { name: String, default: Option<String> },
    /// The file that a pattern stands for, as one word.
    File(&'static str),
    /// Shell syntax.
    Syntax(String),
}

/// One argument of a command.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Word(Vec<Piece>);

impl Word {
    /// The value of a variable.
    pub(crate) fn variable(name: impl Into<String>) -> Self {
        Self(vec![Piece::Variable { name: name.into(), default: None }])
    }

    /// The value of a variable, or a default where it is empty.
    pub(crate) fn variable_or(name: impl Into<String>, default: &str) -> Self {
        Self(vec![Piece::Variable { name: name.into(), default: Some(default.to_owned()) }])
    }

    /// The file that a pattern stands for.
    pub(crate) fn file(pattern: &'static str) -> Self {
        Self(vec![Piece::File(pattern)])
    }

    /// What its author wrote for a shell to read: several words, variables, quotes.
    pub(crate) fn syntax(text: impl Into<String>) -> Self {
        Self(vec![Piece::Syntax(text.into())])
    }

    /// This word with another one right behind it.
    #[must_use]
    pub(crate) fn then(mut self, next: impl Into<Self>) -> Self {
        self.0.extend(next.into().0);
        self
    }
}

impl From<&str> for Word {
    fn from(text: &str) -> Self {
        Self(vec![Piece::Text(text.to_owned())])
    }
}

impl From<String> for Word {
    fn from(text: String) -> Self {
        Self(vec![Piece::Text(text)])
    }
}

impl From<bool> for Word {
    fn from(flag: bool) -> Self {
        Self::from(if flag { "true" } else { "false" })
    }
}

impl Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_empty = self.0.iter().all(|piece| matches!(piece, Piece::Text(text) if text.is_empty()));
        if is_empty {
            return f.write_str("''");
        }
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => write_quoted(f, text)?,
                Piece::Variable { name, default: None } => write!(f, "\"${{{name}}}\"")?,
                Piece::Variable { name, default: Some(default) } => write!(f, "\"${{{name}:-{default}}}\"")?,
                Piece::File(pattern) => write!(f, "\"$(echo {pattern})\"")?,
                Piece::Syntax(text) => f.write_str(text)?,
            }
        }
        Ok(())
    }
}

/// Whether a shell takes a character as it is, wherever in a word it stands.
fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric()
        || matches!(letter, '-' | '_' | '.' | '/' | ':' | ',' | '+' | '@' | '%' | '=')
}

fn write_quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    if text.chars().all(is_plain) {
        return f.write_str(text);
    }
    f.write_char('\'')?;
    let mut before = ' ';
    for letter in text.chars() {
        match letter {
            '\'' => f.write_str(r#"'"'"'"#)?,
            // Kubernetes reads a command before any shell does: it takes `$(NAME)` for a variable and `$$` for
            // one `$`, and knows no quotes. An empty text between the two keeps them apart.
            '$' | '(' if before == '$' => write!(f, "''{letter}")?,
            letter => f.write_char(letter)?,
        }
        before = letter;
    }
    f.write_char('\'')
}

/// Text as the value of a variable of a container, in which Kubernetes reads `$(NAME)` and `$$` too.
pub(crate) fn literal_value(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        value.push(letter);
        if letter == '$' && matches!(letters.peek(), Some('$' | '(')) {
            value.push('$');
        }
    }
    value
}

/// A program and its arguments.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Command(Vec<Word>);

impl Command {
    /// A program to start.
    pub(crate) fn new(program: impl Into<Word>) -> Self {
        Self(vec![program.into()])
    }

    /// One more argument.
    #[must_use]
    pub(crate) fn arg(mut self, word: impl Into<Word>) -> Self {
        self.0.push(word.into());
        self
    }

    /// More arguments.
    #[must_use]
    pub(crate) fn args<W: Into<Word>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.0.extend(words.into_iter().map(Into::into));
        self
    }

    /// An option and its value, as two arguments.
    #[must_use]
    pub(crate) fn option(self, name: &str, value: impl Into<Word>) -> Self {
        self.arg(name).arg(value)
    }
}

impl Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, word) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_char(' ')?;
            }
            write!(f, "{word}")?;
        }
        Ok(())
    }
}

/// Commands that run one after the other, each only if those before it went well.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Script(Vec<String>);

impl Script {
    /// One more command.
    #[must_use]
    pub(crate) fn run(mut self, command: impl Display) -> Self {
        self.0.push(command.to_string());
        self
    }

    /// One more command that can fail for reasons a user can do something about. What it said last, below `what`, is
    /// then left where Kubernetes reads a container's last message from; its exit code stays.
    #[must_use]
    pub(crate) fn run_or_tell(self, command: &Command, what: &str) -> Self {
        let told = format!("{{ echo {}; printf '%s' \"$said\" | tail -c 1500; }}", Word::from(what));
        let say = r#"printf '%s\n' "$said""#;
        self.run(format!(
            "{{ said=$({command} 2>&1) && {say} || {{ code=$?; {say}; {told} > {LAST_WORDS}; exit $code; }}; }}"
        ))
    }

    /// The commands of another script behind these.
    #[must_use]
    pub(crate) fn append(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// A file with this text.
    #[must_use]
    pub(crate) fn write(self, text: &str, file: &str) -> Self {
        let print = Command::new("printf").arg("%s").arg(text);
        self.run(format!("{print} > {}", Word::from(file)))
    }

    /// A command that takes the place of the shell, so that signals reach it.
    #[must_use]
    pub(crate) fn exec(self, command: &Command) -> Self {
        self.run(format!("exec {command}"))
    }

    /// The script as text, to stand in another one.
    pub(crate) fn text(self) -> String {
        self.0.join(" && ")
    }

    /// The script as the command of a container.
    pub(crate) fn into_command(self, shell: &str) -> Vec<String> {
        vec![shell.to_owned(), "-c".to_owned(), self.0.join(" && ")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process;

    #[test]
    fn a_command_that_fails_leaves_its_last_words_and_its_exit_code() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("last-words");
        for (command, code, out, left) in [
            ("printf '%s\\n' fine", 0, "fine\nnext\n", None),
            (r#"sh -c 'printf %s "a\nb \$x"; exit 8'"#, 8, "a\\nb $x\n", Some("cannot do $(it):\na\\nb $x")),
        ] {
            let command = Command::new(Word::syntax(command));
            let script = Script::default().run_or_tell(&command, "cannot do $(it):").run("echo next");
            let [shell, option, text] = script.into_command("bash").try_into().unwrap();
            let text = text.replace(LAST_WORDS, file.to_str().unwrap());
            let run = process::Command::new(shell).args([option, text]).output().unwrap();
            assert_eq!(run.status.code(), Some(code));
            assert_eq!(String::from_utf8_lossy(&run.stdout), out);
            assert_eq!(std::fs::read_to_string(&file).ok().as_deref(), left);
        }
    }

    fn output(shell: &str, command: &Command) -> Vec<u8> {
        let command = Script::default().run(command).into_command(shell);
        let run = process::Command::new(&command[0])
            .args(&command[1..])
            .env("NAME", "a value  with * and 'quotes'")
            .env_remove("UNSET")
            .output()
            .expect("a shell");
        assert!(run.status.success(), "{command:?}: {}", String::from_utf8_lossy(&run.stderr));
        run.stdout
    }

    fn print(word: impl Into<Word>) -> Command {
        Command::new("printf").arg("[%s]").arg(word)
    }

    /// What Kubernetes makes of a command or of the value of a variable, with one variable to put in.
    fn kubernetes(text: &str) -> String {
        let mut read = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            read += before;
            rest = after;
            if let Some(after) = rest.strip_prefix('$') {
                read.push('$');
                rest = after;
            } else if let Some(after) = rest.strip_prefix("(A)") {
                read += "put in";
                rest = after;
            } else {
                read.push('$');
            }
        }
        read + rest
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn kubernetes_puts_nothing_into_text(text in "([$()A' \"]|\\$\\(A\\)){0,8}") {
            let quoted = kubernetes(&print(text.as_str()).to_string());
            prop_assert_eq!(&quoted, &print(text.as_str()).to_string());
            let expected = format!("[{text}]").into_bytes();
            prop_assert_eq!(output("sh", &print(text.as_str())), expected);
            prop_assert_eq!(kubernetes(&literal_value(&text)), text);
        }

        #[test]
        fn any_text_arrives_as_one_unchanged_argument(text in "[^\0]{0,40}", shell in 0..2_usize) {
            let expected = format!("[{text}]").into_bytes();
            prop_assert_eq!(output(["bash", "sh"][shell], &print(text.as_str())), expected);
        }

        #[test]
        fn what_a_shell_would_act_on_arrives_too(text in r#"[ '"$`\\;&|<>(){}*?!#~=\n\t%-]{0,24}"#, shell in 0..2_usize) {
            let expected = format!("[{text}]").into_bytes();
            prop_assert_eq!(output(["bash", "sh"][shell], &print(text)), expected);
        }
    }

    #[test]
    fn plain_words_stay_plain() {
        let command = Command::new("java").args(["-cp", "/a/b.jar:/c", "--x=y", "a,b@1+2%_"]);
        assert_eq!(command.to_string(), "java -cp /a/b.jar:/c --x=y a,b@1+2%_");
        assert_eq!(Word::from("it's").to_string(), r#"'it'"'"'s'"#);
        assert_eq!(Word::from("").to_string(), "''");
        assert_eq!(Word::from("~").to_string(), "'~'");
    }

    #[test]
    fn variables_are_put_in_as_one_word() {
        let word = Word::from("a b:").then(Word::variable("NAME")).then("*");
        assert_eq!(output("sh", &print(word)), b"[a b:a value  with * and 'quotes'*]");
        assert_eq!(output("sh", &print(Word::variable_or("UNSET", "false"))), b"[false]");
        assert_eq!(output("bash", &print(Word::file("/etc/passw?"))), b"[/etc/passwd]");
    }

    #[test]
    fn syntax_is_left_to_the_shell() {
        assert_eq!(output("sh", &print(Word::syntax("-a -b 'c d'"))), b"[-a][-b][c d]");
    }

    #[test]
    fn commands_run_in_order_and_stop_at_the_first_that_fails() {
        let script = Script::default()
            .run(Command::new("echo").arg("one"))
            .append(Script::default().run("false").run("echo two"));
        assert_eq!(script.into_command("sh"), ["sh", "-c", "echo one && false && echo two"]);
    }
}
