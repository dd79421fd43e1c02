//! `update`

use super::each;
use super::run::plan::network;
use crate::args::{self, Refusal};
use supermachine::{NetworkLimits, NetworkUpdate, Runtime};

/// The word for no rules or no limit at all, in the place of one.
const NOTHING: &str = "none";

/// Changes what VMs may reach and prints their names.
pub fn carry_out(args: &args::Update) -> anyhow::Result<u8> {
    let update = update(args)?;
    let runtime = Runtime::new()?;
    each::at_once(&args.names, |name| {
        runtime.update_vm_network(name, &update)?;
        Ok(name.to_owned())
    })
}

fn update(args: &args::Update) -> Result<NetworkUpdate, Refusal> {
    if args.network.is_none() && args.egress.is_empty() && args.network_rate.is_none() {
        return Err(Refusal {
            message: "update: nothing to change".to_owned(),
            hint: Some("see supermachine update --help".to_owned()),
        });
    }
    let mut update = NetworkUpdate::new();
    if let Some(text) = &args.network {
        update = update.mode(network::mode("update", text)?);
    }
    match &args.egress[..] {
        [] => {}
        [word] if word == NOTHING => update = update.egress([]),
        texts => update = update.egress(network::rules(texts)?),
    }
    update = match args.network_rate.as_deref() {
        None => update,
        Some(NOTHING) => update.limits(NetworkLimits::default()),
        Some(text) => update.limits(network::limits(text)?),
    };
    Ok(update)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Command, Parsed, parse};
    use supermachine::NetworkMode;

    fn read(line: &str) -> Result<NetworkUpdate, String> {
        let words: Vec<_> = line.split(' ').map(Into::into).collect();
        match parse(&words) {
            Ok(Parsed::Line(line)) => match line.command {
                Command::Update(args) => update(&args).map_err(|refusal| refusal.message),
                _ => panic!("another command"),
            },
            Ok(Parsed::Text(text)) => panic!("{text}"),
            Err(refusal) => Err(refusal.message),
        }
    }

    #[test]
    fn words_become_changes_and_bad_ones_are_refused_as_run_does() {
        let full = NetworkUpdate::new().mode(NetworkMode::Full);
        assert_eq!(
            read("supermachine update --network full a b"),
            Ok(full.clone())
        );
        let rules = full.egress(["deny:1.2.3.4".parse().unwrap()]);
        let line = "supermachine update --net full --egress deny:1.2.3.4 a";
        assert_eq!(read(line), Ok(rules));
        let none = NetworkUpdate::new().egress([]);
        assert_eq!(read("supermachine update --egress none a"), Ok(none));
        let line = "supermachine update --network-rate up=1k,packets=50 a";
        let limits = NetworkLimits {
            up: std::num::NonZeroU64::new(1024),
            down: None,
            packets: std::num::NonZeroU64::new(50),
        };
        assert_eq!(read(line), Ok(NetworkUpdate::new().limits(limits)));
        let line = "supermachine update --network-rate none a";
        let free = NetworkUpdate::new().limits(NetworkLimits::default());
        assert_eq!(read(line), Ok(free));
        for (words, message) in [
            (
                "--network-rate 0 a",
                "--network-rate 0: a size must be more than zero",
            ),
            (
                "--network-rate sideways=1M a",
                "--network-rate sideways=1M: a rate is bytes a second, like 10M, or any of up=1M,down=10M,packets=5000",
            ),
            (
                "--network-rate up=1M,packets=0 a",
                "--network-rate up=1M,packets=0: a rate is bytes a second, like 10M, or any of up=1M,down=10M,packets=5000",
            ),
            ("a", "update: nothing to change"),
            (
                "--egress x a",
                "--egress x: a rule starts with allow: or deny:",
            ),
            (
                "--egress none --egress deny:* a",
                "--egress none: a rule starts with allow: or deny:",
            ),
            (
                "--network host a",
                "update: --network host: a VM has a network of its own",
            ),
            ("--memory 1G a", "update: --memory is not built yet"),
            ("--network full", "update: missing NAME"),
        ] {
            let line = format!("supermachine update {words}");
            assert_eq!(read(&line), Err(message.to_owned()));
        }
    }
}
