//! What an epoll registration stands for, in 64 bits.

/// A session's place and the life of that place, so that a late event of one session never reaches the
/// next in the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId {
    pub slot: u32,
    pub generation: u32,
}

/// Generations are counted in as many bits as a token has left for them.
pub const GENERATION_MASK: u32 = 0x00ff_ffff;

/// A descriptor of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Connection,
    Stdin,
    Stdout,
    Stderr,
}

/// A registered descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    Listener,
    ChildEnds,
    Reaper,
    MemoryEvents,
    Freezer,
    KernelLog,
    Session(SessionId, Part),
}

impl Token {
    /// Low to high: 8 bits of kind, 32 of slot, 24 of generation.
    pub const fn to_bits(self) -> u64 {
        match self {
            Self::Listener => 0,
            Self::ChildEnds => 1,
            Self::Reaper => 2,
            Self::MemoryEvents => 3,
            Self::Freezer => 4,
            Self::KernelLog => 5,
            Self::Session(SessionId { slot, generation }, part) => {
                (6 + part as u64) | (slot as u64) << 8 | (generation as u64) << 40
            }
        }
    }

    /// The token these bits stand for; they are ours, so there is no other case.
    pub const fn from_bits(bits: u64) -> Self {
        let part = match bits & 0xff {
            0 => return Self::Listener,
            1 => return Self::ChildEnds,
            2 => return Self::Reaper,
            3 => return Self::MemoryEvents,
            4 => return Self::Freezer,
            5 => return Self::KernelLog,
            6 => Part::Connection,
            7 => Part::Stdin,
            8 => Part::Stdout,
            _ => Part::Stderr,
        };
        Self::Session(
            SessionId {
                slot: (bits >> 8) as u32,
                generation: (bits >> 40) as u32,
            },
            part,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_survives_its_bits() {
        let mut tokens = vec![
            Token::Listener,
            Token::ChildEnds,
            Token::Reaper,
            Token::MemoryEvents,
            Token::Freezer,
            Token::KernelLog,
        ];
        for part in [Part::Connection, Part::Stdin, Part::Stdout, Part::Stderr] {
            for (slot, generation) in [(0, 0), (7, 1), (u32::MAX, GENERATION_MASK)] {
                tokens.push(Token::Session(SessionId { slot, generation }, part));
            }
        }
        for token in tokens {
            assert_eq!(Token::from_bits(token.to_bits()), token);
        }
    }
}
