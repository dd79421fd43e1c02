//! What the event loop can be woken by, as the 64 bits that epoll keeps for us.

use crate::arch::layout::Slot;
use devices::virtio::vsock::ConnectionId;

/// Who woke the event loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// The library.
    Control,
    /// A vCPU that stopped for good.
    Ended,
    /// The devices, as one.
    Devices,
    /// The socket device's driver.
    Vsock,
    /// The entropy device's driver.
    Rng,
    /// The balloon's driver.
    Balloon,
    /// A driver acknowledged a configuration change.
    ConfigAcknowledged(Slot),
    /// The host's end of a connection.
    Stream(ConnectionId),
}

const CONFIG: u64 = 1 << 32;
const STREAM: u64 = 2 << 32;

impl From<Token> for u64 {
    fn from(token: Token) -> Self {
        match token {
            Token::Control => 0,
            Token::Ended => 1,
            Token::Devices => 2,
            Token::Vsock => 3,
            Token::Rng => 4,
            Token::Balloon => 5,
            Token::ConfigAcknowledged(slot) => CONFIG | slot.index() as Self,
            Token::Stream(id) => STREAM | Self::from(id.get()),
        }
    }
}

impl Token {
    /// Back from the 64 bits.
    pub fn from_bits(bits: u64) -> Option<Self> {
        Some(match bits {
            0 => Self::Control,
            1 => Self::Ended,
            2 => Self::Devices,
            3 => Self::Vsock,
            4 => Self::Rng,
            5 => Self::Balloon,
            _ if bits & !0xffff_ffff == STREAM => Self::Stream(ConnectionId::from_raw(bits as u32)),
            _ if bits & !0xffff_ffff == CONFIG => {
                Self::ConfigAcknowledged(Slot::all().nth((bits & 0xffff_ffff) as usize)?)
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_survives_the_kernel() {
        let mut tokens = vec![
            Token::Control,
            Token::Ended,
            Token::Devices,
            Token::Vsock,
            Token::Rng,
            Token::Balloon,
        ];
        tokens.extend(Slot::all().map(Token::ConfigAcknowledged));
        tokens.extend([0, 7, u32::MAX].map(|id| Token::Stream(ConnectionId::from_raw(id))));
        for token in tokens {
            assert_eq!(Token::from_bits(token.into()), Some(token));
        }
    }
}
