//! The gateway's name server: passes questions on to the host's, keeps the answers, and tells the policy what they
//! were. Questions over TCP are passed on as connections, by the stack.

mod cache;
mod members;
mod message;

use crate::outbox::Outbox;
use crate::policy::Names;
use crate::poll::{Poll, Token};
use crate::socket;
use crate::table::Table;
use cache::Cache;
use members::{Asked, Sought};
use message::Question;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// The port of name servers.
pub(crate) const PORT: u16 = 53;
/// Questions under way at most.
const MAX_QUERIES: usize = 512;
/// How long a server has before the next one is asked, and how many are.
const PATIENCE: Duration = Duration::from_secs(2);
const TRIES: usize = 4;
/// Response codes (RFC 1035).
const SERVER_FAILURE: u8 = 2;
const REFUSED: u8 = 5;

/// Who is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// The host's name servers, in the order they are asked.
    pub servers: Vec<SocketAddr>,
    /// Whether the guest is to hear of IPv6 addresses: it would try them first, or wait for them.
    pub v6: bool,
}

struct Query {
    socket: UdpSocket,
    number: u16,
    question: Question,
    asked: Vec<u8>,
    /// The guest's socket and the gateway's address it asked.
    ends: (SocketAddr, SocketAddr),
    tries: usize,
    deadline: Instant,
}

/// The name server.
pub(crate) struct Resolver {
    upstream: Upstream,
    queries: Table<Query>,
    cache: Cache,
    /// Of a guest that is a member of a network.
    sought: Option<Sought>,
}

/// What asking takes.
pub(crate) struct Desk<'a> {
    pub(crate) poll: &'a Poll,
    pub(crate) outbox: &'a mut Outbox,
    pub(crate) names: &'a mut Names,
    pub(crate) now: Instant,
}

impl Resolver {
    pub(crate) fn new(upstream: Upstream) -> Self {
        Self {
            upstream,
            queries: Table::default(),
            cache: Cache::default(),
            sought: None,
        }
    }

    /// Has the owner asked for names before the world is.
    pub(crate) fn with_members(self) -> Self {
        Self {
            sought: Some(Sought::default()),
            ..self
        }
    }

    /// The names that the owner is to look for.
    pub(crate) fn take_unasked(&mut self) -> Vec<String> {
        self.sought
            .as_mut()
            .map(Sought::take_unasked)
            .unwrap_or_default()
    }

    /// Answers the questions for a name that a member has, and asks the world for one that none has.
    pub(crate) fn named(&mut self, name: &str, member: Option<Ipv4Addr>, desk: &mut Desk<'_>) {
        let released = self.sought.as_mut().map(|sought| sought.release(name));
        for asked in released.unwrap_or_default() {
            match member {
                None => self.ask_world(asked, desk),
                // An answer that is not there: members have addresses of one kind.
                Some(_) if asked.question.kind != message::TYPE_A => {
                    respond(asked.ends, &asked.message, 0, desk.outbox);
                }
                Some(address) => {
                    if let Some(answer) = message::answer(&asked.message, address) {
                        desk.outbox.push_udp(asked.ends.1, asked.ends.0, &answer);
                    }
                }
            }
        }
    }

    /// The server that takes questions over TCP.
    pub(crate) fn server(&self) -> Option<SocketAddr> {
        self.upstream.servers.first().copied()
    }

    /// A question of the guest's.
    pub(crate) fn ask(
        &mut self,
        ends: (SocketAddr, SocketAddr),
        asked: &[u8],
        desk: &mut Desk<'_>,
    ) {
        let Some((question, _)) = message::question(asked).filter(|_| !message::is_answer(asked))
        else {
            return;
        };
        if question.kind == message::TYPE_AAAA && !self.upstream.v6 {
            return respond(ends, asked, 0, desk.outbox);
        }
        let asked = Asked {
            ends,
            message: asked.to_vec(),
            question,
        };
        let rest = match &mut self.sought {
            Some(sought) => sought.keep(asked),
            None => Some(asked),
        };
        if let Some(asked) = rest {
            self.ask_world(asked, desk);
        }
    }

    fn ask_world(&mut self, asked: Asked, desk: &mut Desk<'_>) {
        let Asked {
            ends,
            message,
            question,
        } = asked;
        if let Some(mut answer) = self.cache.find(&question, desk.now) {
            message::set_id(&mut answer, message::id(&message).unwrap_or(0));
            learn(&question, &answer, desk);
            return desk.outbox.push_udp(ends.1, ends.0, &answer);
        }
        if self.queries.len() >= MAX_QUERIES {
            return respond(ends, &message, REFUSED, desk.outbox);
        }
        self.pass_on(ends, message, question, 0, desk);
    }

