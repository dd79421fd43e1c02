//! Random layers, applied by the crate and by a model that is too simple to be wrong: full paths in a flat map.

mod common;

use common::archive::{Archive, Member};
use common::disk::{self, Home};
use image::digest::Digest;
use image::layer::LayerError;
use image::root::RootError;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

type Path = Vec<&'static str>;

#[derive(Debug, Clone)]
enum Op {
    File(Path, u8),
    Symlink(Path, u8),
    Fifo(Path),
    Directory(Path, u8),
    Hardlink(Path, Path),
    Whiteout(Path),
    Opaque(Path),
}

fn text(path: &[&str]) -> String {
    path.join("/")
}

impl Op {
    fn member(&self) -> Member {
        match self {
            Self::File(path, seed) => {
                Member::file(text(path), content(*seed)).mode(0o600 + u32::from(*seed % 8))
            }
            Self::Symlink(path, seed) => Member::symlink(text(path), format!("../{seed}")),
            Self::Fifo(path) => Member::new(b'6', text(path)),
            Self::Directory(path, seed) => Member::directory(format!("./{}/", text(path)))
                .mode(0o700 + u32::from(*seed % 8))
                .mtime((*seed).into()),
            Self::Hardlink(path, target) => Member::hardlink(text(path), text(target)),
            Self::Whiteout(path) => {
                let (name, parent) = path.split_last().unwrap();
                let name = format!(".wh.{name}");
                Member::file(text(&[parent, &[&name]].concat()), "")
            }
            Self::Opaque(path) => Member::file(text(&[path, &[".wh..wh..opq"][..]].concat()), ""),
        }
    }
}

/// Up to three blocks, some of them zeros.
fn content(seed: u8) -> Vec<u8> {
    let mut content = vec![seed; usize::from(seed) * 40];
    if seed.is_multiple_of(3) {
        content.iter_mut().take(4096).for_each(|byte| *byte = 0);
    }
    content
}

/// What the manifest must show.
#[derive(Debug, Clone, PartialEq)]
enum Leaf {
    File(u8),
    Symlink(u8),
    Fifo,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Node {
    /// Position in the model's leaves.
    Leaf(usize),
    /// Mode and time, or whatever is below.
    Directory(Option<(u32, i64)>),
}

#[derive(Default)]
struct Model {
    leaves: Vec<Leaf>,
    tree: BTreeMap<Path, Node>,
    root: Option<(u32, i64)>,
}

/// One layer while its archive is written.
#[derive(Default)]
struct Layer {
    own: BTreeMap<Path, Node>,
    /// These and what is under them vanish from below.
    removed: BTreeSet<Path>,
    /// What is under these vanishes from below.
    emptied: BTreeSet<Path>,
}

#[derive(Debug)]
struct Refused;

fn is_under(path: &[&str], directory: &[&str]) -> bool {
    path.len() > directory.len() && path.starts_with(directory)
}

impl Layer {
    /// Makes the directories above `path`.
    fn parents(&mut self, path: &Path) -> Result<(), Refused> {
        let parents = || (1..path.len()).map(|len| path[..len].to_vec());
        if parents().any(|parent| matches!(self.own.get(&parent), Some(Node::Leaf(_)))) {
            return Err(Refused);
        }
        for parent in parents() {
            self.own.entry(parent).or_insert(Node::Directory(None));
        }
        Ok(())
    }

    fn leaf(&mut self, path: &Path, leaf: usize) -> Result<(), Refused> {
        if path.is_empty() {
            return Err(Refused);
        }
        self.parents(path)?;
        self.own.retain(|other, _| !is_under(other, path));
        self.removed.retain(|other| !is_under(other, path));
        self.emptied
            .retain(|other| other != path && !is_under(other, path));
        self.own.insert(path.clone(), Node::Leaf(leaf));
        Ok(())
    }

    fn directory(&mut self, path: &Path, facts: Option<(u32, i64)>) -> Result<(), Refused> {
        self.parents(path)?;
        if let Some(Node::Leaf(_)) = self.own.get(path) {
            self.removed.insert(path.clone());
            self.own.remove(path);
        }
        let node = self
            .own
            .entry(path.clone())
            .or_insert(Node::Directory(None));
        if facts.is_some() {
            *node = Node::Directory(facts);
        }
        Ok(())
    }

    fn try_op(&mut self, op: &Op, model: &mut Model) -> Result<(), Refused> {
        let leaf = match op {
            Op::Directory(path, seed) if path.is_empty() => {
                model.root = Some((0o700 + u32::from(*seed % 8), (*seed).into()));
                return Ok(());
            }
            Op::Directory(path, seed) => {
                return self.directory(path, Some((0o700 + u32::from(*seed % 8), (*seed).into())));
            }
            Op::Whiteout(path) => {
                self.parents(path)?;
                // A name that the layer has as something else than a directory hides what is below anyway.
                if !matches!(self.own.get(path), Some(Node::Leaf(_))) {
                    self.removed.insert(path.clone());
                }
                return Ok(());
            }
            Op::Opaque(path) if path.is_empty() => {
                self.emptied.insert(path.clone());
                return Ok(());
            }
            Op::Opaque(path) => {
                if let Some(Node::Leaf(_)) = self.own.get(path) {
                    return Err(Refused);
                }
                self.directory(path, None)?;
                self.emptied.insert(path.clone());
                return Ok(());
            }
            Op::Hardlink(path, target) => {
                let blocked = (1..target.len())
                    .any(|len| matches!(self.own.get(&target[..len]), Some(Node::Leaf(_))));
                let node = self.own.get(target).or_else(|| model.tree.get(target));
                match node {
                    Some(Node::Leaf(leaf)) if !blocked => return self.leaf(path, *leaf),
                    _ => return Err(Refused),
                }
            }
            Op::File(_, seed) => Leaf::File(*seed),
            Op::Symlink(_, seed) => Leaf::Symlink(*seed),
            Op::Fifo(_) => Leaf::Fifo,
        };
        let (Op::File(path, _) | Op::Symlink(path, _) | Op::Fifo(path)) = op else {
            unreachable!()
        };
        self.leaf(path, model.leaves.len())?;
        model.leaves.push(leaf);
        Ok(())
    }
}

impl Model {
    fn apply(&mut self, layer: Layer) {
        let tree = &mut self.tree;
        tree.retain(|path, _| {
            let gone = layer
                .removed
                .iter()
                .any(|removed| path == removed || is_under(path, removed));
            let emptied = layer.emptied.iter().any(|emptied| is_under(path, emptied));
            !gone && !emptied
        });
        for (path, node) in layer.own {
            match (node, tree.get(&path)) {
                (Node::Directory(None), Some(Node::Directory(_))) => {}
                (Node::Directory(_), _) => drop(tree.insert(path, node)),
                (Node::Leaf(_), _) => {
                    tree.retain(|other, _| !is_under(other, &path));
                    tree.insert(path, node);
                }
            }
        }
    }

