//! `cp`

use super::each::naming;
use crate::args::{self, Refusal};
use crate::output::stdout;
use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use supermachine::{CopyOptions, Runtime, Vm};

/// Copied at a time.
const CHUNK: usize = 128 << 10;

/// One side of a copy.
#[derive(Debug, PartialEq, Eq)]
enum Side {
    /// A path in a VM.
    Vm(String, OsString),
    /// A path here.
    Here(PathBuf),
    /// A tar stream.
    Stream,
}

impl Side {
    /// As Docker takes them apart: what starts with `/` or `.` is here, whatever else is in it.
    fn of(word: &OsStr) -> Self {
        let bytes = word.as_bytes();
        if bytes == b"-" {
            return Self::Stream;
        }
        match bytes.iter().position(|&byte| byte == b':') {
            Some(colon) if !bytes.starts_with(b"/") && !bytes.starts_with(b".") => Self::Vm(
                String::from_utf8_lossy(&bytes[..colon]).into_owned(),
                OsString::from_vec(bytes[colon + 1..].to_vec()),
            ),
            _ => Self::Here(word.into()),
        }
    }
}

/// Copies into a VM or out of one.
pub fn carry_out(args: &args::Cp) -> anyhow::Result<u8> {
    let options = CopyOptions {
        keep_owners: args.archive,
        follow_link: args.follow_link,
    };
    match (Side::of(&args.source), Side::of(&args.destination)) {
        (Side::Vm(..), Side::Vm(..)) => {
            return Err(refusal(
                "copying between VMs is not supported",
                "copy to a directory here first, or pipe one `cp` into another with `-`",
            )
            .into());
        }
        (Side::Vm(name, path), Side::Here(to)) => with(&name, |vm| {
            Ok(vm.files().copy_out(rooted(path), to, options)?)
        })?,
        (Side::Vm(name, path), Side::Stream) => {
            with(&name, |vm| pack(vm, &rooted(path)))?;
        }
        (Side::Here(from), Side::Vm(name, path)) => with(&name, |vm| {
            Ok(vm.files().copy_in(from, rooted(path), options)?)
        })?,
        (Side::Stream, Side::Vm(name, path)) => with(&name, |vm| {
            Ok(vm
                .files()
                .unpack(rooted(path), io::stdin().lock(), options)?)
        })?,
        _ => {
            return Err(refusal("neither side is in a VM", "write one as NAME:PATH").into());
        }
    }
    Ok(0)
}

fn with(name: &str, act: impl FnOnce(&Vm) -> anyhow::Result<()>) -> anyhow::Result<()> {
    naming(
        name,
        Runtime::new()?
            .open_vm(name)
            .map_err(Into::into)
            .and_then(|vm| act(&vm)),
    )
}

/// Paths count from the root of the VM.
fn rooted(path: OsString) -> OsString {
    if path.as_bytes().starts_with(b"/") {
        return path;
    }
    let mut rooted = OsString::from("/");
    rooted.push(path);
    rooted
}

fn pack(vm: &Vm, path: &OsStr) -> anyhow::Result<()> {
    if io::stdout().is_terminal() {
        return Err(refusal(
            "a tar stream is nothing to read on a terminal",
            "send it to a file or a program",
        )
        .into());
    }
    let name = std::path::Path::new(path)
        .file_name()
        .unwrap_or(OsStr::new("."));
    let contents = path.as_bytes().ends_with(b"/.");
    let mut archive = vm
        .files()
        .pack(path, if contents { OsStr::new(".") } else { name })?;
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = match archive.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) => return Err(unwrapped(error)),
        };
        stdout::write(&buffer[..count])?;
    }
}

/// What failed in the VM comes through the stream.
fn unwrapped(error: io::Error) -> anyhow::Error {
    match error.downcast::<supermachine::Error>() {
        Ok(error) => error.into(),
        Err(error) => error.into(),
    }
}

fn refusal(message: &str, hint: &str) -> Refusal {
    Refusal {
        message: format!("cp: {message}"),
        hint: Some(hint.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_told_apart_as_docker_does() {
        let vm = |name: &str, path: &str| Side::Vm(name.into(), path.into());
        for (word, side) in [
            ("web:/etc/hosts", vm("web", "/etc/hosts")),
            ("web:a:b", vm("web", "a:b")),
            ("web:", vm("web", "")),
            ("/a:b", Side::Here("/a:b".into())),
            ("./a:b", Side::Here("./a:b".into())),
            ("plain", Side::Here("plain".into())),
            ("-", Side::Stream),
        ] {
            assert_eq!(Side::of(OsStr::new(word)), side, "{word}");
        }
    }
}
