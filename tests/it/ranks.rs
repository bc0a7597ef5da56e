//! The modules (*rooms*) of `src/` import only from lower ranks: every path in every file is checked against the table
//! in the crate documentation of `src/lib.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A source file: its path below `src/`, and its text.
type File = (String, String);

/// The path of a module, `supervisor::machine`; empty for the crate root.
type Module = Vec<String>;

/// All violations in these files, one message each.
fn violations(files: &[File]) -> Vec<String> {
    let Some((_, root)) = files.iter().find(|(path, _)| path == "lib.rs") else {
        return vec!["there is no lib.rs".into()];
    };
    let ranks = match table(root) {
        Ok(ranks) => ranks,
        Err(mistake) => return vec![mistake],
    };
    let modules: BTreeMap<Module, &str> = files.iter().map(|(path, _)| (module_of(path), path.as_str())).collect();
    let rooms: BTreeSet<&str> = files.iter().map(|(path, _)| room_of(path)).collect();
    let unknown =
        rooms.iter().filter(|room| !ranks.contains_key(**room)).map(|room| format!("{room} has no rank in the table"));
    let absent = ranks
        .keys()
        .filter(|name| !rooms.contains(name.as_str()))
        .map(|name| format!("the table names {name}, which is not there"));
    let mut mistakes: Vec<String> = unknown.chain(absent).collect();
    let mut own_room: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (path, text) in files {
        let room = room_of(path);
        if room != "os" && tokens(text).iter().any(|token| token == "unsafe") {
            mistakes.push(format!("{path} has unsafe code, which belongs in os"));
        }
        for (reference, target) in references(&module_of(path), text, &modules) {
            let target_room = room_of(target);
            if target_room == room {
                if target != path && !path.ends_with("_tests.rs") {
                    own_room.entry(path).or_default().insert(target);
                }
            } else if let (Some(own), Some(other)) = (ranks.get(room), ranks.get(target_room))
                && other >= own
            {
                mistakes.push(format!("{path} (rank {own}) names {reference}, and {target_room} has rank {other}"));
            }
        }
    }
    for (path, type_name, home) in strayed_methods(files) {
        mistakes
            .push(format!("{path} has methods of {type_name}, which is defined in {home}: a circle of the two files"));
    }
    for room in rooms {
        let of_room = own_room.iter().filter(|(path, _)| room_of(path) == room);
        let edges = of_room.map(|(path, targets)| (*path, targets.clone())).collect();
        let circle = cycle(&edges).map(|files| files.join(" -> "));
        mistakes.extend(circle.map(|circle| format!("these files of a room name each other in a circle: {circle}")));
    }
    mistakes
}

/// Methods outside of the file of their type: a caller that has the type does not name their file, but their file names
/// the type. Implementations of traits are found by way of the trait.
fn strayed_methods(files: &[File]) -> Vec<(&str, String, &str)> {
    let mut homes: BTreeMap<(&str, String), Vec<&str>> = BTreeMap::new();
    let read: Vec<(&str, Vec<String>)> = files.iter().map(|(path, text)| (path.as_str(), tokens(text))).collect();
    for (path, tokens) in &read {
        for pair in tokens.windows(2).filter(|pair| matches!(pair[0].as_str(), "struct" | "enum" | "union")) {
            homes.entry((room_of(path), pair[1].clone())).or_default().push(path);
        }
    }
    let mut strayed = Vec::new();
    for (path, tokens) in read.iter().filter(|(path, _)| !path.ends_with("_tests.rs")) {
        // `impl Trait` in a signature comes after other tokens.
        let begins =
            |index: usize| index == 0 || matches!(tokens[index - 1].as_str(), "}" | "{" | ";" | "]" | "unsafe");
        for index in (0..tokens.len()).filter(|index| tokens[*index] == "impl" && begins(*index)) {
            let Some(type_name) = implemented(&tokens[index + 1..]) else { continue };
            let known = homes.get(&(room_of(path), type_name.clone())).map_or(&[][..], Vec::as_slice);
            if let Some(home) = known.first().filter(|_| !known.contains(path)) {
                strayed.push((*path, type_name, *home));
            }
        }
    }
    strayed
}

