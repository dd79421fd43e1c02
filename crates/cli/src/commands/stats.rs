//! `stats`

use super::each::naming;
use crate::args;
use crate::exit_code;
use crate::output::template::Template;
use crate::output::{columns, stdout, units};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;
use supermachine::{Runtime, Stats, Vm};

/// From one look to the next. CPU time is counted between two.
const PAUSE: Duration = Duration::from_secs(1);

const USUAL: &str = "{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.HostMem}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";
const HEADING: &str = "NAME\tCPU %\tMEM USAGE / LIMIT\tMEM %\tHOST MEM\tNET I/O\tBLOCK I/O\tPIDS";

/// How each VM is printed.
enum Format {
    Json,
    Lines(Template),
    Table(Template, String),
}

/// Shows what VMs use, once or until interrupted.
pub fn carry_out(args: &args::Stats) -> anyhow::Result<u8> {
    let format = match args.format.as_deref() {
        None | Some("table") => Format::Table(Template::parse(USUAL)?, HEADING.to_owned()),
        Some("json") => Format::Json,
        Some(text) => {
            let text = text.replace("\\t", "\t");
            match text.strip_prefix("table ") {
                Some(columns) => {
                    let template = Template::parse(columns)?;
                    let heading = template.heading();
                    Format::Table(template, heading)
                }
                None => Format::Lines(Template::parse(&text)?),
            }
        }
    };
    let runtime = Runtime::new()?;
    let mut earlier = look(&runtime, args)?;
    loop {
        std::thread::park_timeout(PAUSE);
        let now = look(&runtime, args)?;
        let documents: Vec<_> = now
            .iter()
            .map(|(name, (id, stats))| {
                let before = earlier.get(name).map(|(_, stats)| stats);
                document(name, id, stats, before)
            })
            .collect();
        let screen = render(&format, &documents)?;
        if args.no_stream {
            stdout::write(screen.as_bytes())?;
            return Ok(exit_code::SUCCESS);
        }
        // Over the last one, where there is something to write over.
        let home = if std::io::stdout().is_terminal() {
            "\x1b[H\x1b[2J"
        } else {
            ""
        };
        stdout::write(format!("{home}{screen}").as_bytes())?;
        if now.is_empty() && !args.names.is_empty() {
            return Ok(exit_code::SUCCESS);
        }
        earlier = now;
    }
}

type Looks = BTreeMap<String, (String, Stats)>;

/// What each VM uses now. One that was named must be there at first; one that ends meanwhile is left out.
fn look(runtime: &Runtime, args: &args::Stats) -> anyhow::Result<Looks> {
    let mut names = args.names.clone();
    if names.is_empty() {
        let live = runtime.vms()?.into_iter().filter(|vm| vm.status.is_live());
        names.extend(live.map(|vm| vm.name));
    }
    let mut looks = Looks::new();
    for name in names {
        let looked = runtime.open_vm(&name).and_then(|vm: Vm| {
            let stats = vm.stats()?;
            Ok((vm.name().to_owned(), (vm.id().to_owned(), stats)))
        });
        match looked {
            Ok((name, look)) => drop(looks.insert(name, look)),
            Err(error) if !args.names.is_empty() => {
                return naming(&name, Err(error.into()));
            }
            Err(error) => tracing::info!(%error, name, "a VM is left out"),
        }
    }
    Ok(looks)
}

/// The fields are Docker's, and `HostMem`: what the VM costs the host, and `NetHeld`: how often a frame for the VM and one
/// of it had to wait because of a limit.
fn document(name: &str, id: &str, stats: &Stats, before: Option<&Stats>) -> Value {
    let inside = &stats.inside;
    let cpu = before.map_or(0.0, |before| stats.cpu_since(before) * 100.0);
    let share = if inside.memory_limit > 0 {
        inside.memory as f64 * 100.0 / inside.memory_limit as f64
    } else {
        0.0
    };
    let host = stats.host_memory.map(units::binary);
    let (up, down) = (stats.traffic.up, stats.traffic.down);
    json!({
        "ID": &id[..12],
        "Container": name,
        "Name": name,
        "CPUPerc": format!("{cpu:.2}%"),
        "MemUsage": format!("{} / {}", units::binary(inside.memory), units::binary(inside.memory_limit)),
        "MemPerc": format!("{share:.2}%"),
        "HostMem": host.unwrap_or_else(|| "--".to_owned()),
        "NetIO": format!("{} / {}", units::size(down.bytes), units::size(up.bytes)),
        "NetHeld": format!("{} / {}", down.held, up.held),
        "BlockIO": format!("{} / {}", units::size(inside.read), units::size(inside.written)),
        "PIDs": inside.pids.to_string(),
    })
}

fn render(format: &Format, documents: &[Value]) -> anyhow::Result<String> {
    let mut lines = Vec::new();
    match format {
        Format::Json => lines.extend(documents.iter().map(Value::to_string)),
        Format::Lines(template) => {
            for document in documents {
                lines.push(template.render(document)?);
            }
        }
        Format::Table(template, heading) => {
            lines.push(heading.clone());
            for document in documents {
                lines.push(template.render(document)?);
            }
            lines = columns::aligned(&lines);
        }
    }
    Ok(lines.iter().map(|line| format!("{line}\n")).collect())
}
