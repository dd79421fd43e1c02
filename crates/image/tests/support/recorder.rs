//! A listener to the progress of a pull.
use ::image::{Digest, Progress};
use std::collections::BTreeMap;
use std::sync::Mutex;

#[derive(Default)]
pub struct Recorder {
    pub totals: Mutex<BTreeMap<Digest, u64>>,
    pub bytes: Mutex<BTreeMap<Digest, u64>>,
    pub done: Mutex<Vec<Digest>>,
    pub present: Mutex<Vec<Digest>>,
}

impl Progress for Recorder {
    fn present(&self, layer: &Digest) {
        self.present.lock().unwrap().push(*layer);
    }

    fn layer(&self, layer: &Digest, total: u64) {
        self.totals.lock().unwrap().insert(*layer, total);
        self.bytes.lock().unwrap().insert(*layer, 0);
    }

    fn advance(&self, layer: &Digest, bytes: u64) {
        *self.bytes.lock().unwrap().get_mut(layer).unwrap() += bytes;
    }

    fn done(&self, layer: &Digest) {
        self.done.lock().unwrap().push(*layer);
    }
}
