//! `create`

use super::image;
use super::run::{CidFile, Plan};
use crate::args::{self, Refusal};
use crate::exit_code;
use crate::output::stdout;
use crate::signals::Relay;
use anyhow::Context;

/// Fetches the image if need be, makes a VM that is started later, and prints its name.
pub fn carry_out(mut args: args::Create) -> anyhow::Result<u8> {
    refuse_what_says_nothing(&args.run)?;
    args.run.detach = true;
    let mut plan = Plan::resolve(args.run)?;
    let cidfile = plan.cidfile.take().map(CidFile::reserve).transpose()?;
    let runtime = super::runtime()?;
    super::run::plan::network::check(&runtime, &plan.config)?;
    let relay = Relay::start().context("cannot receive signals")?;
    let Some(image) = image::obtain(&runtime, &plan.image, &relay)? else {
        return Ok(relay.interrupted().unwrap_or(exit_code::OURS));
    };
    let vm = runtime.create(&image, &plan.config)?;
    if let Some(file) = cidfile {
        file.write(&vm.id)?;
    }
    stdout::line(&vm.name).map(|()| exit_code::SUCCESS)
}

fn refuse_what_says_nothing(args: &args::Run) -> Result<(), Refusal> {
    let flags = [
        (args.detach, "-d"),
        (args.detach_keys.is_some(), "--detach-keys"),
        (args.snapshot.is_some(), "--snapshot"),
    ];
    match flags.into_iter().find(|(given, _)| *given) {
        None => Ok(()),
        Some((_, flag)) => Err(Refusal {
            message: format!("create: {flag} is for `run`: a created VM starts in the background"),
            hint: Some("see supermachine create --help".to_owned()),
        }),
    }
}
