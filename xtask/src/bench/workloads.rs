//! `cargo xtask bench workloads`: software that is too big for the tests, started as its author would. What counts is
//! that it works; the times are shown beside.

use super::programs::Programs;
use crate::command::Run;
use crate::{images, needs};
use anyhow::{Result, ensure};
use std::process::Command;
use std::time::Instant;

/// Something to run, and what it has to say in the end.
struct Workload {
    name: &'static str,
    image: &'static str,
    flags: &'static [&'static str],
    words: &'static [&'static str],
    says: &'static str,
}

const RUNS: usize = 3;

const ALL: &[Workload] = &[
    Workload {
        name: "Java: a key pair made, kept and listed (keytool)",
        image: "runtimes",
        flags: &[],
        words: &[
            "sh",
            "-ec",
            "keytool -genkeypair -alias it -keyalg RSA -keysize 2048 -dname CN=x -storepass secret1 -keystore /tmp/k \
             2>/dev/null; keytool -list -storepass secret1 -keystore /tmp/k",
        ],
        says: "PrivateKeyEntry",
    },
    Workload {
        name: "Node: a web server that is asked for its page",
        image: "runtimes",
        flags: &[],
        words: &[
            "node",
            "-e",
            "require('http').createServer((_, answer) => answer.end('a page')).listen(8000, () => \
             require('http').get('http://127.0.0.1:8000', (page) => page.on('data', (data) => { \
             console.log('served ' + data); process.exit() })))",
        ],
        says: "served a page",
    },
    Workload {
        name: "Chromium, headless: the DOM of a page after its script ran",
        image: "browser",
        // It keeps what its processes share in /dev/shm.
        flags: &["--memory", "1G", "--shm-size", "256M"],
        words: &[
            "chromium",
            "--headless",
            // Its sandbox refuses to be set up by root.
            "--no-sandbox",
            "--disable-gpu",
            "--dump-dom",
            "data:text/html,<p id=answer></p><script>answer.textContent = 6 * 7</script>",
        ],
        says: "<p id=\"answer\">42</p>",
    },
];

/// Runs each some times and prints how long it took.
pub fn run() -> Result<()> {
    needs::ensure(&[needs::BUILD, needs::IMAGES])?;
    let programs = Programs::find()?;
    let home = tempfile::tempdir()?;
    let command = |words: &[&str]| -> Result<Command> {
        let mut command = Command::new(programs.cli()?);
        command.env("SUPERMACHINE_HOME", home.path()).args(words);
        Ok(command)
    };
    for workload in ALL {
        let layouts = images::ensure([images::find(workload.image)?])?;
        let image = format!("oci:{}", layouts[0].display());
        let start = [&["run", "--rm"], workload.flags, &[&image]].concat();
        command(&["pull", "--quiet", &image])?.text()?;
        // The first start makes the template.
        command(&[&start[..], &["true"]].concat())?.text()?;
        let mut times = Vec::new();
        for _ in 0..RUNS {
            let started = Instant::now();
            let said = command(&[&start[..], workload.words].concat())?.text()?;
            times.push(format!("{:.2} s", started.elapsed().as_secs_f64()));
            ensure!(
                said.contains(workload.says),
                "{}: it said {said}",
                workload.name
            );
        }
        println!("{:<50} {}", workload.name, times.join("  "));
    }
    Ok(())
}
