//! The keys of `--keys`: single keys at our own terminal, which the command does not read then.

use crate::os::tty::KeyReader;

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// `r`: to start the command anew.
    Restart,
    /// `p`: to collect changes, or to go on.
    Pause,
    /// `w`: why what runs runs, and what is watched.
    Why,
    /// `q`: to end; the second time with KILL.
    Quit,
    /// `?`: which keys there are.
    Help,
}

/// The keys in a few words, for whoever presses `?`.
pub const KEYS: &str =
    "keys: r restarts, p pauses and resumes, w shows why it runs and what is watched, q quits, ? shows this";

impl Key {
    /// The key on which this is printed. Others mean nothing.
    pub fn of(byte: u8) -> Option<Key> {
        match byte.to_ascii_lowercase() {
            b'r' => Some(Key::Restart),
            b'p' => Some(Key::Pause),
            b'w' => Some(Key::Why),
            b'q' => Some(Key::Quit),
            b'?' | b'h' => Some(Key::Help),
            _ => None,
        }
    }
}

/// The keyboard of our terminal.
#[derive(Debug)]
pub struct Keyboard {
    reader: KeyReader,
    /// The terminal had nothing though it said so: it may be gone. Looked at again at the next beat.
    is_deaf: bool,
}

impl Keyboard {
    /// `None` where standard input is no terminal that can be read.
    pub fn new() -> Option<Keyboard> {
        Some(Keyboard { reader: KeyReader::of_stdin()?, is_deaf: false })
    }

    /// What to wait for; nothing while another job has the terminal.
    pub fn wait(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        (!self.is_deaf && self.reader.is_ours()).then(|| self.reader.descriptor())
    }

    /// Time has passed.
    pub fn beat(&mut self) {
        self.is_deaf = false;
    }

    /// The keys that were pressed, without waiting.
    pub fn pressed(&mut self) -> Vec<Key> {
        if self.is_deaf || !self.reader.is_ours() || !self.reader.is_ready() {
            return Vec::new();
        }
        let bytes = self.reader.read();
        self.is_deaf = bytes.is_empty();
        keys(&bytes)
    }
}

/// The keys among these bytes. What begins with ESC is an arrow or a function key, whatever letters are in it.
fn keys(bytes: &[u8]) -> Vec<Key> {
    let plain = bytes.split(|byte| *byte == 0x1b).next().unwrap_or_default();
    plain.iter().filter_map(|byte| Key::of(*byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::{KEYS, Key, keys};

    #[test]
    fn letters_are_keys_in_both_cases_and_function_keys_are_none() {
        assert_eq!(keys(b"rxP\n"), [Key::Restart, Key::Pause]);
        assert_eq!(keys(b"\x1b[15~r"), []);
        assert_eq!(keys(b"w\x1bOQ"), [Key::Why]);
        for byte in 0..=255u8 {
            if let Some(key) = Key::of(byte)
                && key != Key::Help
            {
                let letter = char::from(byte.to_ascii_lowercase());
                assert!(KEYS.contains(&format!("{letter} ")), "{letter}");
            }
        }
    }
}
