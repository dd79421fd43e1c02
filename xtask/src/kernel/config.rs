//! Kernel configuration fragments, and whether the kernel's own resolver took them.

use std::collections::BTreeMap;

/// One `CONFIG_NAME=value` that somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// With its `CONFIG_`.
    pub name: String,
    /// As written: `y`, `n`, a number or a quoted text.
    pub value: String,
}

/// Lays fragments over each other: of two settings of one option, the later wins.
pub fn merge(fragments: &[&str]) -> Vec<Setting> {
    let mut merged = BTreeMap::new();
    for setting in fragments.iter().flat_map(|text| parse(text)) {
        merged.insert(setting.name.clone(), setting);
    }
    merged.into_values().collect()
}

/// What was asked for and is not so in the resolved `.config`, as `CONFIG_X: asked for y, is n`.
///
/// The resolver drops silently what depends on something that is off, and turns on what something else
/// selects. Either way the kernel would not be the one the fragments describe.
pub fn not_taken(wanted: &[Setting], resolved: &str) -> Vec<String> {
    let resolved: BTreeMap<_, _> = parse(resolved)
        .map(|setting| (setting.name, setting.value))
        .collect();
    let is = |setting: &Setting| {
        resolved
            .get(&setting.name)
            .map_or("n", String::as_str)
            .to_owned()
    };
    let wrong = wanted.iter().filter(|setting| is(setting) != setting.value);
    wrong
        .map(|setting| {
            format!(
                "{}: asked for {}, is {}",
                setting.name,
                setting.value,
                is(setting)
            )
        })
        .collect()
}

fn parse(text: &str) -> impl Iterator<Item = Setting> + '_ {
    text.lines().filter_map(|line| {
        let (name, value) = line.trim().split_once('=')?;
        name.starts_with("CONFIG_").then(|| Setting {
            name: name.to_owned(),
            value: value.to_owned(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_fragment_wins() {
        let merged = merge(&["CONFIG_SMP=y\nCONFIG_NET=y\n", "# up\nCONFIG_SMP=n\n"]);
        let shown: Vec<String> = merged
            .iter()
            .map(|setting| format!("{}={}", setting.name, setting.value))
            .collect();
        assert_eq!(shown, ["CONFIG_NET=y", "CONFIG_SMP=n"]);
    }

    #[test]
    fn a_dropped_option_and_one_turned_on_by_another_are_both_named() {
        let wanted = merge(&["CONFIG_DROPPED=y\nCONFIG_OFF=n\nCONFIG_FORCED=n\nCONFIG_HZ=100\n"]);
        let resolved = "CONFIG_FORCED=y\nCONFIG_HZ=100\n# CONFIG_OFF is not set\n";
        assert_eq!(
            not_taken(&wanted, resolved),
            [
                "CONFIG_DROPPED: asked for y, is n",
                "CONFIG_FORCED: asked for n, is y"
            ]
        );
    }
}
