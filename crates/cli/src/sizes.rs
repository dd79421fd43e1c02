//! Sizes as people write them: `512M`, `1g`, `1.5GiB`.

/// Why a text is not a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// No number and unit.
    #[error("not a size: write a number and a unit, like 512M or 10G")]
    Malformed,
    /// Below zero.
    #[error("a size cannot be negative")]
    Negative,
    /// Nothing.
    #[error("a size must be more than zero")]
    Zero,
    /// More than 64 bits hold.
    #[error("too large")]
    TooLarge,
}

/// Digits after the point that are still counted: 1 TiB has 40 bits.
const MAX_FRACTION: usize = 12;

/// Bytes. Units are powers of 1024, as Docker reads them for memory: `k`, `M`, `G`, `T`, alone or with `B`
/// or `iB`, in either case; none is bytes.
pub fn parse(text: &str) -> Result<u64, SizeError> {
    if text.starts_with('-') {
        return Err(SizeError::Negative);
    }
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let bytes = scale(number, u128::from(unit_bytes(unit)?))?;
    match u64::try_from(bytes) {
        Ok(0) => Err(SizeError::Zero),
        Ok(bytes) => Ok(bytes),
        Err(_) => Err(SizeError::TooLarge),
    }
}

fn unit_bytes(unit: &str) -> Result<u64, SizeError> {
    let lower = unit.trim_start_matches(' ').to_ascii_lowercase();
    let prefix = match lower.strip_suffix("ib") {
        Some("") => return Err(SizeError::Malformed),
        Some(prefix) => prefix,
        None => lower.strip_suffix('b').unwrap_or(&lower),
    };
    match prefix {
        "" => Ok(1),
        "k" => Ok(1 << 10),
        "m" => Ok(1 << 20),
        "g" => Ok(1 << 30),
        "t" => Ok(1 << 40),
        _ => Err(SizeError::Malformed),
    }
}

/// `number`, with or without a fraction, times `unit`, rounded down to whole bytes.
fn scale(number: &str, unit: u128) -> Result<u128, SizeError> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return Err(SizeError::Malformed);
    }
    if whole.trim_start_matches('0').len() > 20 || fraction.len() > MAX_FRACTION {
        return Err(SizeError::TooLarge);
    }
    let value = |text: &str| {
        text.bytes()
            .fold(0_u128, |sum, byte| sum * 10 + u128::from(byte - b'0'))
    };
    // At most 10^20 * 2^40 and 10^12 * 2^40: far below 2^128.
    Ok(value(whole) * unit + value(fraction) * unit / 10_u128.pow(fraction.len() as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_read_as_docker_reads_memory() {
        for (text, bytes) in [
            ("1", 1),
            ("1b", 1),
            ("512M", 512 << 20),
            ("512m", 512 << 20),
            ("1g", 1 << 30),
            ("10G", 10 << 30),
            ("1.5GiB", 3 << 29),
            ("0.5k", 512),
            (".5k", 512),
            ("2kb", 2048),
            ("1T", 1 << 40),
            ("64 MB", 64 << 20),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_its_reason() {
        for (text, error) in [
            ("", SizeError::Malformed),
            ("G", SizeError::Malformed),
            (".", SizeError::Malformed),
            ("1.2.3", SizeError::Malformed),
            ("12x", SizeError::Malformed),
            ("1ib", SizeError::Malformed),
            ("1 2", SizeError::Malformed),
            ("+1", SizeError::Malformed),
            ("0x10", SizeError::Malformed),
            ("1e3", SizeError::Malformed),
            ("١", SizeError::Malformed),
            ("-1", SizeError::Negative),
            ("0", SizeError::Zero),
            ("0.0G", SizeError::Zero),
            ("0.1", SizeError::Zero),
            ("18446744073709551616", SizeError::TooLarge),
            ("16777216T", SizeError::TooLarge),
            ("99999999999999999999999999", SizeError::TooLarge),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whole_numbers_of_every_unit_are_exact(number in 1_u64..1 << 24, shift in 0_usize..5, spelling in 0_usize..3) {
            let unit = ["", "k", "M", "G", "T"][shift];
            let suffix = if unit.is_empty() { "" } else { ["", "B", "iB"][spelling] };
            prop_assert_eq!(parse(&format!("{number}{unit}{suffix}")), number.checked_shl(10 * shift as u32).filter(|bytes| bytes >> (10 * shift) == number).ok_or(SizeError::TooLarge));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }
}
