//! Variables for a workload: `-e` and `--env-file`, by Docker's rules.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// A variable and its value.
pub type Variable = (OsString, OsString);

/// What a command line does to the image's environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Sets a variable.
    Set(OsString, OsString),
    /// Takes one out: `-e NAME` of a variable that is not set here either.
    Remove(OsString),
}

/// Why a variable is not one.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// `-e =value`.
    #[error("-e {0:?}: the variable has no name")]
    NoName(OsString),
    /// `--label =value`.
    #[error("--label {0:?}: the label has no name")]
    NoLabel(String),
    /// The file cannot be read.
    #[error("cannot read the environment file {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line of the file is not a variable.
    #[error("{}, line {line}: {reason}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Why.
        reason: LineError,
    },
}

/// What is wrong with a line of an environment file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Nothing before the equals sign.
    #[error("no variable name before the =")]
    NoName,
    /// A blank in the name.
    #[error("the variable name {0:?} contains a blank")]
    Blank(String),
    /// Not text.
    #[error("not valid UTF-8")]
    NotText,
}

/// How a variable without a value is looked up: it takes the value it has here. If it has none, a flag takes it out of
/// the image's environment, and a file's line means nothing.
pub type Lookup<'a> = &'a dyn Fn(&OsStr) -> Option<OsString>;

/// All variables of a command line: those of the files first, so that `-e` wins, and later ones win.
pub fn gather(
    files: &[PathBuf],
    given: &[OsString],
    lookup: Lookup<'_>,
) -> Result<Vec<Change>, EnvironmentError> {
    let mut changes = Vec::new();
    for path in files {
        let content = std::fs::read(path).map_err(|source| EnvironmentError::Read {
            path: path.clone(),
            source,
        })?;
        let variables = parse_file(path, &content, lookup)?;
        changes.extend(
            variables
                .into_iter()
                .map(|(name, value)| Change::Set(name, value)),
        );
    }
    for text in given {
        changes.push(parse_flag(text, lookup)?);
    }
    Ok(changes)
}

/// All labels of a command line: those of the files first. A name without a value has an empty one.
pub fn labels(
    files: &[PathBuf],
    given: &[String],
) -> Result<Vec<(String, String)>, EnvironmentError> {
    let mut labels = Vec::new();
    for path in files {
        let content = std::fs::read(path).map_err(|source| EnvironmentError::Read {
            path: path.clone(),
            source,
        })?;
        let empty = |_: &OsStr| Some(OsString::new());
        let text = |text: OsString| text.to_string_lossy().into_owned();
        for (name, value) in parse_file(path, &content, &empty)? {
            labels.push((text(name), text(value)));
        }
    }
    for text in given {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        if name.is_empty() {
            return Err(EnvironmentError::NoLabel(text.clone()));
        }
        labels.push((name.to_owned(), value.to_owned()));
    }
    Ok(labels)
}

fn parse_flag(text: &OsStr, lookup: Lookup<'_>) -> Result<Change, EnvironmentError> {
    let bytes = text.as_bytes();
    let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (
            &bytes[..at],
            Some(OsString::from_vec(bytes[at + 1..].to_vec())),
        ),
        None => (bytes, None),
    };
    if name.is_empty() {
        return Err(EnvironmentError::NoName(text.to_owned()));
    }
    let name = OsStr::from_bytes(name);
    let name = name.to_owned();
    Ok(match value.or_else(|| lookup(&name)) {
        Some(value) => Change::Set(name, value),
        None => Change::Remove(name),
    })
}

fn parse_file(
    path: &Path,
    content: &[u8],
    lookup: Lookup<'_>,
) -> Result<Vec<Variable>, EnvironmentError> {
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let mut variables = Vec::new();
    for (index, line) in content.split(|byte| *byte == b'\n').enumerate() {
        let parsed = std::str::from_utf8(line)
            .map_err(|_| LineError::NotText)
            .and_then(|line| parse_line(line, lookup));
        let refused = |reason| EnvironmentError::Line {
            path: path.to_owned(),
            line: index + 1,
            reason,
        };
        variables.extend(parsed.map_err(refused)?);
    }
    Ok(variables)
}