    fn check(&self, found: &common::manifest::Manifest) {
        let names: Vec<_> = found
            .keys()
            .filter(|path| !path.is_empty())
            .cloned()
            .collect();
        let expected: Vec<_> = self
            .tree
            .keys()
            .map(|path| text(path).into_bytes())
            .collect();
        assert_eq!(
            names.iter().collect::<BTreeSet<_>>(),
            expected.iter().collect::<BTreeSet<_>>()
        );
        let root = &found[&b""[..]];
        assert_eq!((root.mode, root.mtime.0), self.root.unwrap_or((0o755, 0)));
        let mut first_names: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        // A walk sees a directory's names in order, and a name before what is under it.
        for (path, node) in &self.tree {
            let name = text(path).into_bytes();
            let entry = &found[&name];
            match node {
                Node::Directory(facts) => {
                    let children =
                        |other: &&Path| is_under(other, path) && other.len() == path.len() + 1;
                    let directories = self
                        .tree
                        .iter()
                        .filter(|(_, node)| matches!(node, Node::Directory(_)));
                    let links =
                        2 + directories.map(|(other, _)| other).filter(children).count() as u64;
                    assert_eq!((entry.kind, entry.mode, entry.mtime.0, entry.links), {
                        let (mode, time) = facts.unwrap_or((0o755, 0));
                        ('d', mode, time, links)
                    });
                }
                Node::Leaf(leaf) => {
                    let links = self.tree.values().filter(|other| *other == node).count() as u64;
                    assert_eq!(entry.links, links, "{}", text(path));
                    assert_eq!(&entry.first_name, first_names.entry(*leaf).or_insert(name));
                    match &self.leaves[*leaf] {
                        Leaf::File(seed) => {
                            assert_eq!(
                                entry.content,
                                Some(Digest::of(&content(*seed))),
                                "{}",
                                text(path)
                            );
                            assert_eq!(entry.mode, 0o600 + u32::from(*seed % 8));
                        }
                        Leaf::Symlink(seed) => {
                            assert_eq!(entry.target, Some(format!("../{seed}").into_bytes()));
                        }
                        Leaf::Fifo => assert_eq!(entry.kind, 'p'),
                    }
                }
            }
        }
    }
}

fn path() -> impl Strategy<Value = Path> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "-d"]), 1..4)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (path(), any::<u8>()).prop_map(|(path, seed)| Op::File(path, seed)),
        4 => (path(), any::<u8>()).prop_map(|(path, seed)| Op::Directory(path, seed)),
        1 => any::<u8>().prop_map(|seed| Op::Directory(vec![], seed)),
        1 => (path(), any::<u8>()).prop_map(|(path, seed)| Op::Symlink(path, seed)),
        1 => path().prop_map(Op::Fifo),
        3 => (path(), path()).prop_map(|(path, target)| Op::Hardlink(path, target)),
        3 => path().prop_map(Op::Whiteout),
        2 => prop_oneof![5 => path(), 1 => Just(vec![])].prop_map(Op::Opaque),
    ]
}

/// An operation the model refuses must be refused, be it by the layer or by what is below it.
fn assert_refused(home: &Home, below: &[Vec<u8>], layer: &[Op], bad: &Op) {
    let tar = Archive::of(layer.iter().chain([bad]).map(Op::member));
    let layers = below.iter().map(|tar| home.import(tar).unwrap());
    let mut layers: Vec<_> = layers.collect();
    match home.import(&tar) {
        Err(LayerError::Refused { .. }) => return,
        Err(error) => panic!("{bad:?}: {error}"),
        Ok(layer) => layers.push(layer),
    }
    let result = home.roots.compose(&layers);
    assert!(
        matches!(result, Err(RootError::Refused { .. })),
        "{bad:?} was accepted"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn layers_are_applied_as_the_model_applies_them(layers in prop::collection::vec(prop::collection::vec(op(), 0..14), 1..5)) {
        let home = Home::new();
        let mut model = Model::default();
        let mut tars = Vec::new();
        for ops in layers {
            let mut layer = Layer::default();
            let mut accepted = Vec::new();
            for op in ops {
                match layer.try_op(&op, &mut model) {
                    Ok(()) => accepted.push(op),
                    Err(Refused) => assert_refused(&home, &tars, &accepted, &op),
                }
            }
            model.apply(layer);
            tars.push(Archive::of(accepted.iter().map(Op::member)));
        }
        model.check(&disk::read(&home.compose(&tars)));
    }
}
