//! What a guest promises is numbered, and every point has a story test named after it: `guest_07_...`.

use super::Finding;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

const POINTS: RangeInclusive<u8> = 1..=21;
const STORIES: &str = "crates/testkit/tests/";

/// The points that tests are named after.
#[derive(Default)]
pub struct Points(BTreeSet<u8>);

impl Points {
    /// Looks for tests in a file.
    pub fn look(&mut self, path: &str, text: &str) {
        if path.starts_with(STORIES) {
            let names = text
                .lines()
                .filter_map(|line| line.strip_prefix("fn guest_"));
            self.0
                .extend(names.filter_map(|name| name.get(..2)?.parse::<u8>().ok()));
        }
    }

    /// A finding for each point without a test.
    pub fn missing(&self) -> Vec<Finding> {
        POINTS
            .filter(|point| !self.0.contains(point))
            .map(|point| {
                let what = format!("no test is named guest_{point:02}_..., after point {point} of what a guest promises");
                Finding::new(STORIES, what)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_without_a_test_is_named() {
        let mut points = Points::default();
        for point in POINTS.filter(|point| *point != 7) {
            points.look(
                "crates/testkit/tests/story/x.rs",
                &format!("#[test]\nfn guest_{point:02}_works() {{"),
            );
        }
        points.look("crates/guest/src/x.rs", "fn guest_07_elsewhere() {");
        let missing = points.missing();
        assert_eq!(missing.len(), 1);
        assert!(missing[0].what.contains("guest_07_"), "{}", missing[0].what);
    }
}
