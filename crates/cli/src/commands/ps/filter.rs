//! `ps --filter`

use super::Row;
use crate::args::Refusal;
use crate::commands::inspect::{health_word, word};
use crate::commands::process::refuse;
use crate::commands::wait::of_status;

/// Which VMs are listed. Of one kind any has to match, and each kind has to; labels all have to.
#[derive(Debug, Default)]
pub struct Filters(Vec<Filter>);

#[derive(Debug, PartialEq, Eq)]
enum Filter {
    /// Part of the name.
    Name(String),
    /// The start of the id.
    Id(String),
    /// The image as it was asked for, with or without its tag, or its digest.
    Ancestor(String),
    Status(String),
    Exited(i32),
    Health(String),
    Label(String, Option<String>),
}

const KINDS: &str =
    "it takes name, id, label, status, health, ancestor and exited, like status=exited";

impl Filters {
    /// Reads what was given.
    pub fn parse(given: &[String]) -> Result<Self, Refusal> {
        given
            .iter()
            .map(|text| parse(text))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether somebody asks for VMs that do not run.
    pub fn want_ended(&self) -> bool {
        let about_ends = |filter: &Filter| matches!(filter, Filter::Status(_) | Filter::Exited(_));
        self.0.iter().any(about_ends)
    }

    pub(super) fn match_row(&self, vm: &Row) -> bool {
        self.0.iter().all(|filter| match filter {
            Filter::Label(..) => filter.matches(vm),
            _ => self
                .0
                .iter()
                .filter(|other| std::mem::discriminant(*other) == std::mem::discriminant(filter))
                .any(|other| other.matches(vm)),
        })
    }
}

fn parse(text: &str) -> Result<Filter, Refusal> {
    let (kind, value) = text
        .split_once('=')
        .ok_or_else(|| refuse("--filter", text, KINDS))?;
    let value = value.to_owned();
    Ok(match kind {
        "name" => Filter::Name(value.trim_start_matches('/').to_owned()),
        "id" => Filter::Id(value),
        "ancestor" => Filter::Ancestor(value),
        "label" => match value.split_once('=') {
            Some((name, value)) => Filter::Label(name.to_owned(), Some(value.to_owned())),
            None => Filter::Label(value, None),
        },
        "exited" => match value.parse() {
            Ok(code) => Filter::Exited(code),
            Err(_) => return Err(refuse("--filter", text, "an exit code is a number")),
        },
        "health" => match value.as_str() {
            "starting" | "healthy" | "unhealthy" | "none" => Filter::Health(value),
            _ => {
                let states = "it is starting, healthy, unhealthy or none";
                return Err(refuse("--filter", text, states));
            }
        },
        "status" => match value.as_str() {
            "created" | "running" | "paused" | "restarting" | "exited" => Filter::Status(value),
            _ => {
                let states = "a status is created, running, paused, restarting or exited";
                return Err(refuse("--filter", text, states));
            }
        },
        _ => return Err(refuse("--filter", text, KINDS)),
    })
}

impl Filter {
    fn matches(&self, vm: &Row) -> bool {
        match self {
            Self::Name(part) => vm.name.contains(part.as_str()),
            Self::Id(start) => vm.id.starts_with(start.as_str()),
            Self::Ancestor(image) => {
                let untagged = vm.image.rsplit_once(':').map(|(name, _)| name);
                vm.image == *image || untagged == Some(image) || vm.image_digest == *image
            }
            Self::Status(status) => word(&vm.status) == status,
            Self::Exited(code) => {
                word(&vm.status) == "exited" && of_status(&vm.status) == Some(*code)
            }
            Self::Health(health) => vm.health.map_or("none", health_word) == health,
            Self::Label(name, None) => vm.labels.contains_key(name),
            Self::Label(name, Some(value)) => vm.labels.get(name) == Some(value),
        }
    }
}
