//! `pull`

use super::image::{self, Wanted};
use crate::args;
use crate::exit_code;
use crate::output::progress::Telling;
use crate::output::stdout;
use crate::signals::Relay;
use anyhow::Context;
use supermachine::Runtime;
use supermachine::images::PullPolicy;

/// Fetches an image, or what changed of it, and prints its full name.
pub fn carry_out(args: &args::Pull) -> anyhow::Result<u8> {
    let mut wanted = Wanted::resolve(&args.image, args.platform.as_deref(), PullPolicy::Always)?;
    wanted.telling = if args.quiet {
        Telling::Nothing
    } else {
        Telling::Everything
    };
    let runtime = Runtime::new()?;
    let relay = Relay::start().context("cannot receive signals")?;
    if image::obtain(&runtime, &wanted, &relay)?.is_none() {
        return Ok(relay.interrupted().unwrap_or(exit_code::OURS));
    }
    stdout::line(&wanted.reference.to_string()).map(|()| exit_code::SUCCESS)
}
