//! Escapes text from outside (file names, keys and values, command line words) before it reaches a terminal or a log.
//!
//! A file name can contain any character. Printed unchanged, an escape sequence could clear the screen, a line end
//! could forge a message of reloadrun, and a bidirectional override could display another name. All output is escaped
//! here.

use std::borrow::Cow;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// The text with each character that has an effect instead of a glyph written as `\n` or `\u{202e}`. The result is a
/// single line.
pub fn escaped(text: &str) -> Cow<'_, str> {
    replaced(text, |character, line| line.extend(character.escape_default()))
}

/// The same for text of several lines: line ends are kept.
pub fn escaped_lines(text: &str) -> String {
    text.split('\n').map(escaped).collect::<Vec<_>>().join("\n")
}

/// The same for serialised JSON. There such characters occur only in strings, where `\u202e` means the same, so the
/// value does not change. A line end after the JSON is kept.
pub fn escaped_json(json: String) -> String {
    let body = json.strip_suffix('\n').unwrap_or(&json);
    let escaped = replaced(body, |character, line| {
        let mut units = [0; 2];
        character.encode_utf16(&mut units).iter().for_each(|unit| line.push_str(&format!("\\u{unit:04x}")));
    });
    match escaped {
        Cow::Borrowed(_) => json,
        Cow::Owned(line) if body.len() < json.len() => line + "\n",
        Cow::Owned(line) => line,
    }
}

fn replaced(text: &str, replace: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if acts(character) { replace(character, &mut line) } else { line.push(character) }
    }
    Cow::Owned(line)
}

/// Whether a character has an effect instead of a glyph: control characters (Cc, with ESC and line ends), format
/// characters (Cf: bidirectional, zero width, tags), line and paragraph separators (Zl, Zp).
fn acts(character: char) -> bool {
    // Most text is ASCII and needs no table.
    if character.is_ascii() {
        return character.is_ascii_control();
    }
    matches!(
        character.general_category(),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
    )
}

/// A command as one line, quoted where a shell would need it.
pub fn quoted(command: &[OsString]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-./:=@%+,".contains(byte);
    let words = command.iter().map(|word| {
        if !word.is_empty() && word.as_bytes().iter().all(plain) {
            word.to_string_lossy().into_owned()
        } else {
            format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"))
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
pub mod tests {
    use super::{escaped, escaped_json, escaped_lines};

    /// A file name with all kinds of characters that are escaped.
    pub const HOSTILE: &str = "a\x1b[2J\nreloadrun: forged\r\u{202e}b\u{2066}\u{2028}\u{2029}\u{200b}\u{9b}1m\u{7f}\u{feff}\u{e0041}\u{ad}\t.py";

    /// Asserts that the text has none of these characters, apart from line ends between reloadrun's own lines.
    pub fn assert_harmless(text: &str) {
        for character in
            HOSTILE.chars().filter(|character| !" -~".contains(*character) && !character.is_ascii_graphic())
        {
            assert!(character == '\n' || character == ' ' || !text.contains(character), "{character:?} in {text:?}");
        }
        assert!(!text.lines().any(|line| line.starts_with("reloadrun: forged")), "{text}");
    }

    #[test]
    fn characters_with_an_effect_are_escaped_and_all_others_stay() {
        for (text, shown) in [
            ("app.py", "app.py"),
            ("a b\\c'd\"", "a b\\c'd\""),
            (
                "caf\u{e9} e\u{301} \u{65e5}\u{672c} \u{3000}\u{a0}\u{1f600}",
                "caf\u{e9} e\u{301} \u{65e5}\u{672c} \u{3000}\u{a0}\u{1f600}",
            ),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\x1b[2J\x07\x7f\u{9b}", "\\u{1b}[2J\\u{7}\\u{7f}\\u{9b}"),
            ("\u{202e}\u{2066}\u{200b}\u{200d}\u{feff}", "\\u{202e}\\u{2066}\\u{200b}\\u{200d}\\u{feff}"),
            ("\u{2028}\u{2029}\u{ad}\u{61c}\u{e0041}", "\\u{2028}\\u{2029}\\u{ad}\\u{61c}\\u{e0041}"),
        ] {
            assert_eq!(escaped(text), shown);
            assert_eq!(escaped_json(format!("\"{text}\"")).matches("\\u{").count(), 0);
        }
        assert_harmless(&escaped(HOSTILE));
        assert_eq!(escaped_lines("one\n\x1btwo\n"), "one\n\\u{1b}two\n");
    }

    /// The format characters (Cf) of UnicodeData.txt, and the control characters and separators.
    #[test]
    fn every_control_and_format_character_is_escaped() {
        let cf = [
            0xad..=0xad,
            0x600..=0x605,
            0x61c..=0x61c,
            0x6dd..=0x6dd,
            0x70f..=0x70f,
            0x890..=0x891,
            0x8e2..=0x8e2,
            0x180e..=0x180e,
            0x200b..=0x200f,
            0x202a..=0x202e,
            0x2060..=0x2064,
            0x2066..=0x206f,
            0xfeff..=0xfeff,
            0xfff9..=0xfffb,
            0x110bd..=0x110bd,
            0x110cd..=0x110cd,
            0x13430..=0x1343f,
            0x1bca0..=0x1bca3,
            0x1d173..=0x1d17a,
            0xe0001..=0xe0001,
            0xe0020..=0xe007f,
        ];
        let all = cf.into_iter().flatten().chain(0..=0x1f).chain(0x7f..=0x9f).chain([0x2028, 0x2029]);
        for character in all.filter_map(char::from_u32) {
            assert_ne!(escaped(&character.to_string()), character.to_string(), "{character:?}");
        }
        let others = ('\u{20}'..='\u{7e}').chain('\u{a1}'..='\u{ac}').chain('\u{ae}'..='\u{5ff}');
        for character in others {
            assert_eq!(escaped(&character.to_string()), character.to_string());
        }
    }

    #[test]
    fn escaped_json_has_the_same_value() {
        let json = serde_json::json!({ "path": HOSTILE }).to_string() + "\n";
        let line = escaped_json(json);
        assert_harmless(&line);
        assert!(line.ends_with("\"}\n") && line.lines().count() == 1);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap()["path"], HOSTILE);
    }
}
