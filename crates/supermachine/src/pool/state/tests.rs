use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const IDLE: Duration = Duration::from_secs(60);

fn state(min: usize, max: usize) -> State<u32> {
    State::new(Bounds {
        min,
        max,
        idle_timeout: IDLE,
    })
}

/// Makes all that is wanted, numbered from `first`.
fn make_all(state: &mut State<u32>, first: u32, now: Instant) -> u32 {
    let mut next = first;
    while state.next_job(now) == Next::Do(Job::Make) {
        state.done(&Job::Make, next, now);
        next += 1;
    }
    next - first
}

fn gift(seat: &Seat<u32>) -> Option<u32> {
    seat.take().map(Result::unwrap)
}

#[test]
fn min_are_made_at_once_and_demand_adds_to_them_up_to_max() {
    let now = Instant::now();
    let mut state = state(2, 4);
    assert_eq!(make_all(&mut state, 0, now), 2);
    assert_eq!(state.take(), Some(1));
    assert_eq!(make_all(&mut state, 2, now), 1);
    assert_eq!((state.take(), state.take()), (Some(2), Some(0)));
    assert_eq!(make_all(&mut state, 3, now), 1);
    assert_eq!(state.take(), Some(3));
    assert_eq!(state.next_job(now), Next::Wait(None));
    assert_eq!(state.standing().in_use, 4);
}

#[test]
fn those_who_wait_are_served_in_their_order() {
    let now = Instant::now();
    let mut state = state(0, 2);
    let seats: Vec<_> = (0..4).map(|_| state.wait(Turn::Last)).collect();
    let ahead = state.wait(Turn::First);
    assert_eq!(make_all(&mut state, 0, now), 2);
    assert_eq!((gift(&ahead), gift(&seats[0])), (Some(0), Some(1)));
    state.leave(&seats[1]);
    state.give_back(0, Fate::End);
    assert_eq!(make_all(&mut state, 2, now), 1);
    assert_eq!((gift(&seats[1]), gift(&seats[2])), (None, Some(2)));
    assert_eq!(state.standing().waiting, 1);
}

#[test]
fn used_vms_are_replaced_and_surplus_ends_when_it_was_idle_for_too_long() {
    let now = Instant::now();
    let mut state = state(1, 4);
    make_all(&mut state, 0, now);
    let vm = state.take().unwrap();
    make_all(&mut state, 1, now);
    state.give_back(vm, Fate::End);
    assert_eq!(make_all(&mut state, 2, now), 1);
    assert_eq!(state.next_end(now), Next::Do(vec![vm]));
    state.ended();
    assert_eq!(state.next_end(now), Next::Wait(Some(now + IDLE)));
    assert_eq!(state.next_end(now + IDLE), Next::Do(vec![1]));
    state.ended();
    assert_eq!(state.next_end(now + IDLE), Next::Wait(None));
    assert_eq!(state.next_job(now + IDLE), Next::Wait(None));
    assert_eq!(state.standing().ready, 1);
}

#[test]
fn a_failure_is_told_to_all_who_wait_and_tried_again_later() {
    let now = Instant::now();
    let mut state = state(0, 4);
    let seats = [state.wait(Turn::Last), state.wait(Turn::Last)];
    assert_eq!(state.next_job(now), Next::Do(Job::Make));
    state.failed(&Arc::new(Error::Stopped), now);
    for seat in &seats {
        assert!(matches!(seat.take(), Some(Err(error)) if matches!(*error, Error::Stopped)));
    }
    assert_eq!(state.next_job(now), Next::Wait(None));
    let seat = state.wait(Turn::Last);
    let Next::Wait(Some(until)) = state.next_job(now) else {
        panic!("a maker tries again at once")
    };
    assert_eq!(make_all(&mut state, 7, until), 1);
    assert_eq!(gift(&seat), Some(7));
}

#[test]
fn without_memory_those_who_wait_go_on_waiting_until_there_is_some() {
    let now = Instant::now();
    let mut state = state(0, 2);
    let seats = [state.wait(Turn::Last), state.wait(Turn::Last)];
    assert_eq!(make_one(&mut state, 0, now), Next::Do(Job::Make));
    assert_eq!(state.next_job(now), Next::Do(Job::Make));
    state.short(Shortage::default(), now);
    assert!(state.standing().shortage.is_some());
    assert!(matches!(state.next_job(now), Next::Wait(Some(_))));
    let vm = gift(&seats[0]).unwrap();
    state.give_back(vm, Fate::End);
    assert_eq!(state.next_end(now), Next::Do(vec![vm]));
    state.ended();
    assert_eq!(make_one(&mut state, 1, now), Next::Do(Job::Make));
    assert_eq!(gift(&seats[1]), Some(1));
}

