//! Which names the guest has got addresses for.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Addresses remembered at most; a guest can ask for any number of names.
const MAX_ADDRESSES: usize = 4096;
const MAX_NAMES: usize = 16;

/// An answer that must not be kept is good for the connection it was asked for.
const MIN_LIFE: Duration = Duration::from_secs(5);

/// Addresses and the names they were answers to.
#[derive(Debug, Default)]
pub(crate) struct Names(HashMap<IpAddr, Vec<(String, Instant)>>);

impl Names {
    /// The guest was told that `name` is at `address`, for so long.
    pub(crate) fn learn(&mut self, name: &str, address: IpAddr, ttl: Duration, now: Instant) {
        let until = now + ttl.max(MIN_LIFE);
        if self.0.len() >= MAX_ADDRESSES && !self.0.contains_key(&address) {
            self.0
                .retain(|_, names| names.iter().any(|(_, until)| *until > now));
            if self.0.len() >= MAX_ADDRESSES {
                return;
            }
        }
        let names = self.0.entry(address).or_default();
        names.retain(|(known, until)| known != name && *until > now);
        if names.len() < MAX_NAMES {
            names.push((name.to_owned(), until));
        }
    }

    /// The names that are good for `address` now.
    pub(crate) fn of(&self, address: IpAddr, now: Instant) -> Vec<&str> {
        let names = self.0.get(&address).into_iter().flatten();
        names
            .filter(|(_, until)| *until > now)
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// The names that are good for `address` or were: a flow goes on when the answer it began with is old.
    pub(crate) fn once_of(&self, address: IpAddr) -> Vec<&str> {
        let names = self.0.get(&address).into_iter().flatten();
        names.map(|(name, _)| name.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_good_for_as_long_as_its_answer_and_no_flood_grows_the_table() {
        let now = Instant::now();
        let mut names = Names::default();
        let address: IpAddr = [192, 0, 2, 1].into();
        names.learn("a.example", address, Duration::from_secs(60), now);
        names.learn("b.example", address, Duration::ZERO, now);
        assert_eq!(names.of(address, now), ["a.example", "b.example"]);
        let later = now + Duration::from_secs(30);
        assert_eq!(names.of(address, later), ["a.example"]);
        assert!(names.of(address, now + Duration::from_secs(61)).is_empty());
        assert_eq!(names.once_of(address), ["a.example", "b.example"]);
        for number in 0..10_000_u32 {
            let other = IpAddr::from(number.to_be_bytes());
            names.learn("x.example", other, Duration::from_secs(60), now);
        }
        assert_eq!(names.0.len(), MAX_ADDRESSES);
        assert_eq!(names.of(address, now).len(), 2);
    }
}
