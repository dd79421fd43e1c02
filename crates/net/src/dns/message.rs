//! As much of a DNS message (RFC 1035) as a forwarder must understand.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// A record of type A.
pub(super) const TYPE_A: u16 = 1;
/// A record of type AAAA.
pub(super) const TYPE_AAAA: u16 = 28;
const TYPE_OPT: u16 = 41;
const HEADER: usize = 12;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Question {
    /// In lower case, without the last dot; bytes that are no letters of host names as they came.
    pub(super) name: String,
    pub(super) kind: u16,
    pub(super) class: u16,
}

/// The number of a message.
pub(super) fn id(message: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(message.get(..2)?.try_into().ok()?))
}

/// Writes the number of a message.
pub(super) fn set_id(message: &mut [u8], id: u16) {
    if let Some(place) = message.get_mut(..2) {
        place.copy_from_slice(&id.to_be_bytes());
    }
}

/// Whether it is an answer, with everything in it.
pub(super) fn is_answer(message: &[u8]) -> bool {
    message.get(2).is_some_and(|flags| flags & 0x80 != 0)
}

/// Whether an answer was cut, or says that something failed at the server: it is worth nothing later.
pub(super) fn is_for_now(message: &[u8]) -> bool {
    let (Some(high), Some(low)) = (message.get(2), message.get(3)) else {
        return true;
    };
    high & 0x02 != 0 || !matches!(low & 0x0f, 0 | 3)
}

/// The question of a message that has exactly one, and where it ends.
pub(super) fn question(message: &[u8]) -> Option<(Question, usize)> {
    let flags = *message.get(2)?;
    let standard = flags & 0x78 == 0;
    (standard && word(message, 4)? == 1).then_some(())?;
    let (name, end) = name(message, HEADER)?;
    let question = Question {
        name,
        kind: word(message, end)?,
        class: word(message, end + 2)?,
    };
    Some((question, end + 4))
}

/// A record of an answer.
pub(super) struct Record {
    /// Where its time to live stands.
    pub(super) ttl_at: usize,
    pub(super) ttl: Duration,
    /// The address it gives.
    pub(super) address: Option<IpAddr>,
}

/// The records of all sections, but those that are none.
pub(super) fn records(message: &[u8]) -> Option<Vec<Record>> {
    let (_, mut at) = question(message)?;
    let count = [6, 8, 10].into_iter().try_fold(0, |sum, place| {
        Some(sum + usize::from(word(message, place)?))
    })?;
    let mut records = Vec::new();
    for _ in 0..count {
        let end = skip_name(message, at)?;
        let kind = word(message, end)?;
        let ttl = u32::from_be_bytes(message.get(end + 4..end + 8)?.try_into().ok()?);
        let length = usize::from(word(message, end + 8)?);
        let data = message.get(end + 10..end + 10 + length)?;
        at = end + 10 + length;
        if kind == TYPE_OPT {
            continue;
        }
        let address = match kind {
            TYPE_A => <[u8; 4]>::try_from(data).ok().map(IpAddr::from),
            TYPE_AAAA => <[u8; 16]>::try_from(data).ok().map(IpAddr::from),
            _ => None,
        };
        let ttl = Duration::from_secs(ttl.into());
        records.push(Record {
            ttl_at: end + 4,
            ttl,
            address,
        });
    }
    Some(records)
}

/// An answer of our own, without records.
pub(super) fn empty_answer(query: &[u8], code: u8) -> Option<Vec<u8>> {
    let (_, end) = question(query)?;
    let mut answer = query.get(..end)?.to_vec();
    // An answer, recursion as it was asked for and available.
    answer[2] = 0x80 | (query[2] & 0x01);
    answer[3] = 0x80 | code;
    answer[6..12].fill(0);
    Some(answer)
}

/// An answer of our own: this address, for no longer than it takes to use it.
pub(super) fn answer(query: &[u8], address: Ipv4Addr) -> Option<Vec<u8>> {
    let mut answer = empty_answer(query, 0)?;
    answer[6..8].copy_from_slice(&1_u16.to_be_bytes());
    // The name of the question, type A, class IN, no time to live, four bytes.
    answer.extend_from_slice(&[0xc0, HEADER as u8, 0, TYPE_A as u8, 0, 1, 0, 0, 0, 0, 0, 4]);
    answer.extend_from_slice(&address.octets());
    Some(answer)
}

fn word(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(
        message.get(at..at + 2)?.try_into().ok()?,
    ))
}

/// The name of a question, which is never compressed.
fn name(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut text = String::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((text, at));
        }
        let label = message
            .get(at..at + length)
            .filter(|_| length < 64 && text.len() < 255)?;
        if !text.is_empty() {
            text.push('.');
        }
        text.extend(
            label
                .iter()
                .map(|byte| char::from(byte.to_ascii_lowercase())),
        );
        at += length;
    }
}

/// Where a name ends, without following where it points.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = *message.get(at)?;
        match length >> 6 {
            0 if length == 0 => return Some(at + 1),
            0 => at += 1 + usize::from(length),
            3 => return Some(at + 2),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `www.Example.com`, one A record by a pointer, one OPT.
    pub(in crate::dns) fn answer() -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 1];
        message.extend_from_slice(b"\x03www\x07Example\x03com\0\0\x01\0\x01");
        message.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 93, 184, 216, 34]);
        message.extend_from_slice(&[0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0]);
        message
    }

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let message = answer();
        let (asked, _) = question(&message).unwrap();
        assert_eq!(
            (asked.name.as_str(), asked.kind),
            ("www.example.com", TYPE_A)
        );
        let records = records(&message).unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].address, Some([93, 184, 216, 34].into()));
        assert_eq!(records[0].ttl, Duration::from_secs(60));
        let empty = empty_answer(&message, 2).unwrap();
        assert_eq!(question(&empty).unwrap().0, asked);
        assert!(super::records(&empty).unwrap().is_empty());
        assert!(is_answer(&empty) && is_for_now(&empty) && !is_for_now(&message));
    }

    #[test]
    fn a_members_address_is_an_answer_that_nobody_keeps() {
        let told = super::answer(&answer(), Ipv4Addr::new(198, 18, 0, 2)).unwrap();
        let records = records(&told).unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].address, Some([198, 18, 0, 2].into()));
        assert_eq!(records[0].ttl, Duration::ZERO);
        assert!(is_answer(&told) && question(&told) == question(&answer()));
    }

    proptest! {
        #[test]
        fn no_message_makes_the_reader_fall_over(at in 0usize..80, bytes in proptest::collection::vec(any::<u8>(), 0..20), cut in 0usize..80) {
            let mut message = answer();
            for (offset, byte) in bytes.into_iter().enumerate() {
                if let Some(place) = message.get_mut(at + offset) { *place = byte; }
            }
            message.truncate(cut.max(1));
            let _ = (question(&message), records(&message), empty_answer(&message, 2), is_for_now(&message), id(&message));
        }
    }
}