fn make_one(state: &mut State<u32>, vm: u32, now: Instant) -> Next<Job<u32>> {
    let next = state.next_job(now);
    if next == Next::Do(Job::Make) {
        state.done(&Job::Make, vm, now);
    }
    next
}

#[test]
fn nothing_is_made_while_too_many_end() {
    let now = Instant::now();
    let mut state = state(0, 1);
    for vm in 0..2 {
        let seat = state.wait(Turn::Last);
        make_one(&mut state, vm, now);
        state.give_back(gift(&seat).unwrap(), Fate::End);
    }
    let _seat = state.wait(Turn::Last);
    assert_eq!(state.standing().ending, 2);
    assert_eq!(state.next_job(now), Next::Wait(None));
    assert_eq!(state.next_end(now), Next::Do(vec![0, 1]));
    state.ended();
    assert_eq!(state.next_job(now), Next::Do(Job::Make));
}

#[test]
fn a_used_vm_goes_out_again_only_after_it_was_looked_at() {
    let now = Instant::now();
    let mut state = state(1, 1);
    make_all(&mut state, 0, now);
    let vm = state.take().unwrap();
    state.give_back(vm, Fate::Check);
    assert_eq!(state.take(), None);
    assert_eq!(state.next_job(now), Next::Do(Job::Check(vm)));
    state.done(&Job::Check(()), vm, now);
    assert_eq!((state.take(), state.counts.made), (Some(vm), 1));
    state.give_back(vm, Fate::Check);
    assert_eq!(state.next_job(now), Next::Do(Job::Check(vm)));
    state.unwell(vm, Arc::new(Error::Stopped), now);
    assert_eq!(state.next_end(now), Next::Do(vec![vm]));
}

#[test]
fn a_closed_pool_ends_what_nobody_uses_and_later_what_comes_back() {
    let now = Instant::now();
    let mut state = state(2, 4);
    make_all(&mut state, 0, now);
    let vm = state.take().unwrap();
    assert_eq!(state.next_job(now), Next::Do(Job::Make));
    state.close();
    assert_eq!(state.next_job(now), Next::Stop);
    assert_eq!(state.next_end(now), Next::Do(vec![0]));
    state.ended();
    // One is still in the making.
    assert_eq!(state.next_end(now), Next::Wait(None));
    state.done(&Job::Make, 9, now);
    assert_eq!(state.next_end(now), Next::Do(vec![9]));
    state.ended();
    assert_eq!(state.next_end(now), Next::Stop);
    state.give_back(vm, Fate::Check);
    assert_eq!(state.next_end(now), Next::Do(vec![vm]));
}

/// What can happen to a pool.
#[derive(Debug, Clone, Copy)]
enum Happens {
    Acquire,
    GiveUp(usize),
    Release(usize, Fate),
    Work,
    Finish(Outcome),
    Die(usize),
    End,
    TimePasses,
}

#[derive(Debug, Clone, Copy)]
enum Outcome {
    Well,
    Unwell,
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        3 => Just(Happens::Acquire),
        1 => any::<usize>().prop_map(Happens::GiveUp),
        3 => (any::<usize>(), prop_oneof![Just(Fate::End), Just(Fate::Check)])
            .prop_map(|(index, fate)| Happens::Release(index, fate)),
        4 => Just(Happens::Work),
        4 => prop_oneof![4 => Just(Outcome::Well), 1 => Just(Outcome::Unwell)].prop_map(Happens::Finish),
        1 => any::<usize>().prop_map(Happens::Die),
        3 => Just(Happens::End),
        1 => Just(Happens::TimePasses),
    ]
}

/// A pool and everybody around it.
struct World {
    state: State<u32>,
    now: Instant,
    born: u32,
    seats: VecDeque<Arc<Seat<u32>>>,
    used: Vec<u32>,
    jobs: Vec<Job<u32>>,
    ever_used: BTreeSet<u32>,
    gone: BTreeSet<u32>,
}

