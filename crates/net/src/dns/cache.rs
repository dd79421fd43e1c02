//! Answers that are still good.

use super::message::{self, Question};
use std::collections::HashMap;
use std::time::{Duration, Instant};

const MAX_ANSWERS: usize = 512;
const MAX_BYTES: usize = 4096;
/// The host's own resolver may know better after this long.
const MAX_LIFE: Duration = Duration::from_secs(300);

struct Answer {
    message: Vec<u8>,
    since: Instant,
    until: Instant,
}

/// Answers by question.
#[derive(Default)]
pub(super) struct Cache(HashMap<Question, Answer>);

impl Cache {
    /// Keeps an answer for as long as all of its records are good.
    pub(super) fn keep(&mut self, question: Question, answer: &[u8], now: Instant) {
        let Some(records) = message::records(answer) else {
            return;
        };
        let life = records
            .iter()
            .map(|record| record.ttl)
            .min()
            .unwrap_or_default()
            .min(MAX_LIFE);
        if life.is_zero() || message::is_for_now(answer) || answer.len() > MAX_BYTES {
            return;
        }
        if self.0.len() >= MAX_ANSWERS {
            self.0.retain(|_, answer| answer.until > now);
        }
        if self.0.len() < MAX_ANSWERS {
            let message = answer.to_vec();
            self.0.insert(
                question,
                Answer {
                    message,
                    since: now,
                    until: now + life,
                },
            );
        }
    }

    /// An answer that is still good, with what is left of its records' lives.
    pub(super) fn find(&self, question: &Question, now: Instant) -> Option<Vec<u8>> {
        let answer = self.0.get(question).filter(|answer| answer.until > now)?;
        let mut message = answer.message.clone();
        let age = now.duration_since(answer.since);
        for record in message::records(&answer.message)? {
            let left = record.ttl.saturating_sub(age).as_secs() as u32;
            message[record.ttl_at..record.ttl_at + 4].copy_from_slice(&left.to_be_bytes());
        }
        Some(message)
    }
}
