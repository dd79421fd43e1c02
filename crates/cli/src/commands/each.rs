//! Commands for one or several VMs or images: one that fails does not stop the others.

use crate::exit_code;
use crate::output::failure::{self, Silent};
use crate::output::stdout::{self, Gone};

/// Acts on each name at the same time, and prints what each gave in the order of the names. What fails is told
/// on standard error, and the command fails with it in the end.
pub fn at_once<T>(names: &[String], act: T) -> anyhow::Result<u8>
where
    T: Fn(&str) -> anyhow::Result<String> + Sync,
{
    std::thread::scope(|scope| {
        let act = &act;
        let threads: Vec<_> = names
            .iter()
            .map(|name| scope.spawn(move || naming(name, act(name))))
            .collect();
        let joined = threads.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        conclude(joined)
    })
}

/// Acts on one name after the other.
pub fn in_turn(
    names: &[String],
    act: impl Fn(&str) -> anyhow::Result<String>,
) -> anyhow::Result<u8> {
    conclude(names.iter().map(|name| naming(name, act(name))))
}

/// An error that leaves open which of the names it is about gets the name.
pub fn naming<T>(name: &str, result: anyhow::Result<T>) -> anyhow::Result<T> {
    result.map_err(|error| {
        if format!("{error:#}").contains(name) {
            error
        } else {
            error.context(name.to_owned())
        }
    })
}

fn conclude(results: impl Iterator<Item = anyhow::Result<String>>) -> anyhow::Result<u8> {
    let mut worst = None;
    for result in results {
        match result.and_then(|text| stdout::line(&text)) {
            Ok(()) => {}
            Err(error) if error.is::<Gone>() => return Err(error),
            Err(error) => worst = Some(failure::report(&error)),
        }
    }
    worst.map_or(Ok(exit_code::SUCCESS), |code| Err(Silent(code).into()))
}
