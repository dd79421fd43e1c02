//! Durations as people write them: `30s`, `5m`, `1h30m`, or plain seconds.

use std::time::Duration;

/// Why a text is not a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// No number and unit.
    #[error("not a duration: write 30s, 5m, 1h, or a number of seconds")]
    Malformed,
    /// Below zero.
    #[error("a duration cannot be negative")]
    Negative,
    /// Nothing, where nothing makes no sense.
    #[error("the duration must be more than zero")]
    Zero,
    /// More than a clock holds.
    #[error("too long")]
    TooLong,
}

/// Longer than any machine runs, and far from overflow in every unit.
const MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A duration that may be zero.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    if text.starts_with('-') {
        return Err(DurationError::Negative);
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return bounded(Duration::from_secs(number(text)?));
    }
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let (part, after) = part(rest)?;
        sum = bounded(sum.saturating_add(part))?;
        rest = after;
    }
    if text.is_empty() {
        Err(DurationError::Malformed)
    } else {
        Ok(sum)
    }
}

/// A duration of more than nothing.
pub fn parse_positive(text: &str) -> Result<Duration, DurationError> {
    match parse(text)? {
        Duration::ZERO => Err(DurationError::Zero),
        duration => Ok(duration),
    }
}

/// The first number with its unit, and what follows.
fn part(text: &str) -> Result<(Duration, &str), DurationError> {
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit())
        .ok_or(DurationError::Malformed)?;
    let (digits, rest) = text.split_at(unit_at);
    let unit_len = rest
        .find(|c: char| c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_len);
    if digits.is_empty() {
        return Err(DurationError::Malformed);
    }
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(DurationError::Malformed),
    };
    let count = number(digits)?
        .checked_mul(milliseconds)
        .ok_or(DurationError::TooLong)?;
    Ok((Duration::from_millis(count), rest))
}

/// Digits only, so that the one thing that can go wrong is their number.
fn number(digits: &str) -> Result<u64, DurationError> {
    digits.parse().map_err(|_| DurationError::TooLong)
}

fn bounded(duration: Duration) -> Result<Duration, DurationError> {
    if duration > MAX {
        Err(DurationError::TooLong)
    } else {
        Ok(duration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_with_and_without_units() {
        for (text, milliseconds) in [
            ("30", 30_000),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("1m500ms", 60_500),
            ("0", 0),
        ] {
            assert_eq!(
                parse(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_its_reason() {
        for (text, error) in [
            ("", DurationError::Malformed),
            ("s", DurationError::Malformed),
            ("5x", DurationError::Malformed),
            ("5m3", DurationError::Malformed),
            ("1.5h", DurationError::Malformed),
            (" 5", DurationError::Malformed),
            ("-1", DurationError::Negative),
            ("-5m", DurationError::Negative),
            ("0s", DurationError::Zero),
            ("99999999999999999999", DurationError::TooLong),
            ("99999999999999999h", DurationError::TooLong),
            ("999999999h", DurationError::TooLong),
        ] {
            assert_eq!(parse_positive(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn hours_minutes_and_seconds_add_up(h in 0_u64..1000, m in 0_u64..1000, s in 0_u64..1000) {
            prop_assert_eq!(parse(&format!("{h}h{m}m{s}s")), Ok(Duration::from_secs(h * 3600 + m * 60 + s)));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }
}
