//! The part of Go's templates that people use to pick fields: `{{.State.Status}}`, `{{json .Config}}`,
//! `{{index .Config.Labels "name"}}`, `{{.Label "name"}}`, `{{join .Args " "}}`.

use crate::args::Refusal;
use serde_json::Value;

/// A template that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Action(Vec<Word>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    /// `.A.B`; none for `.` itself.
    Field(Vec<String>),
    /// `"text"`, or a number.
    Literal(String),
    /// `json`
    Function(Function),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Json,
    Index,
    Join,
    Upper,
    Lower,
    Len,
    Println,
}

/// Why a template is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `{{` without `}}`.
    #[error("{{{{ without }}}}")]
    Unclosed,
    /// Something between the braces that is none of ours.
    #[error("{0} is not built: fields, json, index, join, upper, lower, len and println are")]
    Unknown(String),
    /// A field nobody has.
    #[error("there is no field {0}")]
    NoField(String),
    /// A function with other arguments than it takes.
    #[error("{0} takes {1}")]
    Arguments(&'static str, &'static str),
}

impl From<TemplateError> for Refusal {
    fn from(error: TemplateError) -> Self {
        Self {
            message: format!("--format: {error}"),
            hint: None,
        }
    }
}

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let (action, after) = after.split_once("}}").ok_or(TemplateError::Unclosed)?;
            parts.push(Part::Action(words(action)?));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// The fields the template shows by themselves, for the heading of a table.
    pub fn heading(&self) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Action(words) => match words.iter().rev().find_map(name_of) {
                Some(name) => heading_of(name),
                None => String::new(),
            },
        };
        self.0.iter().map(part).collect()
    }

    /// What it makes of a document.
    pub fn render(&self, document: &Value) -> Result<String, Refusal> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Action(words) => text.push_str(&carry_out(words, document)?),
            }
        }
        Ok(text)
    }
}

fn name_of(word: &Word) -> Option<&String> {
    match word {
        Word::Field(path) => path.last(),
        _ => None,
    }
}

/// `RunningFor` is called `RUNNING FOR`.
fn heading_of(name: &str) -> String {
    let mut heading = String::new();
    let mut last = ' ';
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && last.is_ascii_lowercase() {
            heading.push(' ');
        }
        heading.push(letter.to_ascii_uppercase());
        last = letter;
    }
    heading
}

/// The words of an action; those behind a pipe go to the front, which means the same.
fn words(action: &str) -> Result<Vec<Word>, TemplateError> {
    let action = action.trim().trim_matches('-').trim();
    let mut all = Vec::new();
    for command in action.split('|').rev() {
        let mut rest = command.trim();
        while !rest.is_empty() {
            let (word, after) = first_word(rest)?;
            all.push(word);
            rest = after.trim_start();
        }
    }
    if all.is_empty() {
        return Err(TemplateError::Unknown("{{}}".into()));
    }
    Ok(all)
}

fn first_word(text: &str) -> Result<(Word, &str), TemplateError> {
    for quote in ['"', '`'] {
        if let Some(inside) = text.strip_prefix(quote) {
            let (literal, after) = inside.split_once(quote).ok_or(TemplateError::Unclosed)?;
            return Ok((Word::Literal(literal.to_owned()), after));
        }
    }
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let (word, after) = text.split_at(end);
    if let Some(path) = word.strip_prefix('.') {
        let path = path.split('.').filter(|name| !name.is_empty());
        return Ok((Word::Field(path.map(str::to_owned).collect()), after));
    }
    if word.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok((Word::Literal(word.to_owned()), after));
    }
    let function = match word {
        "json" => Function::Json,
        "index" => Function::Index,
        "join" => Function::Join,
        "upper" => Function::Upper,
        "lower" => Function::Lower,
        "len" => Function::Len,
        "println" => Function::Println,
        other => return Err(TemplateError::Unknown(other.to_owned())),
    };
    Ok((Word::Function(function), after))
}

fn carry_out(words: &[Word], document: &Value) -> Result<String, TemplateError> {
    let value = evaluate(words, document)?;
    Ok(shown(&value))
}

fn evaluate(words: &[Word], document: &Value) -> Result<Value, TemplateError> {
    let Some((first, rest)) = words.split_first() else {
        return Err(TemplateError::Arguments("a function", "an argument"));
    };
    match first {
        Word::Literal(text) => Ok(Value::String(text.clone())),
        // A method of Docker's, such as Label: the entry of a map.
        Word::Field(path) => rest
            .iter()
            .try_fold(look_up(document, path)?, |value, key| {
                entry(value, key, document)
            }),
        Word::Function(function) => call(*function, rest, document),
    }
}