    /// Asks the next server, each from a port and under a number that nobody guesses.
    fn pass_on(
        &mut self,
        ends: (SocketAddr, SocketAddr),
        asked: Vec<u8>,
        question: Question,
        tries: usize,
        desk: &mut Desk<'_>,
    ) {
        let servers = &self.upstream.servers;
        for tries in tries..TRIES {
            let Some(&server) = servers.get(tries % servers.len().max(1)) else {
                break;
            };
            let number = random();
            let mut query = asked.clone();
            message::set_id(&mut query, number);
            let sent = socket::connect_udp(server)
                .map_err(Into::into)
                .and_then(|socket| {
                    desk.poll
                        .add(&socket, Token::Query(self.queries.next_place()))?;
                    socket.send(&query).map(|_| socket)
                });
            if let Ok(socket) = sent {
                let deadline = desk.now + PATIENCE;
                self.queries.insert(Query {
                    socket,
                    number,
                    question,
                    asked,
                    ends,
                    tries,
                    deadline,
                });
                return;
            }
        }
        respond(ends, &asked, SERVER_FAILURE, desk.outbox);
    }

    /// A server's answer may have come.
    pub(crate) fn ready(&mut self, place: u32, desk: &mut Desk<'_>) {
        let mut buffer = [0; 65_536];
        while let Some(query) = self.queries.get_mut(place) {
            match query.socket.recv(&mut buffer) {
                Ok(count) => {
                    let answer = &mut buffer[..count];
                    if query.is_answered_by(answer) {
                        self.answer(place, answer, desk);
                    }
                }
                Err(error) if socket::would_wait(&error) => return,
                // Nobody is there, says the network.
                Err(_) => return self.try_next(place, desk),
            }
        }
    }

    fn answer(&mut self, place: u32, answer: &mut [u8], desk: &mut Desk<'_>) {
        let Some(query) = self.queries.remove(place) else {
            return;
        };
        message::set_id(answer, message::id(&query.asked).unwrap_or(0));
        learn(&query.question, answer, desk);
        desk.outbox.push_udp(query.ends.1, query.ends.0, answer);
        self.cache.keep(query.question, answer, desk.now);
    }

    fn try_next(&mut self, place: u32, desk: &mut Desk<'_>) {
        if let Some(query) = self.queries.remove(place) {
            self.pass_on(
                query.ends,
                query.asked,
                query.question,
                query.tries + 1,
                desk,
            );
        }
    }

    /// When [`Resolver::expire`] wants to be called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.queries.iter().map(|(_, query)| query.deadline).min()
    }

    /// Asks somebody else what was not answered in time.
    pub(crate) fn expire(&mut self, desk: &mut Desk<'_>) {
        let late = self
            .queries
            .iter()
            .filter(|(_, query)| query.deadline <= desk.now);
        let late: Vec<u32> = late.map(|(place, _)| place).collect();
        late.into_iter()
            .for_each(|place| self.try_next(place, desk));
    }
}

impl Query {
    fn is_answered_by(&self, answer: &[u8]) -> bool {
        message::is_answer(answer)
            && message::id(answer) == Some(self.number)
            && message::question(answer).is_some_and(|(question, _)| question == self.question)
    }
}

/// The policy hears which addresses the guest was told for what it asked.
fn learn(question: &Question, answer: &[u8], desk: &mut Desk<'_>) {
    for record in message::records(answer).unwrap_or_default() {
        if let Some(address) = record.address {
            desk.names
                .learn(&question.name, address, record.ttl, desk.now);
        }
    }
}

/// Answers a question that nobody may ask.
pub(crate) fn refuse(ends: (SocketAddr, SocketAddr), asked: &[u8], outbox: &mut Outbox) {
    if message::question(asked).is_some() && !message::is_answer(asked) {
        respond(ends, asked, REFUSED, outbox);
    }
}

fn respond(ends: (SocketAddr, SocketAddr), asked: &[u8], code: u8, outbox: &mut Outbox) {
    if let Some(answer) = message::empty_answer(asked, code) {
        outbox.push_udp(ends.1, ends.0, &answer);
    }
}

fn random() -> u16 {
    let mut bytes = [0; 2];
    // See the sequence numbers of TCP; the port is the kernel's choice.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u16::from_ne_bytes(bytes)
}

/// Whether the gateway answers names at this address.
pub(crate) fn is_resolver(to: SocketAddr) -> bool {
    to.port() == PORT && crate::addresses::is_gateway(to.ip())
}
