//! Names of VMs.

use crate::error::ConfigError;
use crate::home::random;

/// Longer ones make unwieldy directories and tables.
const MAX_LEN: usize = 128;

/// Checks a name by Docker's rule: a letter or digit, then at least one of letters, digits, `_`, `.`, `-`.
pub(crate) fn check(name: &str) -> Result<(), ConfigError> {
    let mut bytes = name.bytes();
    let first = bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if first && rest && (2..=MAX_LEN).contains(&name.len()) {
        Ok(())
    } else {
        Err(ConfigError::Name(name.to_owned()))
    }
}

/// Makes up a name: an adjective and a noun, and after a few collisions a number.
pub(crate) fn generate(attempt: u32) -> String {
    let [a, b, c, d] = random::<4>();
    let adjective = ADJECTIVES[usize::from(a) % ADJECTIVES.len()];
    let noun = NOUNS[usize::from(b) % NOUNS.len()];
    if attempt < 3 {
        format!("{adjective}_{noun}")
    } else {
        format!("{adjective}_{noun}{}", u16::from_le_bytes([c, d]))
    }
}

const ADJECTIVES: [&str; 64] = [
    "agile", "amber", "ample", "apt", "blithe", "bold", "brave", "breezy", "bright", "brisk",
    "calm", "candid", "chipper", "clever", "cosmic", "crisp", "daring", "deft", "eager", "early",
    "fabled", "fair", "fleet", "fluent", "frank", "gentle", "gilded", "glad", "grand", "hardy",
    "hasty", "honest", "humble", "jolly", "keen", "kind", "lively", "lucid", "lucky", "mellow",
    "merry", "mighty", "modest", "nimble", "noble", "patient", "plucky", "polite", "proud",
    "quick", "quiet", "ready", "robust", "royal", "silent", "sleek", "snug", "steady", "sunny",
    "swift", "tidy", "vivid", "warm", "witty",
];

const NOUNS: [&str; 64] = [
    "anchor", "antler", "arbor", "badger", "basalt", "beacon", "birch", "bison", "brook", "canyon",
    "cedar", "comet", "condor", "coral", "crane", "delta", "dune", "ember", "falcon", "fern",
    "fjord", "fox", "gale", "glacier", "grove", "harbor", "heron", "ibex", "island", "jay",
    "kestrel", "lagoon", "lantern", "lark", "lynx", "maple", "marten", "meadow", "mesa", "meteor",
    "otter", "owl", "pebble", "pine", "planet", "prairie", "quartz", "raven", "reef", "ridge",
    "river", "robin", "rowan", "sable", "spruce", "summit", "swift", "tern", "thicket", "tundra",
    "valley", "walrus", "willow", "wren",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_docker_takes_are_taken() {
        for name in [
            "ab",
            "a1",
            "1a",
            "web_1",
            "my.vm-2",
            "A_",
            &"x".repeat(MAX_LEN),
        ] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn names_docker_refuses_are_refused() {
        let long = "x".repeat(MAX_LEN + 1);
        for name in [
            "", "a", "-a", "_a", ".a", "..", "a b", "a/b", "a\n", "ä1", "a\0", &long,
        ] {
            assert_eq!(
                check(name),
                Err(ConfigError::Name(name.to_owned())),
                "{name:?}"
            );
        }
    }

    #[test]
    fn generated_names_are_valid() {
        for attempt in 0..200 {
            check(&generate(attempt % 5)).unwrap();
        }
    }
}
