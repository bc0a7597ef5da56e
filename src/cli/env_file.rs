//! Reads the files of `--env-file`: variables for the command, in the form that dotenv tools share.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use dotenvy::Error;

use super::trust;

/// The variables of these files. Of two with the same name, the later one counts.
///
/// # Errors
/// A file cannot be read, or a line is no assignment: a message with the line. It never quotes the line, which may hold
/// a secret.
pub fn read_all(paths: &[PathBuf], current: &Path) -> Result<Vec<(OsString, OsString)>, String> {
    let mut values = BTreeMap::new();
    for path in paths {
        values.extend(read(path, current)?);
    }
    Ok(values.into_iter().collect())
}

fn read(path: &Path, current: &Path) -> Result<Vec<(OsString, OsString)>, String> {
    let shown = match trust::shown(path, current) {
        shown if shown.is_empty() => ".".to_owned(),
        shown => shown,
    };
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(format!("{shown}: not a file")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(format!("{shown}: no such file")),
        Err(error) => return Err(format!("{shown}: {}", crate::os::reason(error))),
    }
    let text = trust::named(path, current)?.text;
    variables(&text, &shown)
}

fn variables(text: &str, shown: &str) -> Result<Vec<(OsString, OsString)>, String> {
    // The library ends a line at LF alone, and takes the mark that some editors begin a file with for a name.
    let text = plainer(&(text.trim_start_matches('\u{feff}').replace("\r\n", "\n") + "\n"));
    let mut variables = Vec::new();
    for item in dotenvy::from_read_iter(text.as_bytes()) {
        let (name, value) = item.map_err(|error| mistake(&error, &text, shown))?;
        if value.contains('\0') {
            return Err(format!("{shown}: the value of {name} has a NUL byte, which no variable can hold"));
        }
        variables.push((name.into(), value.into()));
    }
    Ok(variables)
}

/// The text without comments, with each `$NAME` as `${NAME}`, and each other `$` as `\$`. The library ends a name without
/// braces at an underscore, takes the quote behind such a name for a part of the value, and leaves out a `$` without a
/// name. It sees quotes in a comment behind two blanks, and an escape in single quotes where it looks for the line's end.
fn plainer(text: &str) -> String {
    #[derive(Clone, Copy, PartialEq)]
    enum In {
        Value,
        Weak,
        Strong,
        Comment,
    }
    let mut out = String::with_capacity(text.len());
    let mut state = In::Value;
    // Only behind a blank or at the start of a line does `#` begin a comment.
    let mut after_blank = true;
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        let was_after_blank = std::mem::replace(&mut after_blank, character.is_whitespace());
        match (state, character) {
            (In::Value | In::Weak, '$') => {
                let is_letter = |next: char| next.is_ascii_alphabetic() || next == '_';
                let all = rest.as_str();
                let end = all.find(|next| !is_letter(next) && !char::is_ascii_digit(&next)).unwrap_or(all.len());
                let (name, behind) = all.split_at(end);
                if name.starts_with(is_letter) {
                    out.extend(["${", name, "}"]);
                    rest = behind.chars();
                } else {
                    out.push_str(if all.starts_with('{') { "$" } else { "\\$" });
                }
                continue;
            }
            (In::Value | In::Weak, '\\') => {
                out.push(character);
                out.extend(rest.next());
                continue;
            }
            (In::Strong, '\\') => {
                out.push_str(r"'\\'");
                continue;
            }
            (In::Value, '#') if was_after_blank => state = In::Comment,
            (In::Comment, '\n') => state = In::Value,
            (In::Value, '"') => state = In::Weak,
            (In::Value, '\'') => state = In::Strong,
            (In::Weak, '"') | (In::Strong, '\'') => state = In::Value,
            _ => {}
        }
        if state != In::Comment {
            out.push(character);
        }
    }
    out
}

fn mistake(error: &Error, text: &str, shown: &str) -> String {
    let expected = "expected NAME=value, with quotes around a value with spaces or special characters, and with single quotes around one with a backslash";
    let Error::LineParse(part, _) = error else { return format!("{shown}: {expected}") };
    // The library names a part of the line, and no number.
    let part = part.lines().next().unwrap_or_default();
    let is_wrong = |line: &str| dotenvy::from_read_iter(format!("{line}\n").as_bytes()).any(|item| item.is_err());
    match text.lines().position(|line| line.contains(part) && is_wrong(line)) {
        Some(before) => format!("{shown}:{}: {expected}", before + 1),
        None => format!("{shown}: {expected}"),
    }
}

