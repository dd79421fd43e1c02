//! Writing a guest's memory down: only pages that hold something, straight from where they are.

use super::layers::Layer;
use super::{Ram, pagemap};
use proto::control::Contents;
use snapshot::memory::{PAGE_SIZE, Run, RunKind, write_runs};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use vm_memory::{FileOffset, MmapRegion};

/// x86's only size of a small page, and what a memory file counts in.
pub(super) const HOST_PAGE: u64 = PAGE_SIZE;

const PAGE: usize = PAGE_SIZE as usize;
static ZERO_PAGE: [u8; PAGE] = [0; PAGE];

/// Writes the memory of a machine at a standstill into the empty file `out`. Returns the pages written.
pub fn dump(ram: &Ram, contents: Contents, out: &File, map: &File) -> io::Result<u64> {
    let bases = ram
        .layers
        .iter()
        .map(|layer| Base::new(layer, ram.bytes()))
        .collect::<io::Result<Vec<_>>>()?;
    let mut runs = Vec::new();
    let mut first = 0;
    for (_, region) in &ram.regions {
        let pages = region.size() / PAGE;
        let mut candidates = vec![false; pages];
        pagemap::own_pages(map, region.as_ptr() as usize, pages, |page| {
            candidates[page] = true;
        })?;
        if contents == Contents::Everything {
            add_layers(&mut candidates, &ram.layers, first);
        }
        let known = runs.len();
        for page in (0..pages).filter(|&page| candidates[page]) {
            let number = first + page as u64;
            let data = page_of(region, page);
            let before = match contents {
                Contents::Everything => &ZERO_PAGE,
                Contents::Changes => before(&bases, number),
            };
            if data != before {
                note(&mut runs, known, number, data);
            }
        }
        for run in runs[known..].iter().filter(|run| run.kind == RunKind::Data) {
            let data = pages_of(region, (run.first - first) as usize, run.pages as usize);
            out.write_all_at(data, run.first * PAGE_SIZE)?;
        }
        first += pages as u64;
    }
    write_runs(out, ram.bytes(), &runs).map_err(io::Error::other)?;
    let data = runs.iter().filter(|run| run.kind == RunKind::Data);
    Ok(data.map(|run| run.pages).sum())
}

/// Writes a list of the pages of a restored machine that are its own by now. Returns how many there are.
pub fn list_writes(ram: &Ram, out: &File, map: &File) -> io::Result<u64> {
    let mut runs: Vec<Run> = Vec::new();
    let mut first = 0;
    for (_, region) in &ram.regions {
        let pages = region.size() / PAGE;
        pagemap::own_pages(map, region.as_ptr() as usize, pages, |page| {
            extend(&mut runs, first + page as u64, RunKind::Data);
        })?;
        first += pages as u64;
    }
    // What the layers have no data for is anonymous: the guest gets it fast enough, in large pages where it can.
    runs.retain(|run| {
        let layers = ram.layers.iter().flat_map(|layer| &layer.runs);
        layers
            .filter(|known| known.kind == RunKind::Data)
            .any(|known| {
                run.first < known.first + known.pages && known.first < run.first + run.pages
            })
    });
    write_runs(out, ram.bytes(), &runs).map_err(io::Error::other)?;
    Ok(runs.iter().map(|run| run.pages).sum())
}

/// Adds a page to the runs, to the last one if it continues it. The first `known` are another region's: what follows
/// them in the file does not follow them in memory.
fn note(runs: &mut Vec<Run>, known: usize, number: u64, data: &[u8; PAGE]) {
    let kind = if *data == ZERO_PAGE {
        RunKind::Zero
    } else {
        RunKind::Data
    };
    if runs.len() == known {
        runs.push(Run {
            first: number,
            pages: 1,
            kind,
        });
    } else {
        extend(runs, number, kind);
    }
}

fn extend(runs: &mut Vec<Run>, number: u64, kind: RunKind) {
    match runs.last_mut() {
        Some(run) if run.kind == kind && run.first + run.pages == number => run.pages += 1,
        _ => runs.push(Run {
            first: number,
            pages: 1,
            kind,
        }),
    }
}

