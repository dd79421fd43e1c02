//! Copies between a VM and this side, to the places Docker's `cp` would choose.

use super::error::FilesError;
use super::{Files, bytes, owners};
use crate::error::Error;
use proto::files::{FileKind, FileRequest, Links};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use tree::{Devices, Pack, TreeError, Unpacker};

/// Headers of an archive are small; a system call for each would be slow.
const BUFFER: usize = 128 << 10;

/// How trees are copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// Files keep their owners, and set-user-id with them. Otherwise they become root's in a VM and the caller's here.
    pub keep_owners: bool,
    /// A symbolic link at the end of the source path is followed.
    pub follow_link: bool,
}

impl CopyOptions {
    const fn links(self) -> Links {
        if self.follow_link {
            Links::Follow
        } else {
            Links::Keep
        }
    }
}

/// What is at a place that something is to be copied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum There {
    Nothing,
    Directory,
    Other,
}

/// Where a copy goes: into which directory, and what it is called there (`.` for the contents of a directory).
#[derive(Debug, PartialEq, Eq)]
struct Place {
    directory: PathBuf,
    name: OsString,
}

impl Files<'_> {
    /// Copies a file or tree of this side into the VM, to the place Docker's `cp` would choose.
    pub fn copy_in(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<OsStr>,
        options: CopyOptions,
    ) -> Result<(), Error> {
        let (from, to) = (from.as_ref(), to.as_ref());
        let look = if options.follow_link {
            fs::metadata
        } else {
            fs::symlink_metadata
        };
        let source = look(from).map_err(local("look at", from))?;
        let place = place(from.as_os_str(), source.is_dir(), to, |path| {
            self.what_is(path)
        })?;
        let how = Pack {
            name: place.name.into_vec(),
            links: match options.links() {
                Links::Keep => tree::Links::Keep,
                Links::Follow => tree::Links::Follow,
            },
        };
        let mut call = self.call(FileRequest::Unpack {
            path: bytes(&place.directory),
            owners: owners(options),
        })?;
        let mut broken = None;
        let fed = call.feed(|stdin| match tree::pack(from, &how, stdin) {
            Ok(_) => Ok(()),
            Err(TreeError::Stream(_, error)) => Err(error),
            Err(error) => {
                broken = Some(error);
                Err(io::ErrorKind::InvalidData.into())
            }
        });
        match broken {
            Some(error) => Err(FilesError::Tree(error).into()),
            None => fed,
        }
    }

    /// Copies a file or tree of the VM to this side, to the place Docker's `cp` would choose. Nothing is written but what
    /// was asked for, at that place, whatever the VM sends; device nodes are refused.
    pub fn copy_out(
        &self,
        from: impl AsRef<OsStr>,
        to: impl AsRef<Path>,
        options: CopyOptions,
    ) -> Result<(), Error> {
        let (from, to) = (from.as_ref(), to.as_ref());
        let source = self.look(from, options.links())?;
        let is_directory = source.kind == FileKind::Directory;
        let place = place(from, is_directory, to.as_os_str(), |path| {
            what_is_here(path)
        })?;
        let directory = File::open(&place.directory).map_err(local("open", &place.directory))?;
        let whose = if options.keep_owners {
            tree::Owners::Kept
        } else {
            tree::Owners::Ours
        };
        let mut unpacker = Unpacker::new(OwnedFd::from(directory), whose, Devices::Refused);
        if place.name != *"." {
            unpacker = unpacker.only(place.name.as_bytes().to_vec());
        }
        let archive = self.pack_with(from, &place.name, options.links())?;
        unpacker
            .unpack(BufReader::with_capacity(BUFFER, archive))
            .map_err(explain)
    }

    fn what_is(&self, path: &Path) -> Result<There, Error> {
        match self.stat(path) {
            Ok(stat) if stat.kind == FileKind::Directory => Ok(There::Directory),
            Ok(_) => Ok(There::Other),
            Err(Error::Files(error)) if error.kind() == io::ErrorKind::NotFound => {
                Ok(There::Nothing)
            }
            Err(error) => Err(error),
        }
    }
}

fn what_is_here(path: &Path) -> Result<There, Error> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Ok(There::Directory),
        Ok(_) => Ok(There::Other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(There::Nothing),
        Err(error) => Err(local("look at", path)(error).into()),
    }
}

