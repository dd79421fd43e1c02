use super::*;
use proptest::prelude::*;

const BLOCKS: u64 = 64;

fn layer(blocks: &[(u64, u8)]) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(BLOCKS * BLOCK).unwrap();
    for &(block, byte) in blocks {
        file.write_all_at(&[byte; BLOCK as usize], block * BLOCK)
            .unwrap();
    }
    file
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_block_is_the_highest_layers_that_has_it(
        layers in prop::collection::vec(prop::collection::vec((0..BLOCKS, 1_u8..), 0..20), 1..6),
        (start, len) in (0..BLOCKS * BLOCK).prop_flat_map(|start| (Just(start), 0..=BLOCKS * BLOCK - start)),
    ) {
        let mut model = vec![0; (BLOCKS * BLOCK) as usize];
        for (block, byte) in layers.iter().flatten() {
            model[(block * BLOCK) as usize..][..BLOCK as usize].fill(*byte);
        }
        let disk = Layers::new(layers.iter().map(|blocks| layer(blocks)).collect()).unwrap();
        let mut read = vec![0xee; len as usize];
        disk.read_exact_at(&mut read, start).unwrap();
        prop_assert_eq!(&read, &model[start as usize..(start + len) as usize]);

        let merged = tempfile::tempfile().unwrap();
        disk.merge_into(&merged).unwrap();
        let mut whole = vec![0xee; model.len()];
        merged.read_exact_at(&mut whole, 0).unwrap();
        prop_assert_eq!(&whole, &model);
        let alone = Layers::new(vec![merged]).unwrap();
        let holes = |disk: &Layers| -> Vec<bool> {
            (0..BLOCKS).map(|block| disk.map.owner(block).is_none()).collect()
        };
        prop_assert_eq!(holes(&alone), holes(&disk));
    }
}

#[test]
fn zeros_in_a_layer_hide_what_is_below() {
    let disk = Layers::new(vec![layer(&[(1, 7), (2, 7)]), layer(&[(1, 0)])]).unwrap();
    let mut read = [9; 2 * BLOCK as usize];
    disk.read_exact_at(&mut read, BLOCK).unwrap();
    assert_eq!((read[0], read[BLOCK as usize]), (0, 7));
}

#[test]
fn layers_of_two_sizes_make_no_disk() {
    let longer = layer(&[]);
    longer.set_len(BLOCKS * BLOCK + BLOCK).unwrap();
    assert!(Layers::new(vec![layer(&[]), longer]).is_err());
}

#[test]
fn the_file_systems_of_the_tests_tell_holes_and_one_without_them_does_not() {
    assert!(tells_holes(&std::env::temp_dir()).unwrap());
    // No files without a name, or no holes: either way it is not taken for one that has them.
    assert!(!tells_holes(Path::new("/proc")).unwrap_or(false));
}