impl World {
    fn step(&mut self, event: Happens) {
        match event {
            Happens::Acquire => match self.state.take() {
                Some(vm) => self.used.push(vm),
                None => self.seats.push_back(self.state.wait(Turn::Last)),
            },
            Happens::GiveUp(index) if !self.seats.is_empty() => {
                let index = index % self.seats.len();
                if let Some(seat) = self.seats.remove(index) {
                    self.state.leave(&seat);
                }
            }
            Happens::Release(index, fate) if !self.used.is_empty() => {
                let vm = self.used.swap_remove(index % self.used.len());
                if fate == Fate::End {
                    self.ever_used.insert(vm);
                }
                self.state.give_back(vm, fate);
            }
            Happens::Work => {
                if let Next::Do(job) = self.state.next_job(self.now) {
                    self.jobs.push(job);
                }
            }
            Happens::Finish(outcome) => self.finish(outcome),
            Happens::Die(index) => {
                let ready: Vec<_> = self.state.ready.iter().map(|idle| idle.vm).collect();
                if let Some(vm) = ready.get(index % ready.len().max(1)) {
                    self.state.died(|other| other == vm, None, self.now);
                }
            }
            Happens::End => {
                if let Next::Do(vms) = self.state.next_end(self.now) {
                    for vm in vms {
                        assert!(self.gone.insert(vm), "{vm} ends twice");
                        self.state.ended();
                    }
                }
            }
            Happens::TimePasses => self.now += IDLE,
            Happens::GiveUp(_) | Happens::Release(..) => {}
        }
        self.collect();
    }

    fn finish(&mut self, outcome: Outcome) {
        match (self.jobs.pop(), outcome) {
            (Some(Job::Make), Outcome::Well) => {
                self.born += 1;
                self.state.done(&Job::Make, self.born, self.now);
            }
            (Some(Job::Make), Outcome::Unwell) => {
                self.state.failed(&Arc::new(Error::Stopped), self.now);
                for seat in self.seats.drain(..) {
                    assert!(
                        matches!(seat.take(), Some(Err(_))),
                        "one who waits is not told"
                    );
                }
            }
            (Some(Job::Check(vm)), Outcome::Well) => self.state.done(&Job::Check(()), vm, self.now),
            (Some(Job::Check(vm)), Outcome::Unwell) => {
                self.state.unwell(vm, Arc::new(Error::Stopped), self.now);
            }
            (None, _) => {}
        }
    }

    /// Whoever was given something goes; nobody behind somebody who still waits was.
    fn collect(&mut self) {
        while let Some(gift) = self.seats.front().and_then(|seat| seat.take()) {
            self.used.push(gift.unwrap());
            self.seats.pop_front();
        }
        assert!(
            self.seats.iter().all(|seat| seat.take().is_none()),
            "out of turn"
        );
    }

    fn check(&self, bounds: Bounds) {
        assert!(self.state.total() <= bounds.max && self.state.size <= bounds.max);
        assert_eq!(self.state.in_use, self.used.len());
        assert!(self.state.ready.is_empty() || self.state.waiting.is_empty());
        for vm in &self.used {
            assert!(
                !self.ever_used.contains(vm) && !self.gone.contains(vm),
                "{vm} is not clean"
            );
        }
        let own = self.state.ready.iter().map(|idle| idle.vm);
        let known = own.chain(self.used.iter().copied());
        let known = known.chain(self.state.doomed.iter().copied());
        let mut seen = BTreeSet::new();
        assert!(
            known.into_iter().all(|vm| seen.insert(vm)),
            "one VM is in two places"
        );
    }
}

proptest! {
    #[test]
    fn whatever_happens_a_pool_keeps_its_bounds_its_order_and_its_vms_clean(
        (min, max) in (1..6_usize).prop_flat_map(|max| (0..=max, Just(max))),
        events in prop::collection::vec(happens(), 0..200),
    ) {
        let state = state(min, max);
        let bounds = state.bounds;
        let mut world = World {
            state,
            now: Instant::now(),
            born: 0,
            seats: VecDeque::new(),
            used: Vec::new(),
            jobs: Vec::new(),
            ever_used: BTreeSet::new(),
            gone: BTreeSet::new(),
        };
        for event in events {
            world.step(event);
            world.check(bounds);
        }
    }
}
