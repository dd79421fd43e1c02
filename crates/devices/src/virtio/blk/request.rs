//! What a driver asks a disk for.

use crate::virtio::buffers::{Buffers, Slice};
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN,
    VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES,
};

/// Type, a reserved word and the first sector (virtio 1.2, section 5.2.6).
const HEADER_LEN: usize = 16;

/// One range of a discard or write-zeroes request.
const RANGE_LEN: usize = 16;

/// The most ranges one such request may have.
pub const MAX_RANGES: usize = 32;

/// Ask for the range to be given back to the host while zeroing it.
const RANGE_UNMAP: u32 = 1;

/// A request, taken apart. Whether its sectors exist is not checked yet.
#[derive(Debug)]
pub struct Request<'m> {
    /// What to do.
    pub kind: Kind<'m>,
    /// Where the result goes: one byte.
    pub status: Buffers<'m>,
}

/// What to do.
#[derive(Debug)]
pub enum Kind<'m> {
    /// Fill the buffers from a sector on.
    Read(u64, Buffers<'m>),
    /// Store the buffers from a sector on.
    Write(u64, Buffers<'m>),
    /// Make all completed writes durable.
    Flush,
    /// Write the disk's name.
    GetId(Buffers<'m>),
    /// The contents of these ranges are not needed any more.
    Discard(Vec<Range>),
    /// These ranges shall read as zeros.
    WriteZeroes(Vec<Range>),
    /// A known request that is not put together as it must be.
    Malformed,
    /// A request of a type this device does not have.
    Unknown,
}

/// A range of sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first sector.
    pub sector: u64,
    /// How many.
    pub count: u32,
}

impl<'m> Request<'m> {
    /// Takes a chain's buffers apart. `None` if there is no room for a status, so that nothing can be said.
    pub fn parse(mut readable: Buffers<'m>, mut writable: Buffers<'m>) -> Option<Self> {
        let status = writable.split_off(writable.len().checked_sub(1)?);
        let data = readable.split_off(HEADER_LEN);
        let mut header = [0; HEADER_LEN];
        if readable.copy_to(&mut header) < HEADER_LEN {
            return Some(Self {
                kind: Kind::Malformed,
                status,
            });
        }
        let (kind, rest) = header.split_at(4);
        let kind = u32::from_le_bytes(kind.try_into().unwrap_or_default());
        let sector = u64::from_le_bytes(rest[4..].try_into().unwrap_or_default());
        let kind = match kind {
            VIRTIO_BLK_T_IN => Kind::Read(sector, writable),
            VIRTIO_BLK_T_OUT => Kind::Write(sector, data),
            VIRTIO_BLK_T_FLUSH => Kind::Flush,
            VIRTIO_BLK_T_GET_ID => Kind::GetId(writable),
            VIRTIO_BLK_T_DISCARD => ranges(&data, 0).map_or(Kind::Malformed, Kind::Discard),
            VIRTIO_BLK_T_WRITE_ZEROES => {
                ranges(&data, RANGE_UNMAP).map_or(Kind::Malformed, Kind::WriteZeroes)
            }
            _ => Kind::Unknown,
        };
        Some(Self { kind, status })
    }
}

/// Reads ranges, none with a flag outside of `allowed`.
fn ranges(data: &Buffers<'_>, allowed: u32) -> Option<Vec<Range>> {
    let mut bytes = [0; RANGE_LEN * MAX_RANGES];
    let bytes = bytes.get_mut(..data.len())?;
    data.copy_to(bytes);
    let (ranges, rest) = bytes.as_chunks::<RANGE_LEN>();
    if ranges.is_empty() || !rest.is_empty() {
        return None;
    }
    ranges
        .iter()
        .map(|range| parse_range(range, allowed))
        .collect()
}

fn parse_range(range: &[u8; RANGE_LEN], allowed: u32) -> Option<Range> {
    let (sector, rest) = range.split_first_chunk::<8>()?;
    let (count, flags) = rest.split_first_chunk::<4>()?;
    let flags = u32::from_le_bytes(flags.try_into().ok()?);
    (flags & !allowed == 0).then(|| Range {
        sector: u64::from_le_bytes(*sector),
        count: u32::from_le_bytes(*count),
    })
}

impl<'m> FromIterator<Slice<'m>> for Buffers<'m> {
    fn from_iter<I: IntoIterator<Item = Slice<'m>>>(slices: I) -> Self {
        let mut buffers = Self::default();
        slices.into_iter().for_each(|slice| buffers.push(slice));
        buffers
    }
}
