//! The network card, and the thread that is at the other end of its link. Only that thread makes sockets.

use crate::arch::layout::Slot;
use crate::bus::{Bus, Shared, lock};
use crate::control::ControlSocket;
use crate::error::VmmError;
use crate::gate::Gate;
use crate::hypervisor::WriteEvent;
use crate::machine::section;
use crate::slot::{Backplane, Plugged};
use devices::virtio::net::{Header, Net, Segmentation};
use net::policy::{Mode, Policy, Rule};
use net::{
    Addresses, Config, Frame, Limits, Link, Lost, Passed, Published, Quest, Stack, Subnet,
    Upstream, Waiter,
};
use proto::control::{self, Event, Reach, Step};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use snapshot::state::{State, StateWriter};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::thread;

/// The address a driver finds; the guest takes another one when it has a network.
const NOBODY: [u8; 6] = [0x02, 0x53, 0x6d, 0, 0, 2];

const CARD: &str = "devices/net";
const FLOWS: &str = "net/flows";
const FLOWS_VERSION: u16 = 1;

/// The network as the library described it, until there is a card.
#[derive(Default)]
pub struct NetworkSet(Option<(Config, Vec<Published>)>);

impl NetworkSet {
    /// Takes a description and the sockets of its ports.
    pub fn new(network: &control::Network, sockets: Vec<OwnedFd>) -> Result<Self, VmmError> {
        if network.ports.len() != sockets.len() {
            let (ports, sockets) = (network.ports.len(), sockets.len());
            let message = format!("{ports} published ports came with {sockets} sockets");
            return Err(VmmError::new(Step::Protocol, message));
        }
        let published = network.ports.iter().zip(sockets);
        let published = published.map(|(port, socket)| match port.udp {
            false => Published::Tcp(socket.into(), port.guest),
            true => Published::Udp(Arc::new(socket.into()), port.guest),
        });
        Ok(Self(Some((configure(network)?, published.collect()))))
    }
}

fn configure(network: &control::Network) -> Result<Config, VmmError> {
    let servers = network.name_servers.iter().map(|text| {
        let wrong = |_| VmmError::new(Step::Protocol, format!("{text} is no name server"));
        text.parse().map_err(wrong)
    });
    Ok(Config {
        addresses: Addresses {
            mac: network.mac,
            v4: network.v4.into(),
            v6: network.v6.map(Into::into),
        },
        policy: policy(&network.policy)?,
        limits: limits(network.limits),
        upstream: Upstream {
            servers: servers.collect::<Result<_, _>>()?,
            v6: network.v6.is_some(),
        },
        subnet: network.subnet.map(|subnet| Subnet {
            address: subnet.address.into(),
            prefix: subnet.prefix,
        }),
    })
}

fn policy(policy: &control::Policy) -> Result<Policy, VmmError> {
    let rules = policy.rules.iter().map(|text| {
        let wrong = |error| VmmError::new(Step::Protocol, format!("rule {text}: {error}"));
        text.parse::<Rule>().map_err(wrong)
    });
    Ok(Policy {
        mode: match policy.reach {
            Reach::Public => Mode::Public,
            Reach::Full => Mode::Full,
            Reach::Nothing => Mode::Nothing,
        },
        rules: rules.collect::<Result<_, _>>()?,
    })
}

const fn limits(limits: control::Limits) -> Limits {
    Limits {
        up: limits.up,
        down: limits.down,
        packets: limits.packets,
    }
}

/// The card of a machine, and what is behind it.
pub struct Network {
    card: Plugged<Net>,
    stack: Option<Arc<Mutex<Stack>>>,
    gate: Arc<Gate>,
}

impl Network {
    /// Plugs the card in. Its thread starts if there is a network.
    pub fn plug(
        backplane: &Backplane<'_>,
        bus: &mut Bus,
        set: &mut NetworkSet,
        control: &ControlSocket,
    ) -> Result<Self, VmmError> {
        let failed = || VmmError::at(Step::Device, "cannot start the network");
        let card = backplane.plug(Slot::NET, bus, |_| Net::new(NOBODY))?;
        let gate = Arc::new(Gate::default());
        let mut stack = None;
        if let Some((config, published)) = set.0.take() {
            allow_many_sockets();
            let made = Arc::new(Mutex::new(Stack::new(config, published).map_err(failed())?));
            let server = Server {
                stack: Arc::clone(&made),
                waiter: lock(&made).waiter(),
                card: Arc::clone(&card.device),
                notified: card.notified.try_clone().map_err(failed())?,
                gate: Arc::clone(&gate),
                control: control.clone(),
            };
            server.start().map_err(failed())?;
            stack = Some(made);
        }
        Ok(Self { card, stack, gate })
    }

    /// Writes the card's section, and which flows there are.
    pub fn save(&self, sections: &mut StateWriter) {
        self.card.save(CARD, sections);
        let flows = self.stack.as_ref().map(|stack| lock(stack).flows());
        sections.put(FLOWS, FLOWS_VERSION, &flows.unwrap_or_default());
    }

