//! The program inside the test images: static, needs no file, says exactly what it sees.
//! Whatever it prints of names, arguments and contents is escaped, one item a line.
#![forbid(unsafe_code)]

mod observe;
mod random;
mod tree;

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let words: Vec<&[u8]> = arguments.iter().map(|word| word.as_bytes()).collect();
    match run(&words) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("testbox: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&[u8]]) -> std::io::Result<ExitCode> {
    match words {
        // What follows, an argument a line.
        [b"argv", rest @ ..] => print_lines(rest.iter().map(|word| word.to_vec()))?,
        // The environment, sorted.
        [b"env"] => print_lines(environment())?,
        // Who and where we are.
        [b"whoami"] => print_lines([whoami()?])?,
        // Standard input to standard output.
        [b"cat"] => drop(std::io::copy(
            &mut std::io::stdin().lock(),
            &mut std::io::stdout().lock(),
        )?),
        // How many bytes standard input has.
        [b"count"] => print_lines([std::io::stdin()
            .lock()
            .bytes()
            .count()
            .to_string()
            .into_bytes()])?,
        // Every entry below a directory with all its attributes.
        [b"tree", directory] => tree::print(directory, &mut std::io::stdout().lock())?,
        // Every kind of randomness a new process has, an item a line.
        [b"random"] => print_lines(random::all()?)?,
        // What a process finds where it is started, a fact a line.
        [b"observe"] => print_lines(observe::all()?)?,
        [b"exit", code] => {
            return Ok(ExitCode::from(
                std::str::from_utf8(code)
                    .ok()
                    .and_then(|c| c.parse().ok())
                    .unwrap_or(99),
            ));
        }
        _ => {
            return Err(std::io::Error::other(
                "usage: argv|env|whoami|cat|count|tree DIR|random|observe|exit CODE",
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn environment() -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = std::env::vars_os()
        .map(|(key, value)| [key.into_vec(), b"=".to_vec(), value.into_vec()].concat())
        .collect();
    lines.sort();
    lines
}

fn whoami() -> std::io::Result<Vec<u8>> {
    let mut groups: Vec<u32> = rustix::process::getgroups()?
        .iter()
        .map(|group| group.as_raw())
        .collect();
    groups.sort_unstable();
    let directory = std::env::current_dir()?;
    let (uid, gid) = (
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    Ok(format!(
        "uid={uid} gid={gid} groups={groups:?} cwd={}",
        directory.display()
    )
    .into_bytes())
}

fn print_lines(lines: impl IntoIterator<Item = Vec<u8>>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for line in lines {
        writeln!(out, "{}", line.escape_ascii())?;
    }
    Ok(())
}