/// Blanks before the name go, those of the value stay; there is no quoting.
fn parse_line(line: &str, lookup: Lookup<'_>) -> Result<Option<Variable>, LineError> {
    let line = line.strip_suffix('\r').unwrap_or(line).trim_start();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (name, value) = match line.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (line, None),
    };
    if name.is_empty() {
        return Err(LineError::NoName);
    }
    if name.contains(char::is_whitespace) {
        return Err(LineError::Blank(name.to_owned()));
    }
    let value = value
        .map(OsString::from)
        .or_else(|| lookup(OsStr::new(name)));
    Ok(value.map(|value| (name.into(), value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn here(name: &OsStr) -> Option<OsString> {
        (name == "HERE").then(|| "from here".into())
    }

    fn file(content: &[u8]) -> Result<Vec<(String, String)>, String> {
        let text = |string: OsString| string.into_string().unwrap();
        parse_file(Path::new("vars"), content, &here)
            .map(|variables| {
                variables
                    .into_iter()
                    .map(|(name, value)| (text(name), text(value)))
                    .collect()
            })
            .map_err(|error| error.to_string())
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_file_is_read_by_dockers_rules() {
        let content = "\u{feff}A=1\n\n# comment\n  B= two  words \n\t#also\nC=\"quoted\"\nD=a=b # kept\nEMPTY=\nHERE\nNOT_HERE\nE=x\r\n";
        let expected = [
            ("A", "1"),
            ("B", " two  words "),
            ("C", "\"quoted\""),
            ("D", "a=b # kept"),
            ("EMPTY", ""),
            ("HERE", "from here"),
            ("E", "x"),
        ];
        assert_eq!(file(content.as_bytes()), Ok(pairs(&expected)));
    }

    #[test]
    fn a_wrong_line_is_named() {
        assert_eq!(
            file(b"A=1\n=x\n").unwrap_err(),
            "vars, line 2: no variable name before the ="
        );
        assert_eq!(
            file(b"A B=1").unwrap_err(),
            "vars, line 1: the variable name \"A B\" contains a blank"
        );
        assert_eq!(
            file(b"A =1").unwrap_err(),
            "vars, line 1: the variable name \"A \" contains a blank"
        );
        assert_eq!(
            file(b"\n\nA=\xff").unwrap_err(),
            "vars, line 3: not valid UTF-8"
        );
    }

    #[test]
    fn flags_take_any_bytes_and_may_name_a_variable_of_ours() {
        let flag = |bytes: &[u8]| parse_flag(OsStr::from_bytes(bytes), &here);
        let value = OsString::from_vec(b" \n\xff=".to_vec());
        assert_eq!(flag(b"A= \n\xff=").unwrap(), Change::Set("A".into(), value));
        assert_eq!(
            flag(b"HERE").unwrap(),
            Change::Set("HERE".into(), "from here".into())
        );
        assert_eq!(
            flag(b"NOT_HERE").unwrap(),
            Change::Remove("NOT_HERE".into())
        );
        assert_eq!(
            flag(b"HERE=").unwrap(),
            Change::Set("HERE".into(), "".into())
        );
        assert!(matches!(flag(b"=x"), Err(EnvironmentError::NoName(_))));
        assert!(matches!(flag(b""), Err(EnvironmentError::NoName(_))));
    }

    #[test]
    fn flags_come_after_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vars");
        std::fs::write(&path, "A=file\nB=file").unwrap();
        let changes = gather(&[path], &["A=flag".into()], &here).unwrap();
        let set = |name: &str, value: &str| Change::Set(name.into(), value.into());
        assert_eq!(
            changes,
            [set("A", "file"), set("B", "file"), set("A", "flag")]
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = gather(&["/no/such/file".into()], &[], &here).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot read the environment file /no/such/file"
        );
    }

    proptest! {
        #[test]
        fn any_name_and_value_without_a_newline_come_back(name in "[A-Za-z_][A-Za-z0-9_.]{0,10}", value in "[^\n\r]{0,40}") {
            prop_assert_eq!(file(format!("{name}={value}\n").as_bytes()), Ok(vec![(name, value)]));
        }

        #[test]
        fn no_bytes_make_the_parser_panic(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = file(&content);
        }
    }
}
