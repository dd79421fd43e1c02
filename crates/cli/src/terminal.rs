//! The terminal this program stands in: its size, and its modes, which are put back whatever happens.

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use supermachine::WindowSize;

/// The modes that were found, while others are set.
static FOUND: Mutex<Option<Termios>> = Mutex::new(None);

/// Every key is passed on as it is, Ctrl-C too, until this is dropped.
#[derive(Debug)]
pub struct Raw(());

impl Raw {
    /// Of standard input.
    pub fn start() -> io::Result<Self> {
        let mut found = found();
        let modes = tcgetattr(io::stdin())?;
        make_raw(&modes)?;
        found.get_or_insert(modes);
        Ok(Self(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the terminal's modes back. Whoever ends this process from another thread calls it first.
pub fn restore() {
    if let Some(modes) = found().take() {
        // A terminal that is gone has no modes.
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &modes);
    }
}

/// After a stop: a shell has put its own modes into place meanwhile.
pub fn resume() {
    if let Some(modes) = &*found() {
        let _ = make_raw(modes);
    }
}

fn make_raw(modes: &Termios) -> io::Result<()> {
    let mut raw = modes.clone();
    raw.make_raw();
    Ok(tcsetattr(io::stdin(), OptionalActions::Drain, &raw)?)
}

fn found() -> MutexGuard<'static, Option<Termios>> {
    FOUND.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether keys can be read from standard input.
pub fn is_input() -> bool {
    isatty(io::stdin())
}

/// The size of the terminal on standard output; nothing where there is none, as Docker has it.
pub fn size() -> Option<WindowSize> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    Some(WindowSize {
        rows: size.ws_row,
        columns: size.ws_col,
    })
}

/// The size a new terminal gets: ours, or none.
pub fn size_or_none() -> WindowSize {
    size().unwrap_or(WindowSize {
        rows: 0,
        columns: 0,
    })
}
