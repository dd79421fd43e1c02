//! A transport between two lives.

use super::state::{QueueWords, RestoreError, TransportState};
use super::{register, status};
use crate::GuestMemory;
use crate::virtio::board::Board;
use crate::virtio::probe::Probe;
use crate::virtio::rng::Rng;
use crate::virtio::testing::{Buffer, Driver};
use std::io::{Repeat, repeat};
use vm_memory::{Bytes, GuestAddress};

const EVENT_IDX: u64 = 1 << 29;
const QUEUE_SIZE: u16 = 8;

type Device = Rng<Repeat>;

fn rng(probe: &Probe) -> Device {
    Rng::new(repeat(7), Box::new(probe.clone()))
}

fn memory() -> GuestMemory {
    GuestMemory::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap()
}

/// A working device with its driver.
fn started(features: u64) -> (Board<Device>, Driver) {
    let memory = memory();
    let driver = Driver::new(&memory, 0x1000, QUEUE_SIZE);
    let mut board = Board::new(&memory, rng);
    board.start(features, &[&driver]);
    (board, driver)
}

fn state() -> TransportState<()> {
    started(EVENT_IDX).0.saved()
}

fn refusal(state: &TransportState<()>) -> RestoreError {
    let board = Board::new(&memory(), rng);
    let restored = board.restored_from(state, rng);
    restored.err().expect("it was accepted")
}

#[test]
fn every_register_reads_the_same_at_every_step_of_a_negotiation() {
    let memory = memory();
    let driver = Driver::new(&memory, 0x1000, QUEUE_SIZE);
    let mut board = Board::new(&memory, rng);
    let steps: [fn(&mut Board<Device>, &Driver); 8] = [
        |_, _| (),
        |board, _| board.write(register::DEVICE_FEATURES_SEL, 1),
        |board, _| board.write(register::QUEUE_SEL, 9),
        |board, _| board.accept(EVENT_IDX),
        |board, driver| board.set_up(0, driver),
        |board, _| board.write(register::STATUS, 15),
        |board, _| board.write(register::QUEUE_SEL, 3),
        |board, _| board.write(register::STATUS, 0),
    ];
    for (step, act) in steps.into_iter().enumerate() {
        act(&mut board, &driver);
        let restored = board.restored(rng).unwrap();
        assert!(restored.registers() == board.registers(), "step {step}");
        assert_eq!(restored.saved(), board.saved(), "step {step}");
        // And each goes on from there as well as the first would have.
        board = restored;
    }
}

#[test]
fn a_negotiation_goes_on_where_it_stopped() {
    let memory = memory();
    let mut driver = Driver::new(&memory, 0x1000, QUEUE_SIZE);
    let mut board = Board::new(&memory, rng);
    board.accept(EVENT_IDX);
    board.set_up(0, &driver);
    let mut board = board.restored(rng).unwrap();
    board.resume();
    assert_eq!(board.probe.interrupts(), 0);
    board.write(register::STATUS, 15);
    assert_eq!(board.read(register::STATUS as usize), 15);
    let head = driver.add(&[Buffer::Writable(0x8_0000, 16)]).unwrap();
    board.write(register::QUEUE_NOTIFY, 0);
    assert_eq!(driver.used(), [(head, 16)]);
}

#[test]
fn saving_changes_nothing() {
    let (mut board, mut driver) = started(EVENT_IDX);
    for round in 0..20 {
        let head = driver.add(&[Buffer::Writable(0x8_0000, 16)]).unwrap();
        assert_eq!(board.saved(), board.saved());
        assert!(driver.wants_kick(), "round {round}");
        board.write(register::QUEUE_NOTIFY, 0);
        board.saved();
        assert_eq!(board.probe.interrupts(), 1);
        assert_eq!(driver.used(), [(head, 16)]);
    }
}

#[test]
fn a_device_may_be_reset_and_started_again_in_its_new_life() {
    let (board, _) = started(EVENT_IDX);
    let mut board = board.restored(rng).unwrap();
    board.resume();
    board.write(register::STATUS, 0);
    let mut driver = Driver::new(&board.memory, 0x1_0000, QUEUE_SIZE);
    board.start(0, &[&driver]);
    let head = driver.add(&[Buffer::Writable(0x8_0000, 16)]).unwrap();
    board.write(register::QUEUE_NOTIFY, 0);
    assert_eq!(driver.used(), [(head, 16)]);
}

#[test]
fn an_interrupt_that_was_lost_is_raised_again_and_one_that_was_seen_is_not() {
    let (mut board, mut driver) = started(EVENT_IDX);
    let head = driver.add(&[Buffer::Writable(0x8_0000, 16)]).unwrap();
    board.write(register::QUEUE_NOTIFY, 0);
    let mut restored = board.restored(rng).unwrap();
    restored.transport.announce();
    assert_eq!(restored.probe.interrupts(), 1);
    assert_eq!(driver.used(), [(head, 16)]);
    let mut restored = restored.restored(rng).unwrap();
    restored.transport.announce();
    assert_eq!(restored.probe.interrupts(), 0);
}

