//! `top`

use crate::args::{self, Refusal};
use crate::exit_code;
use crate::output::{columns, failure, stdout, units};
use supermachine::{ProcessInfo, Runtime};

/// Prints the processes in a VM.
pub fn carry_out(args: &args::Top) -> anyhow::Result<u8> {
    if let Some(option) = args.options.first() {
        return Err(Refusal {
            message: format!("top: {option:?} is not built: no `ps` of the image is run"),
            hint: Some(format!("`supermachine exec {} ps ...` runs one", args.name)),
        }
        .into());
    }
    let processes = Runtime::new()?.open_vm(&args.name)?.processes()?;
    let heading = "UID\tPID\tPPID\tSTATE\tTHREADS\tRSS\tTIME\tCMD".to_owned();
    let lines: Vec<_> = std::iter::once(heading)
        .chain(processes.list.iter().map(line))
        .collect();
    let screen: String = columns::aligned(&lines)
        .iter()
        .map(|line| format!("{line}\n"))
        .collect();
    stdout::write(screen.as_bytes())?;
    if processes.omitted > 0 {
        failure::note(&format!(
            "{} more processes are not shown",
            processes.omitted
        ));
    }
    Ok(exit_code::SUCCESS)
}

fn line(process: &ProcessInfo) -> String {
    let seconds = process.cpu_ms / 1000;
    format!(
        "{}\t{}\t{}\t{}\t{}\t{}\t{:02}:{:02}:{:02}\t{}",
        process.uid,
        process.pid,
        process.parent,
        char::from(process.state),
        process.threads,
        units::binary(process.rss_kib << 10),
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        String::from_utf8_lossy(&process.command).replace('\t', " "),
    )
}
