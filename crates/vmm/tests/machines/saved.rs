//! Saving, continuing and copying guests of a few bytes on real KVM.

use crate::common::{CONSOLE, RESET, Saved, Vmm, file, kernel, print, text_of};
use proto::control::{Command, Contents, End, Event, Restore, Step, VERSION};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

/// Prints the alphabet for ever, a letter a line. The letter lives in BL.
fn alphabet() -> std::fs::File {
    let mut code = CONSOLE.to_vec();
    code.extend([0xb3, b'a']); // mov bl, 'a'
    code.extend([0x88, 0xd8, 0xee]); // 1: mov al, bl; out dx, al
    code.extend([0xb0, b'\n', 0xee]); // mov al, '\n'; out dx, al
    code.extend([0xfe, 0xc3]); // inc bl
    code.extend([0x80, 0xfb, b'z' + 1, 0x75, 0xf3]); // cmp bl, 'z' + 1; jne 1b
    code.extend([0xb3, b'a', 0xeb, 0xef]); // mov bl, 'a'; jmp 1b
    kernel(&code)
}

fn running(vmm: &Vmm) {
    let event = vmm.event();
    assert!(matches!(event, Some(Event::Running { .. })), "{event:?}");
}

fn refused(vmm: &Vmm) -> String {
    match vmm.event() {
        Some(Event::Ended(End::Failed { step, message })) => {
            assert_eq!(step, Step::Restore, "{message}");
            message
        }
        event => panic!("{event:?}"),
    }
}

/// Letters in the order of the alphabet, whatever came between them.
fn assert_continuous(text: &str) {
    let letters: Vec<_> = text.bytes().filter(u8::is_ascii_lowercase).collect();
    assert!(letters.len() > 2, "{text:?}");
    for pair in letters.windows(2) {
        let next = if pair[0] == b'z' { b'a' } else { pair[0] + 1 };
        assert_eq!(pair[1], next, "{text:?}");
    }
}

#[test]
fn a_saved_guest_goes_on_in_a_new_process_where_it_stopped() {
    let original = Vmm::spawn();
    original.boot(&alphabet(), |_| {});
    running(&original);
    original.wait_for_output(10);
    original.pause();
    let saved = original.save(&[]);
    let before = original.console.try_clone().unwrap();
    // Closing passes a line without end on to the log.
    assert!(original.close().success());

    let copy = Vmm::restored(&saved);
    running(&copy);
    copy.wait_for_output(60);
    copy.pause();
    assert_continuous(&(text_of(&before) + &copy.console_text()));
}

#[test]
fn the_original_goes_on_too() {
    let original = Vmm::spawn();
    original.boot(&alphabet(), |_| {});
    running(&original);
    for _ in 0..20 {
        original.pause();
        original.save(&[]);
        original.resume();
        original.wait_for_output(4);
    }
    original.pause();
    assert_continuous(&original.console_text());
}

/// Writes a page a letter: the letter at 0x200000 + 4096 * letter, then prints the one that `read` says.
fn writes_and_reads(write: u8, read: u8) -> Vec<u8> {
    let page = |letter: u8| (0x20_0000_u32 + 0x1000 * u32::from(letter)).to_le_bytes();
    let mut code = vec![0xc6, 0x05]; // mov byte [page], write
    code.extend(page(write));
    code.push(write);
    code.push(0xa0); // mov al, [page]
    code.extend(page(read));
    code.push(0xee); // out dx, al
    code
}

/// Waits for the byte at 0x300000 to become `number`, which the test writes into the saved memory. Ends the line when
/// it has begun to wait.
fn wait_for(number: u8) -> Vec<u8> {
    let mut code = vec![0xc6, 0x05, 0, 0, 0x30, 0, 128 + number]; // mov byte [0x300000], 128 + number
    code.extend(print(b'\n'));
    code.extend([0x80, 0x3d, 0, 0, 0x30, 0, number, 0x75, 0xf7]); // 1: cmp byte [0x300000], number; jne 1b
    code
}

/// Saves a guest that waits, and tells it in the saved memory to go on.
fn save_waiting(vmm: &Vmm, below: &[std::fs::File]) -> Saved {
    vmm.wait_for_text("\n");
    vmm.pause();
    let saved = vmm.save(below);
    let number = saved.layers.len() as u8;
    let memory = saved.layers.last().unwrap();
    memory.write_all_at(&[number], 0x30_0000).unwrap();
    saved
}

