//! Builds, tests and measures supermachine: `cargo xtask COMMAND`.
#![forbid(unsafe_code)]

mod apt;
mod assets;
mod bench;
mod cache;
mod command;
mod cpio;
mod demo;
mod digest;
mod guest;
mod images;
mod kernel;
mod needs;
mod probe;
mod soak;
mod steps;
mod test;
mod tidy;
mod workspace;

use anyhow::{Result, bail};
use std::process::ExitCode;

/// One word after `cargo xtask`.
struct Word {
    name: &'static str,
    arguments: &'static str,
    help: &'static str,
    run: fn(&[String]) -> Result<()>,
}

const WORDS: &[Word] = &[
    Word {
        name: "demo",
        arguments: "",
        help: "install what is missing, build everything, run an image in a microVM",
        run: demo::run,
    },
    Word {
        name: "test",
        arguments: "[NEXTEST ARGUMENTS]",
        help: "every check and every test",
        run: test::run,
    },
    Word {
        name: "ci",
        arguments: "",
        help: "what .ci/run calls: the same as test",
        run: test::run,
    },
    Word {
        name: "kernel",
        arguments: "[standard|software-kvm]...",
        help: "build guest kernels (default: the one this host needs)",
        run: kernel::run,
    },
    Word {
        name: "guest",
        arguments: "",
        help: "build the guest binary and its initramfs",
        run: guest::run,
    },
    Word {
        name: "assets",
        arguments: "",
        help: "put kernels and initramfs next to the built programs, debug and release",
        run: assets::run,
    },
    Word {
        name: "images",
        arguments: "[NAME]...",
        help: "build test images (default: all)",
        run: images::run,
    },
    Word {
        name: "soak",
        arguments: "[NEXTEST ARGUMENTS]",
        help: "10,000 cycles of a pool, and whether anything grows",
        run: soak::run,
    },
    Word {
        name: "bench",
        arguments: "[--json] [--plots DIR] [--runs N] [ROW]...",
        help: "measure against the budgets and against others",
        run: bench::run,
    },
    Word {
        name: "tidy",
        arguments: "",
        help: "check the rules between the rooms",
        run: tidy::run,
    },
];

fn main() -> ExitCode {
    match dispatch(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<()> {
    let Some((name, rest)) = arguments.split_first() else {
        print_help();
        bail!("a command is needed");
    };
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        print_help();
        return Ok(());
    }
    match WORDS.iter().find(|word| word.name == name) {
        Some(word) => (word.run)(rest),
        None => {
            print_help();
            bail!("`{name}` is not a command of xtask");
        }
    }
}

fn print_help() {
    eprintln!("cargo xtask COMMAND");
    for word in WORDS {
        eprintln!(
            "  {:<48} {}",
            format!("{} {}", word.name, word.arguments),
            word.help
        );
    }
}
