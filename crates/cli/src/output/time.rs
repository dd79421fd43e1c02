//! Durations for people.

use std::time::{Duration, SystemTime};

/// One unit is enough for people: `3 minutes`.
pub fn rough(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (count, unit) = match seconds {
        0 => return "less than a second".to_owned(),
        1..120 => (seconds, "second"),
        120..7_200 => (seconds / 60, "minute"),
        7_200..172_800 => (seconds / 3600, "hour"),
        172_800..1_209_600 => (seconds / 86_400, "day"),
        1_209_600..5_184_000 => (seconds / 604_800, "week"),
        5_184_000..63_072_000 => (seconds / 2_592_000, "month"),
        _ => (seconds / 31_536_000, "year"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// `3 minutes ago`, seen from `now`. A clock that was set back gives no negative times.
pub fn ago(at: SystemTime, now: SystemTime) -> String {
    format!("{} ago", rough(since(at, now)))
}

/// The time from `at` to `now`.
pub fn since(at: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(at).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn durations_have_one_unit() {
        for (seconds, text) in [
            (0, "less than a second"),
            (1, "1 second"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (7_199, "119 minutes"),
            (7_200, "2 hours"),
            (172_800, "2 days"),
            (1_209_600, "2 weeks"),
            (5_184_000, "2 months"),
            (63_072_000, "2 years"),
        ] {
            assert_eq!(rough(Duration::from_secs(seconds)), text, "{seconds}");
        }
        let now = UNIX_EPOCH + Duration::from_secs(100);
        assert_eq!(ago(UNIX_EPOCH, now), "100 seconds ago");
        assert_eq!(ago(now, UNIX_EPOCH), "less than a second ago");
    }
}