/// The type that has the methods of an `impl`, by the tokens after that word; `None` for a trait's.
fn implemented(tokens: &[String]) -> Option<String> {
    let mut depth = 0;
    let mut last = None;
    for token in tokens {
        match token.as_str() {
            "<" => depth += 1,
            ">" => depth -= 1,
            "{" | "where" if depth == 0 => return last,
            "for" if depth == 0 => return None,
            name if depth == 0 && is_name(name) => last = Some(name.to_owned()),
            _ => {}
        }
    }
    None
}

/// Reads the table: `//! 4 command heartbeat watch report`, with a description after two blanks.
fn table(root: &str) -> Result<BTreeMap<String, u32>, String> {
    let mut ranks = BTreeMap::new();
    let documentation = root.lines().filter_map(|line| line.strip_prefix("//!")).map(str::trim);
    for line in documentation.skip_while(|line| *line != "# Ranks").skip(1).take_while(|line| !line.starts_with("# ")) {
        let Some((rank, rest)) = line.split_once(' ') else { continue };
        let Ok(rank) = rank.parse() else { continue };
        for name in rest.split("  ").next().unwrap_or_default().split_whitespace() {
            if ranks.insert(name.to_owned(), rank).is_some() {
                return Err(format!("the table names {name} twice"));
            }
        }
    }
    if ranks.is_empty() { Err("there is no table of ranks in lib.rs".into()) } else { Ok(ranks) }
}

/// `supervisor/machine.rs` is in the room `supervisor`, `filter.rs` and `filter_tests.rs` are the room `filter`.
fn room_of(path: &str) -> &str {
    let first = path.split('/').next().unwrap_or(path);
    let stem = first.strip_suffix(".rs").unwrap_or(first);
    stem.strip_suffix("_tests").unwrap_or(stem)
}

fn module_of(path: &str) -> Module {
    let mut module: Module = path.strip_suffix(".rs").unwrap_or(path).split('/').map(str::to_owned).collect();
    match module.pop() {
        Some(last) if last == "mod" || path == "lib.rs" => {}
        Some(last) => match last.strip_suffix("_tests") {
            Some(tested) => module.extend([tested.to_owned(), "tests".to_owned()]),
            None => module.push(last),
        },
        None => {}
    }
    module
}

/// Every path in a file that leads to a file of this crate: as it is written, and the file.
fn references<'a>(module: &Module, text: &str, modules: &BTreeMap<Module, &'a str>) -> Vec<(String, &'a str)> {
    let tokens = tokens(text);
    let at = |index: usize| tokens.get(index).map(String::as_str).unwrap_or_default();
    let mut found = Vec::new();
    // The enclosing modules, with the depth of braces at which they began.
    let (mut inner, mut depth): (Vec<(String, usize)>, usize) = (Vec::new(), 0);
    for index in 0..tokens.len() {
        match at(index) {
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                inner.retain(|(_, began)| *began < depth + 1);
            }
            "mod" if at(index + 2) == "{" => inner.push((at(index + 1).to_owned(), depth + 1)),
            _ => {}
        }
        let begins = index == 0 || at(index - 1) != "::";
        let here: Module = module.iter().cloned().chain(inner.iter().map(|(name, _)| name.clone())).collect();
        let is_path = at(index + 1) == "::" || index > 0 && at(index - 1) == "use";
        if begins && is_path && is_name(at(index)) {
            let (paths, _) = tree(&tokens, index);
            for path in paths {
                let written = path.join("::");
                let target = resolved(&here, path, modules).and_then(|path| longest(&path, modules));
                found.extend(target.map(|target| (written, target)));
            }
        }
    }
    found
}

/// The absolute path, if it belongs to this crate: it begins with `crate`, `self`, `super`, or a module declared here.
fn resolved(here: &Module, path: Module, modules: &BTreeMap<Module, &str>) -> Option<Module> {
    let mut absolute = here.clone();
    let mut rest = path.into_iter().peekable();
    match rest.peek()?.as_str() {
        "crate" => absolute.clear(),
        "self" | "super" => {}
        child => {
            absolute.push(child.to_owned());
            let known = modules.contains_key(&absolute);
            absolute.pop();
            if !known {
                return None;
            }
        }
    }
    for name in rest {
        match name.as_str() {
            "crate" | "self" => {}
            "super" => drop(absolute.pop()),
            _ => absolute.push(name),
        }
    }
    Some(absolute)
}

