//! Why a program did not start, in words that say what to do.

use crate::failure::shown;
use crate::sys::{
    errno,
    spawn::{SpawnError, Step},
};
use proto::session::{Failure, FailureKind};
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use std::path::Path;

/// The kernel's limit for one argument or variable, its end marker included (MAX_ARG_STRLEN).
pub const MAX_STRING: usize = 128 << 10;

/// Puts a failed start into the protocol's words. `program` is what was asked for, `candidates` where it
/// was looked for.
pub fn explain(
    error: &SpawnError,
    program: &[u8],
    candidates: &[CString],
    directory: &[u8],
) -> Failure {
    let errno = errno(&error.source);
    let (kind, context) = match error.step {
        Step::Clone => (
            FailureKind::System,
            format!("start a process for {}", shown(program)),
        ),
        Step::Prepare => (
            FailureKind::System,
            format!("set the process of {} up", shown(program)),
        ),
        Step::Directory => (
            FailureKind::Workdir,
            format!("enter the working directory {}", shown(directory)),
        ),
        Step::Identity => (
            FailureKind::System,
            format!("become the user of {}", shown(program)),
        ),
        Step::Execute(at) => {
            let tried = candidates
                .get(at)
                .map_or(program, |candidate| candidate.as_bytes());
            execution(errno, program, tried)
        }
    };
    Failure {
        kind,
        context,
        errno,
    }
}

fn execution(errno: i32, program: &[u8], tried: &[u8]) -> (FailureKind, String) {
    let path = Path::new(OsStr::from_bytes(tried));
    let name = shown(tried);
    match errno {
        libc::ENOENT if path.exists() => (FailureKind::NotFound, missing_interpreter(path, &name)),
        libc::ENOENT | libc::ENOTDIR if program.contains(&b'/') => (
            FailureKind::NotFound,
            format!("exec {name}: no such file in the image"),
        ),
        libc::ENOENT | libc::ENOTDIR => (
            FailureKind::NotFound,
            format!("exec {}: not found in PATH", shown(program)),
        ),
        libc::EACCES if path.is_dir() => (
            FailureKind::NotExecutable,
            format!("exec {name}: is a directory"),
        ),
        libc::ENOEXEC => (FailureKind::NotExecutable, foreign(path, &name)),
        libc::E2BIG => (
            FailureKind::TooLong,
            format!(
                "exec {name}: arguments and environment together are over the kernel's limit of 2 MiB"
            ),
        ),
        _ => (FailureKind::NotExecutable, format!("exec {name}")),
    }
}

/// ELF: the class is at 4 (1 for 32 bits), the machine at 18.
fn foreign(path: &Path, name: &str) -> String {
    let mut start = [0; 20];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut start, 0));
    let machine = match (read, start.strip_prefix(b"\x7fELF"), number(&start, 18, 2)) {
        (Ok(()), Some([1, ..]), Some(3)) => "32-bit x86",
        (Ok(()), Some([1, ..]), Some(62)) => "x86-64 with 32-bit addresses (x32)",
        (Ok(()), Some([1, ..]), Some(40)) => "32-bit ARM",
        (Ok(()), Some(_), Some(183)) => "64-bit ARM",
        (Ok(()), Some(_), Some(21)) => "PowerPC",
        (Ok(()), Some(_), Some(22)) => "S/390",
        (Ok(()), Some(_), Some(243)) => "RISC-V",
        _ => {
            return format!(
                "exec {name}: neither a program for this CPU nor a script that starts with #!"
            );
        }
    };
    format!("exec {name}: a program for {machine}, and only 64-bit x86 programs run here")
}

/// The file is there, so what is missing is what the kernel loads to run it.
fn missing_interpreter(path: &Path, name: &str) -> String {
    match interpreter(path) {
        Some(interpreter) => {
            format!(
                "exec {name}: its interpreter {} is not in the image",
                shown(&interpreter)
            )
        }
        None => format!("exec {name}: its interpreter is not in the image"),
    }
}

/// The interpreter of a script or of a dynamically linked ELF file.
fn interpreter(path: &Path) -> Option<Vec<u8>> {
    // Without waiting, in case the path has become a FIFO meanwhile.
    let mut file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .ok()?;
    let mut start = [0; 256];
    let length = file.read(&mut start).ok()?;
    let start = &start[..length];
    match start.strip_prefix(b"#!") {
        Some(line) => script_interpreter(line),
        None => elf_interpreter(&file, start),
    }
}

