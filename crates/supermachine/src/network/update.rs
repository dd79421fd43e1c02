//! Changes of what a VM may reach and how fast, while it runs or before its next life.

use super::{NetworkLimits, NetworkMode, PortError, Rule};
use crate::config::VmConfig;
use proto::control::{Limits, Policy, Reach};
use proto::supervisor;

/// Changes of what a VM may reach, and how fast. What is not mentioned stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkUpdate {
    mode: Option<NetworkMode>,
    egress: Option<Vec<Rule>>,
    limits: Option<NetworkLimits>,
}

/// Why a change cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkUpdateError {
    /// Its ports would lead nowhere.
    #[error(transparent)]
    Port(#[from] PortError),
    /// Its guest was started without a card to use.
    #[error(
        "the VM was started without a network and cannot get one while it runs: stop it first, then update and start it"
    )]
    StartedWithout,
    /// A place on a network is a VM's from its start to its end.
    #[error(
        "a VM joins a network with a name when it starts and leaves it when it ends: stop it first, then update and start it"
    )]
    Member,
    /// A rule came that is none.
    #[error(transparent)]
    Rule(#[from] super::RuleError),
}

impl NetworkUpdate {
    /// Nothing changes.
    pub const fn new() -> Self {
        Self {
            mode: None,
            egress: None,
            limits: None,
        }
    }

    /// What may be reached where no rule says otherwise. [`NetworkMode::None`] ends every connection of a VM that runs,
    /// and it can be taken back.
    pub fn mode(mut self, mode: NetworkMode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// The rules, in place of those there are.
    pub fn egress(mut self, rules: impl IntoIterator<Item = Rule>) -> Self {
        self.egress = Some(rules.into_iter().collect());
        self
    }

    /// How much may pass in a second, in place of what may now.
    pub const fn limits(mut self, limits: NetworkLimits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// The configuration after the change.
    pub(crate) fn applied(&self, config: &VmConfig) -> Result<VmConfig, NetworkUpdateError> {
        let mut config = config.clone();
        if let Some(mode) = &self.mode {
            config.network.clone_from(mode);
        }
        if let Some(rules) = &self.egress {
            config.egress.clone_from(rules);
        }
        config.network_limits = self.limits.unwrap_or(config.network_limits);
        if config.network == NetworkMode::None && !config.ports.is_empty() {
            return Err(PortError::NoNetwork.into());
        }
        Ok(config)
    }

    /// Whether a VM that runs can be changed so.
    pub(crate) fn check_live(&self, config: &VmConfig) -> Result<(), NetworkUpdateError> {
        let is_named = |mode: &NetworkMode| matches!(mode, NetworkMode::Named(_));
        match &self.mode {
            Some(mode) if is_named(mode) || is_named(&config.network) => {
                Err(NetworkUpdateError::Member)
            }
            _ => Ok(()),
        }
    }

    /// For the supervisor.
    pub(crate) fn to_request(&self) -> supervisor::NetworkUpdate {
        let texts = |rules: &Vec<Rule>| rules.iter().map(ToString::to_string).collect();
        supervisor::NetworkUpdate {
            reach: self.mode.as_ref().map(reach),
            rules: self.egress.as_ref().map(texts),
            limits: self.limits.map(limits),
        }
    }

    /// As the supervisor gets it.
    pub(crate) fn from_request(
        request: &supervisor::NetworkUpdate,
    ) -> Result<Self, NetworkUpdateError> {
        let mode = |reach| match reach {
            Reach::Public => NetworkMode::Public,
            Reach::Full => NetworkMode::Full,
            Reach::Nothing => NetworkMode::None,
        };
        let rules = request.rules.as_ref().map(|texts| {
            let rules = texts.iter().map(|text| text.parse());
            rules.collect::<Result<_, _>>()
        });
        Ok(Self {
            mode: request.reach.map(mode),
            egress: rules.transpose()?,
            limits: request.limits.map(|limits| NetworkLimits {
                up: limits.up,
                down: limits.down,
                packets: limits.packets,
            }),
        })
    }
}

const fn reach(mode: &NetworkMode) -> Reach {
    match mode {
        NetworkMode::None => Reach::Nothing,
        NetworkMode::Public | NetworkMode::Named(_) => Reach::Public,
        NetworkMode::Full => Reach::Full,
    }
}

/// What a VM of this configuration may reach, for its VMM.
pub(crate) fn policy(config: &VmConfig) -> Policy {
    Policy {
        reach: reach(&config.network),
        rules: config.egress.iter().map(ToString::to_string).collect(),
    }
}

/// How much may pass, for its VMM.
pub(crate) const fn limits(limits: NetworkLimits) -> Limits {
    Limits {
        up: limits.up,
        down: limits.down,
        packets: limits.packets,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::PortMapping;

    #[test]
    fn what_is_not_mentioned_stays_and_all_of_it_survives_the_way_to_the_supervisor() {
        let rule = |text: &str| text.parse::<Rule>().unwrap();
        let before = VmConfig::new().egress([rule("deny:*")]);
        let full = NetworkUpdate::new().mode(NetworkMode::Full);
        let after = full.applied(&before).unwrap();
        assert_eq!(
            (after.network, after.egress),
            (NetworkMode::Full, vec![rule("deny:*")])
        );
        let rules = NetworkUpdate::new().egress([rule("allow:a.example"), rule("deny:*")]);
        let after = rules.applied(&before).unwrap();
        assert_eq!(after.network, NetworkMode::Public);
        assert_eq!(policy(&after).rules, ["allow:a.example", "deny:*"]);
        let slow = NetworkLimits {
            up: std::num::NonZeroU64::new(1000),
            ..NetworkLimits::default()
        };
        let limited = NetworkUpdate::new().limits(slow);
        assert_eq!(limited.applied(&before).unwrap().network_limits, slow);
        for update in [NetworkUpdate::new(), full, rules, limited] {
            let arrived = NetworkUpdate::from_request(&update.to_request()).unwrap();
            assert_eq!(arrived, update);
        }
    }

    #[test]
    fn a_vm_that_runs_stays_where_it_is_and_rules_change_there_too() {
        let named = NetworkMode::Named("inner".into());
        let (inside, outside) = (VmConfig::new().network(named.clone()), VmConfig::new());
        for (config, mode) in [(&outside, named.clone()), (&inside, NetworkMode::None)] {
            let update = NetworkUpdate::new().mode(mode);
            assert!(matches!(
                update.check_live(config),
                Err(NetworkUpdateError::Member)
            ));
        }
        let rules = NetworkUpdate::new().egress([]);
        rules.check_live(&inside).unwrap();
        assert_eq!(rules.applied(&inside).unwrap().network, named);
    }

    #[test]
    fn a_vm_with_published_ports_keeps_its_network() {
        let ports = PortMapping::parse("0:80").unwrap();
        let none = NetworkUpdate::new().mode(NetworkMode::None);
        let refused = none.applied(&VmConfig::new().publish(ports)).unwrap_err();
        assert!(matches!(
            refused,
            NetworkUpdateError::Port(PortError::NoNetwork)
        ));
    }
}
