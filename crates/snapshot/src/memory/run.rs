//! Runs of pages.

/// Bytes of a page, the unit of everything here.
pub const PAGE_SIZE: u64 = 4096;

/// What a file says about the pages of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunKind {
    /// The pages are in the file, at their own place.
    Data,
    /// The pages are zero, whatever they are in the layer below. The file has a hole there.
    Zero,
}

/// Pages that follow one another and are alike. Pages are counted from the start of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Run {
    /// Number of the first page.
    pub first: u64,
    /// How many pages.
    pub pages: u64,
    /// What they are.
    pub kind: RunKind,
}

impl Run {
    /// Where its first byte is in the file.
    pub const fn offset(&self) -> u64 {
        self.first * PAGE_SIZE
    }

    /// How many bytes it has.
    pub const fn bytes(&self) -> u64 {
        self.pages * PAGE_SIZE
    }
}

/// Runs that describe no memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RunsError {
    /// A run without a page.
    #[error("run {index} has no pages")]
    Empty {
        /// Which one, counted from 0.
        index: usize,
    },
    /// A run that starts before the end of the one in front of it.
    #[error("run {index} starts at page {first}, before the end of the run in front of it")]
    Order {
        /// Which one, counted from 0.
        index: usize,
        /// Where it starts.
        first: u64,
    },
    /// A run that reaches past the end of memory.
    #[error("run {index} reaches past the last of {pages} pages of memory")]
    Bounds {
        /// Which one, counted from 0.
        index: usize,
        /// Pages of memory.
        pages: u64,
    },
    /// Two runs that are one.
    #[error("run {index} continues the run in front of it and should be part of it")]
    Split {
        /// Which one, counted from 0.
        index: usize,
    },
}

/// Whether `runs` are in order, apart, and inside a memory of `pages` pages. Runs that touch must differ in kind: one
/// memory has one table, and so one digest.
pub fn check(runs: &[Run], pages: u64) -> Result<(), RunsError> {
    let mut end = 0;
    for (index, run) in runs.iter().enumerate() {
        if run.pages == 0 {
            return Err(RunsError::Empty { index });
        }
        if run.first < end {
            return Err(RunsError::Order {
                index,
                first: run.first,
            });
        }
        let next = run.first.checked_add(run.pages);
        let Some(next) = next.filter(|&next| next <= pages) else {
            return Err(RunsError::Bounds { index, pages });
        };
        if index > 0 && run.first == end && runs[index - 1].kind == run.kind {
            return Err(RunsError::Split { index });
        }
        end = next;
    }
    Ok(())
}

/// The same runs with those made one that are one. Runs that overlap or are out of order stay as they are.
pub fn join(runs: &[Run]) -> Vec<Run> {
    let mut joined: Vec<Run> = Vec::with_capacity(runs.len());
    for run in runs {
        match joined.last_mut() {
            Some(last)
                if last.kind == run.kind
                    && last.first.checked_add(last.pages) == Some(run.first)
                    && last.pages.checked_add(run.pages).is_some() =>
            {
                last.pages += run.pages;
            }
            _ => joined.push(*run),
        }
    }
    joined
}
