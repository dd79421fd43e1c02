//! `supermachine` in front of a terminal, with the keys in our hands and its screen before our eyes.

use crate::cli::{Cli, code};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a screen may take to show something on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A terminal with a command in front of it.
pub struct Terminal {
    child: Child,
    keyboard: Option<File>,
    at_start: Modes,
    /// Keeps the terminal in being when the command has ended.
    #[expect(dead_code, reason = "held for what it does by being open")]
    device: OwnedFd,
    screen: Arc<Screen>,
    reader: Option<JoinHandle<()>>,
    /// Dropping it makes the reader let go of its end of the terminal.
    watched: Option<PipeWriter>,
}

struct Screen {
    parser: Mutex<vt100::Parser>,
    changed: Condvar,
}

impl Cli {
    /// Starts it as a shell would at a terminal of this size.
    #[track_caller]
    pub fn at_terminal(self, rows: u16, columns: u16) -> Terminal {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("a pseudo-terminal");
        grantpt(&keyboard).expect("our own terminal");
        unlockpt(&keyboard).expect("our own terminal");
        let name = ptsname(&keyboard, Vec::new()).expect("a terminal has a name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let device = rustix::fs::open(&name, flags, Mode::empty()).expect("our own terminal");
        tcsetwinsize(&keyboard, size(rows, columns)).expect("a terminal has a size");
        let at_start = Modes(tcgetattr(&keyboard).expect("a terminal has modes"));
        let child = leader_of_terminal(&self.command, &device);
        let keyboard = File::from(keyboard);
        let screen = Arc::new(Screen {
            parser: Mutex::new(vt100::Parser::new(cells(rows), cells(columns), 1000)),
            changed: Condvar::new(),
        });
        let mut output = keyboard.try_clone().expect("a descriptor");
        let (unwatched, watched) = pipe().expect("a pipe");
        let reader = std::thread::spawn({
            let screen = Arc::clone(&screen);
            move || screen.follow(&mut output, &unwatched)
        });
        Terminal {
            child,
            keyboard: Some(keyboard),
            at_start,
            device,
            screen,
            reader: Some(reader),
            watched: Some(watched),
        }
    }
}

/// The command as the first of a session whose terminal this is.
fn leader_of_terminal(command: &Command, device: &OwnedFd) -> Child {
    let mut leader = Command::new("setsid");
    leader.arg("--ctty").arg(command.get_program());
    leader.args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => leader.env(key, value),
            None => leader.env_remove(key),
        };
    }
    let end = || device.try_clone().expect("a descriptor");
    leader.stdin(end()).stdout(end()).stderr(end());
    leader.spawn().expect("setsid is part of util-linux")
}

fn cells(count: u16) -> NonZero<u16> {
    NonZero::new(count).expect("a screen has lines and columns")
}

const fn size(rows: u16, columns: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

impl Screen {
    fn follow(&self, output: &mut File, unwatched: &PipeReader) {
        let mut buffer = [0; 4096];
        loop {
            let mut fds = [
                PollFd::new(output, PollFlags::IN),
                PollFd::new(unwatched, PollFlags::IN),
            ];
            poll(&mut fds, None).expect("a terminal can be waited for");
            if !fds[1].revents().is_empty() {
                return;
            }
            // A terminal that nobody has open anymore is an error to read.
            let Ok(count @ 1..) = output.read(&mut buffer) else {
                return;
            };
            self.parser().process(&buffer[..count]);
            self.changed.notify_all();
        }
    }

    fn parser(&self) -> std::sync::MutexGuard<'_, vt100::Parser> {
        self.parser.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Terminal {
    /// Presses keys: text, and control characters as a terminal sends them (`\r` for Enter, `\x03` for Ctrl-C).
    #[track_caller]
    pub fn types(&mut self, keys: &str) {
        self.keyboard()
            .write_all(keys.as_bytes())
            .expect("a terminal takes keys");
    }

    /// Waits until the screen shows this text somewhere.
    #[track_caller]
    pub fn shows(&self, text: &str) {
        self.shows_what(text, |screen| screen.contents().contains(text));
    }

    /// Waits until the screen is as wanted; `what` is for the one who reads that it never was.
    #[track_caller]
    pub fn shows_what(&self, what: &str, wanted: impl Fn(&vt100::Screen) -> bool) {
        let until = Instant::now() + PATIENCE;
        let mut parser = self.screen.parser();
        while !wanted(parser.screen()) {
            let left = until.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "the screen does not show {what:?} but\n{}",
                parser.screen().contents()
            );
            parser = self
                .screen
                .changed
                .wait_timeout(parser, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// What the screen shows now.
    pub fn screen(&self) -> String {
        self.screen.parser().screen().contents()
    }

    /// Forgets what the screen shows.
    pub fn clear(&self) {
        self.screen.parser().process(b"\x1b[2J\x1b[H");
    }

    /// Another size, as when a window is dragged.
    pub fn resize(&self, rows: u16, columns: u16) {
        let mut parser = self.screen.parser();
        parser.screen_mut().set_size(cells(rows), cells(columns));
        drop(parser);
        tcsetwinsize(self.keyboard(), size(rows, columns)).expect("a terminal has a size");
    }

    /// How the terminal treats keys and lines at the moment.
    pub fn modes(&self) -> Modes {
        Modes(tcgetattr(self.keyboard()).expect("a terminal has modes"))
    }

    /// How it did before the command was started.
    pub fn modes_at_start(&self) -> Modes {
        self.at_start.clone()
    }

    /// The process id of the command.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends the command a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the command has not been waited for yet");
    }

    /// Waits for the end of the command; its exit code. The terminal stays.
    pub fn wait(&mut self) -> i32 {
        code(self.child.wait().expect("a child can be waited for"))
    }

    /// Takes the terminal away, as when a window is closed or a connection breaks; the command's exit code.
    pub fn hang_up(mut self) -> i32 {
        self.stop_watching();
        self.keyboard = None;
        self.wait()
    }

    fn stop_watching(&mut self) {
        self.watched = None;
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }

    #[track_caller]
    fn keyboard(&self) -> &File {
        self.keyboard.as_ref().expect("only a hang-up takes it")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.stop_watching();
    }
}

/// Modes of a terminal, to be compared.
#[derive(Debug, Clone)]
pub struct Modes(Termios);

impl PartialEq for Modes {
    fn eq(&self, other: &Self) -> bool {
        (
            self.0.input_modes,
            self.0.output_modes,
            self.0.control_modes,
            self.0.local_modes,
        ) == (
            other.0.input_modes,
            other.0.output_modes,
            other.0.control_modes,
            other.0.local_modes,
        )
    }
}
