//! Random names, and random ignore files that are likely to match them.

use crate::random::Random;

const NAMES: &[u8] = b"\
    a\nb\nab\naab\nabc\nfoo\nbar\nfoobar\nFoo\nFOO\na.py\nb.py\n.py\nfoo.py\nx.py.bak\na.py{}\n{a,b}.py\na b\n\
    a \n a\na  \na\t\n\ta\ncaf\xe9\ncaf\xc3\xa9\n\xc3\xa9.txt\n\xff\n[x]\n[id].tsx\n#x\n#x#\n!x\n*\n?\n\\\n\
    a\\b\n-\n]\n^\n1\n42\n_\nout\nout.py\nbuild\na\r\n$x\n~\nx~\n.env\n.a\n...\na\x0bb\n\x0b\n\x0c\nx\x0c";

/// Unusual patterns.
const ODD: &[u8] = b"\
    *\n**\n***\n/*\n/**\n**/\n*/\n/\n//\n!\n\\\n!\\\n\t\n\\ \n!*\n!*/\n!/**\n**/*\n*/**\na/**\na/**/\na**/b\n\
    a*/**/b\n/a//b\n./a\na/./b\n../a\n!!a\n*.*\n[\n]\n\x00\na\x00b\n\r\n*.py{}\n{a,b}\n**/**\n**\\/b\n\
    a/**\\/b\n \n  ";

/// A random choice of these lines.
fn one_of(random: &mut Random, lines: &[u8]) -> Vec<u8> {
    let lines: Vec<&[u8]> = lines.split(|byte| *byte == b'\n').collect();
    random.pick(&lines).to_vec()
}

/// A random name.
pub fn name(random: &mut Random) -> Vec<u8> {
    one_of(random, NAMES)
}

const CLASSES: &[u8] = b"\
    [ab]\n[!a]\n[^a]\n[a-c]\n[c-a]\n[]a]\n[!]a]\n[]-a]\n[a-]\n[-a]\n[\\]a]\n[\\-x]\n[a\\-c]\n[a-\\c]\n[A-Z]\n\
    [[:alpha:]]\n[[:upper:]]\n[[:lower:]]\n[[:digit:]]\n[[:space:]]\n[![:alnum:]]\n[[:punct:]]\n\
    [[:xdigit:]x]\n[[:cntrl:]]\n[[:print:]]\n[[:graph:]]\n[[:blank:]]\n[[:nope:]]\n[[:alpha]\n[[:]\n[[a]\n[\n\
    [a\n[!\n[\\\n[/]\n[a/]\n[\xe9\xc3]\n[\x80-\xff]\n[!-~]\n[ -~]\n[[:alpha:]-z]\n[a-c-e]\n[--0]\n[\\\\]\n\
    [a-[:digit:]]";

const SETS: &[u8] = b"\
    [:alpha:]\n[:upper:]\n[:lower:]\n[:digit:]\n[:space:]\n[:alnum:]\n[:punct:]\n[:xdigit:]\n[:cntrl:]\n\
    [:print:]\n[:graph:]\n[:blank:]\n[:nope:]\n[:\n[";

/// A bracket expression that contains the byte or a similar one.
fn class(random: &mut Random, byte: u8) -> Vec<u8> {
    if random.chance(25) {
        return one_of(random, CLASSES);
    }
    let near = byte.wrapping_add(u8::try_from(random.below(3)).expect("it is small")).max(1);
    let mut set = b"[".to_vec();
    if random.chance(25) {
        set.push(*random.pick(b"!^"));
    }
    for _ in 0..=random.below(3) {
        match random.below(8) {
            0 => set.extend([near, b'-', near.saturating_add(2)]),
            1 => set.extend([near.saturating_sub(2).max(1), b'-', near]),
            2 => set.extend([b'\\', near.saturating_sub(3).max(1), b'-', near]),
            3 => set.extend([near.saturating_sub(1).max(1), b'-', b'\\', near.saturating_add(1)]),
            4 => set.extend([b'\\', near]),
            5 => set.extend(one_of(random, SETS)),
            6 => set.extend([byte, b'-', byte.to_ascii_uppercase().max(1)]),
            _ => set.push(*random.pick(&[near, byte.to_ascii_uppercase(), byte.to_ascii_lowercase()])),
        }
    }
    set.push(b']');
    set
}

/// A glob made from an existing path: it often matches, and sometimes nearly.
fn glob(random: &mut Random, path: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let (mut at, change) = (0, *random.pick(&[4, 12, 30]));
    while let Some(&byte) = path.get(at) {
        at += 1;
        if !random.chance(change) {
            match byte {
                // Sometimes a name that looks like a glob is literal.
                b'*' | b'?' | b'[' | b'\\' if random.chance(60) => text.extend([b'\\', byte]),
                _ => text.push(byte),
            }
            continue;
        }
        let rest = &path[at..];
        let to_slash = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
        match random.below(12) {
            0 | 1 => text.push(b'?'),
            2..5 => text.extend(class(random, byte)),
            5 => text.extend([b'\\', byte]),
            6 => text.push(byte.to_ascii_uppercase()),
            7 => text.extend([b'\\', byte.to_ascii_uppercase()]),
            8 | 9 => {
                text.extend(random.pick(&["*", "*", "**", "***"]).bytes());
                at += random.below(to_slash + 1);
            }
            10 => {
                text.extend(random.pick(&["**/", "/**/", "**", "**\\/", "/**\\/", "**/**/"]).bytes());
                at += random.below(rest.len() + 1);
                if path.get(at) == Some(&b'/') && random.chance(80) {
                    at += 1;
                }
            }
            _ => {}
        }
    }
    text
}

fn pattern(random: &mut Random, paths: &[Vec<u8>]) -> Vec<u8> {
    if random.chance(4) {
        return one_of(random, ODD);
    }
    let name = name(random);
    let path = if paths.is_empty() || random.chance(10) { &name } else { random.pick(paths) };
    let from = if random.chance(50) { path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1) } else { 0 };
    let mut text = glob(random, &path[from..]);
    if random.chance(20) {
        text.insert(0, b'/');
    }
    if random.chance(15) {
        text.push(b'/');
    }
    if random.chance(30) {
        text.insert(0, b'!');
    } else if random.chance(3) {
        text.splice(0..0, random.pick(&["\\#", "\\!", "# ", "\\*", "**/", "*"]).bytes());
    }
    text
}

/// The content of an ignore file for these paths, which are relative to where it counts.
pub fn ignore_file(random: &mut Random, paths: &[Vec<u8>]) -> Vec<u8> {
    let mut text = if random.chance(10) { b"\xef\xbb\xbf".to_vec() } else { Vec::new() };
    if random.chance(2) {
        // Another byte order mark is no mark to git.
        text.splice(0..0, *b"\xff\xfe");
    }
    let ends: &[&[u8]] = match random.below(5) {
        0 => &[b"\r\n"],
        1 => &[b"\n", b" \n", b"\t\n", b"\\ \n", b"  \n", b" \\\n", b"\r\r\n", b" \r\n", b"\\\n", b"\r \n", b" \t \n"],
        _ => &[b"\n"],
    };
    for _ in 0..random.below(14) {
        match random.below(10) {
            0 => text.extend(b"# a comment"),
            1 => {}
            _ => text.extend(pattern(random, paths)),
        }
        text.extend(*random.pick(ends));
    }
    if random.chance(20) {
        text.extend(pattern(random, paths));
    }
    text
}
