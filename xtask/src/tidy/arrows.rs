//! Which crate may depend on which.

use super::Finding;
use anyhow::{Context, Result};
use serde_json::Value;

/// Every crate, with the crates of ours it may use. Drawn in ARCHITECTURE.md; a new crate needs a page in
/// docs/decisions/.
const ALLOWED: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("image", &[]),
    ("snapshot", &[]),
    ("net", &[]),
    ("tree", &[]),
    ("guest", &["proto", "tree"]),
    ("devices", &["snapshot"]),
    ("vmm", &["proto", "devices", "net", "snapshot"]),
    (
        "supermachine",
        &["proto", "image", "net", "snapshot", "tree"],
    ),
    ("cli", &["supermachine"]),
    (
        "testkit",
        &[
            "proto",
            "image",
            "snapshot",
            "net",
            "devices",
            "supermachine",
        ],
    ),
    // A newcomer waits for xtask before anything else is built: only the words, so that bench can speak to a VMM.
    ("xtask", &["proto"]),
];

/// Arrows of the workspace that are not allowed.
pub fn check(metadata: &Value) -> Result<Vec<Finding>> {
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata lists no packages")?;
    let names: Vec<&str> = packages
        .iter()
        .filter_map(|package| package["name"].as_str())
        .collect();
    let mut findings = Vec::new();
    for package in packages {
        let name = package["name"]
            .as_str()
            .context("a package without a name")?;
        let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| *known == name) else {
            findings.push(Finding::new(
                name,
                "is not among the crates xtask/src/tidy/arrows.rs knows",
            ));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let to = dependency["name"].as_str().unwrap_or_default();
            let for_tests = dependency["kind"] == "dev" && to == "testkit";
            if names.contains(&to) && !allowed.contains(&to) && !for_tests {
                findings.push(Finding::new(name, format!("may not depend on {to}")));
            }
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn findings(from: &str, to: &str, kind: Value) -> usize {
        let dependencies = json!([{"name": to, "kind": kind}, {"name": "anyhow", "kind": null}]);
        let packages =
            json!([{"name": from, "dependencies": dependencies}, {"name": to, "dependencies": []}]);
        check(&json!({"packages": packages})).unwrap().len()
    }

    #[test]
    fn an_arrow_against_the_direction_is_found() {
        assert_eq!(findings("proto", "vmm", Value::Null), 1);
        assert_eq!(findings("supermachine", "vmm", Value::Null), 1);
        assert_eq!(findings("vmm", "proto", Value::Null), 0);
    }

    #[test]
    fn any_crate_may_use_testkit_in_its_tests_only() {
        assert_eq!(findings("vmm", "testkit", json!("dev")), 0);
        assert_eq!(findings("vmm", "testkit", Value::Null), 1);
    }

    #[test]
    fn an_unknown_crate_is_found() {
        let metadata = json!({"packages": [{"name": "eleventh", "dependencies": []}]});
        assert_eq!(check(&metadata).unwrap().len(), 1);
    }
}
