//! `snapshot export`, `import`, `push` and `pull`

use crate::args::{Refusal, SnapshotExport, SnapshotImport, SnapshotPull, SnapshotPush};
use crate::exit_code;
use crate::output::failure;
use crate::output::new_file::NewFile;
use crate::output::stdout::{self, Gone};
use crate::signals::Relay;
use anyhow::Context;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::Path;
use supermachine::images::{Cancel, ImageRef, RegistryRef};
use supermachine::{Runtime, Snapshot};

/// Writes a snapshot as one file.
pub fn export(runtime: &Runtime, args: &SnapshotExport) -> anyhow::Result<u8> {
    let snapshot = runtime.snapshot(&args.name)?;
    if is_stream(&args.file) {
        to_stdout(&snapshot)?;
        return Ok(exit_code::SUCCESS);
    }
    let mut file = NewFile::create(&args.file)?;
    snapshot
        .export(file.content())
        .with_context(|| args.file.display().to_string())?;
    file.publish()?;
    Ok(exit_code::SUCCESS)
}

/// Reads a snapshot from one file, and prints its name.
pub fn import(runtime: &Runtime, args: &SnapshotImport) -> anyhow::Result<u8> {
    let name = args.name.as_deref();
    let file = args.file.display();
    let snapshot = if is_stream(&args.file) {
        runtime
            .import_snapshot(&mut io::stdin().lock(), name)
            .context("standard input")?
    } else {
        let mut from = File::open(&args.file).with_context(|| format!("cannot open {file}"))?;
        runtime
            .import_snapshot(&mut from, name)
            .with_context(|| file.to_string())?
    };
    tell_missing_image(&snapshot);
    stdout::line(snapshot.name()).map(|()| exit_code::SUCCESS)
}

/// Puts a snapshot into a registry, and prints the digest of what is there now.
pub fn push(runtime: &Runtime, args: &SnapshotPush) -> anyhow::Result<u8> {
    let to = registry(&args.reference)?;
    let snapshot = runtime.snapshot(&args.name)?;
    interruptible(|cancel| {
        let digest = snapshot.push(&to, cancel)?;
        stdout::line(&digest)
    })
}

/// Fetches a snapshot from a registry, and prints its name.
pub fn pull(runtime: &Runtime, args: &SnapshotPull) -> anyhow::Result<u8> {
    let from = registry(&args.reference)?;
    interruptible(|cancel| {
        let snapshot = runtime.pull_snapshot(&from, args.name.as_deref(), cancel)?;
        tell_missing_image(&snapshot);
        stdout::line(snapshot.name())
    })
}

fn registry(text: &str) -> anyhow::Result<RegistryRef> {
    match text.parse().map_err(supermachine::Error::from)? {
        ImageRef::Registry(reference) => Ok(reference),
        _ => Err(Refusal {
            message: format!("{text} is not a place in a registry"),
            hint: Some("write HOST/REPOSITORY[:TAG]".into()),
        }
        .into()),
    }
}

/// Does work that a signal ends.
fn interruptible(work: impl FnOnce(&Cancel) -> anyhow::Result<()>) -> anyhow::Result<u8> {
    let relay = Relay::start().context("cannot receive signals")?;
    let cancel = Cancel::new();
    relay.cancels(&cancel);
    match work(&cancel) {
        Ok(()) => Ok(exit_code::SUCCESS),
        Err(_) if cancel.is_cancelled() => Ok(relay.interrupted().unwrap_or(exit_code::OURS)),
        Err(error) => Err(error),
    }
}

/// Tells what has to be pulled before the snapshot can be started.
pub fn tell_missing_image(snapshot: &Snapshot) {
    let (Ok(Some(error)) | Err(error)) = snapshot.missing_image() else {
        return;
    };
    let hint = error
        .hint()
        .map_or_else(String::new, |hint| format!("; {hint}"));
    failure::note(&format!("{}: {error}{hint}", snapshot.name()));
}

fn is_stream(file: &Path) -> bool {
    file == Path::new("-")
}

fn to_stdout(snapshot: &Snapshot) -> anyhow::Result<()> {
    let stdout = io::stdout();
    if stdout.is_terminal() {
        return Err(Refusal {
            message: "a snapshot is not written to a terminal".into(),
            hint: Some("name a FILE, or redirect standard output".into()),
        }
        .into());
    }
    let exported = snapshot.export(&mut stdout.lock());
    exported.map_err(|error| {
        let error = anyhow::Error::new(error);
        let is_gone = |cause: &io::Error| cause.kind() == io::ErrorKind::BrokenPipe;
        if error
            .chain()
            .filter_map(|cause| cause.downcast_ref())
            .any(is_gone)
        {
            Gone.into()
        } else {
            error.context("standard output")
        }
    })
}