/// The file of the longest prefix of a path that is a module.
fn longest<'a>(path: &[String], modules: &BTreeMap<Module, &'a str>) -> Option<&'a str> {
    (0..=path.len()).rev().find_map(|length| modules.get(&path[..length]).copied())
}

/// The paths that begin at a token, with groups expanded: `a::{b, c::d}` is `a::b` and `a::c::d`. And where they end.
fn tree(tokens: &[String], start: usize) -> (Vec<Module>, usize) {
    let at = |index: usize| tokens.get(index).map(String::as_str).unwrap_or_default();
    let (mut index, mut path) = (start, Module::new());
    while is_name(at(index)) {
        path.push(at(index).to_owned());
        if at(index + 1) != "::" {
            return (vec![path], index + 1);
        }
        index += 2;
    }
    if at(index) != "{" {
        return (vec![path], index);
    }
    let mut paths = Vec::new();
    index += 1;
    while !matches!(at(index), "}" | "") {
        let (below, end) = tree(tokens, index);
        paths.extend(below.into_iter().filter(|below| !below.is_empty()).map(|below| [path.clone(), below].concat()));
        index = end.max(index + 1);
    }
    (paths, index + 1)
}

fn is_name(token: &str) -> bool {
    token.chars().next().is_some_and(|first| first.is_alphabetic() || first == '_')
}

/// The tokens of Rust code, without comments, strings and characters.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = text_length(rest) {
            length
        } else if first == '\'' {
            character_length(rest)
        } else if is_name(rest) {
            let length = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            tokens.push(rest[..length].to_owned());
            length
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

/// The length of the string literal that begins here, if one does: `"a"`, `b"a"`, `c"a"`, `r#"a"#`.
fn text_length(rest: &str) -> Option<usize> {
    let prefix = rest.find('"').filter(|end| *end <= 6)?;
    let (letters, hashes) = rest[..prefix].split_at(rest[..prefix].find('#').unwrap_or(prefix));
    if !["", "b", "c", "r", "br", "cr"].contains(&letters) || !hashes.chars().all(|c| c == '#') {
        return None;
    }
    let body = &rest[prefix + 1..];
    if letters.contains('r') {
        let end = format!("\"{hashes}");
        return Some(prefix + 1 + body.find(&end).map_or(body.len(), |found| found + end.len()));
    }
    let mut escaped = false;
    let end = body.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    Some(prefix + 1 + end.map_or(body.len(), |end| end + 1))
}

/// The length of a character literal, or of the quote of a lifetime.
fn character_length(rest: &str) -> usize {
    if let Some(escape) = rest.strip_prefix("'\\") {
        return escape.char_indices().skip(1).find(|(_, c)| *c == '\'').map_or(rest.len(), |(end, _)| end + 3);
    }
    let mut characters = rest.char_indices().skip(2);
    match characters.next() {
        Some((end, '\'')) => end + 1,
        _ => 1,
    }
}

/// A circle in a graph, if there is one.
fn cycle<'a>(edges: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Option<Vec<&'a str>> {
    fn walk<'a>(
        at: &'a str,
        edges: &BTreeMap<&'a str, BTreeSet<&'a str>>,
        trail: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> bool {
        if let Some(begin) = trail.iter().position(|seen| *seen == at) {
            trail.drain(..begin);
            trail.push(at);
            return true;
        }
        if !done.contains(at) {
            trail.push(at);
            if edges.get(at).into_iter().flatten().any(|next| walk(next, edges, trail, done)) {
                return true;
            }
            trail.pop();
            done.insert(at);
        }
        false
    }
    let mut done = BTreeSet::new();
    edges.keys().find_map(|start| {
        let mut trail = Vec::new();
        walk(start, edges, &mut trail, &mut done).then_some(trail)
    })
}

fn source() -> Vec<File> {
    fn collect(directory: &Path, prefix: &str, files: &mut Vec<File>) {
        for entry in fs::read_dir(directory).expect("src is there").flatten() {
            let name = format!("{prefix}{}", entry.file_name().to_str().expect("our files have plain names"));
            if entry.path().is_dir() {
                collect(&entry.path(), &format!("{name}/"), files);
            } else if name.ends_with(".rs") {
                files.push((name, fs::read_to_string(entry.path()).expect("it can be read")));
            }
        }
    }
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut files);
    files.sort();
    files
}

