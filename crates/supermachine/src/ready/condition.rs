//! What shows that a workload is ready.

use super::error::ReadyError;
use regex::bytes::Regex;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Characters that mean something to a shell.
const SHELL: &str = "|&;<>()$`\\\"'*?[]#~={}!\n";

/// What shows that a workload is ready. As text: `listen:PORT`, `file:PATH`, `exec:COMMAND` or `log:REGEX`.
#[derive(Debug, Clone)]
pub enum Ready {
    /// Something in the VM listens on this TCP port.
    Listen(u16),
    /// This path exists in the VM.
    File(PathBuf),
    /// This program with these arguments ends with exit code 0; it is tried until it does. As text, a command with
    /// characters that mean something to a shell is given to the image's `/bin/sh -c`, any other is split into words.
    Exec(Vec<OsString>),
    /// A line of the workload's output has a match.
    Log(Pattern),
}

/// A regular expression for lines of output, which may be any bytes.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    pub(super) fn is_in(&self, line: &[u8]) -> bool {
        self.0.is_match(line)
    }
}

impl FromStr for Pattern {
    type Err = ReadyError;

    fn from_str(text: &str) -> Result<Self, ReadyError> {
        Regex::new(text)
            .map(Self)
            .map_err(|error| ReadyError::Pattern {
                pattern: text.to_owned(),
                // The last line says what; those before draw where.
                reason: error
                    .to_string()
                    .lines()
                    .last()
                    .unwrap_or_default()
                    .trim_start_matches("error: ")
                    .to_owned(),
            })
    }
}

impl FromStr for Ready {
    type Err = ReadyError;

    fn from_str(text: &str) -> Result<Self, ReadyError> {
        match text.split_once(':') {
            Some(("listen", port)) => match port.parse() {
                Ok(port @ 1..) => Ok(Self::Listen(port)),
                _ => Err(ReadyError::Port(port.to_owned())),
            },
            Some(("file", path)) if path.starts_with('/') && !path.contains('\0') => {
                Ok(Self::File(path.into()))
            }
            Some(("file", path)) => Err(ReadyError::Path(path.to_owned())),
            Some(("exec", command)) if command.trim().is_empty() => Err(ReadyError::NoCommand),
            Some(("exec", command)) => Ok(Self::Exec(words(command))),
            Some(("log", pattern)) => Ok(Self::Log(pattern.parse()?)),
            _ => Err(ReadyError::Condition {
                text: text.to_owned(),
            }),
        }
    }
}

/// An image without a shell has programs nevertheless.
fn words(command: &str) -> Vec<OsString> {
    if command.contains(|c| SHELL.contains(c)) {
        return ["/bin/sh", "-c", command].map(OsString::from).to_vec();
    }
    command.split_whitespace().map(OsString::from).collect()
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(port) => write!(f, "listen:{port}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Exec(argv) => {
                let shell = ["/bin/sh", "-c"];
                let words = match argv.as_slice() {
                    [sh, c, command] if [sh, c] == shell => std::slice::from_ref(command),
                    words => words,
                };
                f.write_str("exec:")?;
                for (at, word) in words.iter().enumerate() {
                    let space = if at == 0 { "" } else { " " };
                    write!(f, "{space}{}", word.to_string_lossy())?;
                }
                Ok(())
            }
            Self::Log(pattern) => write!(f, "log:{}", pattern.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn argv(text: &str) -> Vec<OsString> {
        match text.parse() {
            Ok(Ready::Exec(argv)) => argv,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn conditions_are_read_and_shown_as_they_are_written() {
        for text in [
            "listen:80",
            "listen:65535",
            "file:/run/app.pid",
            "file:/a:b c",
            "exec:redis-cli ping",
            "exec:test -f /a && test -f /b",
            "log:ready to accept connections$",
            "log:a:b",
        ] {
            assert_eq!(text.parse::<Ready>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_command_needs_a_shell_only_where_it_uses_one() {
        assert_eq!(argv("exec:  redis-cli  ping "), ["redis-cli", "ping"]);
        let script = "redis-cli ping | grep -q PONG";
        assert_eq!(argv(&format!("exec:{script}")), ["/bin/sh", "-c", script]);
    }

    #[test]
    fn what_is_no_condition_is_refused_with_what_is() {
        let refused = |text: &str| text.parse::<Ready>().unwrap_err().to_string();
        for text in ["", "listen", "80", "port:80", "Listen:80"] {
            assert!(refused(text).contains("log:REGEX are"), "{text}");
        }
        for text in [
            "listen:",
            "listen:0",
            "listen:65536",
            "listen:http",
            "listen:-1",
        ] {
            assert!(refused(text).ends_with("1 to 65535 are"), "{text}");
        }
        for text in ["file:", "file:run/x", "file:/a\0b"] {
            assert!(refused(text).ends_with("not an absolute path"), "{text}");
        }
        assert_eq!(refused("exec: "), "there is no command to try");
        assert_eq!(
            refused("log:(a"),
            "\"(a\" is no regular expression: unclosed group"
        );
    }

    #[test]
    fn patterns_find_words_in_lines_of_any_bytes() {
        let found = |pattern: &str, line: &[u8]| pattern.parse::<Pattern>().unwrap().is_in(line);
        assert!(found(
            "(?i)READY in \\d+ ms$",
            b"\xff server ready in 35 ms"
        ));
        assert!(found("gr\u{fc}n", "alles gr\u{fc}n".as_bytes()));
        assert!(!found("^ready", b"not ready"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "((listen|file|exec|log):)?.{0,40}") {
            let _ = text.parse::<Ready>();
        }
    }
}
