//! Several layers become one memory, which arrives as it was sent or not at all.

use super::{MemoryError, Merged, PAGE_SIZE, Run, RunKind, digest, read_runs, receive, write_runs};
use proptest::prelude::*;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

const PAGES: u64 = 32;
const RAM: u64 = PAGES * PAGE_SIZE;

/// What a layer says of each page: nothing, zero, or full of a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    Below,
    Zero,
    Data(u8),
}

fn layer(pages: &[Page]) -> File {
    let file = tempfile::tempfile().unwrap();
    let mut runs = Vec::new();
    for (&page, first) in pages.iter().zip(0..) {
        let kind = match page {
            Page::Below => continue,
            Page::Zero => RunKind::Zero,
            Page::Data(byte) => {
                let bytes = [byte; PAGE_SIZE as usize];
                file.write_all_at(&bytes, first * PAGE_SIZE).unwrap();
                RunKind::Data
            }
        };
        let pages = 1;
        runs.push(Run { first, pages, kind });
    }
    write_runs(&file, RAM, &runs).unwrap();
    file
}

fn contents(file: &File) -> Vec<u8> {
    let mut ram = vec![0; RAM as usize];
    file.read_exact_at(&mut ram, 0).unwrap();
    ram
}

/// What a guest sees.
fn laid_over(layers: &[Vec<Page>]) -> Vec<u8> {
    let mut ram = vec![0; RAM as usize];
    for layer in layers {
        for (page, bytes) in layer.iter().zip(ram.chunks_exact_mut(PAGE_SIZE as usize)) {
            match *page {
                Page::Below => {}
                Page::Zero => bytes.fill(0),
                Page::Data(byte) => bytes.fill(byte),
            }
        }
    }
    ram
}

fn sent(layers: &[Vec<Page>]) -> Vec<u8> {
    let files = layers.iter().map(|pages| layer(pages)).collect();
    let merged = Merged::new(files, RAM).unwrap();
    let mut stream = Vec::new();
    merged.write_to(&mut stream).unwrap();
    assert_eq!(stream.len() as u64, merged.stream_bytes());
    stream
}

fn arrives(stream: &[u8]) -> Result<File, MemoryError> {
    let file = tempfile::tempfile().unwrap();
    receive(&mut &*stream, stream.len() as u64, &file, RAM).map(|_| file)
}

fn pages_of(shape: &[(u64, Page)]) -> Vec<Page> {
    let mut pages = vec![Page::Below; PAGES as usize];
    for &(at, page) in shape {
        pages[at as usize] = page;
    }
    pages
}

#[test]
fn pages_of_zeros_arrive_as_holes() {
    let stream = sent(&[pages_of(&[
        (1, Page::Data(7)),
        (2, Page::Data(0)),
        (3, Page::Data(0)),
    ])]);
    let file = arrives(&stream).unwrap();
    assert_eq!(read_runs(&file, RAM).unwrap()[0].pages, 3);
    assert!(
        file.metadata().unwrap().blocks() * 512 <= 2 * PAGE_SIZE,
        "{:?}",
        file.metadata()
    );
}

#[test]
fn every_truncation_and_what_follows_is_refused() {
    let mut stream = sent(&[pages_of(&[(1, Page::Data(7)), (5, Page::Data(8))])]);
    for end in 0..stream.len() {
        let file = tempfile::tempfile().unwrap();
        let length = stream.len() as u64;
        let error = receive(&mut &stream[..end], length, &file, RAM).unwrap_err();
        assert!(
            matches!(&error, MemoryError::Stream(source) if source.kind() == io::ErrorKind::UnexpectedEof),
            "{end}: {error}"
        );
    }
    stream.push(0);
    assert!(matches!(arrives(&stream), Err(MemoryError::Length { .. })));
}

#[test]
fn absurd_tables_are_refused_before_they_are_allocated() {
    let stream = sent(&[pages_of(&[(1, Page::Data(7))])]);
    let patched = |at: usize, bytes: &[u8]| {
        let mut stream = stream.clone();
        stream[at..at + bytes.len()].copy_from_slice(bytes);
        arrives(&stream).unwrap_err()
    };
    let runs = patched(12, &[0xff; 4]);
    assert!(matches!(runs, MemoryError::TooManyRuns { .. }), "{runs}");
    let few = patched(12, &[0xff, 0xff, 0, 0]);
    assert!(matches!(few, MemoryError::Stream(_)), "{few}");
    let pages = patched(32, &[0xff; 7]);
    assert!(matches!(pages, MemoryError::Runs(_)), "{pages}");
    let ram = patched(16, &[0xff; 8]);
    assert!(matches!(ram, MemoryError::RamBytes { .. }), "{ram}");
    let error = Merged::new((0..256).map(|_| layer(&[])).collect(), RAM).unwrap_err();
    assert!(matches!(error, MemoryError::Layers { .. }), "{error}");
}

fn any_layers() -> impl Strategy<Value = Vec<Vec<Page>>> {
    let page = prop_oneof![
        2 => Just(Page::Below),
        1 => Just(Page::Zero),
        3 => any::<u8>().prop_map(Page::Data),
    ];
    let layer = proptest::collection::vec(page, PAGES as usize);
    proptest::collection::vec(layer, 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn layers_arrive_as_the_memory_that_a_guest_sees(layers in any_layers()) {
        let files = layers.iter().map(|pages| layer(pages)).collect();
        let merged = Merged::new(files, RAM).unwrap();
        let mut stream = Vec::new();
        let sent = merged.write_to(&mut stream).unwrap();
        let file = tempfile::tempfile().unwrap();
        let received = receive(&mut &*stream, stream.len() as u64, &file, RAM).unwrap();
        prop_assert_eq!(contents(&file), laid_over(&layers));
        prop_assert_eq!(received.digest, sent);
        prop_assert_eq!(received.pages, merged.pages());
        prop_assert_eq!(digest(&file, RAM).unwrap(), sent);
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(arrives(&bytes).is_err());
    }
}