#[cfg(test)]
mod tests {
    use super::variables;

    fn read(text: &str) -> Vec<(String, String)> {
        let plain = |text: std::ffi::OsString| text.into_string().unwrap();
        let read = variables(text, ".env").unwrap_or_else(|error| panic!("{text:?}: {error}"));
        read.into_iter().map(|(name, value)| (plain(name), plain(value))).collect()
    }

    #[test]
    fn what_dotenv_files_are_made_of_is_read() {
        for (text, value) in [
            ("A=b", "b"),
            ("A=b ", "b"),
            ("A=", ""),
            ("A = b", "b"),
            ("export A=b", "b"),
            ("\u{feff}A=b", "b"),
            ("A=b\r\n", "b"),
            ("A=b # why", "b"),
            ("A=b#c", "b#c"),
            ("A=\"b c\"", "b c"),
            ("A='b # c'", "b # c"),
            ("A=\"b\\nc\"", "b\nc"),
            ("A='b\\nc'", "b\\nc"),
            ("A='b\nc'", "b\nc"),
            ("A='C:\\temp\\'", "C:\\temp\\"),
            ("A=b   # it's", "b"),
            ("A=\"b\r\n# c\r\nd\"\r\n", "b\n# c\nd"),
            ("A=http://host/?x=1&y=2", "http://host/?x=1&y=2"),
            ("# only\n\n  # comments\nA=b", "b"),
            ("A='$HOME'", "$HOME"),
            ("A=\"gr\u{fc}n\"", "gr\u{fc}n"),
        ] {
            assert_eq!(read(text), [("A".to_owned(), value.to_owned())], "{text:?}");
        }
        assert_eq!(read(""), []);
        let substituted = read("HOST_OF_ENV_FILE_TEST=db\nURL=\"pg://${HOST_OF_ENV_FILE_TEST}/x\"\n");
        assert_eq!(substituted[1], ("URL".to_owned(), "pg://db/x".to_owned()));
    }

    #[test]
    fn a_name_without_braces_ends_where_it_does_in_a_shell() {
        for (value, expected) in [
            ("$DB_HOST_", ""),
            ("$DB_HOST", "db"),
            ("$DB_HOST.x", "db.x"),
            ("$DB_HOST-${DB_HOST}$DB_2", "db-dbtwo"),
            ("\"$DB_HOST\"", "db"),
            ("\"a $DB_HOST b\"", "a db b"),
            ("\"a\n$DB_HOST\"", "a\ndb"),
            ("'$DB_HOST'", "$DB_HOST"),
            ("'a'$DB_HOST'$DB_HOST'", "adb$DB_HOST"),
            ("\\$DB_HOST", "$DB_HOST"),
            ("\"\\$DB_HOST\"", "$DB_HOST"),
            ("\"\\\\$DB_HOST\"", "\\db"),
            ("\"\\\"$DB_HOST\"", "\"db"),
            ("$DB_HOST # it's $DB_HOST", "db"),
            ("x#'$DB_HOST'", "x#$DB_HOST"),
            ("pa$", "pa$"),
            ("\"5 $ or $5\"", "5 $ or $5"),
            ("$DB_HOST\n# it's\nB=$DB_HOST", "db"),
        ] {
            let text = format!("DB_HOST=db\nDB_2=two\nA={value}\n");
            assert_eq!(read(&text)[2], ("A".to_owned(), expected.to_owned()), "{text}");
        }
        assert_eq!(read("DB_HOST=db\nA=1\n # it's\nB=$DB_HOST\n")[2].1, "db");
    }

    #[test]
    fn a_line_that_is_no_assignment_is_named_by_its_number_and_not_quoted() {
        for (text, line) in [
            ("A=b\nsecret\n", 2),
            ("A=b\n\n# x\n=secret\n", 4),
            ("A=b\nB=\"secret\n", 2),
            ("A=secret word\n", 1),
            ("B='ok'\n1A=secret\nA=b\n", 2),
            ("AA=b\nA secret\n", 2),
            ("# A=secret word\nB='secret word'\nA=secret word\n", 3),
            ("B='\nb'\nA='secret\n", 3),
            ("A=b\nB=\"C:\\secret\"\n", 2),
        ] {
            let error = variables(text, ".env").unwrap_err();
            assert!(error.starts_with(&format!(".env:{line}: expected NAME=value")), "{text:?}: {error}");
            assert!(error.ends_with("single quotes around one with a backslash"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(variables("A=\"b\0\"", ".env").unwrap_err().contains("NUL"));
    }
}
