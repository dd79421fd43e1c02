//! Who may talk to whom. Pure: addresses and names in, a decision out.

mod names;
mod ranges;
mod rule;
#[cfg(test)]
mod tests;

pub(crate) use names::Names;
pub use ranges::Class;
pub(crate) use ranges::v4_inside;
pub use rule::{Action, Rule, RuleError};

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// What a VM's packets may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Echo requests. Their port is 0.
    Ping,
}

impl Protocol {
    /// The name in rules and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Ping => "ping",
        }
    }
}

/// What holds where no rule matches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Public addresses that are not the host's.
    #[default]
    Public,
    /// Everything the host reaches, and the host itself.
    Full,
    /// Nothing, whatever the rules say, and no name is answered.
    Nothing,
}

/// A mode and the rules in front of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// What holds where no rule matches.
    pub mode: Mode,
    /// The first one that matches decides.
    pub rules: Vec<Rule>,
}

/// The answer to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Let it pass.
    Allowed,
    /// Do not, because of this.
    Refused(String),
}

/// What is known about a destination besides its address.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Whether it is an address of the host.
    pub own: bool,
    /// Names that the guest got the address for, in lower case without the last dot.
    pub names: &'a [&'a str],
}

impl Policy {
    /// Whether a flow to `destination` may be.
    pub fn decide(
        &self,
        protocol: Protocol,
        destination: SocketAddr,
        facts: Facts<'_>,
    ) -> Decision {
        if self.mode == Mode::Nothing {
            return Decision::Refused("no network".to_owned());
        }
        let class = Class::of(destination.ip(), facts.own);
        for rule in &self.rules {
            if !rule.matches(protocol, destination, facts.names) {
                continue;
            }
            return match rule.action {
                Action::Deny => Decision::Refused(rule.to_string()),
                // A name is what its owner says it is: it opens no door into private networks.
                Action::Allow if rule.is_by_name() && class != Class::Public => self.by_mode(class),
                Action::Allow => Decision::Allowed,
            };
        }
        self.by_mode(class)
    }

    fn by_mode(&self, class: Class) -> Decision {
        match (self.mode, class) {
            (Mode::Full, _) | (_, Class::Public) => Decision::Allowed,
            (Mode::Public | Mode::Nothing, class) => {
                Decision::Refused(format!("{} address", class.name()))
            }
        }
    }

    /// Whether the gateway answers questions for names.
    pub(crate) fn answers_names(&self) -> bool {
        self.mode != Mode::Nothing
    }

    /// Whether names matter to any rule.
    pub(crate) fn needs_names(&self) -> bool {
        self.rules.iter().any(Rule::is_by_name)
    }
}
