//! What a job of GitHub Actions shows: groups, the error, the summary; and the command's output, which comes through here alone.
//!
//! A line of the output must not be a workflow command, whatever it says: the runner would add a mask, an annotation or a variable.
//! Where one could be, commands are stopped around it, by a token that nobody can guess. All other lines stay as they are.
//!
//! The runner reads standard output and standard error separately, and stops commands for both at a time. If both streams did
//! that, each could end what the other has begun. So on standard error, where that is a stream of its own, a blank of no width
//! stands before what would be a command.

use std::collections::VecDeque;
use std::fmt::Write as _;

use crate::escape::escaped;
use crate::verdict::Reason;

/// Standard error, where it is a stream of its own.
const SECOND: usize = 1;

/// So many lines of the output are in the summary.
const TAIL: usize = 50;

/// A line that is longer is passed on in pieces.
const LONGEST: usize = 64 * 1024;

/// Of a line in the summary no more is kept.
const LONGEST_KEPT: usize = 2000;

/// The output of the command on its way to the log.
#[derive(Debug, Default)]
pub struct Log {
    /// What has come of a line that has not ended, of standard output and of standard error.
    partial: [Vec<u8>; 2],
    /// Whether such a line was passed on in part, and must not end as a command.
    stopped: [Option<String>; 2],
    tail: VecDeque<String>,
}

impl Log {
    /// Takes in what came from one of both, and returns what goes to the log.
    pub fn take(&mut self, from: usize, bytes: &[u8], token: &mut dyn FnMut() -> String) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.partial[from].extend_from_slice(&rest[..=end]);
            rest = &rest[end + 1..];
            let line = std::mem::take(&mut self.partial[from]);
            self.line(from, &line, token, &mut out);
        }
        self.partial[from].extend_from_slice(rest);
        if self.partial[from].len() >= LONGEST {
            let mut piece = std::mem::take(&mut self.partial[from]);
            if from == SECOND {
                let keep = piece.iter().rev().take(2).take_while(|byte| **byte == b'#').count();
                self.partial[from] = piece.split_off(piece.len() - keep);
                self.keep(&piece);
                out.extend(disarmed(&piece));
                return out;
            }
            if self.stopped[from].is_none() {
                let token = token();
                out.extend_from_slice(format!("::stop-commands::{token}\n").as_bytes());
                self.stopped[from] = Some(token);
            }
            self.keep(&piece);
            out.extend_from_slice(&piece);
        }
        out
    }

    /// The same for what has no line end in the end.
    pub fn finish(&mut self, token: &mut dyn FnMut() -> String) -> Vec<u8> {
        let mut out = Vec::new();
        for from in [0, 1] {
            if !self.partial[from].is_empty() || self.stopped[from].is_some() {
                let mut line = std::mem::take(&mut self.partial[from]);
                line.push(b'\n');
                self.line(from, &line, token, &mut out);
            }
        }
        out
    }

    fn line(&mut self, from: usize, line: &[u8], token: &mut dyn FnMut() -> String, out: &mut Vec<u8>) {
        self.keep(line);
        if let Some(token) = self.stopped[from].take() {
            out.extend_from_slice(line);
            out.extend_from_slice(format!("::{token}::\n").as_bytes());
        } else if from == SECOND {
            out.extend(disarmed(line));
        } else if may_be_command(line) {
            let token = token();
            out.extend_from_slice(format!("::stop-commands::{token}\n").as_bytes());
            out.extend_from_slice(line);
            out.extend_from_slice(format!("::{token}::\n").as_bytes());
        } else {
            out.extend_from_slice(line);
        }
    }

    fn keep(&mut self, line: &[u8]) {
        // Ours are told elsewhere.
        if line.starts_with(b"reloadrun: ") {
            return;
        }
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        let kept = &line[..line.len().min(LONGEST_KEPT)];
        self.tail.push_back(plain(String::from_utf8_lossy(kept).trim_end()));
    }

    /// The last lines of the output, without colours.
    pub fn tail(&self) -> String {
        self.tail.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// A line without colours and other sequences for terminals (ECMA-48: CSI, OSC).
fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, characters.peek()) {
            ('\u{1b}', Some('[')) => {
                characters.next();
                while characters.next().is_some_and(|next| !('\u{40}'..='\u{7e}').contains(&next)) {}
            }
            ('\u{1b}', Some(']')) => {
                while characters.next().is_some_and(|next| next != '\u{7}' && next != '\u{1b}') {}
                characters.next_if_eq(&'\\');
            }
            ('\t', _) => text.push_str("    "),
            _ => text.push(character),
        }
    }
    escaped(&text).into_owned()
}

