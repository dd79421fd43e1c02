//! Installing programs and kernels into the state directory.

use std::path::PathBuf;

/// What [`crate::Runtime::setup`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetupReport {
    /// Where the files are now.
    pub dir: PathBuf,
    /// Where they came from.
    pub source: PathBuf,
    /// Names of the files.
    pub files: Vec<String>,
    /// They were there already and are intact.
    pub already_installed: bool,
}
