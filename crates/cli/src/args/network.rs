//! Words about the network.

use clap::Args;

/// Flags of `run`, `create` and `warm` about what a workload can reach, and who can reach it.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Network")]
pub struct Network {
    /// What the VM may reach: none, public or full, or a network of `network create` [default: public]
    #[arg(long, value_name = "NETWORK", alias = "net")]
    pub network: Vec<String>,

    /// A name by which other VMs of the network find this one, beside its own
    #[arg(long, value_name = "NAME", alias = "net-alias")]
    pub network_alias: Vec<String>,

    /// Publish a port as [IP:]HOST:GUEST[/udp]; without IP on 127.0.0.1
    #[arg(short, long, value_name = "PORTS")]
    pub publish: Vec<String>,

    /// Allow or deny: allow|deny:CIDR|DOMAIN[:PORTS][/tcp|udp], in order
    #[arg(long, value_name = "RULE")]
    pub egress: Vec<String>,

    /// Bytes a second that pass at most: RATE each way, or up=RATE,down=RATE,packets=N
    #[arg(long, value_name = "RATE")]
    pub network_rate: Option<String>,

    /// Add a line to /etc/hosts
    #[arg(long, value_name = "NAME:ADDRESS")]
    pub add_host: Vec<String>,

    /// Name server to ask, instead of the host's
    #[arg(long, value_name = "ADDRESS")]
    pub dns: Vec<String>,

    /// Search domain for /etc/resolv.conf, or . for none
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,

    /// Option for /etc/resolv.conf
    #[arg(long, value_name = "OPTION", alias = "dns-opt")]
    pub dns_option: Vec<String>,
}
