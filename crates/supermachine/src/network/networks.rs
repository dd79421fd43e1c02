//! Networks with a name, on which VMs find each other.
//!
//! | file of networks/ | what it is |
//! |---|---|
//! | `.lock` | held while members or networks come, go or are looked for |
//! | `NAME/network.json` | which addresses are the network's |
//! | `NAME/members/N` | who has the address that ends with N; locked for as long as that VM lives |
//!
//! A lock is the process's that supervises the VM: whatever ends the VM, its address is free.

use super::error::NetworkError;
use super::membership::{Member, Membership};
use crate::home::{Home, random_hex, write_atomically};
use crate::names;
use crate::time::{from_unix_nanos, unix_nanos};
use net::{GATEWAY_V4, Subnet};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Addresses of all networks start so: the half of the block for benchmarks (RFC 2544) that VMs without a named network
/// leave.
const BLOCK: [u8; 2] = [198, 18];
const PREFIX: u8 = 24;
/// The lowest third number of one: the guest has a use of its own for the lowest addresses of the block.
const FIRST: u8 = 1;
const ABOUT: &str = "network.json";
const MEMBERS: &str = "members";
/// Words that mean something else where a network is asked for.
const WORDS: [&str; 6] = ["none", "public", "full", "host", "bridge", "default"];

/// What is known of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NetworkInfo {
    /// Its name.
    pub name: String,
    /// Its addresses, like `198.18.3.0/24`.
    pub subnet: String,
    /// Where members find the way to the world, and who answers for names.
    pub gateway: Ipv4Addr,
    /// When it was made.
    #[serde(serialize_with = "crate::time::as_rfc3339::serialize")]
    pub created: SystemTime,
    /// The VMs on it, by address.
    pub members: Vec<NetworkMember>,
}

/// A VM on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NetworkMember {
    /// Its address.
    pub address: Ipv4Addr,
    /// The VM's name.
    pub name: String,
    /// The VM's id.
    pub id: String,
    /// The other names that it is found by.
    pub aliases: Vec<String>,
}

/// What stands in `network.json`.
#[derive(Debug, Serialize, Deserialize)]
struct About {
    /// The third number of its addresses.
    number: u8,
    created_ns: u64,
}

impl About {
    fn subnet(&self) -> Subnet {
        Subnet {
            address: self.address(0),
            prefix: PREFIX,
        }
    }

    const fn address(&self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(BLOCK[0], BLOCK[1], self.number, last)
    }
}

/// The networks of a state directory.
#[derive(Debug, Clone)]
pub(crate) struct Networks {
    dir: PathBuf,
}

fn failed<'a, E: Into<io::Error>>(
    step: &'static str,
    path: &'a Path,
) -> impl Fn(E) -> NetworkError + 'a {
    move |source| NetworkError::File {
        step,
        path: path.to_owned(),
        source: source.into(),
    }
}

impl Networks {
    pub(crate) fn new(home: &Home) -> Self {
        Self {
            dir: home.networks(),
        }
    }