#[test]
fn changes_are_laid_over_what_they_changed() {
    let page_a = (0x20_0000_u32 + 0x1000 * u32::from(b'a')).to_le_bytes();
    let mut code = CONSOLE.to_vec();
    code.extend(writes_and_reads(b'a', b'a'));
    code.extend(wait_for(1));
    code.extend(writes_and_reads(b'b', b'a'));
    // The page becomes zero again: mov dword [page], 0.
    code.extend([&[0xc7, 0x05][..], &page_a, &[0; 4]].concat());
    code.extend(wait_for(2));
    code.extend(writes_and_reads(b'c', b'b'));
    code.extend(wait_for(3));
    code.extend(writes_and_reads(b'd', b'c'));
    // mov al, [page]; add al, '0'; out dx, al
    code.extend([&[0xa0][..], &page_a, &[0x04, b'0', 0xee]].concat());
    code.extend(RESET);

    let first = Vmm::spawn();
    first.boot(&kernel(&code), |_| {});
    running(&first);
    let mut saved = save_waiting(&first, &[]);
    let everything = saved.pages;
    for line in ["a\n", "b\n"] {
        let next = Vmm::restored(&saved);
        running(&next);
        saved = save_waiting(&next, &saved.layers);
        assert!(saved.pages < everything, "{} {everything}", saved.pages);
        assert_eq!(next.console_text(), line);
    }
    assert_eq!(saved.layers.len(), 3);
    let last = Vmm::restored(&saved);
    running(&last);
    assert_eq!(last.event(), Some(Event::Ended(End::GuestReset)));
    assert_eq!(last.console_text(), "c0");
}

/// Counts up in a page of its own and prints a line each time it comes around 256 times. Next to the count is a byte
/// that never changes: a page of zeros, as it is each time the count comes around, is not kept with a VM.
fn counter() -> std::fs::File {
    let mut code = CONSOLE.to_vec();
    code.extend([0xc6, 0x05, 1, 0, 0x20, 0, 1]); // mov byte [0x200001], 1
    code.extend([0xfe, 0x05, 0, 0, 0x20, 0, 0x75, 0xf8]); // 1: inc byte [0x200000]; jnz 1b
    code.extend(print(b'\n'));
    code.extend([0xeb, 0xf3]); // jmp 1b
    kernel(&code)
}

#[test]
fn pages_that_were_made_ready_hold_what_was_saved() {
    let original = Vmm::spawn();
    original.boot(&counter(), |_| {});
    running(&original);
    original.wait_for_text("\n");
    original.pause();
    let saved = original.save(&[]);

    let first = Vmm::restored(&saved);
    running(&first);
    // The first line may be one that was about to be printed when it was saved; all of the counting that leads to the
    // second is this machine's own.
    first.wait_for_output(2);
    let (list, pages) = first.list_writes();
    assert!((1..saved.pages).contains(&pages), "{pages}");

    let second = Vmm::spawn();
    second.restore_with(&saved, Some(&list));
    running(&second);
    second.pause();
    let own = second.save(&saved.layers);
    // Only what the guest changed counts as changed, not what was made ready for it.
    assert!(own.pages <= pages, "{} {pages}", own.pages);
    second.resume();
    second.wait_for_text("\n");
}

#[test]
fn a_list_that_cannot_be_used_is_ignored() {
    let saved = saved_alphabet();
    for list in [file(b""), file(&[0xff; 4096])] {
        let vmm = Vmm::spawn();
        vmm.restore_with(&saved, Some(&list));
        running(&vmm);
        vmm.wait_for_output(10);
    }
}

#[test]
fn a_copy_goes_on_beside_the_original() {
    let original = Vmm::spawn();
    original.boot(&alphabet(), |_| {});
    running(&original);
    original.wait_for_output(10);
    original.pause();
    let copies: Vec<_> = (0..3).map(|_| original.fork()).collect();
    original.resume();
    for copy in &copies {
        copy.go_on();
        copy.wait_for_output(60);
        copy.pause();
        assert_continuous(&copy.console_text());
    }
    original.wait_for_output(10);
    original.pause();
    assert_continuous(&original.console_text());
    // A copy of a copy.
    let grandchild = copies[0].fork();
    assert!(original.close().success());
    grandchild.go_on();
    grandchild.wait_for_output(60);
    grandchild.pause();
    assert_continuous(&grandchild.console_text());
}

