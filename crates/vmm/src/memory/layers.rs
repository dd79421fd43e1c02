//! Memory of a saved VM, put together from its files.

use super::{Ram, allocate};
use crate::error::VmmError;
use proto::control::Step;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use snapshot::memory::{PAGE_SIZE, Run, RunKind, read_runs};
use std::fs::File;
use std::sync::Arc;
use vm_memory::MmapRegion;

/// The first layer is mapped in units of this size: those without any data stay anonymous, so that memory the guest
/// never used is backed by (huge) zero pages and not by holes of a file.
const UNIT: u64 = 2 << 20;

/// In the layers above, a run of at least so many pages is mapped. A smaller one is copied: a mapping costs about as
/// much as copying these, and the kernel allows a process 65,530 of them.
const MAPPED_PAGES: u64 = 16;

/// How guest memory is mapped, and that a mapping replaces what is there.
const ACCESS: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);
const IN_PLACE: MapFlags = MapFlags::PRIVATE
    .union(MapFlags::FIXED)
    .union(MapFlags::NORESERVE);

/// A memory file and the table behind it.
pub(super) struct Layer {
    pub(super) file: File,
    pub(super) runs: Vec<Run>,
}

/// Maps the memory that `files` hold, the oldest first.
pub fn restore(mib: u32, files: Vec<File>) -> Result<Ram, VmmError> {
    let mut ram = allocate(mib)?;
    let bytes = ram.bytes();
    let layers = files
        .into_iter()
        .map(|file| {
            let runs = read_runs(&file, bytes)?;
            Ok(Layer { file, runs })
        })
        .collect::<Result<Vec<_>, snapshot::memory::MemoryError>>()
        .map_err(VmmError::at(
            Step::Restore,
            "the memory file cannot be used",
        ))?;
    let mut first = 0;
    for (_, region) in &ram.regions {
        let target = Target {
            region,
            first,
            end: first + region.size() as u64 / PAGE_SIZE,
        };
        for (index, layer) in layers.iter().enumerate() {
            let placed = if index == 0 && !holes_take_room(&layer.file) {
                target.map_units(layer)
            } else {
                target.overlay(layer)
            };
            placed.map_err(VmmError::at(
                Step::Restore,
                "cannot map the memory that was saved",
            ))?;
        }
        first = target.end;
    }
    ram.layers = Arc::new(layers);
    Ok(ram)
}

/// Whether reading a hole of a file through a mapping makes a page in it, as it does in a tmpfs. When that is full, KVM
/// tries such a page for ever, and the guest stands still.
fn holes_take_room(file: &File) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|system| system.f_type == libc::TMPFS_MAGIC)
}

/// Makes the pages of a list that was recorded in an earlier life our own before the guest writes to them: a fault of
/// the guest's costs ten times as much as a page here. The list is a hint; one that cannot be used is ignored.
pub fn make_ready(ram: &Ram, list: &File) {
    let Ok(runs) = read_runs(list, ram.bytes()) else {
        return;
    };
    let mut first = 0;
    for (_, region) in &ram.regions {
        let target = Target {
            region,
            first,
            end: first + region.size() as u64 / PAGE_SIZE,
        };
        for (from, to) in runs.iter().filter_map(|run| target.clip(run)) {
            let (address, len) = target.place(from, to);
            // SAFETY: the range is inside our own mapped region; the advice changes no content.
            let ready =
                unsafe { rustix::mm::madvise(address.cast(), len, Advice::LinuxPopulateWrite) };
            // Linux before 5.14, or no memory left: the guest's own faults will do, or fail where they are reported.
            if ready.is_err() {
                return;
            }
        }
        first = target.end;
    }
}

/// A region and the pages of the memory file that are its.
struct Target<'a> {
    region: &'a MmapRegion,
    first: u64,
    end: u64,
}

impl Target<'_> {
    /// Maps every unit that has data.
    fn map_units(&self, layer: &Layer) -> std::io::Result<()> {
        let per_unit = UNIT / PAGE_SIZE;
        let mut mapped: Option<(u64, u64)> = None;
        for run in &layer.runs {
            let Some((from, to)) = self.clip(run) else {
                continue;
            };
            let from = from / per_unit * per_unit;
            let to = to.next_multiple_of(per_unit).min(self.end);
            mapped = match mapped {
                Some((start, end)) if from <= end => Some((start, to.max(end))),
                Some((start, end)) => {
                    self.map(&layer.file, start, end)?;
                    Some((from, to))
                }
                None => Some((from, to)),
            };
        }
        match mapped {
            Some((start, end)) => self.map(&layer.file, start, end),
            None => Ok(()),
        }
    }

    /// Puts what a layer changed over what is there.
    fn overlay(&self, layer: &Layer) -> std::io::Result<()> {
        for run in &layer.runs {
            let Some((from, to)) = self.clip(run) else {
                continue;
            };
            match run.kind {
                RunKind::Data if to - from >= MAPPED_PAGES => self.map(&layer.file, from, to)?,
                RunKind::Data => self.copy(&layer.file, from, to)?,
                RunKind::Zero => self.clear(from, to)?,
            }
        }
        Ok(())
    }

    /// The part of a run that is in this region.
    fn clip(&self, run: &Run) -> Option<(u64, u64)> {
        let from = run.first.max(self.first);
        let to = (run.first + run.pages).min(self.end);
        (from < to).then_some((from, to))
    }

    /// Where in this process, and how many bytes.
    fn place(&self, from: u64, to: u64) -> (*mut u8, usize) {
        assert!(self.first <= from && from <= to && to <= self.end);
        let offset = ((from - self.first) * PAGE_SIZE) as usize;
        let len = ((to - from) * PAGE_SIZE) as usize;
        (self.region.as_ptr().wrapping_add(offset), len)
    }

    fn map(&self, file: &File, from: u64, to: u64) -> std::io::Result<()> {
        let (address, len) = self.place(from, to);
        // SAFETY: the range is inside our own region (`place` asserts it), nobody uses it yet, and the new mapping is
        // as readable, writable and private as the one it replaces. A file that shrinks later is the owner's doing:
        // the process gets SIGBUS and ends, the VM with it.
        unsafe {
            rustix::mm::mmap(
                address.cast(),
                len,
                ACCESS,
                IN_PLACE,
                file,
                from * PAGE_SIZE,
            )?;
        }
        Ok(())
    }

    fn copy(&self, file: &File, from: u64, to: u64) -> std::io::Result<()> {
        let (address, len) = self.place(from, to);
        // SAFETY: inside our own mapped region, which nobody else uses yet.
        let target = unsafe { std::slice::from_raw_parts_mut(address, len) };
        std::os::unix::fs::FileExt::read_exact_at(file, target, from * PAGE_SIZE)
    }

    fn clear(&self, from: u64, to: u64) -> std::io::Result<()> {
        let (address, len) = self.place(from, to);
        // SAFETY: as in `map`; the new mapping is anonymous.
        unsafe { rustix::mm::mmap_anonymous(address.cast(), len, ACCESS, IN_PLACE)? };
        Ok(())
    }
}
