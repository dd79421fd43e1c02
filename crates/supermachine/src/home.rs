//! The state directory.

use crate::saved::Shelf;
use rustix::fs::{Mode, OFlags, mkdir, open};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Version of the directory's layout. Another one is refused: an older release must not write into it.
const FORMAT: &str = "1";

/// What can be wrong with the state directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HomeError {
    /// Neither `$SUPERMACHINE_HOME` nor `$XDG_DATA_HOME` nor `$HOME` is set to an absolute path.
    #[error("no place for state: set SUPERMACHINE_HOME (or HOME) to an absolute path")]
    Unknown,
    /// A directory cannot be made or looked at.
    #[error("cannot use the directory {path}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else owns the directory, or others may write to it.
    #[error("{path} is not safe to use: {reason}")]
    Unsafe {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// Another release wrote it in a layout this one does not know.
    #[error(
        "{path} was written in format {found:?} by another release; this one knows format {FORMAT}"
    )]
    Format {
        /// The directory.
        path: PathBuf,
        /// What its version file says.
        found: String,
    },
}

/// The state directory, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Home {
    dir: PathBuf,
}

impl Home {
    /// Opens a state directory, making it where missing.
    pub(crate) fn open(dir: &Path) -> Result<Self, HomeError> {
        let failed = |source| HomeError::Directory {
            path: dir.to_owned(),
            source,
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(failed)?;
        let dir = dir.canonicalize().map_err(failed)?;
        let home = Self { dir };
        home.check_owner()?;
        home.check_format()?;
        for room in [
            "vms",
            "kernels",
            "scratch",
            "templates",
            "snapshots",
            "volumes",
            "networks",
        ] {
            make_private(&home.dir.join(room))?;
        }
        Ok(home)
    }

    /// Where the environment says it is.
    pub(crate) fn from_environment() -> Result<PathBuf, HomeError> {
        let absolute = |name: &str| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        // A relative SUPERMACHINE_HOME would mean another directory for every working directory.
        match std::env::var_os("SUPERMACHINE_HOME") {
            Some(set) if !set.is_empty() => absolute("SUPERMACHINE_HOME").ok_or(HomeError::Unknown),
            _ => absolute("XDG_DATA_HOME")
                .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
                .map(|data| data.join("supermachine"))
                .ok_or(HomeError::Unknown),
        }
    }

    fn check_owner(&self) -> Result<(), HomeError> {
        let failed = |source| HomeError::Directory {
            path: self.dir.clone(),
            source,
        };
        let metadata = fs::metadata(&self.dir).map_err(failed)?;
        if metadata.uid() != geteuid().as_raw() {
            return Err(HomeError::Unsafe {
                path: self.dir.clone(),
                reason: "it belongs to another user",
            });
        }
        if metadata.mode() & 0o077 != 0 {
            fs::set_permissions(&self.dir, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        }
        Ok(())
    }

    fn check_format(&self) -> Result<(), HomeError> {
        let path = self.dir.join("version");
        let failed = |source| HomeError::Directory {
            path: self.dir.clone(),
            source,
        };
        match fs::read_to_string(&path) {
            Ok(found) if found.trim() == FORMAT => Ok(()),
            // A crash between making and writing leaves an empty file on some file systems.
            Ok(found) if !found.trim().is_empty() => Err(HomeError::Format {
                path: self.dir.clone(),
                found: found.trim().to_owned(),
            }),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            _ => write_atomically(&path, format!("{FORMAT}\n").as_bytes()).map_err(failed),
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn vms(&self) -> PathBuf {
        self.dir.join("vms")
    }

    pub(crate) fn kernels(&self) -> PathBuf {
        self.dir.join("kernels")
    }

    pub(crate) fn scratch(&self) -> PathBuf {
        self.dir.join("scratch")
    }

    pub(crate) fn volumes(&self) -> PathBuf {
        self.dir.join("volumes")
    }

    pub(crate) fn networks(&self) -> PathBuf {
        self.dir.join("networks")
    }

    pub(crate) fn templates(&self) -> Shelf {
        Shelf::new(self.dir.join("templates"))
    }

    pub(crate) fn snapshots(&self) -> Shelf {
        Shelf::new(self.dir.join("snapshots"))
    }
}

/// Makes a directory of mode 0700, or checks that the one that is there is ours alone. In a directory like
/// /tmp anybody may have made it first, as a link to somewhere else too.
pub(crate) fn make_private(dir: &Path) -> Result<(), HomeError> {
    let failed = |errno: Errno| HomeError::Directory {
        path: dir.to_owned(),
        source: errno.into(),
    };
    match mkdir(dir, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(failed(errno)),
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let opened = match open(dir, flags, Mode::empty()) {
        Err(Errno::LOOP | Errno::NOTDIR) => {
            return Err(HomeError::Unsafe {
                path: dir.to_owned(),
                reason: "it is not a directory",
            });
        }
        other => other.map_err(failed)?,
    };
    let stat = rustix::fs::fstat(&opened).map_err(failed)?;
    let reason = if stat.st_uid != geteuid().as_raw() {
        "it belongs to another user"
    } else if stat.st_mode & 0o077 != 0 {
        "other users may enter it"
    } else {
        return Ok(());
    };
    Err(HomeError::Unsafe {
        path: dir.to_owned(),
        reason,
    })
}

/// Writes a file so that a reader sees the old content or the new one.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", random_hex(8)));
    let temporary = path.with_file_name(name);
    let written = fs::File::create(&temporary)
        .and_then(|mut file| file.write_all(content))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// `bytes` in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Fresh randomness from the host's kernel.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        // Interrupted by a signal at most; the call is older than any kernel with KVM as we need it.
        filled +=
            rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())
                .unwrap_or(0);
    }
    bytes
}

/// That many random hexadecimal digits, 64 at most.
pub(crate) fn random_hex(digits: usize) -> String {
    let mut text = hex(&random::<32>());
    text.truncate(digits);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_new_home_is_private_and_opens_again() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().join("a/b");
        let home = Home::open(&dir).unwrap();
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
        assert_eq!(Home::open(&dir).unwrap(), home);
        assert_eq!(fs::read_to_string(dir.join("version")).unwrap(), "1\n");
    }

    #[test]
    fn a_home_of_another_format_is_refused_with_both_versions() {
        let temporary = tempfile::tempdir().unwrap();
        fs::write(temporary.path().join("version"), "2\n").unwrap();
        let error = Home::open(temporary.path()).unwrap_err().to_string();
        assert!(
            error.contains("format \"2\"") && error.contains("knows format 1"),
            "{error}"
        );
    }

    #[test]
    fn an_empty_version_file_of_a_crash_is_written_again() {
        let temporary = tempfile::tempdir().unwrap();
        fs::write(temporary.path().join("version"), "").unwrap();
        Home::open(temporary.path()).unwrap();
    }

    #[test]
    fn a_directory_that_is_a_link_or_open_to_others_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let link = temporary.path().join("link");
        symlink("/tmp", &link).unwrap();
        assert!(matches!(make_private(&link), Err(HomeError::Unsafe { .. })));
        let open = temporary.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(make_private(&open), Err(HomeError::Unsafe { .. })));
    }

    #[test]
    fn a_failed_write_leaves_no_temporary_file() {
        let temporary = tempfile::tempdir().unwrap();
        let target = temporary.path().join("target");
        fs::create_dir(&target).unwrap();
        assert!(write_atomically(&target, b"x").is_err());
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 1);
    }
}
