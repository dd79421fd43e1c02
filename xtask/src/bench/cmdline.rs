//! The kernel command line that our guests get, for the others' guests: taken from the VMM's source, so that the two
//! cannot drift apart. Each VMM appends its own devices.

const SOURCE: &str = include_str!("../../../crates/vmm/src/arch/x86_64/cmdline.rs");

/// Without devices.
pub fn base() -> String {
    let start = "const BASE: &str = \"";
    let text = SOURCE
        .split_once(start)
        .and_then(|(_, rest)| rest.split_once("\";"))
        .expect("the VMM's source has the command line as one literal, as the test of this module found")
        .0;
    // The literal goes over several lines, each ended by a backslash.
    let words = text.split_whitespace().filter(|word| *word != "\\");
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_found_in_the_vmms_source() {
        let line = super::base();
        assert!(line.starts_with("console=ttyS0 "), "{line}");
        assert!(line.split(' ').any(|word| word == "rdinit=/init"), "{line}");
        assert!(!line.contains(['\\', '"', '\n']), "{line}");
    }
}
