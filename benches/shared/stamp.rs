//! `stamp FIFO FILE [stays]`: says when its first instruction ran and how long FILE was then, and waits for a signal.
//! It is killed when its parent ends, unless it stays.
//!
//! The benchmark compiles this file by itself and links it statically, without the Rust runtime: what is measured is
//! the way to the program, and a dynamic loader would take longer than that.
#![no_main]

use std::ffi::{c_char, c_int, c_long, c_ulong, c_void};

#[repr(C)]
struct Timespec {
    seconds: c_long,
    nanoseconds: c_long,
}

unsafe extern "C" {
    fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int;
    fn open(path: *const c_char, flags: c_int, ...) -> c_int;
    fn lseek(descriptor: c_int, offset: c_long, whence: c_int) -> c_long;
    fn write(descriptor: c_int, bytes: *const c_void, count: usize) -> isize;
    fn prctl(option: c_int, ...) -> c_int;
    fn pause() -> c_int;
}

const CLOCK_MONOTONIC: c_int = 1;
const O_WRONLY: c_int = 1;
const SEEK_END: c_int = 2;
const PR_SET_PDEATHSIG: c_int = 1;
const SIGKILL: c_ulong = 9;

#[unsafe(no_mangle)]
extern "C" fn main(count: c_int, words: *const *const c_char) -> c_int {
    let mut now = Timespec { seconds: 0, nanoseconds: 0 };
    // SAFETY: libc's functions, with the types of 64-bit Linux; `words` has `count` strings.
    unsafe {
        // First of all; the arguments can wait.
        clock_gettime(CLOCK_MONOTONIC, &mut now);
        if count < 3 {
            return 2;
        }
        let watched = open(*words.add(2), 0);
        let length = if watched < 0 { -1 } else { lseek(watched, 0, SEEK_END) };
        let (mut line, mut used) = ([0; 64], 0);
        append(&mut line, &mut used, now.seconds * 1_000_000_000 + now.nanoseconds, b' ');
        append(&mut line, &mut used, length.max(0), b'\n');
        // In one piece, so that nobody reads half of it.
        let stamps = open(*words.add(1), O_WRONLY);
        if write(stamps, line.as_ptr().cast(), used) < 0 {
            return 1;
        }
        // A bare program has no way to end its command when it is killed itself.
        if count == 3 {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
        }
        loop {
            pause();
        }
    }
}

fn append(line: &mut [u8; 64], used: &mut usize, mut number: c_long, end: u8) {
    let mut digits = [0; 20];
    let mut count = 0;
    while count == 0 || number > 0 {
        digits[count] = b'0' + (number % 10) as u8;
        number /= 10;
        count += 1;
    }
    for digit in digits[..count].iter().rev().chain([&end]) {
        line[*used] = *digit;
        *used += 1;
    }
}
