//! What one file may contain.

use super::{Finding, lexer};

/// Crates that promise to have no `unsafe`; the compiler holds them to it.
const SAFE_CRATES: &[&str] = &[
    "proto",
    "image",
    "snapshot",
    "devices",
    "net",
    "supermachine",
    "cli",
    "testkit",
];
/// Where `unsafe` may be written.
const UNSAFE_ROOMS: &[&str] = &["crates/vmm/", "crates/guest/"];
/// The only room that may name KVM's types, so that another hypervisor has a place to go.
const KVM_ROOM: &str = "crates/vmm/src/hypervisor/kvm";
/// Aims, not limits.
const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 100;

/// Rules for any text file.
pub fn check_text(path: &str, text: &str) -> Vec<Finding> {
    // Assembled here, so that this file does not break its own rule.
    let foreign = [concat!("/", "work/"), concat!("../", "shared")];
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| foreign.iter().any(|dir| names_directory(line, dir)));
    lines
        .map(|(at, _)| finding(path, at, "names a directory of one particular machine"))
        .collect()
}

/// Whether `dir` stands in the line as a path of its own and not as the middle of another.
fn names_directory(line: &str, dir: &str) -> bool {
    line.match_indices(dir).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before
            .is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '}' | '>'))
    })
}

/// A Rust source file, with comments and literals set aside.
pub struct Source<'a> {
    path: &'a str,
    lines: Vec<String>,
    /// The first line of its test module; integration tests are tests from the start.
    tests_from: usize,
}

impl<'a> Source<'a> {
    /// Reads a file.
    pub fn new(path: &'a str, text: &str) -> Self {
        let lines: Vec<String> = lexer::code_only(text).lines().map(str::to_owned).collect();
        let is_test_file = path.contains("/tests/")
            || path.ends_with("/tests.rs")
            || path.starts_with("crates/testkit/");
        let test_module = lines.iter().position(|line| line.trim() == "#[cfg(test)]");
        let tests_from = if is_test_file {
            0
        } else {
            test_module.unwrap_or(usize::MAX)
        };
        Self {
            path,
            lines,
            tests_from,
        }
    }

    /// Broken rules.
    pub fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.must_forbid_unsafe()
            && !self
                .lines
                .iter()
                .any(|line| line.trim() == "#![forbid(unsafe_code)]")
        {
            findings.push(Finding::new(
                self.path,
                "must begin with #![forbid(unsafe_code)]",
            ));
        }
        for (at, line) in self.lines.iter().enumerate() {
            findings.extend(
                self.check_line(at, line)
                    .into_iter()
                    .map(|what| finding(self.path, at, what)),
            );
        }
        findings
    }

    fn check_line(&self, at: usize, line: &str) -> Option<&'static str> {
        if has_word(line, "unsafe") && !UNSAFE_ROOMS.iter().any(|room| self.path.starts_with(room))
        {
            return Some("unsafe code belongs in vmm and guest");
        }
        let names_kvm = has_word(line, "kvm_ioctls") || has_word(line, "kvm_bindings");
        if names_kvm && !self.path.starts_with(KVM_ROOM) {
            return Some("KVM's types belong in crates/vmm/src/hypervisor/kvm");
        }
        if line.contains("#[ignore") {
            return Some("an ignored test protects nothing: fix it or remove it");
        }
        if at >= self.tests_from && has_word(line, "sleep") && line.contains("sleep(") {
            return Some("a test waits for what it needs, it does not sleep");
        }
        None
    }

    /// Aims missed.
    pub fn check_sizes(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.lines.len() > FILE_LINES {
            findings.push(Finding::new(
                self.path,
                format!("{} lines (aim: {FILE_LINES})", self.lines.len()),
            ));
        }
        for (at, length) in self
            .functions()
            .filter(|(_, length)| *length > FUNCTION_LINES)
        {
            findings.push(finding(
                self.path,
                at,
                format!("a function of {length} lines (aim: {FUNCTION_LINES})"),
            ));
        }
        findings
    }

    /// Where functions start and how long they are. rustfmt closes a function in the column it opened it.
    fn functions(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let starts = self
            .lines
            .iter()
            .enumerate()
            .filter(|(_, line)| has_word(line, "fn"));
        starts.filter_map(|(start, line)| {
            let close = format!("{}}}", &line[..line.len() - line.trim_start().len()]);
            let length = self.lines[start..]
                .iter()
                .position(|line| line.trim_end() == close)?;
            Some((start, length + 1))
        })
    }

    fn must_forbid_unsafe(&self) -> bool {
        let Some((name, file)) = self
            .path
            .strip_prefix("crates/")
            .and_then(|path| path.split_once("/src/"))
        else {
            return self.path == "xtask/src/main.rs";
        };
        let is_root = matches!(file, "lib.rs" | "main.rs") || file.starts_with("bin/");
        is_root && SAFE_CRATES.contains(&name)
    }
}

fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

fn finding(path: &str, line: usize, what: impl Into<String>) -> Finding {
    Finding::new(format!("{path}:{}", line + 1), what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(path: &str, text: &str) -> Vec<String> {
        Source::new(path, text)
            .check()
            .into_iter()
            .map(|finding| finding.what)
            .collect()
    }

    #[test]
    fn unsafe_is_found_outside_its_rooms_and_not_in_words_about_it() {
        assert_eq!(
            broken("crates/image/src/a.rs", "fn f() { unsafe { g() } }").len(),
            1
        );
        assert_eq!(
            broken("crates/vmm/src/a.rs", "fn f() { unsafe { g() } }").len(),
            0
        );
        assert_eq!(
            broken(
                "crates/image/src/a.rs",
                "// unsafe\nconst A: &str = \"unsafe\";"
            )
            .len(),
            0
        );
    }

    #[test]
    fn a_safe_crate_without_its_promise_is_found() {
        assert_eq!(broken("crates/image/src/lib.rs", "pub mod a;").len(), 1);
        assert_eq!(
            broken(
                "crates/image/src/lib.rs",
                "#![forbid(unsafe_code)]\npub mod a;"
            )
            .len(),
            0
        );
        assert_eq!(broken("crates/vmm/src/main.rs", "fn main() {}").len(), 0);
    }

    #[test]
    fn kvm_types_are_found_outside_their_room() {
        assert_eq!(
            broken("crates/vmm/src/run.rs", "use kvm_ioctls::Kvm;").len(),
            1
        );
        assert_eq!(
            broken(
                "crates/vmm/src/hypervisor/kvm/vm.rs",
                "use kvm_ioctls::Kvm;"
            )
            .len(),
            0
        );
    }

    #[test]
    fn tests_neither_sleep_nor_hide() {
        let sleeping =
            "fn wait() { sleep(x) }\n#[cfg(test)]\nmod tests { fn t() { thread::sleep(x) } }";
        assert_eq!(broken("crates/image/src/a.rs", sleeping).len(), 1);
        assert_eq!(
            broken("crates/image/tests/a.rs", "#[ignore]\nfn t() {}").len(),
            1
        );
    }

    #[test]
    fn a_path_of_one_machine_is_found_and_a_folder_of_that_name_is_not() {
        let foreign = concat!("read \"/", "work/shared\"");
        assert_eq!(check_text("README.md", foreign).len(), 1);
        assert_eq!(
            check_text("README.md", "target/work/x and /workspace/x").len(),
            0
        );
    }

    #[test]
    fn a_long_function_misses_the_aim() {
        let text = format!(
            "impl A {{\n    fn f() {{\n{}    }}\n\n    fn g() {{\n    }}\n}}\n",
            "        x();\n".repeat(120)
        );
        let missed = Source::new("crates/image/src/a.rs", &text).check_sizes();
        assert_eq!(
            missed,
            [Finding::new(
                "crates/image/src/a.rs:2",
                "a function of 122 lines (aim: 100)"
            )]
        );
    }
}