    /// Makes the card what it was. The flows of the old life are none of the new one's, which hears of it.
    pub fn restore(&self, sections: &State) -> Result<(), VmmError> {
        self.card.restore(CARD, sections)?;
        let lost: Vec<Lost> = section(sections, FLOWS, FLOWS_VERSION)?;
        if let Some(stack) = &self.stack {
            lock(stack).lose(&lost);
        }
        Ok(())
    }

    /// Has other rules and limits hold from now on; the thread tells the guest what they end.
    pub fn update(
        &self,
        described: &control::Policy,
        limited: control::Limits,
    ) -> Result<(), VmmError> {
        let policy = policy(described)?;
        let without = || VmmError::new(Step::Protocol, "a VM without a network has no rules");
        let mut stack = lock(self.stack.as_ref().ok_or_else(without)?);
        stack.set_policy(policy);
        stack.set_limits(limits(limited));
        drop(stack);
        self.card.notified.pretend();
        Ok(())
    }

    /// What has passed so far.
    pub fn traffic(&self) -> control::Traffic {
        let stack = self.stack.as_ref().map(|stack| lock(stack).traffic());
        let passed = |passed: Passed| control::Passed {
            bytes: passed.bytes,
            packets: passed.packets,
            held: passed.held,
        };
        stack.map_or_else(control::Traffic::default, |traffic| control::Traffic {
            up: passed(traffic.up),
            down: passed(traffic.down),
        })
    }

    /// Who has an address of the guest's network: a member with a way to it, or nobody.
    pub fn set_member(&self, address: Ipv4Addr, channel: Option<OwnedFd>) {
        if let Some(stack) = &self.stack {
            let mut stack = lock(stack);
            match channel {
                Some(channel) => stack.meet(address, channel),
                None => stack.miss(address),
            }
        }
    }

    /// Who of the guest's network has a name, if one has.
    pub fn set_name(&self, name: &str, member: Option<Ipv4Addr>) {
        if let Some(stack) = &self.stack {
            lock(stack).named(name, member);
        }
    }

    /// After a restore: tells the driver what it missed.
    pub fn announce(&self) {
        self.card.announce();
    }

    /// Does nothing more for the guest.
    pub fn pause(&self) {
        self.gate.close();
    }

    /// Goes on.
    pub fn resume(&self) {
        self.gate.open();
    }
}

/// Each connection is a descriptor. What the limit is where it cannot be raised is enough for most.
fn allow_many_sockets() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let _ = setrlimit(Resource::Nofile, raised);
}

/// What the thread has.
struct Server {
    stack: Arc<Mutex<Stack>>,
    waiter: Waiter,
    card: Shared<Net>,
    notified: WriteEvent,
    gate: Arc<Gate>,
    control: ControlSocket,
}

impl Server {
    fn start(self) -> io::Result<()> {
        self.waiter.watch(&self.notified)?;
        thread::Builder::new()
            .name("network".into())
            .spawn(move || self.serve())?;
        Ok(())
    }

    fn serve(&self) {
        loop {
            let patience = lock(&self.stack).patience();
            let woken = self
                .waiter
                .wait(patience)
                .unwrap_or_else(|error| panic!("cannot wait for the network: {error}"));
            let _inside = self.gate.enter();
            if woken.by_owner() {
                // An event that was taken back is a turn too many.
                let _ = self.notified.take();
            }
            let mut stack = lock(&self.stack);
            let mut transport = lock(&self.card);
            let card = transport.device_mut();
            card.begin();
            stack.turn(&mut Wire(card), woken);
            card.finish();
            drop(transport);
            self.ask(stack.take_quests());
            let (refusals, total) = stack.take_refusals();
            for refusal in refusals {
                let flow = format!("{} {}", refusal.protocol.name(), refusal.destination);
                let reason = refusal.reason;
                // The library may not be listening to this; the log keeps it.
                eprintln!("refused: {flow}: {reason}");
                self.control.send(&Event::EgressRefused {
                    flow,
                    reason,
                    total,
                });
            }
        }
    }

    /// Has the library look for what only it can know.
    fn ask(&self, quests: Vec<Quest>) {
        for quest in quests {
            self.control.send(&match quest {
                Quest::Member(address) => Event::MemberSought {
                    address: address.octets(),
                },
                Quest::Name(name) => Event::NameSought { name },
            });
        }
    }
}

/// The card as the stack sees it.
struct Wire<'a>(&'a mut Net);

impl Link for Wire<'_> {
    fn receive(&mut self, frame: &mut Vec<u8>) -> bool {
        self.0.receive(frame)
    }

    fn send(&mut self, frame: &Frame<'_>) -> bool {
        let header = Header {
            checksum: frame.checksum,
            segmentation: frame.segmentation.map(|segments| Segmentation {
                size: segments.size,
                headers: frame.header.len() as u16,
                v6: segments.v6,
            }),
        };
        self.0.send(header, [frame.header, frame.payload])
    }
}