fn script_interpreter(line: &[u8]) -> Option<Vec<u8>> {
    let line = line.split(|&byte| byte == b'\n').next()?.trim_ascii();
    // A carriage return is part of the name for the kernel, and the most common reason it is not found.
    let name = line.split(|&byte| byte == b' ' || byte == b'\t').next()?;
    (!name.is_empty()).then(|| name.to_vec())
}

/// ELF-64, little endian: e_phoff at 32, e_phentsize at 54, e_phnum at 56; a program header has its type at
/// 0, its file offset at 8 and its size in the file at 32. PT_INTERP is 3.
fn elf_interpreter(file: &File, start: &[u8]) -> Option<Vec<u8>> {
    if !start.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, size, count) = (
        number(start, 32, 8)?,
        number(start, 54, 2)?,
        number(start, 56, 2)?,
    );
    for at in 0..count {
        let mut header = [0; 56];
        file.read_exact_at(&mut header, table.checked_add(at * size)?)
            .ok()?;
        if number(&header, 0, 4)? == 3 {
            let mut name = vec![0; number(&header, 32, 8)?.min(4096) as usize];
            file.read_exact_at(&mut name, number(&header, 8, 8)?).ok()?;
            return name.split(|&byte| byte == 0).next().map(<[u8]>::to_vec);
        }
    }
    None
}

fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let mut value = [0; 8];
    value[..width].copy_from_slice(bytes.get(at..at + width)?);
    Some(u64::from_le_bytes(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io;

    fn explained(errno: i32, program: &str) -> Failure {
        let error = SpawnError {
            step: Step::Execute(0),
            source: io::Error::from_raw_os_error(errno),
        };
        explain(
            &error,
            program.as_bytes(),
            &[CString::new(program).unwrap()],
            b"/",
        )
    }

    #[test]
    fn what_is_missing_exits_with_127_and_what_cannot_run_with_126() {
        assert_eq!(explained(libc::ENOENT, "/no/such").kind.exit_code(), 127);
        assert_eq!(
            explained(libc::ENOENT, "nope").context,
            "exec nope: not found in PATH"
        );
        assert_eq!(
            explained(libc::EACCES, "/etc").context,
            "exec /etc: is a directory"
        );
        for errno in [libc::EACCES, libc::ENOEXEC, libc::E2BIG] {
            assert_eq!(explained(errno, "/etc/passwd").kind.exit_code(), 126);
        }
    }

    #[test]
    fn a_program_for_another_cpu_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        let mut header = *b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0";
        for (class, machine, said) in [
            (1, 3, "a program for 32-bit x86, and only 64-bit x86"),
            (2, 183, "a program for 64-bit ARM"),
            (2, 1, "neither a program for this CPU"),
        ] {
            (header[4], header[18]) = (class, machine);
            std::fs::write(&program, header).unwrap();
            let failure = explained(libc::ENOEXEC, program.to_str().unwrap());
            assert_eq!(failure.kind.exit_code(), 126);
            assert!(failure.context.contains(said), "{}", failure.context);
        }
    }

    #[test]
    fn a_missing_interpreter_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        std::fs::write(&script, "#! /no/python3 -u\nprint()\n").unwrap();
        let said = explained(libc::ENOENT, script.to_str().unwrap());
        assert_eq!(said.kind, FailureKind::NotFound);
        assert!(
            said.context
                .ends_with("its interpreter /no/python3 is not in the image"),
            "{}",
            said.context
        );
    }

    #[test]
    fn the_loader_of_a_dynamic_program_is_found() {
        let loader = interpreter(Path::new("/bin/sh")).unwrap();
        assert!(loader.starts_with(b"/lib"), "{}", shown(&loader));
    }

    proptest! {
        #[test]
        fn damaged_elf_files_are_harmless(tail: Vec<u8>) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("program");
            std::fs::write(&path, [&b"\x7fELF\x02\x01"[..], &tail].concat()).unwrap();
            let _ = interpreter(&path);
        }
    }
}
