//! The hidden command behind `run -d`.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::Arc;
use supermachine::Lives;

/// Ends this process with the VM it supervises.
pub fn carry_out() -> anyhow::Result<u8> {
    // The code goes to nobody: who started it has its report and has left.
    supermachine::detached::supervise_with(stop_when_asked);
    Ok(crate::exit_code::SUCCESS)
}

/// A host that shuts down asks every process to end: the workload gets its stop signal and its grace.
fn stop_when_asked(lives: &Arc<Lives>) {
    let lives = Arc::downgrade(lives);
    let watched = Signals::new([SIGTERM, SIGINT]).and_then(|mut signals| {
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                let asked = signals.forever().next().is_some();
                if let Some(lives) = lives.upgrade().filter(|_| asked)
                    && let Err(error) = lives.stop()
                {
                    tracing::warn!(%error, "the VM did not stop");
                }
            })
    });
    if let Err(error) = watched {
        tracing::warn!(%error, "a signal ends this VM at once");
    }
}