    fn lock(&self, how: FlockOperation) -> Result<File, NetworkError> {
        let path = self.dir.join(".lock");
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed("open", &path))?;
        flock(&file, how).map_err(failed("lock", &path))?;
        Ok(file)
    }

    fn about(&self, name: &str) -> Result<About, NetworkError> {
        let missing = || NetworkError::NotFound(name.to_owned());
        names::check(name).map_err(|_| missing())?;
        let path = self.dir.join(name).join(ABOUT);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
            read => read.map_err(failed("read", &path))?,
        };
        serde_json::from_slice(&text).map_err(failed("understand", &path))
    }

    fn members_dir(&self, name: &str) -> PathBuf {
        self.dir.join(name).join(MEMBERS)
    }

    /// Makes a network, with addresses that no other one has.
    pub(crate) fn create(&self, name: &str) -> Result<(), NetworkError> {
        if WORDS.contains(&name) || names::check(name).is_err() {
            return Err(NetworkError::Name(name.to_owned()));
        }
        let _guard = self.lock(FlockOperation::LockExclusive)?;
        let others = self.all()?;
        if others.iter().any(|(other, _)| other == name) {
            return Err(NetworkError::Exists(name.to_owned()));
        }
        let is_free = |number: &u8| others.iter().all(|(_, about)| about.number != *number);
        let number = (FIRST..=u8::MAX).find(is_free);
        let about = About {
            number: number.ok_or(NetworkError::TooMany)?,
            created_ns: unix_nanos(SystemTime::now()),
        };
        // Names have no such start, so nobody takes it for a network.
        let staging = self.dir.join(format!(".{}", random_hex(16)));
        let dir = self.dir.join(name);
        let made = fill(&staging, &about)
            .and_then(|()| fs::rename(&staging, &dir).map_err(failed("publish", &dir)));
        if made.is_err() {
            let _ = fs::remove_dir_all(&staging);
        }
        made
    }

    /// Names of networks and what is written of each.
    fn all(&self) -> Result<Vec<(String, About)>, NetworkError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed("read", &self.dir))? {
            let name = entry.map_err(failed("read", &self.dir))?.file_name();
            let Some(name) = name.to_str().filter(|name| names::check(name).is_ok()) else {
                continue;
            };
            match self.about(name) {
                Ok(about) => found.push((name.to_owned(), about)),
                Err(NetworkError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    /// Every network, by name.
    pub(crate) fn list(&self) -> Result<Vec<NetworkInfo>, NetworkError> {
        let _guard = self.lock(FlockOperation::LockShared)?;
        let all = self.all()?.into_iter();
        all.map(|(name, about)| self.describe(name, &about))
            .collect()
    }

    /// What is known of one.
    pub(crate) fn info(&self, name: &str) -> Result<NetworkInfo, NetworkError> {
        let _guard = self.lock(FlockOperation::LockShared)?;
        self.describe(name.to_owned(), &self.about(name)?)
    }

    fn describe(&self, name: String, about: &About) -> Result<NetworkInfo, NetworkError> {
        let members = self.members(&name, about)?.into_iter();
        let members = members.map(|(address, member)| NetworkMember {
            address,
            name: member.name,
            id: member.id,
            aliases: member.aliases,
        });
        Ok(NetworkInfo {
            members: members.collect(),
            name,
            subnet: about.subnet().to_string(),
            gateway: GATEWAY_V4,
            created: from_unix_nanos(about.created_ns),
        })
    }

    /// Removes a network that no VM is on.
    pub(crate) fn remove(&self, name: &str) -> Result<(), NetworkError> {
        let _guard = self.lock(FlockOperation::LockExclusive)?;
        self.about(name)?;
        let dir = self.members_dir(name);
        for last in taken(&dir)? {
            if let Some(member) = held(&dir, last)? {
                let holder = member.map_or_else(|| "a VM".to_owned(), |member| member.name);
                let name = name.to_owned();
                return Err(NetworkError::InUse { name, holder });
            }
        }
        // Out of the way in one step: half a network is never seen.
        let (dir, away) = (
            self.dir.join(name),
            self.dir.join(format!(".{}", random_hex(16))),
        );
        fs::rename(&dir, &away).map_err(failed("remove", &dir))?;
        fs::remove_dir_all(&away).map_err(failed("remove", &away))
    }

    /// Takes the lowest free address of a network, for as long as what is returned lives.
    pub(crate) fn join(&self, name: &str, aliases: &[String]) -> Result<Membership, NetworkError> {
        let _guard = self.lock(FlockOperation::LockExclusive)?;
        let about = self.about(name)?;
        let dir = self.members_dir(name);
        for last in 1..u8::MAX {
            let path = dir.join(last.to_string());
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(failed("open", &path))?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    // What the last one said of itself.
                    file.set_len(0).map_err(failed("empty", &path))?;
                    return Ok(Membership::new(
                        (name.to_owned(), aliases.to_vec()),
                        (about.subnet(), about.address(last)),
                        (path, file),
                    ));
                }
                Err(Errno::WOULDBLOCK) => {}
                Err(errno) => return Err(failed("lock", &path)(errno)),
            }
        }
        Err(NetworkError::Full(name.to_owned()))
    }

    /// The VM that has an address of a network now.
    pub(crate) fn member_at(
        &self,
        name: &str,
        address: Ipv4Addr,
    ) -> Result<Option<Member>, NetworkError> {
        let _guard = self.lock(FlockOperation::LockShared)?;
        let about = self.about(name)?;
        if !about.subnet().contains(address) {
            return Ok(None);
        }
        let [.., last] = address.octets();
        Ok(held(&self.members_dir(name), last)?.flatten())
    }

    /// The address that a name means on a network: a VM's name before what somebody else calls itself.
    pub(crate) fn address_of(
        &self,
        network: &str,
        name: &str,
    ) -> Result<Option<Ipv4Addr>, NetworkError> {
        let _guard = self.lock(FlockOperation::LockShared)?;
        let members = self.members(network, &self.about(network)?)?;
        let named = members
            .iter()
            .find(|(_, member)| member.name.eq_ignore_ascii_case(name));
        let known = || members.iter().find(|(_, member)| member.is_known_as(name));
        Ok(named.or_else(known).map(|(address, _)| *address))
    }

    fn members(&self, name: &str, about: &About) -> Result<Vec<(Ipv4Addr, Member)>, NetworkError> {
        let dir = self.members_dir(name);
        let mut found = Vec::new();
        for last in taken(&dir)? {
            // One without a name is on its way up.
            if let Some(Some(member)) = held(&dir, last)? {
                found.push((about.address(last), member));
            }
        }
        Ok(found)
    }
}