/// The line with a ZERO WIDTH SPACE, which the runner does not take for white space, wherever a command would begin.
fn disarmed(line: &[u8]) -> Vec<u8> {
    const NO_WIDTH: &[u8] = "\u{200b}".as_bytes();
    if !may_be_command(line) {
        return line.to_vec();
    }
    let mut out = Vec::with_capacity(line.len() + 8);
    for part in line.split_inclusive(|byte| *byte == b'\r') {
        let begin = part.iter().position(|byte| byte.is_ascii_graphic()).unwrap_or(part.len());
        for (at, byte) in part.iter().enumerate() {
            let begins = at == begin && part[at..].starts_with(b"::");
            let marks = part[at..].starts_with(b"[") && part[..at].ends_with(b"##");
            if begins || marks {
                out.extend_from_slice(NO_WIDTH);
            }
            out.push(*byte);
        }
    }
    out
}

/// Whether the runner may take a part of this line for a command: `::name::` at its beginning, after what counts as white space
/// in Unicode, or `##[name]` anywhere. The runner ends lines at CR, too.
fn may_be_command(line: &[u8]) -> bool {
    let begins = |part: &[u8]| {
        let begin = part.iter().position(|byte| byte.is_ascii_graphic()).unwrap_or(part.len());
        part[begin..].starts_with(b"::")
    };
    line.split(|byte| *byte == b'\r').any(begins) || line.windows(3).any(|three| three == b"##[")
}

/// The error as an annotation.
pub fn error(reason: Reason, message: &str) -> String {
    format!("::error title=reloadrun {reason}::{}\n", data(message))
}

/// The beginning of a group.
pub fn group(title: &str) -> String {
    format!("::group::{}\n", data(title))
}

/// The end of a group.
pub const END_GROUP: &str = "::endgroup::\n";

/// The message of a command: see `escapeData` of @actions/core.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The summary of the step, in Markdown.
pub fn summary(
    command: &str,
    check: &str,
    failure: Option<&(Reason, String)>,
    steps: &[(String, Option<bool>)],
    tail: &str,
) -> String {
    let mut text = match failure {
        Some((reason, message)) => {
            format!("### reloadrun: failed ({reason})\n\n{}\n\n", fenced(message))
        }
        None => "### reloadrun: passed\n\n".to_owned(),
    };
    let _ = write!(text, "{}\n\n", fenced(&format!("{command}\n{check}")));
    for (name, passed) in steps {
        let sign = match passed {
            Some(true) => "✅",
            Some(false) => "❌",
            None => "⏭️",
        };
        let _ = writeln!(text, "- {sign} {}", in_markdown(name));
    }
    if !tail.is_empty() {
        let count = tail.lines().count();
        let lines = if count == 1 { "line".to_owned() } else { format!("{count} lines") };
        let _ = write!(
            text,
            "\n<details><summary>The last {lines} of the output</summary>\n\n{}\n\n</details>\n",
            fenced(tail)
        );
    }
    text.push('\n');
    text
}

/// A block of code that no line of the text can end.
fn fenced(text: &str) -> String {
    let longest = text.split(|character| character != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}text\n{}\n{fence}", text.trim_end_matches('\n'))
}

