//! A process inside that has a terminal, in the foreground of ours.

use super::process::{Streams, told};
use crate::detach_keys::{DetachKeys, Typed};
use crate::signals::Relay;
use crate::streams::{copy_output, own, read_input, refused};
use crate::terminal::{self, Raw};
use anyhow::Context;
use signal_hook::consts::{SIGCONT, SIGWINCH};
use signal_hook::iterator::Signals;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{Builder, JoinHandle};
use supermachine::{Attachment, Child, Error, Exit, StdinWriter, WindowSize};

/// What a terminal of ours is connected to.
pub trait Remote: Send + Sync + 'static {
    /// Our terminal has this size now.
    fn resize(&self, size: WindowSize);

    /// Waits for the end of what runs there.
    fn wait(&self) -> Result<Exit, Error>;

    /// Lets it go on without us.
    fn leave(&self) -> Result<(), Error>;
}

impl Remote for Child {
    fn resize(&self, size: WindowSize) {
        Self::resize(self, size);
    }

    fn wait(&self) -> Result<Exit, Error> {
        Self::wait(self)
    }

    fn leave(&self) -> Result<(), Error> {
        self.release()
    }
}

impl Remote for Attachment {
    fn resize(&self, size: WindowSize) {
        Self::resize(self, size);
    }

    fn wait(&self) -> Result<Exit, Error> {
        Self::wait(self)
    }

    fn leave(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// Why a terminal is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// What ran there has ended; the exit code.
    Ended(u8),
    /// The user typed the keys that leave it.
    Detached,
}

/// What can happen meanwhile.
enum News {
    Ended(Result<Exit, Error>),
    /// Who closed the input now would close the program's.
    Detached(StdinWriter),
    OutputFailed(io::Error),
}

/// Connects our terminal to that of a process until one of them is left. A signal that ends this program ends the
/// connection and nothing else, as with Docker.
pub fn attend(
    process: &Arc<impl Remote>,
    streams: Streams,
    keys: DetachKeys,
    relay: &Relay,
) -> anyhow::Result<Left> {
    relay.exits();
    let raw = streams
        .stdin
        .is_some()
        .then(Raw::start)
        .transpose()
        .context("cannot set the terminal up")?;
    follow_size(process).context("cannot receive signals")?;
    let (sender, news) = channel();
    let output = streams
        .output
        .stdout
        .map(|reader| carry_output(reader, sender.clone()))
        .transpose()?;
    if let Some(stdin) = streams.stdin {
        carry_input(stdin, keys, sender.clone())?;
    }
    wait_for_end(Arc::clone(process), sender)?;
    let news = news.recv().context("a thread has panicked")?;
    if let (News::Ended(_), Some(output)) = (&news, output) {
        // The rest of the output is on its way to us.
        let _ = output.join();
    }
    drop(raw);
    match news {
        News::Ended(exit) => Ok(Left::Ended(told(&exit?))),
        News::Detached(_stdin) => {
            process.leave()?;
            Ok(Left::Detached)
        }
        News::OutputFailed(error) => Err(refused(error, "stdout")),
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> anyhow::Result<JoinHandle<()>> {
    let thread = Builder::new().name(name.to_owned()).spawn(body);
    thread.context("cannot start a thread")
}

/// Nobody is told after the first news: then the other threads end with this process.
fn tell(sender: &Sender<News>, news: News) {
    let _ = sender.send(news);
}

fn wait_for_end(process: Arc<impl Remote>, sender: Sender<News>) -> anyhow::Result<()> {
    spawn("wait", move || tell(&sender, News::Ended(process.wait()))).map(drop)
}

fn carry_output(
    reader: impl Read + Send + 'static,
    sender: Sender<News>,
) -> anyhow::Result<JoinHandle<()>> {
    let stdout = own(io::stdout().as_fd())?;
    spawn("stdout", move || {
        if let Err(error) = copy_output(reader, &stdout) {
            tell(&sender, News::OutputFailed(error));
        }
    })
}

/// The thread ends with this process: a read from a terminal cannot be interrupted.
fn carry_input(
    mut writer: StdinWriter,
    mut keys: DetachKeys,
    sender: Sender<News>,
) -> anyhow::Result<()> {
    let input = own(io::stdin().as_fd())?;
    spawn("stdin", move || {
        let (mut typed, mut passed) = (vec![0; 4096], Vec::new());
        loop {
            let count = read_input(&input, &mut typed);
            if count == 0 {
                return;
            }
            passed.clear();
            let found = keys.filter(&typed[..count], &mut passed);
            let written = writer.write_all(&passed);
            if found == Typed::Detach {
                return tell(&sender, News::Detached(writer));
            }
            if written.is_err() {
                return;
            }
        }
    })
    .map(drop)
}

/// Passes our terminal's size on whenever it changes.
fn follow_size(process: &Arc<impl Remote>) -> io::Result<()> {
    let mut signals = Signals::new([SIGWINCH, SIGCONT])?;
    let process = Arc::downgrade(process);
    // What changed before the signals were received.
    if let (Some(size), Some(process)) = (terminal::size(), process.upgrade()) {
        process.resize(size);
    }
    let watch = move || {
        for signal in signals.forever() {
            if signal == SIGCONT {
                terminal::resume();
            }
            let Some(process) = process.upgrade() else {
                return;
            };
            if let Some(size) = terminal::size() {
                process.resize(size);
            }
        }
    };
    Builder::new()
        .name("size".to_owned())
        .spawn(watch)
        .map(drop)
}
