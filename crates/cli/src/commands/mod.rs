//! What each command does: its words are resolved into the library's types first, and then it acts.

mod at_terminal;
mod attach;
mod completion;
mod cp;
mod create;
mod df;
mod doctor;
mod each;
mod exec;
mod fork;
mod image;
mod images;
mod inspect;
mod kill;
mod life;
mod logs;
mod network;
mod port;
mod process;
mod prune;
mod ps;
mod pull;
mod rm;
mod rmi;
mod run;
mod setup;
mod snapshot;
mod stats;
mod stop;
mod supervise;
mod top;
mod transfer;
mod tty;
mod update;
mod version;
mod volume;
mod wait;
mod warm;

use crate::args::Command;
use crate::output::failure;
use supermachine::Runtime;

/// A runtime that tells what takes longer than a start should.
fn runtime() -> anyhow::Result<Runtime> {
    let tell = |notice: &supermachine::Notice| failure::note(&notice.to_string());
    Ok(Runtime::builder().notices(tell).build()?)
}

/// Carries a command out and gives the exit code.
pub fn carry_out(command: Command) -> anyhow::Result<u8> {
    match command {
        Command::Run(args) => run::carry_out(*args),
        Command::Create(args) => create::carry_out(*args),
        Command::Start(args) => life::start(&args),
        Command::Restart(args) => life::restart(&args),
        Command::Pause(args) => life::pause(&args),
        Command::Unpause(args) => life::unpause(&args),
        Command::Rename(args) => life::rename(&args),
        Command::Update(args) => update::carry_out(&args),
        Command::Inspect(args) => inspect::carry_out(&args),
        Command::Stats(args) => stats::carry_out(&args),
        Command::Top(args) => top::carry_out(&args),
        Command::Completion(args) => completion::carry_out(&args),
        Command::Exec(args) => exec::carry_out(args),
        Command::Cp(args) => cp::carry_out(&args),
        Command::Attach(args) => attach::carry_out(&args),
        Command::Ps(args) => ps::carry_out(&args),
        Command::Port(args) => port::carry_out(&args),
        Command::Logs(args) => logs::carry_out(&args),
        Command::Stop(args) => stop::carry_out(&args),
        Command::Kill(args) => kill::carry_out(&args),
        Command::Wait(args) => wait::carry_out(&args),
        Command::Rm(args) => rm::carry_out(&args),
        Command::Fork(args) => fork::carry_out(&args),
        Command::Snapshot(args) => snapshot::carry_out(&args),
        Command::Warm(args) => warm::carry_out(*args),
        Command::Pull(args) => pull::carry_out(&args),
        Command::Images(args) => images::carry_out(&args),
        Command::Rmi(args) => rmi::carry_out(&args),
        Command::Volume(args) => volume::carry_out(&args),
        Command::Network(args) => network::carry_out(&args),
        Command::Prune(args) => prune::carry_out(&args),
        Command::Df(args) => df::carry_out(&args),
        Command::Setup(args) => setup::carry_out(&args),
        Command::Doctor(args) => doctor::carry_out(&args),
        Command::Version(args) => version::carry_out(&args),
        Command::Supervise => supervise::carry_out(),
    }
}
