//! The files `supermachine` looks for in its own directory: kernels, initramfs, and `assets.json`, which
//! ties them to a release:
//!
//! ```json
//! {"release": "0.1.0", "files": {"initramfs": "<sha256>", "kernel-software-kvm": "<sha256>"}}
//! ```

use crate::kernel::{self, Flavor};
use crate::probe::{self, Profile};
use crate::{digest, guest, workspace};
use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;

/// `cargo xtask assets`: for plain `cargo build` and `cargo build --release`.
pub fn run(_: &[String]) -> Result<()> {
    let flavors = [probe::flavor(Profile::Release)?];
    for profile in [Profile::Debug, Profile::Release] {
        install(profile, &flavors)?;
        println!("{}", profile.dir()?.join("assets.json").display());
    }
    Ok(())
}

/// Builds what is missing and puts it next to a profile's programs.
pub fn install(profile: Profile, flavors: &[Flavor]) -> Result<()> {
    let dir = profile.dir()?;
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let mut files = Map::new();
    for flavor in flavors {
        let kernel = fs::read(kernel::ensure(*flavor)?)?;
        files.insert(
            format!("kernel-{}", flavor.name()),
            json!(put(&dir, &format!("kernel-{}", flavor.name()), &kernel)?),
        );
    }
    files.insert(
        "initramfs".to_owned(),
        json!(put(&dir, "initramfs", &guest::build_initramfs()?)?),
    );
    let index = json!({"release": workspace::RELEASE, "files": Value::Object(files)});
    put(&dir, "assets.json", format!("{index:#}\n").as_bytes()).map(drop)
}

/// Writes a file by rename, unless it holds these bytes already; returns their digest.
fn put(dir: &Path, name: &str, bytes: &[u8]) -> Result<String> {
    let path = dir.join(name);
    let wanted = digest::of_bytes(bytes);
    if path.exists() && digest::of_file(&path)? == wanted {
        return Ok(wanted);
    }
    let temporary = dir.join(format!(".{name}.{}", std::process::id()));
    fs::write(&temporary, bytes).with_context(|| format!("write {}", temporary.display()))?;
    fs::rename(&temporary, &path).with_context(|| format!("publish {}", path.display()))?;
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asset_that_is_right_already_is_not_written_again() {
        let temp = tempfile::tempdir().unwrap();
        let first = put(temp.path(), "kernel", b"bytes").unwrap();
        let written = fs::metadata(temp.path().join("kernel"))
            .unwrap()
            .modified()
            .unwrap();
        assert_eq!(put(temp.path(), "kernel", b"bytes").unwrap(), first);
        assert_eq!(
            fs::metadata(temp.path().join("kernel"))
                .unwrap()
                .modified()
                .unwrap(),
            written
        );
        assert_ne!(put(temp.path(), "kernel", b"other").unwrap(), first);
        assert_eq!(fs::read(temp.path().join("kernel")).unwrap(), b"other");
    }
}
