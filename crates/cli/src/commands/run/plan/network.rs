//! The words about the network.

use crate::args::{self, Refusal};
use crate::commands::process::refuse;
use crate::commands::run::pair;
use crate::sizes;
use std::num::NonZeroU64;
use supermachine::{NetworkLimits, NetworkMode, PortMapping, Rule, Runtime, VmConfig};

/// Puts them into the configuration.
pub fn apply(mut config: VmConfig, args: &args::Network) -> anyhow::Result<VmConfig> {
    let mode = match args.network.as_slice() {
        [] => NetworkMode::Public,
        [word] => mode("run", word)?,
        _ => return Err(several().into()),
    };
    if !args.network_alias.is_empty() && !matches!(mode, NetworkMode::Named(_)) {
        return Err(nameless().into());
    }
    config = config.network(mode);
    config = config.network_alias(args.network_alias.clone());
    config = publish(config, args)?;
    for word in &args.add_host {
        let (name, address) = pair("--add-host", word, "NAME:ADDRESS", &[':', '='])?;
        let address = address.trim_start_matches('[').trim_end_matches(']');
        config = config.add_host(name, address);
    }
    config = args.dns.iter().fold(config, VmConfig::dns);
    config = args.dns_search.iter().fold(config, VmConfig::dns_search);
    config = args.dns_option.iter().fold(config, VmConfig::dns_option);
    if let Some(text) = &args.network_rate {
        config = config.network_limits(limits(text)?);
    }
    Ok(config.egress(rules(&args.egress)?))
}

/// Reads limits: `10M`, or `up=1M,down=10M,packets=5000`.
pub fn limits(text: &str) -> Result<NetworkLimits, Refusal> {
    let wrong = || {
        let what = "a rate is bytes a second, like 10M, or any of up=1M,down=10M,packets=5000";
        refuse("--network-rate", text, what)
    };
    let bytes = |size: &str| {
        let bytes = sizes::parse(size).map_err(|error| refuse("--network-rate", text, error))?;
        Ok::<_, Refusal>(NonZeroU64::new(bytes))
    };
    let mut limits = NetworkLimits::default();
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("up", size)) => limits.up = bytes(size)?,
            Some(("down", size)) => limits.down = bytes(size)?,
            Some(("packets", count)) => {
                limits.packets = Some(count.parse().map_err(|_| wrong())?);
            }
            None => (limits.up, limits.down) = (bytes(part)?, bytes(part)?),
            Some(_) => return Err(wrong()),
        }
    }
    Ok(limits)
}

/// Reads rules.
pub fn rules(texts: &[String]) -> Result<Vec<Rule>, Refusal> {
    let rule = |text: &String| {
        text.parse()
            .map_err(|error| refuse("--egress", text, error))
    };
    texts.iter().map(rule).collect()
}

/// Puts the published ports into the configuration.
pub fn publish(mut config: VmConfig, args: &args::Network) -> anyhow::Result<VmConfig> {
    for text in &args.publish {
        let ports = PortMapping::parse(text).map_err(|error| refuse("--publish", text, error))?;
        config = config.publish(ports);
    }
    Ok(config)
}

/// Whether the network that is asked for by name is there: before an image is fetched for a VM that cannot be on it.
pub fn check(runtime: &Runtime, config: &VmConfig) -> anyhow::Result<()> {
    if let NetworkMode::Named(name) = config.network_mode() {
        runtime.network(name)?;
    }
    Ok(())
}

/// Docker's word for the network of everybody who asks for none in particular is taken for ours.
pub fn mode(command: &str, text: &str) -> Result<NetworkMode, Refusal> {
    match text {
        "none" => Ok(NetworkMode::None),
        "public" | "bridge" | "default" => Ok(NetworkMode::Public),
        "full" => Ok(NetworkMode::Full),
        "host" => Err(Refusal {
            message: format!("{command}: --network host: a VM has a network of its own"),
            hint: Some(
                "--network full lets it reach the host, at the address of its gateway".to_owned(),
            ),
        }),
        name => Ok(NetworkMode::Named(name.to_owned())),
    }
}

fn several() -> Refusal {
    Refusal {
        message: "run: --network was given twice: a VM is on one network".to_owned(),
        hint: Some("VMs that are to find each other are put on the same one".to_owned()),
    }
}

fn nameless() -> Refusal {
    Refusal {
        message: "run: --network-alias is for a network with a name".to_owned(),
        hint: Some("`supermachine network create NAME` makes one for --network NAME".to_owned()),
    }
}
