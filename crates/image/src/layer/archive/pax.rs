//! PAX extended headers ([POSIX pax, "pax Extended Header"](https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html)).
//!
//! The records are read by their lengths, not by lines: the value of an extended attribute may hold anything.

use super::super::attributes::{Timestamp, XattrSet};
use super::super::{Malformation, Refusal};
use super::number;

const XATTR: &[u8] = b"SCHILY.xattr.";

/// The records that mean something to us; `None` leaves the plain header's field in force.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) linkpath: Option<Vec<u8>>,
    pub(super) size: Option<i64>,
    pub(super) uid: Option<i64>,
    pub(super) gid: Option<i64>,
    pub(super) mtime: Option<Timestamp>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: SparseRecords,
}

/// `GNU.sparse.*` of the formats 0.0, 0.1 and 1.0.
#[derive(Debug, Default)]
pub(super) struct SparseRecords {
    pub(super) major: Option<i64>,
    pub(super) minor: Option<i64>,
    pub(super) name: Option<Vec<u8>>,
    /// `size` of 0.x or `realsize` of 1.0.
    pub(super) real_size: Option<i64>,
    /// Alternating offsets and lengths; of 0.0 as they came, of 0.1 from `map`.
    pub(super) numbers: Vec<i64>,
}

impl Pax {
    /// Reads the content of one extended header.
    pub(super) fn parse(content: &[u8]) -> Result<Self, Malformation> {
        let mut pax = Self::default();
        let mut rest = content;
        while !rest.is_empty() {
            let (key, value, after) = record(rest).ok_or(Malformation::Pax)?;
            pax.set(key, value)?;
            rest = after;
        }
        Ok(pax)
    }

    /// The extended attributes, checked.
    pub(super) fn xattrs(&self) -> Result<Vec<super::super::attributes::Xattr>, Refusal> {
        let mut set = XattrSet::default();
        for (name, value) in &self.xattrs {
            set.insert(name, value)?;
        }
        set.finish()
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), Malformation> {
        if let Some(name) = key.strip_prefix(XATTR) {
            self.xattrs.push((name.into(), value.into()));
            return Ok(());
        }
        // POSIX: an empty value takes the record back. (An empty attribute above is one: that is how GNU tar stores it.)
        let text = || Some(value.to_vec()).filter(|value| !value.is_empty());
        let integer = |name| {
            if value.is_empty() {
                Ok(None)
            } else {
                number::decimal(name, value).map(Some)
            }
        };
        match key {
            b"path" => self.path = text(),
            b"linkpath" => self.linkpath = text(),
            b"size" => self.size = integer("size")?,
            b"uid" => self.uid = integer("uid")?,
            b"gid" => self.gid = integer("gid")?,
            b"mtime" if value.is_empty() => self.mtime = None,
            b"mtime" => self.mtime = Some(number::time("mtime", value)?),
            b"GNU.sparse.major" => self.sparse.major = integer("GNU.sparse.major")?,
            b"GNU.sparse.minor" => self.sparse.minor = integer("GNU.sparse.minor")?,
            b"GNU.sparse.name" => self.sparse.name = text(),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                self.sparse.real_size = integer("GNU.sparse.size")?;
            }
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                self.sparse
                    .numbers
                    .push(number::decimal("GNU.sparse.offset", value)?);
            }
            b"GNU.sparse.map" => self.sparse.numbers = sparse_map(value)?,
            _ => {}
        }
        Ok(())
    }
}

fn sparse_map(value: &[u8]) -> Result<Vec<i64>, Malformation> {
    let numbers = value
        .split(|byte| *byte == b',')
        .filter(|number| !number.is_empty());
    numbers
        .map(|number| number::decimal("GNU.sparse.map", number))
        .collect()
}

/// Splits `LENGTH KEY=VALUE\n` off; the length counts itself and the newline.
fn record(content: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let digits = content.iter().position(|byte| *byte == b' ')?;
    let len: usize = std::str::from_utf8(&content[..digits]).ok()?.parse().ok()?;
    let (line, after) = content.split_at_checked(len)?;
    let pair = line.get(digits + 1..)?.strip_suffix(b"\n")?;
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (&pair[..equals], &pair[equals + 1..]);
    (!key.is_empty()).then_some((key, value, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_hold_anything() {
        let pax =
            Pax::parse(b"29 SCHILY.xattr.user.a=x\n=\0y\n20 mtime=-1.5000000\n10 path=\xff\n")
                .unwrap();
        assert_eq!(pax.xattrs, [(b"user.a".to_vec(), b"x\n=\0y".to_vec())]);
        assert_eq!(
            pax.mtime,
            Some(Timestamp {
                seconds: -2,
                nanoseconds: 500_000_000
            })
        );
        assert_eq!(pax.path.as_deref(), Some(&b"\xff"[..]));
    }

    #[test]
    fn an_empty_value_takes_a_record_back_but_is_an_attribute() {
        let pax = Pax::parse(b"9 path=a\n8 path=\n24 SCHILY.xattr.user.e=\n").unwrap();
        assert_eq!(pax.path, None);
        assert_eq!(pax.xattrs, [(b"user.e".to_vec(), vec![])]);
    }

    #[test]
    fn records_that_do_not_add_up_are_malformed() {
        let bad: [&[u8]; 8] = [
            b"9 path=ab\n",
            b"99 path=a\n",
            b"path=a\n",
            b"0 \n",
            b"3 a\n",
            b"5 =a\n",
            b" path=a\n",
            b"9 path=a",
        ];
        for content in bad {
            assert_eq!(
                Pax::parse(content).unwrap_err(),
                Malformation::Pax,
                "{}",
                content.escape_ascii()
            );
        }
        assert_eq!(
            Pax::parse(b"9 size=x\n").unwrap_err(),
            Malformation::Number("size")
        );
    }
}
