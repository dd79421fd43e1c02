//! `port`

use crate::args;
use crate::exit_code;
use crate::output::stdout;
use supermachine::{PortMapping, Runtime};

/// Prints the published ports of a VM, or where one of them is.
pub fn carry_out(args: &args::Port) -> anyhow::Result<u8> {
    let ports = Runtime::new()?.vm_summary(&args.name)?.ports;
    let Some(wanted) = &args.port else {
        let lines = ports
            .iter()
            .map(|port| format!("{} -> {}\n", inside(port), port.host));
        stdout::write(lines.collect::<String>().as_bytes())?;
        return Ok(exit_code::SUCCESS);
    };
    let full = match wanted.contains('/') {
        true => wanted.clone(),
        false => format!("{wanted}/tcp"),
    };
    let found: String = ports
        .iter()
        .filter(|port| inside(port) == full)
        .map(|port| format!("{}\n", port.host))
        .collect();
    if found.is_empty() {
        anyhow::bail!("port: {} publishes no port {full}", args.name);
    }
    stdout::write(found.as_bytes())?;
    Ok(exit_code::SUCCESS)
}

fn inside(port: &PortMapping) -> String {
    format!("{}/{}", port.guest, port.protocol())
}
