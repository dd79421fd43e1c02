//! Reading JSON as leniently as Docker does, and no more.
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::ConfigError;

type Object = Map<String, Value>;

/// A text; null or missing is empty.
pub(super) fn text(object: &Object, field: &'static str) -> Result<String, ConfigError> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => without_zero(text, field),
        Some(_) => Err(ConfigError::Field {
            field,
            expected: "a text",
        }),
    }
}

/// A list of texts, or a single one; null or missing is empty.
pub(super) fn words(object: &Object, field: &'static str) -> Result<Vec<String>, ConfigError> {
    let wrong = || ConfigError::Field {
        field,
        expected: "a list of texts",
    };
    match object.get(field) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![without_zero(text, field)?]),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| without_zero(item.as_str().ok_or_else(wrong)?, field))
            .collect(),
        Some(_) => Err(wrong()),
    }
}

/// The keys of an object (how Go writes a set), or a list of texts.
pub(super) fn set(object: &Object, field: &'static str) -> Result<Vec<String>, ConfigError> {
    let mut keys = match object.get(field) {
        Some(Value::Object(set)) => set
            .keys()
            .map(|key| without_zero(key, field))
            .collect::<Result<Vec<_>, _>>()?,
        _ => words(object, field)?,
    };
    keys.sort();
    Ok(keys)
}

/// An object of texts. Values of other types decide nothing and are left out.
pub(super) fn texts(object: &Object, field: &'static str) -> BTreeMap<String, String> {
    let Some(Value::Object(map)) = object.get(field) else {
        return BTreeMap::new();
    };
    map.iter()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

fn without_zero(text: &str, field: &'static str) -> Result<String, ConfigError> {
    if text.contains('\0') {
        Err(ConfigError::Zero { field })
    } else {
        Ok(text.to_owned())
    }
}
