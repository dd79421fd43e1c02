//! The spellings of numbers in tar headers.

use super::super::Malformation;
use super::super::attributes::Timestamp;

/// A header field: octal text, or base-256 (two's complement, big-endian) if its first bit is set.
pub(super) fn field(name: &'static str, bytes: &[u8]) -> Result<i64, Malformation> {
    let parsed = match bytes.first() {
        Some(first) if first & 0x80 != 0 => base256(bytes),
        _ => octal(bytes),
    };
    parsed.ok_or(Malformation::Number(name))
}

/// An empty field is zero: archivers leave blank what does not apply.
fn octal(bytes: &[u8]) -> Option<i64> {
    let is_padding = |byte: &u8| matches!(byte, b' ' | 0);
    let start = bytes
        .iter()
        .position(|byte| !is_padding(byte))
        .unwrap_or(bytes.len());
    let digits = bytes[start..].split(is_padding).next().unwrap_or_default();
    digits.iter().try_fold(0i64, |number, digit| match digit {
        b'0'..=b'7' => number.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

fn base256(bytes: &[u8]) -> Option<i64> {
    // The first bit marks the encoding, the second is the sign.
    let first = bytes[0] & 0x7f;
    let first = if first & 0x40 != 0 {
        i64::from(first) - 0x80
    } else {
        i64::from(first)
    };
    bytes[1..].iter().try_fold(first, |number, byte| {
        number.checked_mul(256)?.checked_add(i64::from(*byte))
    })
}

/// A decimal number of a PAX record.
pub(super) fn decimal(name: &'static str, text: &[u8]) -> Result<i64, Malformation> {
    let text = std::str::from_utf8(text).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or(Malformation::Number(name))
}

/// A decimal time of a PAX record, with any number of digits after the point; what is finer than a nanosecond is cut.
pub(super) fn time(name: &'static str, text: &[u8]) -> Result<Timestamp, Malformation> {
    decimal_time(text).ok_or(Malformation::Number(name))
}

fn decimal_time(text: &[u8]) -> Option<Timestamp> {
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let whole = std::str::from_utf8(parts.next()?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().chain(std::iter::repeat(&b'0')).take(9);
    let nanoseconds = digits.fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
    if whole.starts_with('-') && nanoseconds > 0 {
        // -1.25 is a quarter before -1; seconds are rounded down.
        Some(Timestamp {
            seconds: seconds.checked_sub(1)?,
            nanoseconds: 1_000_000_000 - nanoseconds,
        })
    } else {
        Some(Timestamp {
            seconds,
            nanoseconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_octal_or_base_256() {
        let good: [(&[u8], i64); 9] = [
            (b"0000644\0", 0o644),
            (b"  644 \0 ", 0o644),
            (b"\0\0\0\0\0\0\0\0", 0),
            (b"        ", 0),
            (b"77777777", 0o77777777),
            (b"\x80\0\0\0\xee\x6b\x28\0", 4_000_000_000),
            (b"\x80\0\0\0\x10\0\0\0\0\0\0\0", 1 << 60),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", -2),
            (b"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0", i64::MIN),
        ];
        for (bytes, number) in good {
            assert_eq!(field("x", bytes), Ok(number), "{bytes:?}");
        }
        let bad: [&[u8]; 4] = [
            b"0000648\0",
            b"-1",
            b"0x10",
            b"\x80\0\0\0\x80\0\0\0\0\0\0\0",
        ];
        for bytes in bad {
            assert_eq!(
                field("x", bytes),
                Err(Malformation::Number("x")),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn times_are_rounded_down_to_seconds() {
        let time =
            |text: &str| decimal_time(text.as_bytes()).map(|time| (time.seconds, time.nanoseconds));
        assert_eq!(time("1.5"), Some((1, 500_000_000)));
        assert_eq!(time("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time("-0.000000001"), Some((-1, 999_999_999)));
        assert_eq!(time("-3"), Some((-3, 0)));
        assert_eq!(
            time("8589934592.1234567899"),
            Some((8_589_934_592, 123_456_789))
        );
        assert_eq!(time("7."), Some((7, 0)));
        for text in [
            "",
            ".5",
            "1.x",
            "1e3",
            "a",
            "1.-5",
            "9223372036854775808",
            "-9223372036854775808.1",
        ] {
            assert_eq!(time(text), None, "{text}");
        }
    }
}