#[test]
fn the_word_a_driver_waits_by_may_wrap_and_may_be_old() {
    let (board, driver) = started(EVENT_IDX);
    let used_event = GuestAddress(0x1000 + 0x1000 + 4 + 2 * u64::from(QUEUE_SIZE));
    drop(driver);
    let cases = [
        // (chains answered, the word, whether the driver may be waiting)
        (0, 0, false),
        (1, 0, true),
        (2, 0xffff, true),
        (0xffff, 0xffff, false),
        (0, 0xfff8, true),
        // More than the queue holds: nobody waits by that.
        (0, 0xfff7, false),
        (100, 0, false),
        // The driver wants to hear only of later ones.
        (5, 6, false),
    ];
    for (next_used, awaited, waiting) in cases {
        let mut state = board.saved();
        state.queues[0].next_used = next_used;
        board.memory.write_obj::<u16>(awaited, used_event).unwrap();
        let mut restored = board.restored_from(&state, rng).unwrap();
        restored.transport.announce();
        assert_eq!(
            restored.probe.interrupts(),
            u32::from(waiting),
            "{next_used} answered, waits by {awaited}"
        );
    }
}

#[test]
fn a_driver_that_does_not_say_what_it_waits_for_is_always_interrupted() {
    let (board, _) = started(0);
    let mut restored = board.restored(rng).unwrap();
    restored.transport.announce();
    assert_eq!(restored.probe.interrupts(), 1);
}

#[test]
fn a_change_of_configuration_that_was_not_acknowledged_is_announced_again() {
    let (board, _) = started(EVENT_IDX);
    let mut state = board.saved();
    state.interrupt_status = 3;
    let mut restored = board.restored_from(&state, rng).unwrap();
    assert_eq!(restored.read(register::INTERRUPT_STATUS), 3);
    restored.transport.announce();
    assert_eq!(restored.probe.changes(), 1);
}

#[test]
fn another_kind_of_device_is_refused() {
    let error = refusal(&TransportState {
        device_type: 2,
        ..state()
    });
    assert!(matches!(
        error,
        RestoreError::DeviceType {
            found: 2,
            expected: 4
        }
    ));
}

#[test]
fn features_that_are_not_offered_are_refused() {
    for driver_features in [1 << 32 | 1 << 5, EVENT_IDX, u64::MAX, 0] {
        let error = refusal(&TransportState {
            driver_features,
            ..state()
        });
        let RestoreError::Features { found, offered } = error else {
            panic!("{driver_features:#x}: {error}");
        };
        assert_eq!((found, offered), (driver_features, 1 << 32 | EVENT_IDX));
    }
}

#[test]
fn an_active_device_without_the_status_of_one_is_refused() {
    for status in [0, 3, 11, 7, !(status::DRIVER_OK)] {
        let error = refusal(&TransportState { status, ..state() });
        assert!(
            matches!(error, RestoreError::Status { found } if found == status),
            "{error}"
        );
    }
}

#[test]
fn an_interrupt_status_that_is_never_shown_is_refused() {
    for interrupt_status in [0, 2, 5, u32::MAX] {
        let error = refusal(&TransportState {
            interrupt_status,
            ..state()
        });
        assert!(
            matches!(error, RestoreError::InterruptStatus { found } if found == interrupt_status),
            "{error}"
        );
    }
}

#[test]
fn a_configuration_space_of_another_length_is_refused() {
    let error = refusal(&TransportState {
        config: vec![0; 5000],
        ..state()
    });
    assert!(matches!(
        error,
        RestoreError::Config {
            found: 5000,
            expected: 0
        }
    ));
}

#[test]
fn another_number_of_queues_is_refused() {
    let one = state().queues[0];
    for queues in [vec![], vec![one; 2]] {
        let count = queues.len();
        let error = refusal(&TransportState { queues, ..state() });
        assert!(
            matches!(error, RestoreError::Queues { found, expected: 1 } if found == count),
            "{error}"
        );
    }
}

#[test]
fn queues_that_no_driver_could_have_set_up_are_refused() {
    let good = state().queues[0];
    let impossible = [
        QueueWords { size: 0, ..good },
        QueueWords { size: 7, ..good },
        QueueWords { size: 16, ..good },
        QueueWords {
            descriptors: 0x1008,
            ..good
        },
        QueueWords {
            available: 0x2001,
            ..good
        },
        QueueWords {
            used: 0x3002,
            ..good
        },
    ];
    let misplaced = [
        QueueWords {
            ready: false,
            ..good
        },
        QueueWords {
            descriptors: 1 << 20,
            ..good
        },
        QueueWords {
            available: (1 << 20) - 2,
            ..good
        },
        QueueWords {
            used: u64::MAX - 3,
            ..good
        },
    ];
    let refusal_of = |words| {
        refusal(&TransportState {
            queues: vec![words],
            ..state()
        })
    };
    for words in impossible {
        let error = refusal_of(words);
        assert!(
            matches!(error, RestoreError::Queue { queue: 0, .. }),
            "{words:?}: {error}"
        );
    }
    for words in misplaced {
        let error = refusal_of(words);
        assert!(
            matches!(error, RestoreError::QueuePlace { queue: 0 }),
            "{words:?}: {error}"
        );
    }
    let error = refusal_of(QueueWords {
        max_size: 16,
        ..good
    });
    assert!(matches!(
        error,
        RestoreError::QueueMax {
            queue: 0,
            found: 16,
            expected: QUEUE_SIZE
        }
    ));
}

#[test]
fn positions_that_make_no_sense_harm_only_their_driver() {
    let (board, _) = started(EVENT_IDX);
    for position in [1, 9, 0x8000, 0xffff] {
        let mut state = board.saved();
        state.queues[0].next_available = position;
        state.queues[0].next_used = position;
        let mut restored = board.restored_from(&state, rng).unwrap();
        restored.resume();
        assert_eq!(restored.probe.rings(), 0, "it would be looked at for ever");
    }
}
