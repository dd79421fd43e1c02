//! Points in time as people write them: `10m` ago, `2024-02-29T12:00:00Z`, or seconds since 1970.

use crate::durations;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Why a text is not a point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MomentError {
    /// None of the forms.
    #[error("not a time: write 10m (ago), 2024-02-29T12:00:00Z, or seconds since 1970")]
    Malformed,
    /// A local time: nobody could tell which.
    #[error("a time needs its zone: write 2024-02-29T12:00:00Z or +02:00 at the end")]
    NoZone,
}

/// The point in time a text means, at `now`.
pub fn parse(text: &str, now: SystemTime) -> Result<SystemTime, MomentError> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if is_number(whole) && is_number(fraction) {
        let seconds = whole.parse().map_err(|_| MomentError::Malformed)?;
        let since = Duration::from_secs(seconds).saturating_add(nanoseconds(fraction));
        return UNIX_EPOCH.checked_add(since).ok_or(MomentError::Malformed);
    }
    if let Ok(ago) = durations::parse(text) {
        return Ok(now.checked_sub(ago).unwrap_or(UNIX_EPOCH));
    }
    date_and_time(text)
}

/// `5` after the point is half a second.
fn nanoseconds(digits: &str) -> Duration {
    let nanos = digits.bytes().chain(std::iter::repeat(b'0')).take(9);
    Duration::from_nanos(nanos.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// RFC 3339.
fn date_and_time(text: &str) -> Result<SystemTime, MomentError> {
    let (date, rest) = text
        .split_once(['T', 't', ' '])
        .ok_or(match numbers::<3>(text, '-') {
            Some(_) => MomentError::NoZone,
            None => MomentError::Malformed,
        })?;
    let [year, month, day] = numbers::<3>(date, '-').ok_or(MomentError::Malformed)?;
    let zone_at = rest.find(['Z', 'z', '+', '-']).ok_or(MomentError::NoZone)?;
    let (time, zone) = rest.split_at(zone_at);
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let [hour, minute, second] = numbers::<3>(time, ':').ok_or(MomentError::Malformed)?;
    let valid = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (1970..=9999).contains(&year)
        && hour < 24
        && minute < 60
        && second <= 60
        && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !valid {
        return Err(MomentError::Malformed);
    }
    let offset = match (zone.get(..1), zone.get(1..)) {
        (Some("Z" | "z"), Some("")) => 0,
        (Some(sign), Some(offset)) => {
            let [hours, minutes] = numbers::<2>(offset, ':').ok_or(MomentError::Malformed)?;
            let seconds = hours * 3600 + minutes * 60;
            if sign == "-" { -seconds } else { seconds }
        }
        _ => return Err(MomentError::Malformed),
    };
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    let seconds = u64::try_from(seconds).map_err(|_| MomentError::Malformed)?;
    Ok(UNIX_EPOCH + Duration::from_secs(seconds) + nanoseconds(fraction))
}

/// So many numbers with this between them.
fn numbers<const N: usize>(text: &str, between: char) -> Option<[i64; N]> {
    let numbers = text.split(between).map(|part| {
        let digits = (1..=4).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| part.parse().ok()).flatten()
    });
    numbers.collect::<Option<Vec<_>>>()?.try_into().ok()
}

/// Days from 1970 to a date of the Gregorian calendar.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that the leap day is the last one.
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use supermachine::rfc3339;

    #[test]
    fn times_are_read_in_all_their_forms() {
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        for (text, moment) in [
            ("10m", "2023-11-14T22:03:20.000000000Z"),
            ("0", "1970-01-01T00:00:00.000000000Z"),
            ("1700000000.5", "2023-11-14T22:13:20.500000000Z"),
            ("2024-02-29T12:00:00Z", "2024-02-29T12:00:00.000000000Z"),
            (
                "2024-02-29T12:00:00.25+02:00",
                "2024-02-29T10:00:00.250000000Z",
            ),
            (
                "2024-03-01t00:30:00-01:30",
                "2024-03-01T02:00:00.000000000Z",
            ),
            ("2000-12-31 23:59:59Z", "2000-12-31T23:59:59.000000000Z"),
        ] {
            assert_eq!(
                parse(text, now).map(rfc3339).as_deref(),
                Ok(moment),
                "{text}"
            );
        }
        for (text, error) in [
            ("2024-02-29T12:00:00", MomentError::NoZone),
            ("2024-02-29", MomentError::NoZone),
            ("yesterday", MomentError::Malformed),
            ("2024-13-01T00:00:00Z", MomentError::Malformed),
            ("2024-02-29T25:00:00Z", MomentError::Malformed),
            ("-5m", MomentError::Malformed),
            ("", MomentError::Malformed),
        ] {
            assert_eq!(parse(text, now), Err(error), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_was_printed_is_read_again(nanos in 0_u64..4_102_444_800_000_000_000) {
            let moment = UNIX_EPOCH + Duration::from_nanos(nanos);
            proptest::prop_assert_eq!(parse(&rfc3339(moment), moment), Ok(moment));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,40}") {
            let _ = parse(&text, UNIX_EPOCH);
        }
    }
}
