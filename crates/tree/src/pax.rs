//! Records of a pax header: `LENGTH KEY=VALUE\n`, the length counting itself.

use crate::TreeError;
use crate::member::Time;

/// A key and its value.
pub type Record<'a> = (&'a [u8], &'a [u8]);

/// Adds a record.
pub fn push(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    records.extend_from_slice(len.to_string().as_bytes());
    for part in [b" ", key, b"=", value, b"\n"] {
        records.extend_from_slice(part);
    }
}

/// Takes records apart.
pub fn parse(mut records: &[u8]) -> Result<Vec<Record<'_>>, TreeError> {
    const DAMAGED: TreeError = TreeError::Malformed("a damaged pax header");
    let mut found = Vec::new();
    // Some writers pad with zeros.
    while !records.is_empty() && records[0] != 0 {
        let space = records
            .iter()
            .take(12)
            .position(|&byte| byte == b' ')
            .ok_or(DAMAGED)?;
        let len =
            usize::try_from(number(&records[..space]).ok_or(DAMAGED)?).map_err(|_| DAMAGED)?;
        let record = records.get(space + 1..len).ok_or(DAMAGED)?;
        let record = record.strip_suffix(b"\n").ok_or(DAMAGED)?;
        let equals = record
            .iter()
            .position(|&byte| byte == b'=')
            .ok_or(DAMAGED)?;
        found.push((&record[..equals], &record[equals + 1..]));
        records = &records[len..];
    }
    Ok(found)
}

/// A decimal number and nothing else.
pub fn number(digits: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(digits).ok()?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// A moment as pax writes it: seconds with a fraction.
pub fn time(text: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let digits: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let nanos: u32 = digits.parse().ok()?;
    // -1.25 is a quarter second before -1.
    Some(if whole.starts_with('-') && nanos > 0 {
        Time {
            seconds: seconds.checked_sub(1)?,
            nanos: 1_000_000_000 - nanos,
        }
    } else {
        Time { seconds, nanos }
    })
}

/// A moment for [`time`] to read.
pub fn time_text(time: Time) -> String {
    match time {
        Time { seconds, nanos: 0 } => seconds.to_string(),
        Time { seconds, nanos } if seconds < 0 => {
            let whole = (seconds + 1).unsigned_abs();
            format!("-{whole}.{:09}", 1_000_000_000 - nanos)
        }
        Time { seconds, nanos } => format!("{seconds}.{nanos:09}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_every_length_come_back() {
        for len in [0, 1, 85, 86, 87, 88, 980, 985, 990, 9_990, 70_000] {
            let (mut records, value) = (Vec::new(), vec![b'\n'; len]);
            push(&mut records, b"path", &value);
            push(&mut records, b"k", b"v=w");
            assert_eq!(
                parse(&records).unwrap(),
                [(&b"path"[..], &value[..]), (b"k", b"v=w")]
            );
        }
    }

    #[test]
    fn damaged_records_are_refused() {
        for text in [
            "5 a=b",
            "99 a=b\n",
            "x a=b\n",
            "6 a=bc\n",
            "4 ab\n",
            "0 a=b\n",
            "+6 a=b\n",
            "18446744073709551615 a=b\n",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn times_to_the_nanosecond_come_back_before_and_after_1970() {
        for (seconds, nanos) in [
            (0, 0),
            (1, 5),
            (-1, 0),
            (-1, 250_000_000),
            (-2, 1),
            (1_700_000_000, 999_999_999),
        ] {
            let moment = Time { seconds, nanos };
            let text = time_text(moment);
            if text.starts_with("-0.") {
                continue;
            }
            assert_eq!(time(text.as_bytes()), Some(moment), "{text}");
        }
    }
}
