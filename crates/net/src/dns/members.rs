//! Questions that another member of the guest's network may be the answer to.

use super::message::{self, Question};
use std::collections::HashMap;
use std::net::SocketAddr;

/// Names sought at once, and the questions for each. What is over that is asked of the world.
const MAX_NAMES: usize = 64;
const MAX_QUESTIONS: usize = 16;
/// The class of the internet.
const CLASS_IN: u16 = 1;

/// A question of the guest's that waits.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) ends: (SocketAddr, SocketAddr),
    pub(super) message: Vec<u8>,
    pub(super) question: Question,
}

/// The names that the owner is asked for.
#[derive(Debug, Default)]
pub(super) struct Sought {
    waiting: HashMap<String, Vec<Asked>>,
    unasked: Vec<String>,
}

impl Sought {
    /// Keeps a question until the owner has said who has the name. Gives it back if it is not for the owner.
    pub(super) fn keep(&mut self, asked: Asked) -> Option<Asked> {
        let question = &asked.question;
        let is_address = matches!(question.kind, message::TYPE_A | message::TYPE_AAAA);
        if !is_address || question.class != CLASS_IN || question.name.is_empty() {
            return Some(asked);
        }
        if !self.waiting.contains_key(&question.name) {
            if self.waiting.len() >= MAX_NAMES {
                return Some(asked);
            }
            self.unasked.push(question.name.clone());
        }
        let waiting = self.waiting.entry(question.name.clone()).or_default();
        if waiting.len() >= MAX_QUESTIONS {
            return Some(asked);
        }
        waiting.push(asked);
        None
    }

    /// The names to look for.
    pub(super) fn take_unasked(&mut self) -> Vec<String> {
        std::mem::take(&mut self.unasked)
    }

    /// The questions for a name.
    pub(super) fn release(&mut self, name: &str) -> Vec<Asked> {
        self.waiting.remove(name).unwrap_or_default()
    }
}
