//! `ps --format`

use super::{Row, state, status};
use crate::args::Refusal;
use crate::output::template::Template;
use crate::output::{columns, time};
use serde_json::{Value, json};
use std::time::SystemTime;
use supermachine::rfc3339;

/// How each VM is printed.
#[derive(Debug)]
pub enum Format {
    /// A line of JSON.
    Json,
    /// As the template says.
    Lines(Template),
    /// As the template says, in columns under a heading.
    Table(Template),
}

impl Format {
    /// Reads what was given.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        // As Docker's lists have it, because a shell passes them on as they are.
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        match text.strip_prefix("table ") {
            _ if text == "json" => Ok(Self::Json),
            _ if text == "table" => {
                let usual = "{{.Names}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}";
                Template::parse(usual).map(Self::Table)
            }
            Some(columns) => Template::parse(columns).map(Self::Table),
            None => Template::parse(&text).map(Self::Lines),
        }
    }

    pub(super) fn render(&self, vms: &[Row], now: SystemTime) -> Result<String, Refusal> {
        let documents = vms.iter().map(|vm| document(vm, now));
        let mut lines = Vec::new();
        match self {
            Self::Json => lines.extend(documents.map(|document| document.to_string())),
            Self::Lines(template) => {
                for document in documents {
                    lines.push(template.render(&document)?);
                }
            }
            Self::Table(template) => {
                lines.push(template.heading());
                for document in documents {
                    lines.push(template.render(&document)?);
                }
                lines = columns::aligned(&lines);
            }
        }
        Ok(lines.iter().map(|line| format!("{line}\n")).collect())
    }
}

/// The fields are Docker's.
fn document(vm: &Row, now: SystemTime) -> Value {
    let labels: Vec<_> = vm
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    json!({
        "ID": &vm.id[..12],
        "Names": vm.name,
        "Image": vm.image,
        "Command": vm.command.join(" "),
        "CreatedAt": rfc3339(vm.created),
        "RunningFor": time::ago(vm.created, now),
        "State": state(&vm.status),
        "Status": status(vm, now),
        "Labels": labels.join(","),
        "Label": vm.labels,
    })
}
