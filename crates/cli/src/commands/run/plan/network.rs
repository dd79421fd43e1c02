//! The words about the network.

use crate::args::{self, Refusal};
use crate::commands::process::refuse;
use crate::commands::run::pair;
use crate::sizes;
use std::num::NonZeroU64;
use supermachine::{NetworkLimits, NetworkMode, PortMapping, Rule, VmConfig};

/// Puts them into the configuration.
pub fn apply(mut config: VmConfig, args: &args::Network) -> anyhow::Result<VmConfig> {
    if let Some(text) = &args.network {
        config = config.network(mode("run", text)?);
    }
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
        name => Err(Refusal {
            message: format!("{command}: --network {name} is not built yet: networks by name"),
            hint: Some("use none, public or full".to_owned()),
        }),
    }
}
