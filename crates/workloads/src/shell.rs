//! Shell commands, built from words.
//!
//! A word consists of literal text and of expansions. Quoting happens once, on output, and only where necessary.
//!
//! The quoting is not that of the crate `shlex`. Kubernetes expands `$(NAME)` and `$$` in commands before the shell
//! reads them, even within quotes, and `shlex` cannot separate these characters. It also quotes `=`, `,` and `%`,
//! which would change every rendered command and so restart the pods of all components.

use std::fmt::{self, Display, Write};

/// Termination message path of a container.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// A fragment of a word.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Fragment {
    /// Literal text.
    Text(String),
    /// The value of a variable, or a default, as one word.
    Variable { name: String, default: Option<String> },
    /// The file that matches a glob pattern, as one word.
    Glob(&'static str),
    /// Unquoted shell syntax.
    Syntax(String),
}

/// One argument of a command.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct ShellWord(Vec<Fragment>);

impl ShellWord {
    /// The value of a variable.
    pub(crate) fn variable(name: impl Into<String>) -> Self {
        Self(vec![Fragment::Variable { name: name.into(), default: None }])
    }

    /// The value of a variable, or a default where it is empty.
    pub(crate) fn variable_or(name: impl Into<String>, default: &str) -> Self {
        Self(vec![Fragment::Variable { name: name.into(), default: Some(default.to_owned()) }])
    }

    /// The file that matches a glob pattern.
    pub(crate) fn glob(pattern: &'static str) -> Self {
        Self(vec![Fragment::Glob(pattern)])
    }

    /// Shell syntax of the user: several words, variables, quotes.
    pub(crate) fn syntax(text: impl Into<String>) -> Self {
        Self(vec![Fragment::Syntax(text.into())])
    }

    /// Appends another word without a space.
    #[must_use]
    pub(crate) fn then(mut self, next: impl Into<Self>) -> Self {
        self.0.extend(next.into().0);
        self
    }
}

impl From<&str> for ShellWord {
    fn from(text: &str) -> Self {
        Self(vec![Fragment::Text(text.to_owned())])
    }
}

impl From<String> for ShellWord {
    fn from(text: String) -> Self {
        Self(vec![Fragment::Text(text)])
    }
}

impl From<bool> for ShellWord {
    fn from(flag: bool) -> Self {
        Self::from(if flag { "true" } else { "false" })
    }
}

impl Display for ShellWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_empty =
            self.0.iter().all(|fragment| matches!(fragment, Fragment::Text(text) if text.is_empty()));
        if is_empty {
            return f.write_str("''");
        }
        for fragment in &self.0 {
            match fragment {
                Fragment::Text(text) => write_quoted(f, text)?,
                Fragment::Variable { name, default: None } => write!(f, "\"${{{name}}}\"")?,
                Fragment::Variable { name, default: Some(default) } => {
                    write!(f, "\"${{{name}:-{default}}}\"")?;
                }
                Fragment::Glob(pattern) => write!(f, "\"$(echo {pattern})\"")?,
                Fragment::Syntax(text) => f.write_str(text)?,
            }
        }
        Ok(())
    }
}

/// Whether a shell treats a character literally at any position of a word.
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
            // Kubernetes expands `$(NAME)` and `$$` before the shell reads the command, and ignores quotes. An empty
            // string between the two characters prevents that.
            '$' | '(' if before == '$' => write!(f, "''{letter}")?,
            letter => f.write_char(letter)?,
        }
        before = letter;
    }
    f.write_char('\'')
}

