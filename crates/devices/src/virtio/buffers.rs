//! Runs of guest memory that one request is made of.

use vm_memory::VolatileSlice;

/// A piece of guest memory that is contiguous on the host.
pub type Slice<'m> = VolatileSlice<'m, ()>;

/// Pieces of guest memory that a driver described as one buffer.
///
/// The pieces may overlap and the guest may change them at any time: whatever decides something is copied out
/// once and looked at there.
#[derive(Debug, Default)]
pub struct Buffers<'m> {
    slices: Vec<Slice<'m>>,
    len: usize,
}

impl<'m> Buffers<'m> {
    /// Appends a piece. Empty ones leave no trace.
    pub fn push(&mut self, slice: Slice<'m>) {
        if !slice.is_empty() {
            self.len += slice.len();
            self.slices.push(slice);
        }
    }

    /// Bytes in all pieces.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no byte at all.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces in order; none is empty.
    pub fn slices(&self) -> &[Slice<'m>] {
        &self.slices
    }

    /// Splits at byte `at`: this keeps what is in front, the rest is returned. With `at` past the end, the
    /// rest is empty.
    #[must_use]
    pub fn split_off(&mut self, at: usize) -> Self {
        let mut start = 0;
        let mut rest = Self::default();
        let mut index = 0;
        while index < self.slices.len() && start + self.slices[index].len() <= at {
            start += self.slices[index].len();
            index += 1;
        }
        if index == self.slices.len() {
            return rest;
        }
        let tail = self.slices.split_off(index);
        self.len = start;
        let mut tail = tail.into_iter();
        if let Some(first) = tail.next() {
            match first.split_at(at - start) {
                Ok((front, back)) => {
                    self.push(front);
                    rest.push(back);
                }
                Err(_) => rest.push(first),
            }
        }
        tail.for_each(|slice| rest.push(slice));
        rest
    }

    /// Copies from the start into `bytes`; returns how many bytes there were to copy.
    pub fn copy_to(&self, bytes: &mut [u8]) -> usize {
        let mut done = 0;
        for slice in &self.slices {
            done += slice.copy_to(&mut bytes[done..]);
        }
        done
    }

    /// Copies `bytes` to the start; returns how many found room.
    pub fn copy_from(&self, bytes: &[u8]) -> usize {
        let mut done = 0;
        for slice in &self.slices {
            let part = slice.len().min(bytes.len() - done);
            slice.copy_from(&bytes[done..done + part]);
            done += part;
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vm_memory::{MmapRegion, VolatileMemory};

    fn buffers<'m>(region: &'m MmapRegion, lens: &[usize]) -> Buffers<'m> {
        let mut buffers = Buffers::default();
        let mut start = 0;
        for &len in lens {
            buffers.push(region.get_slice(start, len).unwrap());
            start += len;
        }
        buffers
    }

    proptest! {
        #[test]
        fn a_split_loses_nothing(lens in proptest::collection::vec(0usize..40, 0..12), at in 0usize..500) {
            let region = MmapRegion::<()>::new(4096).unwrap();
            let total: usize = lens.iter().sum();
            let content: Vec<u8> = (0..total).map(|i| i as u8).collect();
            let mut front = buffers(&region, &lens);
            prop_assert_eq!(front.copy_from(&content), total);
            let back = front.split_off(at);
            prop_assert_eq!(front.len(), at.min(total));
            prop_assert_eq!(front.len() + back.len(), total);
            let mut seen = vec![0; total];
            prop_assert_eq!(front.copy_to(&mut seen[..at.min(total)]), at.min(total));
            prop_assert_eq!(back.copy_to(&mut seen[at.min(total)..]), back.len());
            prop_assert_eq!(seen, content);
            prop_assert!(front.slices().iter().chain(back.slices()).all(|slice| !slice.is_empty()));
        }
    }

    #[test]
    fn copies_stop_at_the_shorter_side() {
        let region = MmapRegion::<()>::new(4096).unwrap();
        let buffers = buffers(&region, &[3, 4]);
        assert_eq!(buffers.copy_from(&[1; 5]), 5);
        assert_eq!(buffers.copy_from(&[2; 10]), 7);
        let mut bytes = [0; 10];
        assert_eq!(buffers.copy_to(&mut bytes), 7);
        assert_eq!(bytes, [2, 2, 2, 2, 2, 2, 2, 0, 0, 0]);
    }
}
