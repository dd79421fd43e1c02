//! Rows 3 and 5: from the command to a program's output, by a restore.

use super::Bench;
use super::boot::ms;
use super::contest::{Contender, alternate, needed};
use super::options::Price;
use super::row::{Budget, Limit, Measured, Named};
use crate::command::Run;
use crate::{images, workspace};
use anyhow::{Result, bail};
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A home whose template is made, and an image.
pub struct Room {
    dir: tempfile::TempDir,
    cli: PathBuf,
    libexec: PathBuf,
    image: String,
}

impl Room {
    /// A home anywhere.
    pub fn new(bench: &Bench) -> Result<Self> {
        Self::at(bench, tempfile::tempdir()?)
    }

    /// A home on the disk that cargo's target directory is on: what temporary files are on may be memory.
    pub fn on_disk(bench: &Bench) -> Result<Self> {
        let room = workspace::target()?.join("bench");
        std::fs::create_dir_all(&room)?;
        Self::at(bench, tempfile::tempdir_in(room)?)
    }

    fn at(bench: &Bench, dir: tempfile::TempDir) -> Result<Self> {
        let image = images::ensure([images::find("busybox")?])?.remove(0);
        let room = Self {
            dir,
            cli: bench.programs.cli()?,
            libexec: bench.programs.dir.clone(),
            image: format!("oci:{}", image.display()),
        };
        // The first run makes the template, the second finds out which pages a start writes.
        for _ in 0..2 {
            room.command(&["run", "--rm", &room.image, "true"]).text()?;
        }
        Ok(room)
    }

    /// Where everything of ours is.
    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.cli);
        command
            .args(words)
            .env("SUPERMACHINE_HOME", self.home())
            .env("SUPERMACHINE_LIBEXEC", &self.libexec);
        command
    }

    /// Makes the image one that is in the store and was never run.
    fn renew(&self) -> Result<()> {
        self.command(&["rmi", &self.image]).text()?;
        self.command(&["pull", &self.image]).text()?;
        Ok(())
    }

    /// From before the command is started to the first byte of its output.
    pub fn first_output(&self) -> Result<Duration> {
        let started = Instant::now();
        let mut child = self
            .command(&["run", "--rm", &self.image, "echo", "x"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut byte = [0];
        if let Some(output) = &mut child.stdout {
            output.read_exact(&mut byte)?;
        }
        let took = started.elapsed();
        if !child.wait()?.success() || byte != *b"x" {
            bail!("`run` failed");
        }
        Ok(took)
    }

    /// The whole command, after [`Room::renew`].
    fn whole(&self, words: &[&str]) -> Result<Duration> {
        self.renew()?;
        let words = [&["run", "--rm"], words, &[&self.image, "true"]].concat();
        let started = Instant::now();
        if !self
            .command(&words)
            .stdin(Stdio::null())
            .status()?
            .success()
        {
            bail!("`run` failed");
        }
        Ok(started.elapsed())
    }
}

/// Row 3.
pub fn first_output(bench: &Bench) -> Result<Measured> {
    let room = Room::new(bench)?;
    let mut contenders = [Contender::new("supermachine", || {
        Ok(vec![ms(room.first_output()?)])
    })];
    alternate(bench.options.runs(Price::Cheap), &mut contenders);
    let ours = needed(&contenders[0], 0)?;
    Ok(Measured {
        limits: vec![Limit {
            name: "p99, ms",
            value: ours.p99,
            at_most: 60.0,
        }],
        ours,
        peer: None,
        budget: Budget::Value(30.0),
        also: Vec::new(),
        notes: vec![
            "from the start of the command line program, its own start included, to the first byte of `echo`: restore, \
             mounts, every page fault on the way; page cache warm"
                .to_owned(),
        ],
        plot: None,
    })
}

/// Row 5.
pub fn whole_command(bench: &Bench) -> Result<Measured> {
    let room = Room::new(bench)?;
    let mut contenders = [
        Contender::new("supermachine", || Ok(vec![ms(room.whole(&[])?)])),
        Contender::new("supermachine --cold-boot", || {
            Ok(vec![ms(room.whole(&["--cold-boot"])?)])
        }),
    ];
    alternate(bench.options.runs(Price::Cheap), &mut contenders);
    let [ours, cold] = &contenders;
    let summary = needed(ours, 0)?;
    Ok(Measured {
        limits: vec![Limit {
            name: "p99, ms",
            value: summary.p99,
            at_most: 100.0,
        }],
        ours: summary,
        peer: None,
        budget: Budget::Value(60.0),
        also: vec![Named {
            name: cold.name().to_owned(),
            summary: needed(cold, 0)?,
        }],
        notes: vec![
            "before each turn, outside of the clock, the image is removed from the store and pulled again: it is there, \
             and no VM has seen it; the template was made by other runs"
                .to_owned(),
        ],
        plot: None,
    })
}
