//! From a header and the extensions before it to a member.

use super::super::attributes::{Attributes, Timestamp};
use super::super::index::DeviceNumber;
use super::super::{LayerError, Refusal};
use super::pax::Pax;
use super::sparse::{self, PaxSparse, Stretch};
use super::{Archive, Extensions, padding};
use tar::Header;

/// A member of an archive, its extensions applied.
#[derive(Debug)]
pub(crate) struct Member {
    /// As spelled.
    pub(crate) name: Vec<u8>,
    pub(crate) kind: MemberKind,
    pub(crate) attributes: Attributes,
}

/// What a member is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum MemberKind {
    File(FileLayout),
    /// A further name of the member of this name, as spelled.
    Hardlink(Vec<u8>),
    Symlink(Vec<u8>),
    CharDevice(DeviceNumber),
    BlockDevice(DeviceNumber),
    Directory,
    Fifo,
}

/// How a file's bytes are stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FileLayout {
    pub(crate) size: u64,
    /// In order, not overlapping, inside of `size`; the data of a plain file is one stretch.
    pub(crate) stretches: Vec<Stretch>,
}

impl Archive<'_> {
    /// Makes a member of its header. What follows in the stream is its data.
    pub(super) fn member(
        &mut self,
        header: &Header,
        flag: u8,
        size: i64,
        ext: Extensions,
    ) -> Result<Member, LayerError> {
        let old = header.as_old();
        let pax = ext.pax.unwrap_or_default();
        // The order of precedence is Go's.
        let name = pax
            .sparse
            .name
            .as_ref()
            .or(ext.long_name.as_ref())
            .or(pax.path.as_ref());
        self.name = name.map_or_else(|| header.path_bytes().into_owned(), Clone::clone);
        let attributes = self.attributes(header, &pax)?;
        let link = || {
            let plain = || header.link_name_bytes().unwrap_or_default().into_owned();
            ext.long_link
                .clone()
                .or_else(|| pax.linkpath.clone())
                .unwrap_or_else(plain)
        };
        let kind = match flag {
            // BSD's way to write a directory, from before there was a type for it.
            0 | b'0' if self.name.ends_with(b"/") => MemberKind::Directory,
            0 | b'0' | b'7' | b'S' => MemberKind::File(self.file_layout(header, flag, size, &pax)?),
            b'1' => MemberKind::Hardlink(link()),
            b'2' => MemberKind::Symlink(link()),
            b'3' => MemberKind::CharDevice(self.device(header)?),
            b'4' => MemberKind::BlockDevice(self.device(header)?),
            b'5' => MemberKind::Directory,
            b'6' => MemberKind::Fifo,
            _ => return Err(self.refused(Refusal::Type(old.linkflag[0]))),
        };
        Ok(Member {
            name: self.name.clone(),
            kind,
            attributes,
        })
    }

    fn attributes(&self, header: &Header, pax: &Pax) -> Result<Attributes, LayerError> {
        let old = header.as_old();
        let id = |name, field: &[u8], record: Option<i64>| {
            let number = record.map_or_else(|| self.number(name, field), Ok)?;
            u32::try_from(number).map_err(|_| self.refused(Refusal::Id(number)))
        };
        let seconds = self.number("mtime", &old.mtime)?;
        Ok(Attributes {
            mode: (self.number("mode", &old.mode)? & 0o7777) as u16,
            uid: id("uid", &old.uid, pax.uid)?,
            gid: id("gid", &old.gid, pax.gid)?,
            mtime: pax.mtime.unwrap_or(Timestamp {
                seconds,
                nanoseconds: 0,
            }),
            xattrs: pax.xattrs().map_err(|reason| self.refused(reason))?,
        })
    }

    fn device(&self, header: &Header) -> Result<DeviceNumber, LayerError> {
        let (major, minor) = match (header.as_ustar(), header.as_gnu()) {
            (Some(ustar), _) => (ustar.dev_major, ustar.dev_minor),
            (None, Some(gnu)) => (gnu.dev_major, gnu.dev_minor),
            (None, None) => ([0; 8], [0; 8]),
        };
        let (major, minor) = (
            self.number("devmajor", &major)?,
            self.number("devminor", &minor)?,
        );
        DeviceNumber::new(major, minor)
            .ok_or_else(|| self.refused(Refusal::DeviceNumber(major, minor)))
    }

    fn file_layout(
        &mut self,
        header: &Header,
        flag: u8,
        size: i64,
        pax: &Pax,
    ) -> Result<FileLayout, LayerError> {
        let stored = self.size(pax.size.unwrap_or(size))?;
        (self.data_left, self.padding) = (stored, padding(stored));
        let (numbers, real_size) = match (flag, sparse::pax_format(&pax.sparse)) {
            (b'S', _) => {
                let gnu = header
                    .as_gnu()
                    .ok_or_else(|| self.refused(Refusal::SparseMap))?;
                let real_size = self.number("realsize", &gnu.realsize)?;
                // The rest of the map comes before the data.
                let numbers = sparse::old_gnu_numbers(gnu, &mut self.input);
                (
                    numbers.map_err(|error| error.at(self.offset, &self.name))?,
                    real_size,
                )
            }
            (_, PaxSparse::BeforeData) => {
                let (numbers, taken) = sparse::leading_numbers(&mut self.input, stored)
                    .map_err(|error| error.at(self.offset, &self.name))?;
                self.data_left -= taken;
                (numbers, pax.sparse.real_size.unwrap_or(-1))
            }
            (_, PaxSparse::InRecords) => (
                pax.sparse.numbers.clone(),
                pax.sparse.real_size.unwrap_or(-1),
            ),
            (_, PaxSparse::No) => (vec![0, stored.cast_signed()], stored.cast_signed()),
        };
        let size = self.size(real_size)?;
        let stretches = sparse::stretches(&numbers, size, self.data_left);
        Ok(FileLayout {
            size,
            stretches: stretches.map_err(|error| error.at(self.offset, &self.name))?,
        })
    }

    fn size(&self, number: i64) -> Result<u64, LayerError> {
        u64::try_from(number).map_err(|_| self.refused(Refusal::Size(number)))
    }
}
