//! The filter as the kernel runs it: a program of classic BPF that looks at the number and at plain arguments of each
//! system call, and either lets it through or sends a notification. It cannot read the memory of the process.

use std::mem::offset_of;

use nix::libc::{self, sock_filter};

use super::calls::{Arch, Shape, X32_BIT, of};

/// A filter that notifies of the calls in the table and lets all others through.
///
/// The kernel finds out which calls it lets through whatever their arguments are (5.11), so those cost nothing.
pub(super) fn program() -> Vec<sock_filter> {
    let mut program = vec![load(offset_of!(libc::seccomp_data, arch))];
    for &arch in Arch::HERE {
        let calls = calls_of(arch);
        // Beyond these when it is another architecture. A conditional jump reaches 255 instructions, this one more.
        program.push(jump_if(libc::BPF_JEQ, arch.audit(), 1, 0));
        program.push(jump(calls.len()));
        program.extend(calls);
    }
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    program
}

fn calls_of(arch: Arch) -> Vec<sock_filter> {
    let mut program = vec![load(offset_of!(libc::seccomp_data, nr))];
    if arch == Arch::X86_64 {
        program.push(instruction(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, !X32_BIT));
    }
    for (number, call) in of(arch) {
        match call.shape {
            // fstat of glibc and of Rust is a stat with an empty path, once for each file that is opened.
            Shape::One { flags: Some(flags), .. } => program.extend([
                jump_if(libc::BPF_JEQ, number, 0, 4),
                load(argument(flags)),
                jump_if(libc::BPF_JSET, libc::AT_EMPTY_PATH.cast_unsigned(), 0, 1),
                answer(libc::SECCOMP_RET_ALLOW),
                answer(libc::SECCOMP_RET_USER_NOTIF),
            ]),
            _ => program.extend([jump_if(libc::BPF_JEQ, number, 0, 1), answer(libc::SECCOMP_RET_USER_NOTIF)]),
        }
    }
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    program
}

/// Where the lower half of an argument is, on a little-endian machine.
fn argument(index: u8) -> usize {
    offset_of!(libc::seccomp_data, args) + 8 * usize::from(index)
}

fn load(offset: usize) -> sock_filter {
    let offset = u32::try_from(offset).expect("the structure has 64 bytes");
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset)
}

fn jump_if(comparison: u32, value: u32, if_so: u8, if_not: u8) -> sock_filter {
    instruction(libc::BPF_JMP | comparison | libc::BPF_K, if_so, if_not, value)
}

fn jump(over: usize) -> sock_filter {
    let over = u32::try_from(over).expect("a program has at most 4096 instructions");
    instruction(libc::BPF_JMP | libc::BPF_JA, 0, 0, over)
}

fn answer(action: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, 0, 0, action)
}

fn instruction(code: u32, if_so: u8, if_not: u8, k: u32) -> sock_filter {
    sock_filter { code: u16::try_from(code).expect("codes have 16 bits"), jt: if_so, jf: if_not, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the program answers to a call: a small machine for the instructions that it uses.
    fn answer_to(audit: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let program = program();
        let word = |offset: u32| match offset {
            0 => number,
            4 => audit,
            _ => {
                let (index, half) = ((offset - 16) / 8, (offset - 16) % 8);
                assert_eq!(half, 0);
                u32::try_from(arguments[index as usize] & 0xffff_ffff).unwrap()
            }
        };
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let jump = |holds: bool| usize::from(if holds { jt } else { jf });
            match code {
                0x20 => accumulator = word(k),
                0x54 => accumulator &= k,
                0x15 => at += jump(accumulator == k),
                0x45 => at += jump(accumulator & k != 0),
                0x05 => at += k as usize,
                0x06 => return k,
                other => panic!("{other:#x} is not used"),
            }
        }
    }

    #[test]
    fn what_is_in_the_table_is_notified_and_the_rest_is_let_through() {
        for &arch in Arch::HERE {
            let listed: Vec<u32> = of(arch).map(|(number, _)| number).collect();
            for number in 0..600 {
                let expected =
                    if listed.contains(&number) { libc::SECCOMP_RET_USER_NOTIF } else { libc::SECCOMP_RET_ALLOW };
                assert_eq!(answer_to(arch.audit(), number, [0; 6]), expected, "{number} on {arch:?}");
            }
        }
        // An architecture that this machine cannot run.
        assert_eq!(answer_to(0x8000_0016, 5, [0; 6]), libc::SECCOMP_RET_ALLOW);
    }

    #[test]
    fn a_stat_of_an_open_descriptor_is_let_through() {
        for &arch in Arch::HERE {
            for (number, call) in of(arch) {
                let Shape::One { flags: Some(flags), .. } = call.shape else { continue };
                let mut arguments = [0; 6];
                arguments[usize::from(flags)] = 0x1000;
                assert_eq!(answer_to(arch.audit(), number, arguments), libc::SECCOMP_RET_ALLOW);
                arguments[usize::from(flags)] = 0x100;
                assert_eq!(answer_to(arch.audit(), number, arguments), libc::SECCOMP_RET_USER_NOTIF);
            }
        }
    }

    #[test]
    fn an_x32_program_is_seen() {
        if Arch::HERE.contains(&Arch::X86_64) {
            let audit = Arch::X86_64.audit();
            assert_eq!(answer_to(audit, X32_BIT | 257, [0; 6]), libc::SECCOMP_RET_USER_NOTIF);
            assert_eq!(answer_to(audit, X32_BIT, [0; 6]), libc::SECCOMP_RET_ALLOW);
        }
    }

    #[test]
    fn the_kernel_takes_programs_of_this_size() {
        assert!(program().len() < libc::BPF_MAXINSNS as usize);
    }
}