/// Escapes the value of an environment variable of a container, in which Kubernetes expands `$(NAME)` and `$$`.
pub(crate) fn escape_references(text: &str) -> String {
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
pub(crate) struct Command(Vec<ShellWord>);

impl Command {
    /// A command without arguments.
    pub(crate) fn new(program: impl Into<ShellWord>) -> Self {
        Self(vec![program.into()])
    }

    /// Appends an argument.
    #[must_use]
    pub(crate) fn arg(mut self, word: impl Into<ShellWord>) -> Self {
        self.0.push(word.into());
        self
    }

    /// Appends arguments.
    #[must_use]
    pub(crate) fn args<W: Into<ShellWord>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.0.extend(words.into_iter().map(Into::into));
        self
    }

    /// Appends an option and its value, as two arguments.
    #[must_use]
    pub(crate) fn option(self, name: &str, value: impl Into<ShellWord>) -> Self {
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

/// Commands that run in order until one fails.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Script(Vec<String>);

impl Script {
    /// Appends a command.
    #[must_use]
    pub(crate) fn run(mut self, command: impl Display) -> Self {
        self.0.push(command.to_string());
        self
    }

    /// Appends a command whose failure the user can fix. On failure, writes `what` and the end of its output to the
    /// termination message, and exits with its exit code.
    #[must_use]
    pub(crate) fn run_or_record_failure(self, command: &Command, what: &str) -> Self {
        let record = format!("{{ echo {}; printf '%s' \"$said\" | tail -c 1500; }}", ShellWord::from(what));
        let say = r#"printf '%s\n' "$said""#;
        self.run(format!(
            "{{ said=$({command} 2>&1) && {say} || {{ code=$?; {say}; {record} > {TERMINATION_LOG}; exit $code; }}; }}"
        ))
    }

    /// Appends the commands of another script.
    #[must_use]
    pub(crate) fn append(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Appends a command that writes a file.
    #[must_use]
    pub(crate) fn write(self, text: &str, file: impl Into<ShellWord>) -> Self {
        let print = Command::new("printf").arg("%s").arg(text);
        self.run(format!("{print} > {}", file.into()))
    }

    /// Appends a command that replaces the shell, so that it gets signals.
    #[must_use]
    pub(crate) fn exec(self, command: &Command) -> Self {
        self.run(format!("exec {command}"))
    }

    /// The script as text, for use in another script.
    pub(crate) fn into_text(self) -> String {
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
    fn failure_writes_the_termination_message() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("termination-log");
        for (command, code, out, left) in [
            ("printf '%s\\n' fine", 0, "fine\nnext\n", None),
            (r#"sh -c 'printf %s "a\nb \$x"; exit 8'"#, 8, "a\\nb $x\n", Some("cannot do $(it):\na\\nb $x")),
        ] {
            let command = Command::new(ShellWord::syntax(command));
            let script =
                Script::default().run_or_record_failure(&command, "cannot do $(it):").run("echo next");
            let [shell, option, text] = script.into_command("bash").try_into().unwrap();
            let text = text.replace(TERMINATION_LOG, file.to_str().unwrap());
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

    fn print(word: impl Into<ShellWord>) -> Command {
        Command::new("printf").arg("[%s]").arg(word)
    }

    /// Kubernetes' expansion of a command or a variable, with the variable `A`.
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
        fn kubernetes_does_not_expand_text(text in "([$()A' \"]|\\$\\(A\\)){0,8}") {
            let quoted = kubernetes(&print(text.as_str()).to_string());
            prop_assert_eq!(&quoted, &print(text.as_str()).to_string());
            let expected = format!("[{text}]").into_bytes();
            prop_assert_eq!(output("sh", &print(text.as_str())), expected);
            prop_assert_eq!(kubernetes(&escape_references(&text)), text);
        }

        #[test]
        fn any_text_is_one_unchanged_argument(text in "[^\0]{0,40}", shell in 0..2_usize) {
            let expected = format!("[{text}]").into_bytes();
            prop_assert_eq!(output(["bash", "sh"][shell], &print(text.as_str())), expected);
        }

        #[test]
        fn shell_syntax_in_text_is_literal(text in r#"[ '"$`\\;&|<>(){}*?!#~=\n\t%-]{0,24}"#, shell in 0..2_usize) {
            let expected = format!("[{text}]").into_bytes();
            prop_assert_eq!(output(["bash", "sh"][shell], &print(text)), expected);
        }
    }

    #[test]
    fn plain_words_are_not_quoted() {
        let command = Command::new("java").args(["-cp", "/a/b.jar:/c", "--x=y", "a,b@1+2%_"]);
        assert_eq!(command.to_string(), "java -cp /a/b.jar:/c --x=y a,b@1+2%_");
        assert_eq!(ShellWord::from("it's").to_string(), r#"'it'"'"'s'"#);
        assert_eq!(ShellWord::from("").to_string(), "''");
        assert_eq!(ShellWord::from("~").to_string(), "'~'");
    }

    #[test]
    fn expansions_are_one_word() {
        let word = ShellWord::from("a b:").then(ShellWord::variable("NAME")).then("*");
        assert_eq!(output("sh", &print(word)), b"[a b:a value  with * and 'quotes'*]");
        assert_eq!(output("sh", &print(ShellWord::variable_or("UNSET", "false"))), b"[false]");
        assert_eq!(output("bash", &print(ShellWord::glob("/etc/passw?"))), b"[/etc/passwd]");
    }

    #[test]
    fn syntax_is_not_quoted() {
        assert_eq!(output("sh", &print(ShellWord::syntax("-a -b 'c d'"))), b"[-a][-b][c d]");
    }

    #[test]
    fn script_stops_at_the_first_failure() {
        let script = Script::default()
            .run(Command::new("echo").arg("one"))
            .append(Script::default().run("false").run("echo two"));
        assert_eq!(script.into_command("sh"), ["sh", "-c", "echo one && false && echo two"]);
    }
}
