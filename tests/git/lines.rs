//! Random names, and random ignore files that have a good chance to match them.

use crate::random::Random;

const NAMES: &[&[u8]] = &[
    b"a",
    b"b",
    b"ab",
    b"aab",
    b"abc",
    b"foo",
    b"bar",
    b"foobar",
    b"Foo",
    b"FOO",
    b"a.py",
    b"b.py",
    b".py",
    b"foo.py",
    b"x.py.bak",
    b"a.py{}",
    b"{a,b}.py",
    b"a b",
    b"a ",
    b" a",
    b"a  ",
    b"a\t",
    b"\ta",
    b"caf\xe9",
    b"caf\xc3\xa9",
    b"\xc3\xa9.txt",
    b"\xff",
    b"[x]",
    b"[id].tsx",
    b"#x",
    b"#x#",
    b"!x",
    b"*",
    b"?",
    b"\\",
    b"a\\b",
    b"-",
    b"]",
    b"^",
    b"1",
    b"42",
    b"_",
    b"out",
    b"out.py",
    b"build",
    b"a\r",
    b"$x",
    b"~",
    b"x~",
    b".env",
    b".a",
    b"...",
    b"a\x0bb",
];

/// A random name.
pub fn name(random: &mut Random) -> Vec<u8> {
    random.pick(NAMES).to_vec()
}

const CLASSES: &[&[u8]] = &[
    b"[ab]",
    b"[!a]",
    b"[^a]",
    b"[a-c]",
    b"[c-a]",
    b"[]a]",
    b"[!]a]",
    b"[]-a]",
    b"[a-]",
    b"[-a]",
    b"[\\]a]",
    b"[\\-x]",
    b"[a\\-c]",
    b"[a-\\c]",
    b"[A-Z]",
    b"[[:alpha:]]",
    b"[[:upper:]]",
    b"[[:lower:]]",
    b"[[:digit:]]",
    b"[[:space:]]",
    b"[![:alnum:]]",
    b"[[:punct:]]",
    b"[[:xdigit:]x]",
    b"[[:cntrl:]]",
    b"[[:print:]]",
    b"[[:graph:]]",
    b"[[:blank:]]",
    b"[[:nope:]]",
    b"[[:alpha]",
    b"[[:]",
    b"[[a]",
    b"[",
    b"[a",
    b"[!",
    b"[\\",
    b"[/]",
    b"[a/]",
    b"[\xe9\xc3]",
    b"[\x80-\xff]",
    b"[!-~]",
    b"[ -~]",
    b"[[:alpha:]-z]",
    b"[a-c-e]",
    b"[--0]",
    b"[\\\\]",
    b"[a-[:digit:]]",
];

/// One part of a pattern, mostly made of the name of something that is there.
fn part(random: &mut Random) -> Vec<u8> {
    let mut text = name(random);
    for _ in 0..random.below(3) {
        let at = random.below(text.len() + 1);
        match random.below(9) {
            0 | 1 => drop(text.splice(at.., *b"*")),
            2 => drop(text.splice(..at, *b"*")),
            3 if at < text.len() => text[at] = b'?',
            4 if at < text.len() => drop(text.splice(at..=at, random.pick(CLASSES).iter().copied())),
            5 => text.insert(at, b'\\'),
            6 => drop(text.splice(at..at, random.pick(&["**", "*", "***"]).bytes())),
            7 => text.make_ascii_uppercase(),
            _ => {}
        }
    }
    text
}

fn pattern(random: &mut Random) -> Vec<u8> {
    if random.chance(6) {
        let odd: &[&[u8]] = &[
            b"*",
            b"**",
            b"***",
            b"/*",
            b"/**",
            b"**/",
            b"*/",
            b"/",
            b"//",
            b"!",
            b"\\",
            b"!\\",
            b"\t",
            b" ",
            b"  ",
            b"\\ ",
            b"!*",
            b"!*/",
            b"!/**",
            b"**/*",
            b"*/**",
            b"a/**",
            b"a/**/",
            b"a**/b",
            b"a*/**/b",
            b"/a//b",
            b"./a",
            b"a/./b",
            b"../a",
            b"!!a",
            b"*.*",
            b"[",
            b"]",
            b"\x00",
            b"a\x00b",
            b"\r",
            b"*.py{}",
            b"{a,b}",
            b"**/**",
            b"**\\/b",
            b"a/**\\/b",
        ];
        return random.pick(odd).to_vec();
    }
    let mut text = Vec::new();
    let parts = 1 + random.below(6).saturating_sub(2);
    for index in 0..parts {
        if index > 0 {
            text.push(b'/');
        }
        match random.below(12) {
            0 => text.extend(b"**"),
            1 => text.extend(b"*"),
            _ => text.extend(part(random)),
        }
    }
    if random.chance(20) {
        text.insert(0, b'/');
    }
    if random.chance(25) {
        text.push(b'/');
    }
    if random.chance(25) {
        text.insert(0, b'!');
    } else if random.chance(4) {
        text.splice(0..0, random.pick(&["\\#", "\\!", "# ", "\\*"]).bytes());
    }
    text
}

/// The content of an ignore file.
pub fn ignore_file(random: &mut Random) -> Vec<u8> {
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
    for _ in 0..random.below(8) {
        match random.below(10) {
            0 => text.extend(b"# a comment"),
            1 => {}
            _ => text.extend(pattern(random)),
        }
        text.extend(*random.pick(ends));
    }
    if random.chance(20) {
        text.extend(pattern(random));
    }
    text
}