#[test]
fn a_copy_shares_nothing_that_either_writes() {
    // 1: inc dword [0x200000]; mov eax, [0x200000]; shr eax, 16; jz 1b; out dx, al; reset
    let mut code = CONSOLE.to_vec();
    code.extend([0xff, 0x05, 0, 0, 0x20, 0]);
    code.extend([0xa1, 0, 0, 0x20, 0, 0xc1, 0xe8, 16, 0x74, 0xf0]);
    code.extend(print(b'!'));
    code.extend(RESET);
    let counted = |saved: &Saved| {
        let mut count = [0; 4];
        saved.layers[0]
            .read_exact_at(&mut count, 0x20_0000)
            .unwrap();
        u32::from_le_bytes(count)
    };
    let original = Vmm::spawn();
    original.boot(&kernel(&code), |_| {});
    running(&original);
    original.pause();
    let before = counted(&original.save(&[]));
    let copy = original.fork();
    copy.go_on();
    assert_eq!(copy.event(), Some(Event::Ended(End::GuestReset)));
    assert_eq!(copy.console_text(), "!");
    assert_eq!(counted(&original.save(&[])), before);
    original.resume();
    assert_eq!(original.event(), Some(Event::Ended(End::GuestReset)));
}

#[test]
fn a_copy_holds_nothing_of_the_original_open() {
    let original = Vmm::spawn();
    original.boot(&alphabet(), |_| {});
    running(&original);
    original.pause();
    let copy = original.fork();
    let open = std::fs::read_dir(format!("/proc/{}/fd", copy.pid)).unwrap();
    let mut names: Vec<_> = open
        .map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap())
        .map(|link| link.to_string_lossy().into_owned())
        .filter(|link| !link.starts_with("/dev/") && !link.starts_with("pipe:"))
        .collect();
    names.retain(|name| !name.starts_with('/'));
    assert!(
        names.iter().all(|name| name.starts_with("socket:")),
        "{names:?}"
    );
    assert_eq!(names.len(), 2, "its control socket, twice: {names:?}");
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", copy.pid)).unwrap();
    assert!(!maps.contains("kvm"), "{maps}");
}

fn saved_alphabet() -> Saved {
    let original = Vmm::spawn();
    original.boot(&alphabet(), |_| {});
    running(&original);
    original.pause();
    original.save(&[])
}

#[test]
fn a_flipped_bit_anywhere_in_the_state_is_refused() {
    let saved = saved_alphabet();
    let size = saved.state.metadata().unwrap().len();
    for offset in [0, 9, 40, size / 3, size / 2, size - 1] {
        let mut byte = [0];
        saved.state.read_exact_at(&mut byte, offset).unwrap();
        saved.state.write_all_at(&[byte[0] ^ 1], offset).unwrap();
        let vmm = Vmm::restored(&saved);
        assert!(!refused(&vmm).is_empty());
        saved.state.write_all_at(&byte, offset).unwrap();
    }
    running(&Vmm::restored(&saved));
}

#[test]
fn files_that_were_cut_short_are_refused() {
    let saved = saved_alphabet();
    let size = saved.state.metadata().unwrap().len();
    saved.state.set_len(size - 1).unwrap();
    refused(&Vmm::restored(&saved));
    let saved = saved_alphabet();
    let memory = &saved.layers[0];
    memory
        .set_len(memory.metadata().unwrap().len() - 1)
        .unwrap();
    let message = refused(&Vmm::restored(&saved));
    assert!(message.contains("memory file"), "{message}");
}

#[test]
fn another_version_of_the_conversation_is_refused() {
    let saved = saved_alphabet();
    let vmm = Vmm::spawn();
    let restore = Restore {
        version: VERSION + 1,
        layers: 1,
        working_set: false,
    };
    vmm.send(
        &Command::Restore(restore),
        &[
            vmm.console.as_fd(),
            saved.state.as_fd(),
            saved.layers[0].as_fd(),
        ],
    );
    let Some(Event::Ended(End::Failed { step, .. })) = vmm.event() else {
        panic!("accepted");
    };
    assert_eq!(step, Step::Protocol);
}

#[test]
fn a_save_that_fails_leaves_the_guest_as_it_was() {
    let vmm = Vmm::spawn();
    vmm.boot(&alphabet(), |_| {});
    running(&vmm);
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let failed = |vmm: &Vmm| match vmm.event() {
        Some(Event::SaveFailed { message }) => message,
        event => panic!("{event:?}"),
    };
    // Not paused.
    vmm.ask_save(Contents::Everything, &file(b""), &file(b""));
    assert!(failed(&vmm).contains("not paused"));
    vmm.pause();
    for (state, memory) in [(&full, &file(b"")), (&file(b""), &full)] {
        vmm.ask_save(Contents::Everything, state, memory);
        let message = failed(&vmm);
        assert!(message.contains("No space left"), "{message}");
    }
    vmm.resume();
    vmm.wait_for_output(60);
    vmm.pause();
    assert_continuous(&vmm.console_text());
}
