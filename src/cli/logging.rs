//! `-v`: every decision, through tracing, in the same voice as everything else.

use std::io::{self, Write};
use std::os::fd::AsFd;

use crate::config::Verbosity;
use crate::escape::escaped;
use crate::os::fd::write_if_ready;

/// Turns the decisions on, for this process and the children it forks.
pub fn begin(verbosity: Verbosity) {
    if verbosity < Verbosity::Verbose {
        return;
    }
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .with_writer(|| Voice)
        .finish();
    // Set already when the configuration is read anew: then it stays.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Standard error with our name in front. A line that nobody takes just now is dropped: a decision that is told
/// must not change when it is made.
struct Voice;

impl Write for Voice {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = format!("reloadrun: {}\n", escaped(String::from_utf8_lossy(line).trim()));
        write_if_ready(io::stderr().as_fd(), text.as_bytes());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