/// Pages that some layer has data for may hold something even if they were never written here.
fn add_layers(candidates: &mut [bool], layers: &[Layer], first: u64) {
    let runs = layers.iter().flat_map(|layer| &layer.runs);
    for run in runs.filter(|run| run.kind == RunKind::Data) {
        for page in run.first..run.first + run.pages {
            if let Some(candidate) = page
                .checked_sub(first)
                .and_then(|page| candidates.get_mut(page as usize))
            {
                *candidate = true;
            }
        }
    }
}

fn page_of(region: &MmapRegion, page: usize) -> &[u8; PAGE] {
    pages_of(region, page, 1)
        .first_chunk()
        .expect("a page has a page's bytes")
}

fn pages_of(region: &MmapRegion, page: usize, count: usize) -> &[u8] {
    assert!((page + count) * PAGE <= region.size());
    // SAFETY: inside the region, which is mapped; the machine stands still, so nobody writes to it meanwhile.
    unsafe { std::slice::from_raw_parts(region.as_ptr().add(page * PAGE), count * PAGE) }
}

/// A layer as it was saved, for comparison.
struct Base<'a> {
    runs: &'a [Run],
    data: MmapRegion,
}

impl<'a> Base<'a> {
    fn new(layer: &'a Layer, bytes: u64) -> io::Result<Self> {
        let file = FileOffset::new(layer.file.try_clone()?, 0);
        let data = MmapRegion::build(
            Some(file),
            bytes as usize,
            libc::PROT_READ,
            libc::MAP_SHARED,
        )
        .map_err(io::Error::other)?;
        Ok(Self {
            runs: &layer.runs,
            data,
        })
    }

    /// What this layer says of a page, if it says something.
    fn page(&self, number: u64) -> Option<&[u8; PAGE]> {
        let after = self.runs.partition_point(|run| run.first <= number);
        let run = self.runs[..after]
            .last()
            .filter(|run| number < run.first + run.pages)?;
        match run.kind {
            RunKind::Zero => Some(&ZERO_PAGE),
            RunKind::Data => Some(page_of(&self.data, number as usize)),
        }
    }
}

/// What a page was when the VM was restored.
fn before<'a>(bases: &'a [Base<'_>], number: u64) -> &'a [u8; PAGE] {
    bases
        .iter()
        .rev()
        .find_map(|base| base.page(number))
        .unwrap_or(&ZERO_PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use devices::GuestMemory;
    use std::sync::Arc;

    /// Two regions of two pages each, of which the inner two have something: neighbors in the file, not in memory.
    fn split_ram() -> Ram {
        let regions: Vec<_> = [0, 1 << 32]
            .into_iter()
            .map(|start| (start, Arc::new(MmapRegion::new(2 * PAGE).unwrap())))
            .collect();
        for (region, page, value) in [(0, 1, b'l'), (1, 0, b'h')] {
            // SAFETY: inside a mapped region that nobody else uses.
            unsafe {
                let page: *mut u8 = regions[region].1.as_ptr().add(page * PAGE);
                page.write_bytes(value, PAGE);
            }
        }
        Ram {
            regions,
            memory: GuestMemory::new(),
            layers: Arc::default(),
        }
    }

    #[test]
    fn pages_on_both_sides_of_the_hole_for_devices_are_written() {
        let (ram, out) = (split_ram(), tempfile::tempfile().unwrap());
        let map = File::open("/proc/self/pagemap").unwrap();
        assert_eq!(dump(&ram, Contents::Everything, &out, &map).unwrap(), 2);
        for (page, value) in [(0, 0), (1, b'l'), (2, b'h'), (3, 0)] {
            let mut bytes = [1; PAGE];
            out.read_exact_at(&mut bytes, page * PAGE_SIZE).unwrap();
            assert!(bytes.iter().all(|&byte| byte == value), "page {page}");
        }
    }
}