/// A piece of plain text among Markdown.
fn in_markdown(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        if character.is_ascii_punctuation() {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, Log, error, fenced, may_be_command, summary};
    use crate::verdict::Reason;

    #[test]
    fn whatever_the_runner_may_take_for_a_command_is_known() {
        for (line, is) in [
            (&b"::error::x\n"[..], true),
            (b"  \t::set-env name=A::b\n", true),
            (b"\xc2\xa0\xe2\x80\x83::warning::x\n", true),
            (b"progress 1\r::error::x\n", true),
            (b"x ##[error]y\n", true),
            (b"::stop-commands::x\n", true),
            (b"\xef\xbb\xbf::debug::x\n", true),
            (b"std::io::Error\n", false),
            (b"listening on [::1]:8000\n", false),
            (b"[::]:80\n", false),
            (b"\x1b[31m::error::x\n", false),
            (b"\n", false),
            (b"# # [x]\n", false),
        ] {
            assert_eq!(may_be_command(line), is, "{}", String::from_utf8_lossy(line));
        }
    }

    fn run(log: &mut Log, pieces: &[&[u8]]) -> String {
        let mut count = 0;
        let mut token = || {
            count += 1;
            format!("t{count}")
        };
        let mut out = Vec::new();
        for piece in pieces {
            out.extend(log.take(0, piece, &mut token));
        }
        out.extend(log.finish(&mut token));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_pass_as_they_are_and_commands_are_stopped_around_what_may_be_one() {
        let mut log = Log::default();
        let out = run(&mut log, &[b"\x1b[32mone\x1b[0m\n:", b":error::x\ntwo\nreloadrun: ours\nthr", b"ee"]);
        assert_eq!(out, "\x1b[32mone\x1b[0m\n::stop-commands::t1\n::error::x\n::t1::\ntwo\nreloadrun: ours\nthree\n");
        assert_eq!(log.tail(), "one\n::error::x\ntwo\nthree\n");
    }

    #[test]
    fn a_line_that_is_too_long_to_be_kept_is_passed_on_in_pieces_and_is_no_command_anywhere() {
        let long = vec![b'x'; LONGEST];
        let out = run(&mut Log::default(), &[&long, b"##[error]x\nnext\n"]);
        assert!(out.starts_with("::stop-commands::t1\nxxx"));
        assert!(out.ends_with("x##[error]x\n::t1::\nnext\n"));
    }

    #[test]
    fn on_standard_error_a_command_is_disarmed_without_stopping_any() {
        for (line, expected) in [
            ("std::io\n", "std::io\n"),
            ("  ::error::x\n", "  \u{200b}::error::x\n"),
            ("a\r::x::\n", "a\r\u{200b}::x::\n"),
            ("a ##[error]b ##[x]\n", "a ##\u{200b}[error]b ##\u{200b}[x]\n"),
        ] {
            let out = Log::default().take(1, line.as_bytes(), &mut || panic!("no token is needed"));
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
        let mut log = Log::default();
        let mut long = vec![b'x'; LONGEST - 2];
        long.extend_from_slice(b"##");
        let mut out = log.take(1, &long, &mut String::new);
        out.extend(log.take(1, b"[error]\n", &mut String::new));
        assert!(out.ends_with("x##\u{200b}[error]\n".as_bytes()), "{}", String::from_utf8_lossy(&out[LONGEST - 5..]));
    }

    #[test]
    fn the_last_fifty_lines_are_kept() {
        let mut log = Log::default();
        let text: String = (0..120).map(|number| format!("{number}\n")).collect();
        run(&mut log, &[text.as_bytes()]);
        let kept: Vec<String> = log.tail().lines().map(str::to_owned).collect();
        assert_eq!((kept.len(), kept[0].as_str(), kept[49].as_str()), (50, "70", "119"));
    }

    #[test]
    fn neither_the_annotation_nor_the_summary_can_be_left_by_a_text_inside() {
        assert_eq!(
            error(Reason::CheckFailed, "50%\n::error::x"),
            "::error title=reloadrun check_failed::50%25%0A::error::x\n"
        );
        assert_eq!(fenced("a\n````\nb"), "`````text\na\n````\nb\n`````");
        let text = summary("c", "k", Some(&(Reason::Leaked, "```\n# x".into())), &[("<b>".into(), None)], "y\n");
        assert!(text.contains("````text\n```\n# x\n````") && text.contains("- ⏭️ \\<b\\>"), "{text}");
    }
}