fn call(function: Function, rest: &[Word], document: &Value) -> Result<Value, TemplateError> {
    let one = || evaluate(rest, document);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Ok(match function {
        Function::Json => Value::String(one()?.to_string()),
        Function::Index => return one(),
        Function::Println => Value::String(shown(&one()?) + "\n"),
        Function::Len => match one()? {
            Value::Array(items) => items.len().into(),
            Value::Object(items) => items.len().into(),
            Value::String(text) => text.len().into(),
            _ => return Err(TemplateError::Arguments("len", "a list or a text")),
        },
        Function::Upper | Function::Lower => {
            let wrong = TemplateError::Arguments("upper and lower", "a text");
            let text = text(&one()?).ok_or(wrong)?;
            Value::String(if function == Function::Upper {
                text.to_uppercase()
            } else {
                text.to_lowercase()
            })
        }
        Function::Join => match rest {
            [list, Word::Literal(separator)] => {
                let Value::Array(items) = evaluate(std::slice::from_ref(list), document)? else {
                    return Err(TemplateError::Arguments("join", "a list and a text"));
                };
                let texts: Vec<_> = items.iter().map(shown).collect();
                Value::String(texts.join(separator))
            }
            _ => return Err(TemplateError::Arguments("join", "a list and a text")),
        },
    })
}

fn look_up(document: &Value, path: &[String]) -> Result<Value, TemplateError> {
    let mut value = document;
    for name in path {
        value = value
            .get(name)
            .ok_or_else(|| TemplateError::NoField(format!(".{}", path.join("."))))?;
    }
    Ok(value.clone())
}

/// Of a map or a list; a map without it has an empty one, as in Go.
fn entry(value: Value, key: &Word, document: &Value) -> Result<Value, TemplateError> {
    let key = shown(&evaluate(std::slice::from_ref(key), document)?);
    match value {
        Value::Object(mut map) => Ok(map.remove(&key).unwrap_or_else(|| "".into())),
        Value::Array(mut list) => match key.parse::<usize>() {
            Ok(at) if at < list.len() => Ok(list.swap_remove(at)),
            _ => Err(TemplateError::NoField(format!("number {key}"))),
        },
        _ => Err(TemplateError::Arguments("index", "a map or a list")),
    }
}

/// As Go prints it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<no value>".to_owned(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(shown).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(entries) => {
            let entries = entries
                .iter()
                .map(|(key, value)| format!("{key}:{}", shown(value)));
            format!("map[{}]", entries.collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rendered(template: &str) -> Result<String, String> {
        let document = json!({
            "Name": "/web",
            "State": {"Status": "running", "Pid": 7, "Dead": false},
            "Args": ["a", "b c"],
            "Label": {"tier": "front"},
            "Nothing": null,
        });
        let template = Template::parse(template).map_err(|refusal| refusal.message)?;
        template
            .render(&document)
            .map_err(|refusal| refusal.message)
    }

    #[test]
    fn fields_and_functions_are_gos() {
        for (template, text) in [
            ("{{.Name}}", "/web"),
            ("{{ .State.Pid }}-{{.State.Dead}}", "7-false"),
            ("is {{.State.Status}}!", "is running!"),
            (
                "{{json .State}}",
                r#"{"Dead":false,"Pid":7,"Status":"running"}"#,
            ),
            ("{{.Args | json}}", r#"["a","b c"]"#),
            ("{{.Args}}", "[a b c]"),
            ("{{.Label}}", "map[tier:front]"),
            ("{{.Label \"tier\"}}", "front"),
            (
                "{{index .Label \"tier\"}}{{index .Label \"none\"}}",
                "front",
            ),
            ("{{index .Args 1}}", "b c"),
            ("{{join .Args \", \"}}", "a, b c"),
            ("{{upper .Name}}{{len .Args}}", "/WEB2"),
            ("{{.Nothing}}", "<no value>"),
            ("plain", "plain"),
        ] {
            assert_eq!(rendered(template).as_deref(), Ok(text), "{template}");
        }
        let heading = |text| Template::parse(text).unwrap().heading();
        assert_eq!(heading("{{.Names}}\t{{.RunningFor}}"), "NAMES\tRUNNING FOR");
    }

    #[test]
    fn what_is_not_built_or_not_there_is_named() {
        for (template, message) in [
            (
                "{{range .Args}}x{{end}}",
                "--format: range is not built: fields, json, index, join, upper, lower, len and println are",
            ),
            ("{{.Nope.X}}", "--format: there is no field .Nope.X"),
            ("{{.Name", "--format: {{ without }}"),
            (
                "{{len 5 .Nope}}{{upper .State}}",
                "--format: upper and lower takes a text",
            ),
        ] {
            assert_eq!(rendered(template).unwrap_err(), message, "{template}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_template_makes_the_parser_panic(text in ".{0,60}") {
            let _ = rendered(&text);
        }
    }
}
