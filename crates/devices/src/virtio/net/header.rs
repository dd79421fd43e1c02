//! What is in front of every frame (`struct virtio_net_hdr`, virtio 1.2, section 5.1.6).

/// Bytes of it.
pub(super) const SIZE: usize = 12;

const NEEDS_CHECKSUM: u8 = 1;
const SEGMENTS_V4: u8 = 1;
const SEGMENTS_V6: u8 = 4;

/// What the guest is to do with a frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Header {
    /// Where to start summing and where behind that the sum goes, if the guest is to finish the checksum.
    pub checksum: Option<(u16, u16)>,
    /// How it is to be seen if it is more than one segment.
    pub segmentation: Option<Segmentation>,
}

/// A TCP segment that stands for several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segmentation {
    /// Payload of each.
    pub size: u16,
    /// Bytes of all headers.
    pub headers: u16,
    /// Whether they are IPv6's.
    pub v6: bool,
}

impl Header {
    /// As the driver reads it, in front of a frame that takes `buffers` buffers.
    pub(super) fn to_bytes(self, buffers: u16) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        let mut put =
            |at: usize, value: u16| bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        put(10, buffers);
        if let Some(Segmentation { size, headers, .. }) = self.segmentation {
            put(2, headers);
            put(4, size);
        }
        if let Some((start, offset)) = self.checksum {
            put(6, start);
            put(8, offset);
            bytes[0] = NEEDS_CHECKSUM;
        }
        bytes[1] = match self.segmentation {
            None => 0,
            Some(Segmentation { v6: false, .. }) => SEGMENTS_V4,
            Some(Segmentation { v6: true, .. }) => SEGMENTS_V6,
        };
        bytes
    }
}
