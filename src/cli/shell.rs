//! Puts `exec` before a shell line that is one simple command (POSIX.1-2017, XCU 2.9.1), so that the program replaces
//! the shell and gets its signals. bash does so by itself, dash does not.

use std::iter::Peekable;
use std::str::Chars;

/// Words that are not (only) programs in some shell: reserved words and built-in commands.
const OF_THE_SHELL: &str = ". : [ [[ ! { } alias autoload bg bind break builtin caller case cd chdir command compgen complete \
    compopt continue coproc declare dirs disown do done echo elif else enable end esac eval exec exit export false fc fg \
    fi for foreach function getopts hash help history if in integer jobs kill let local logout mapfile nocorrect noglob \
    popd print printf pushd pwd read readarray readonly repeat return select set shift shopt source stop suspend test \
    then time times trap true type typeset ulimit umask unalias unset until wait whence which while";

/// The line with `exec` before the program if it is certainly one simple command that runs a program; else unchanged.
pub fn becoming_its_command(line: &str) -> String {
    match program(line) {
        Some(at) => format!("{}exec {}", &line[..at], &line[at..]),
        None => line.to_owned(),
    }
}

/// The offset of the program's name in a simple command; `None` for any line that is not certainly one.
fn program(line: &str) -> Option<usize> {
    let mut scanner = Scanner { rest: line.chars().peekable(), length: line.len() };
    let mut found = None;
    loop {
        scanner.blanks()?;
        let begin = scanner.position();
        if scanner.rest.peek().is_none() {
            return found;
        }
        if scanner.redirection()? {
            // A redirection before the program is valid too, but rare, so it is not handled.
            found?;
            continue;
        }
        let end = scanner.word()?;
        let word = &line[begin..end];
        if found.is_none() && !is_assignment(word) {
            if !is_program(word) {
                return None;
            }
            found = Some(begin);
        }
    }
}

/// `NAME=value`: dash and bash export an assignment before `exec`.
fn is_assignment(word: &str) -> bool {
    let Some((name, _)) = word.split_once('=') else { return false };
    let mut characters = name.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_') && characters.all(is_of_name)
}

fn is_of_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

/// Whether the word is the plain name of a program. In some shells `exec -a` is an option.
fn is_program(word: &str) -> bool {
    let plain = |character: char| is_of_name(character) || "./-+@,%".contains(character);
    word.chars().all(plain)
        && !word.starts_with(['-', '+', '%'])
        && !word.chars().all(|character| character.is_ascii_digit())
        && !OF_THE_SHELL.split_ascii_whitespace().any(|known| known == word)
}

struct Scanner<'a> {
    rest: Peekable<Chars<'a>>,
    length: usize,
}

impl Scanner<'_> {
    fn position(&self) -> usize {
        self.length - self.rest.clone().map(char::len_utf8).sum::<usize>()
    }

    /// Skips blanks and continued lines. `None` if another line follows: then it is not one command.
    fn blanks(&mut self) -> Option<()> {
        loop {
            let mut ahead = self.rest.clone();
            match ahead.next() {
                Some(' ' | '\t') => {}
                Some('\\') if ahead.next() == Some('\n') => {}
                Some('\n') => {
                    let last = self.rest.all(|character| matches!(character, ' ' | '\t' | '\n'));
                    return last.then_some(());
                }
                _ => return Some(()),
            }
            self.rest = ahead;
        }
    }

    /// `>file`, `>>file`, `<file`, `2>file`, `2>&1`.
    fn redirection(&mut self) -> Option<bool> {
        let mut ahead = self.rest.clone();
        ahead.next_if(char::is_ascii_digit);
        let Some(operator @ ('<' | '>')) = ahead.next() else { return Some(false) };
        if operator == '>' {
            ahead.next_if_eq(&'>');
        }
        if ahead.next_if_eq(&'&').is_some() {
            ahead.next_if(|next| next.is_ascii_digit() || *next == '-')?;
            self.rest = ahead;
            // A blank or the end must follow.
            return self.rest.peek().is_none_or(|next| next.is_ascii_whitespace()).then_some(true);
        }
        self.rest = ahead;
        self.blanks()?;
        self.word()?;
        Some(true)
    }

    /// Takes a word and returns the offset of its end.
    fn word(&mut self) -> Option<usize> {
        let mut empty = true;
        while let Some(&next) = self.rest.peek() {
            match next {
                ' ' | '\t' | '\n' => break,
                '<' | '>' if empty => return None,
                '<' | '>' => break,
                // `#` starts a comment.
                '#' if empty => return None,
                ';' | '&' | '|' | '(' | ')' | '`' => return None,
                '\'' => {
                    self.rest.next();
                    self.rest.find(|&character| character == '\'')?;
                }
                '"' => {
                    self.rest.next();
                    self.double_quoted()?;
                }
                '\\' => {
                    self.rest.next();
                    self.rest.next()?;
                }
                '$' => self.expansion()?,
                _ => drop(self.rest.next()),
            }
            empty = false;
        }
        (!empty).then(|| self.position())
    }

    fn double_quoted(&mut self) -> Option<()> {
        loop {
            match *self.rest.peek()? {
                '`' => return None,
                '$' => self.expansion()?,
                '\\' => {
                    self.rest.next();
                    self.rest.next()?;
                }
                other => {
                    self.rest.next();
                    if other == '"' {
                        return Some(());
                    }
                }
            }
        }
    }

    /// Takes `$NAME`, `${NAME:-plain}` or `$(plain words)`; `None` for anything nested.
    fn expansion(&mut self) -> Option<()> {
        self.rest.next();
        let plain = |character: char| character.is_alphanumeric() || " \t_-:./=+?%@,".contains(character);
        let close = match self.rest.peek() {
            Some('{') => '}',
            Some('(') => ')',
            // Only some shells know `$'...'`.
            Some('\'' | '"') => return None,
            _ => return Some(()),
        };
        self.rest.next();
        for character in self.rest.by_ref() {
            if character == close {
                return Some(());
            }
            if !plain(character) {
                return None;
            }
        }
        None
    }
}

#[cfg(test)]
#[path = "shell_tests.rs"]
mod tests;
