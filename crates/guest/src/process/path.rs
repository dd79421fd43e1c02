//! Where a program may be.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Where programs are looked for when the environment does not say.
pub const DEFAULT: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The paths a program may be at, in order: itself if it has a slash, else one per directory of `path`.
/// A path with a NUL in it cannot exist and is left out.
pub fn candidates(program: &[u8], path: &[u8]) -> Vec<CString> {
    if program.contains(&b'/') {
        return CString::new(program).into_iter().collect();
    }
    path.split(|&byte| byte == b':')
        .filter_map(|directory| {
            // An empty entry is the working directory, by an old custom of the shell.
            let directory = if directory.is_empty() {
                b"."
            } else {
                directory
            };
            CString::new([directory, b"/", program].concat()).ok()
        })
        .collect()
}

/// Drops the leading candidates that are not there. A failed execve has copied the whole environment by
/// the time it fails, a look costs a tenth of that. What follows the first hit stays: the new user may not
/// be allowed to execute it.
pub fn skip_missing(candidates: &mut Vec<CString>) {
    if candidates.len() > 1
        && let Some(first) = candidates.iter().position(is_program)
    {
        candidates.drain(..first);
    }
}

fn is_program(path: &CString) -> bool {
    let path = Path::new(OsStr::from_bytes(path.as_bytes()));
    std::fs::metadata(path)
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(program: &[u8], path: &[u8]) -> Vec<String> {
        candidates(program, path)
            .into_iter()
            .map(|c| c.into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_slash_means_no_search() {
        assert_eq!(shown(b"./run", b"/bin:/usr/bin"), ["./run"]);
        assert_eq!(shown(b"/bin/ls", b""), ["/bin/ls"]);
    }

    #[test]
    fn every_directory_is_tried_in_order() {
        assert_eq!(
            shown(b"ls", b"/usr/bin::/bin"),
            ["/usr/bin/ls", "./ls", "/bin/ls"]
        );
    }

    #[test]
    fn missing_files_directories_and_plain_files_are_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_str().unwrap();
        for directory in ["a", "b", "c", "d"] {
            std::fs::create_dir(folder.path().join(directory)).unwrap();
        }
        std::fs::create_dir(folder.path().join("b/tool")).unwrap();
        std::fs::write(folder.path().join("c/tool"), "").unwrap();
        std::fs::write(folder.path().join("d/tool"), "").unwrap();
        std::fs::set_permissions(
            folder.path().join("d/tool"),
            PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        let path = ["a", "b", "c", "d", "a"]
            .map(|directory| format!("{root}/{directory}"))
            .join(":");
        let mut found = candidates(b"tool", path.as_bytes());
        skip_missing(&mut found);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].to_str().unwrap(), format!("{root}/d/tool"));
    }
}
