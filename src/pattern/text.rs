//! The text of patterns: where one ends and the next begins, what a backslash keeps, and bytes that are not UTF-8.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Splits a text into its patterns, at semicolons and line ends, and takes the blanks around them away. `\;` is a
/// semicolon in a name. A piece between two semicolons with nothing in it comes back empty.
pub fn split(text: &OsStr) -> Vec<OsString> {
    let mut pieces: Vec<Vec<u8>> = vec![Vec::new()];
    let mut bytes = text.as_bytes().iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let last = pieces.last_mut().expect("never empty");
        match byte {
            b'\\' if bytes.peek() == Some(&b';') => {
                bytes.next();
                last.push(b';');
            }
            // A backslash keeps the blank behind it.
            b'\\' => last.extend([byte].into_iter().chain(bytes.next())),
            b';' => pieces.push(Vec::new()),
            other => last.push(other),
        }
    }
    let mut patterns = Vec::new();
    for piece in pieces {
        let lines: Vec<&[u8]> = piece.split(|byte| matches!(byte, b'\n' | b'\r')).map(trimmed).collect();
        let blank = lines.iter().all(|line| line.is_empty());
        match lines.len() {
            1 => patterns.push(lines[0].to_vec()),
            _ if blank => {}
            _ => patterns.extend(lines.into_iter().filter(|line| !line.is_empty()).map(<[u8]>::to_vec)),
        }
    }
    if patterns.is_empty() {
        patterns.push(Vec::new());
    }
    patterns.into_iter().map(OsString::from_vec).collect()
}

fn trimmed(line: &[u8]) -> &[u8] {
    let start = line.trim_ascii_start();
    let end = start.trim_ascii_end();
    // `\ ` at the end is a blank that belongs to the name.
    if end.len() < start.len() && end.ends_with(b"\\") { &start[..=end.len()] } else { end }
}

/// A name as the pattern that matches just this name. A byte that is not UTF-8, or that nobody can type, becomes `?`.
pub fn escaped(name: &str) -> String {
    let mut pattern = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '*' | '?' | '[' | ']' | '{' | '}' | '\\' | ';' => pattern.extend(['\\', character]),
            // A byte that is no UTF-8, or that nobody can type.
            char::REPLACEMENT_CHARACTER => pattern.push('?'),
            character if character.is_control() => pattern.push('?'),
            _ => pattern.push(character),
        }
    }
    pattern
}

/// The name that a pattern without wildcards means: a backslash stands for the character behind it.
pub fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        plain.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    plain
}

/// A byte that is not UTF-8 is kept in text as a character of a private-use plane, one for each.
const FIRST_STAND_IN: u32 = 0x0010_FE00;

/// Bytes as text, each byte that is not UTF-8 as its stand-in.
pub fn stand_in(text: &OsStr) -> String {
    let mut whole = String::with_capacity(text.len());
    for chunk in text.as_bytes().utf8_chunks() {
        whole.push_str(chunk.valid());
        whole.extend(chunk.invalid().iter().filter_map(|byte| char::from_u32(FIRST_STAND_IN + u32::from(*byte))));
    }
    whole
}

/// The byte that a character stands in for.
pub fn stands_for(character: char) -> Option<u8> {
    u32::from(character).checked_sub(FIRST_STAND_IN).and_then(|byte| u8::try_from(byte).ok())
}

/// The bytes that a text stands for.
pub fn real(text: &str) -> OsString {
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match stands_for(character) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    OsString::from_vec(bytes)
}

/// The text as it is shown to people.
pub fn shown(text: &str) -> String {
    real(text).to_string_lossy().into_owned()
}