fn fill(dir: &Path, about: &About) -> Result<(), NetworkError> {
    let members = dir.join(MEMBERS);
    DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(&members)
        .map_err(failed("make", &members))?;
    let path = dir.join(ABOUT);
    let text = serde_json::to_vec(about).map_err(failed("describe", &path))?;
    write_atomically(&path, &text).map_err(failed("write", &path))
}

/// The ends of the addresses that somebody has or had, in order.
fn taken(dir: &Path) -> Result<Vec<u8>, NetworkError> {
    let entries = fs::read_dir(dir).map_err(failed("read", dir))?;
    let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
    let names: Vec<_> = names
        .collect::<io::Result<_>>()
        .map_err(failed("read", dir))?;
    let mut taken: Vec<u8> = names
        .iter()
        .filter_map(|name| name.to_str()?.parse().ok())
        .collect();
    taken.sort_unstable();
    Ok(taken)
}

/// Whether somebody has an address, and what is written of them. Who holds the lock of all networks sees no taker
/// between two states.
fn held(dir: &Path, last: u8) -> Result<Option<Option<Member>>, NetworkError> {
    let path = dir.join(last.to_string());
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed("open", &path))?,
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(None),
        Err(Errno::WOULDBLOCK) => Ok(Some(Member::read(&file).map_err(failed("read", &path))?)),
        Err(errno) => Err(failed("lock", &path)(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks() -> (tempfile::TempDir, Networks) {
        let temporary = tempfile::tempdir().unwrap();
        let home = Home::open(&temporary.path().join("home")).unwrap();
        (temporary, Networks::new(&home))
    }

    fn introduce(membership: &Membership, name: &str) {
        let (id, socket) = (random_hex(64), PathBuf::from("/nowhere"));
        membership.introduce(name, &id, socket).unwrap();
    }

    #[test]
    fn every_network_and_every_member_has_addresses_of_its_own() {
        let (_temporary, networks) = networks();
        networks.create("one").unwrap();
        networks.create("two").unwrap();
        let members = ["one", "one", "two"].map(|name| networks.join(name, &[]).unwrap());
        let addresses = members
            .each_ref()
            .map(|member| member.address().to_string());
        assert_eq!(addresses, ["198.18.1.1", "198.18.1.2", "198.18.2.1"]);
        drop(members);
        networks.remove("one").unwrap();
        networks.create("three").unwrap();
        let again = networks.join("three", &[]).unwrap();
        assert_eq!(again.address(), Ipv4Addr::new(198, 18, 1, 1));
    }

    #[test]
    fn a_member_is_found_by_what_it_is_called_until_it_is_gone() {
        let (_temporary, networks) = networks();
        networks.create("net").unwrap();
        networks.create("other").unwrap();
        let web = networks.join("net", &["www".into(), "db".into()]).unwrap();
        assert_eq!(networks.address_of("net", "web").unwrap(), None);
        introduce(&web, "Web");
        let db = networks.join("net", &[]).unwrap();
        introduce(&db, "db");
        let find = |name| networks.address_of("net", name).unwrap();
        assert_eq!([find("web"), find("www")], [Some(web.address()); 2]);
        assert_eq!(find("db"), Some(db.address()));
        assert_eq!(find("nobody"), None);
        assert_eq!(networks.address_of("other", "web").unwrap(), None);
        let at = |network, address| networks.member_at(network, address).unwrap();
        let id = at("net", web.address()).unwrap().id;
        assert_eq!(find(&id[..12]), Some(web.address()));
        assert!(at("other", web.address()).is_none());
        introduce(&web, "shop");
        assert_eq!((find("web"), find("shop")), (None, Some(web.address())));
        let address = web.address();
        drop(web);
        assert_eq!(find("shop"), None);
        assert!(at("net", address).is_none());
        assert_eq!(networks.join("net", &[]).unwrap().address(), address);
        assert!(at("net", address).is_none());
    }

    #[test]
    fn a_network_that_somebody_is_on_stays() {
        let (_temporary, networks) = networks();
        networks.create("net").unwrap();
        let member = networks.join("net", &[]).unwrap();
        introduce(&member, "web");
        assert_eq!(
            networks.remove("net").unwrap_err().to_string(),
            "the network net is in use by web"
        );
        assert_eq!(networks.list().unwrap()[0].members[0].name, "web");
        drop(member);
        networks.remove("net").unwrap();
        assert!(networks.list().unwrap().is_empty());
        for name in ["net", "../net", "none"] {
            assert!(matches!(
                networks.join(name, &[]),
                Err(NetworkError::NotFound(_))
            ));
        }
    }

    #[test]
    fn a_name_is_one_networks_and_no_word_of_ours() {
        let (_temporary, networks) = networks();
        networks.create("net").unwrap();
        assert!(matches!(
            networks.create("net"),
            Err(NetworkError::Exists(_))
        ));
        for name in ["none", "public", "bridge", "", "a/b", ".net"] {
            assert!(matches!(networks.create(name), Err(NetworkError::Name(_))));
        }
    }

    #[test]
    fn a_network_is_full_when_every_address_is_taken_however_many_ask_at_once() {
        let (_temporary, networks) = networks();
        networks.create("net").unwrap();
        let take = || -> Vec<_> { std::iter::from_fn(|| networks.join("net", &[]).ok()).collect() };
        let taken: Vec<Membership> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            let taken = threads.into_iter().map(|thread| thread.join().unwrap());
            taken.flatten().collect()
        });
        let addresses: std::collections::HashSet<_> =
            taken.iter().map(Membership::address).collect();
        assert_eq!((taken.len(), addresses.len()), (254, 254));
        assert!(matches!(
            networks.join("net", &[]),
            Err(NetworkError::Full(_))
        ));
    }
}