/// The rules of Docker's `cp`: into a directory that is there under the source's own name, else under the new name;
/// a source that ends in `/.` means what is in it.
fn place(
    from: &OsStr,
    is_directory: bool,
    to: &OsStr,
    what_is: impl Fn(&Path) -> Result<There, Error>,
) -> Result<Place, Error> {
    let from_bytes = from.as_bytes();
    let wants_directory = to.as_bytes().ends_with(b"/") || to.as_bytes().ends_with(b"/.");
    if !is_directory && from_bytes.ends_with(b"/") {
        return refuse(format!("{} is not a directory", Path::new(from).display()));
    }
    let contents = is_directory && (from_bytes.ends_with(b"/.") || from_bytes == b".");
    let destination = Path::new(to);
    let there = what_is(destination)?;
    let own_name = Path::new(from).file_name().map(OsStr::to_owned);
    Ok(match (there, is_directory) {
        (There::Directory, true) if contents => Place {
            directory: destination.to_owned(),
            name: ".".into(),
        },
        (There::Directory, _) => Place {
            directory: destination.to_owned(),
            // `/` and `..` have no name of their own: what is in them is meant.
            name: own_name.unwrap_or_else(|| ".".into()),
        },
        (There::Other, true) => {
            return refuse(format!("{} is not a directory", destination.display()));
        }
        (There::Other, false) if wants_directory => {
            return refuse(format!("{} is not a directory", destination.display()));
        }
        (There::Nothing, false) if wants_directory => {
            return refuse(format!("there is no directory {}", destination.display()));
        }
        (There::Nothing | There::Other, _) => {
            let Some(name) = destination.file_name() else {
                return refuse(format!("there is no directory {}", destination.display()));
            };
            let above = match destination.parent() {
                Some(above) if !above.as_os_str().is_empty() => above,
                _ => Path::new("."),
            };
            if what_is(above)? != There::Directory {
                return refuse(format!("there is no directory {}", above.display()));
            }
            Place {
                directory: above.to_owned(),
                name: name.to_owned(),
            }
        }
    })
}

fn refuse<T>(message: String) -> Result<T, Error> {
    Err(FilesError::Place(message).into())
}

fn local<'a>(doing: &'static str, path: &'a Path) -> impl Fn(io::Error) -> FilesError + 'a {
    move |source| FilesError::Local {
        doing,
        path: path.display().to_string(),
        source,
    }
}

/// What failed in the VM comes through the stream.
fn explain(error: TreeError) -> Error {
    match error {
        TreeError::Stream(_, error) => FilesError::from_stream(error),
        error => FilesError::Tree(error).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(from: &str, is_directory: bool, to: &str) -> Result<(String, String), String> {
        let what_is = |path: &Path| {
            Ok(match path.to_str().unwrap().trim_end_matches('/') {
                "/dir" | "" | "." => There::Directory,
                "/file" => There::Other,
                _ => There::Nothing,
            })
        };
        place(OsStr::new(from), is_directory, OsStr::new(to), what_is)
            .map(|place| {
                let directory = place.directory.to_str().unwrap().to_owned();
                (directory, place.name.into_string().unwrap())
            })
            .map_err(|error| error.to_string())
    }

    #[test]
    fn places_are_those_of_docker() {
        for (from, is_directory, to, directory, name) in [
            ("a", false, "/new", "/", "new"),
            ("a", false, "/file", "/", "file"),
            ("a", false, "/dir", "/dir", "a"),
            ("a", false, "/dir/", "/dir/", "a"),
            ("x/a", true, "/new", "/", "new"),
            ("x/a/.", true, "/new", "/", "new"),
            ("x/a", true, "/dir", "/dir", "a"),
            ("x/a/", true, "/dir", "/dir", "a"),
            ("x/a/.", true, "/dir", "/dir", "."),
            (".", true, "/dir", "/dir", "."),
            ("/", true, "/dir", "/dir", "."),
            ("a", false, "new", ".", "new"),
        ] {
            let expected = Ok((directory.to_owned(), name.to_owned()));
            assert_eq!(placed(from, is_directory, to), expected, "{from} {to}");
        }
    }

    #[test]
    fn places_that_do_not_fit_together_are_refused() {
        for (from, is_directory, to, reason) in [
            ("a", false, "/new/", "there is no directory /new/"),
            ("a", false, "/file/", "/file/ is not a directory"),
            ("a", true, "/file", "/file is not a directory"),
            ("a/", false, "/dir", "a/ is not a directory"),
            ("a", false, "/no/new", "there is no directory /no"),
            ("a", true, "/no/new", "there is no directory /no"),
        ] {
            assert_eq!(
                placed(from, is_directory, to),
                Err(reason.to_owned()),
                "{from} {to}"
            );
        }
    }
}