#[test]
fn every_room_imports_only_from_lower_ranks_and_unsafe_code_is_only_in_os() {
    let files = source();
    assert!(files.len() > 30, "that is not all of src: {}", files.len());
    let mistakes = violations(&files);
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}

/// The real files, with one more line in one of them.
fn with_line(path: &str, line: &str) -> Vec<File> {
    let mut files = source();
    let (_, text) = files.iter_mut().find(|(name, _)| name == path).expect("there is such a file");
    // After the module documentation, where items begin.
    let begin = text.lines().take_while(|line| line.starts_with("//!")).map(|line| line.len() + 1).sum();
    text.insert_str(begin, &format!("{line}\n"));
    files
}

#[test]
fn a_wrong_line_in_the_real_files_is_found() {
    for (path, line, part) in [
        (
            "supervisor/driver.rs",
            "use crate::child::run;",
            "supervisor/driver.rs (rank 5) names crate::child::run, and child has rank 5",
        ),
        (
            "child/driver.rs",
            "use crate::supervisor::Host;",
            "child/driver.rs (rank 5) names crate::supervisor::Host, and supervisor has rank 5",
        ),
        (
            "config.rs",
            "use crate::{change::Change, filter::Filter};",
            "config.rs (rank 2) names crate::filter::Filter, and filter has rank 3",
        ),
        (
            "os/fd.rs",
            "fn f() { let _ = crate::config::normalized; }",
            "os/fd.rs (rank 1) names crate::config::normalized, and config has rank 2",
        ),
        (
            "watch/poll.rs",
            "use super::super::run::run;",
            "watch/poll.rs (rank 4) names super::super::run::run, and run has rank 7",
        ),
        ("stop.rs", "fn f() { unsafe {} }", "stop.rs has unsafe code"),
        (
            "supervisor/machine.rs",
            "use super::driver::run;",
            "in a circle: supervisor/driver.rs -> supervisor/machine.rs -> supervisor/driver.rs",
        ),
        (
            "watch/poll.rs",
            "impl super::Watcher { fn stray(&self) {} }",
            "watch/poll.rs has methods of Watcher, which is defined in watch/mod.rs",
        ),
    ] {
        let mistakes = violations(&with_line(path, line));
        assert!(mistakes.iter().any(|mistake| mistake.contains(part)), "{part:?} is not in {mistakes:#?}");
    }
}

fn made_up(files: &[(&str, &str)]) -> Vec<String> {
    let table = "//! # Ranks\n//! ```text\n//! 9 lib       the page\n//! 2 high other\n//! 1 os        below\n//! 0 low\n//! ```\n//! # Words\n//! 7 nothing\n";
    let own = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
    let mut files: Vec<File> = own.collect();
    for room in ["high", "other", "os", "low"] {
        if !files.iter().any(|(path, _)| room_of(path) == room) {
            files.push((format!("{room}.rs"), String::new()));
        }
    }
    files.push(("lib.rs".to_owned(), table.to_owned() + "mod high;\npub use high::run;\n"));
    violations(&files)
}

