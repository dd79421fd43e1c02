//! Where frames come from and go to.

/// The guest's side of a network card.
pub trait Link {
    /// Takes the next frame that the guest sent, in place of what `frame` holds. False if there is none.
    ///
    /// Its checksums may be unfinished and it may be longer than the link's MTU: segments that the guest left to the
    /// card to cut are taken as they are.
    fn receive(&mut self, frame: &mut Vec<u8>) -> bool;

    /// Gives a frame to the guest. False if there is no room for it now.
    fn send(&mut self, frame: &Frame<'_>) -> bool;

    /// The most that a frame should carry where it could carry more.
    fn most(&self) -> usize {
        usize::MAX
    }
}

/// A frame for the guest.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// The headers.
    pub header: &'a [u8],
    /// What follows.
    pub payload: &'a [u8],
    /// Where the transport's header starts and where in it the checksum is, if the guest is to finish it: the field
    /// holds the sum of the pseudo header.
    pub checksum: Option<(u16, u16)>,
    /// How the guest is to see it if it is more than one segment.
    pub segmentation: Option<Segmentation>,
}

/// A TCP segment that stands for several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segmentation {
    /// Payload of each.
    pub size: u16,
    /// Whether they are IPv6's.
    pub v6: bool,
}
