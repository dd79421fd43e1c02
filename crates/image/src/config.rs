//! Image configs: what an image runs, as whom, where and with what.
//!
//! Configs are written by many hands. Fields we do not know are skipped, null stands for empty,
//! and a command may be a text instead of a list, as Docker's own reader allows. What would change
//! the meaning of a command (a number among its words) is an error.
mod healthcheck;
mod lax;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

pub use healthcheck::{HealthTest, Healthcheck};

use crate::digest::Digest;
use crate::platform::Platform;

/// What an image asks of whoever runs it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ImageConfig {
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// The arguments after the entrypoint, or the program if there is none.
    pub cmd: Vec<String>,
    /// `NAME=VALUE`.
    pub env: Vec<String>,
    /// `USER[:GROUP]`, names or numbers; empty for root.
    pub user: String,
    /// The working directory; empty for `/`.
    pub working_dir: String,
    /// The signal that stops the workload, by name or number.
    pub stop_signal: Option<String>,
    /// `PORT/PROTOCOL`, sorted.
    pub exposed_ports: Vec<String>,
    /// Paths declared as volumes, sorted.
    pub volumes: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// How to find out whether the workload is well (Docker's extension).
    pub healthcheck: Option<Healthcheck>,
    /// The shell for commands given as a text (Docker's extension).
    pub shell: Vec<String>,
    /// The operating system the image is for; may be empty.
    pub os: String,
    /// The CPU architecture the image is for; may be empty.
    pub architecture: String,
    /// The variant of the architecture.
    pub variant: String,
    /// When it was built, as written.
    pub created: Option<String>,
    /// The digests of the uncompressed layers, bottom first.
    pub diff_ids: Vec<Digest>,
}

/// Why an image config cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON.
    #[error("the image config is not JSON")]
    Json(#[source] serde_json::Error),
    /// A field has a type that cannot be interpreted.
    #[error("the image config's field {field} is not {expected}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// No program could be given such a text.
    #[error("the image config's field {field} contains a zero byte")]
    Zero {
        /// Which field.
        field: &'static str,
    },
    /// A diff_id is not a digest we can check.
    #[error("the image config names a layer by {digest:?}, which is not a sha256 digest")]
    DiffId {
        /// The text found.
        digest: String,
    },
}

impl ImageConfig {
    /// Reads an image config.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        let document: Value = serde_json::from_slice(bytes).map_err(ConfigError::Json)?;
        let Value::Object(top) = document else {
            return Err(ConfigError::Field {
                field: "(document)",
                expected: "an object",
            });
        };
        let empty = serde_json::Map::new();
        let inner = match top.get("config") {
            None | Some(Value::Null) => &empty,
            Some(Value::Object(inner)) => inner,
            Some(_) => {
                return Err(ConfigError::Field {
                    field: "config",
                    expected: "an object",
                });
            }
        };
        let stop_signal = lax::text(inner, "StopSignal")?;
        let created = lax::text(&top, "created")?;
        Ok(Self {
            entrypoint: lax::words(inner, "Entrypoint")?,
            cmd: lax::words(inner, "Cmd")?,
            env: lax::words(inner, "Env")?,
            user: lax::text(inner, "User")?,
            working_dir: lax::text(inner, "WorkingDir")?,
            stop_signal: (!stop_signal.is_empty()).then_some(stop_signal),
            exposed_ports: lax::set(inner, "ExposedPorts")?,
            volumes: lax::set(inner, "Volumes")?,
            labels: lax::texts(inner, "Labels"),
            healthcheck: inner.get("Healthcheck").and_then(Healthcheck::parse),
            shell: lax::words(inner, "Shell")?,
            os: lax::text(&top, "os")?,
            architecture: lax::text(&top, "architecture")?,
            variant: lax::text(&top, "variant")?,
            created: (!created.is_empty()).then_some(created),
            diff_ids: diff_ids(&top)?,
        })
    }

    /// The platform the image is for, if it says so.
    pub fn platform(&self) -> Option<Platform> {
        let is_said = !self.os.is_empty() && !self.architecture.is_empty();
        is_said.then(|| Platform::new(&self.os, &self.architecture, &self.variant))
    }
}

fn diff_ids(top: &serde_json::Map<String, Value>) -> Result<Vec<Digest>, ConfigError> {
    let wrong = ConfigError::Field {
        field: "rootfs.diff_ids",
        expected: "a list of digests",
    };
    match top.get("rootfs").and_then(|rootfs| rootfs.get("diff_ids")) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => list
            .iter()
            .map(|item| match item {
                Value::String(text) => Digest::parse(text).map_err(|_| ConfigError::DiffId {
                    digest: text.clone(),
                }),
                _ => Err(ConfigError::Field {
                    field: "rootfs.diff_ids",
                    expected: "a list of digests",
                }),
            })
            .collect(),
        Some(_) => Err(wrong),
    }
}

#[cfg(test)]
mod tests;