#[test]
fn the_checker_finds_each_kind_of_violation_and_accepts_correct_files() {
    let nothing: &[&[(&str, &str)]] = &[
        &[],
        &[("high.rs", "use crate::low::X;\nuse crate::os;")],
        &[
            ("high/mod.rs", "mod a;\nmod b;\npub use b::B;"),
            ("high/a.rs", "pub struct A;"),
            ("high/b.rs", "use super::a::A;"),
        ],
        &[(
            "low.rs",
            "// crate::high\n/* crate::high::X */ const A: &str = \"crate::high\"; const B: &str = r#\"\" crate::high::X\"#;",
        )],
        &[("low.rs", "const Q: char = '\"'; const R: char = '\\''; fn f<'a>(x: &'a str) {} // \" crate::high::X")],
        &[("low.rs", "mod tests { use super::X; }"), ("low_tests.rs", "use super::X;")],
        &[("low.rs", "use std::high::X; use high::Y; fn f(high: u8) { other::crate_name(); }")],
        &[
            ("high/mod.rs", "mod a; struct X<T>(T);\nimpl<T: Into<u8>> X<T> {}"),
            ("high/a.rs", "struct A; impl A {} impl crate::low::T for A {}"),
        ],
        &[
            ("high/mod.rs", "mod a;\npub use a::f;"),
            ("high/a.rs", "pub fn f(x: impl Fn()) -> impl Iterator<Item = u8> { struct F; }"),
            ("high/b.rs", "struct Iterator;"),
        ],
        &[
            ("high/mod.rs", "struct X; mod a;"),
            ("high/a.rs", "trait T {} impl<'a> T for &'a u8 {} impl T for Vec<u8> where u8: Copy {}"),
            ("other.rs", "struct X; impl X {}"),
        ],
        &[("os/mod.rs", "mod fd;"), ("os/fd.rs", "fn f() { unsafe {} }")],
        &[("high.rs", "#![deny(unsafe_op_in_unsafe_fn)] // unsafe")],
        &[
            ("high/mod.rs", "mod m;"),
            ("high/m.rs", "mod tests;"),
            ("high/m_tests.rs", "use super::X; use crate::high::n::Y;"),
            ("high/n.rs", "use super::m::X;"),
        ],
    ];
    for files in nothing {
        assert_eq!(made_up(files), [] as [String; 0], "{files:?}");
    }
    let wrong: &[(&[(&str, &str)], &str)] = &[
        (&[("low.rs", "use crate::high::X;")], "low.rs (rank 0) names crate::high::X, and high has rank 2"),
        (&[("high.rs", "use crate::other::X;")], "high.rs (rank 2) names crate::other::X, and other has rank 2"),
        (&[("low.rs", "use crate::{os as system, low};")], "low.rs (rank 0) names crate::os, and os has rank 1"),
        (
            &[("low.rs", "use crate::{low::{A, B}, high::{self, c::{D, E}}};")],
            "names crate::high::c::E, and high has rank 2",
        ),
        (&[("low.rs", "fn f() -> crate::high::X { loop {} }")], "names crate::high::X"),
        (&[("low.rs", "fn f<'a>(x: &'a crate::high::X) {}")], "names crate::high::X"),
        (&[("low.rs", "const C: char = '{'; use crate::high::X;")], "names crate::high::X"),
        (&[("low.rs", "use super::high::X;")], "names super::high::X, and high has rank 2"),
        (&[("low.rs", "mod tests { use super::super::high::X; }")], "names super::super::high::X, and high has rank 2"),
        (&[("low.rs", "mod tests { mod deep {} } use super::high::X;")], "names super::high::X, and high has rank 2"),
        (&[("low_tests.rs", "use crate::high::X;")], "low_tests.rs (rank 0) names crate::high::X"),
        (&[("low.rs", "use crate::X;")], "low.rs (rank 0) names crate::X, and lib has rank 9"),
        (&[("high.rs", "fn f() { unsafe { g() } }")], "high.rs has unsafe code"),
        (&[("new.rs", "")], "new has no rank in the table"),
        (
            &[("high/mod.rs", ""), ("high/a.rs", "use super::b::X;"), ("high/b.rs", "use crate::high::a::Y;")],
            "high/a.rs -> high/b.rs -> high/a.rs",
        ),
        (&[("high/mod.rs", "use self::a::A;"), ("high/a.rs", "use super::X;")], "in a circle: high/"),
        (
            &[
                ("high/mod.rs", "mod a; pub struct X<'a>(&'a u8);"),
                ("high/a.rs", "impl<'a> super::X<'a> where u8: Copy {}"),
            ],
            "high/a.rs has methods of X, which is defined in high/mod.rs",
        ),
        (&[("high/mod.rs", "mod a; fn f() { a::g(); }"), ("high/a.rs", "use super::X;")], "in a circle: high/"),
    ];
    for (files, part) in wrong {
        let mistakes = made_up(files);
        assert!(mistakes.iter().any(|mistake| mistake.contains(part)), "{part:?} is not in {mistakes:#?} of {files:?}");
    }
    assert!(violations(&[("lib.rs".into(), "//! no table".into())])[0].contains("no table of ranks"));
    let absent = violations(&[("lib.rs".into(), "//! # Ranks\n//! 1 lib gone\n".into())]);
    assert_eq!(absent, ["the table names gone, which is not there"]);
}
