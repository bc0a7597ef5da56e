//! Matches one glob against one path, byte by byte, as git does (gitignore(5), git's t3070): `?`, `*`, `**`, `[a-z]`,
//! `[[:digit:]]`, `\`. Braces and bytes that are not UTF-8 match themselves.

/// Whether the glob matches the whole path. Only `**` between slashes (or at an end) matches a slash.
///
/// It backtracks only to the last `*` and then to the last `**`: a later star can match all that an earlier one of the
/// same kind could match instead. So no glob takes exponential time.
pub fn matches(glob: &[u8], path: &[u8], fold: bool) -> bool {
    let (mut g, mut p) = (0, 0);
    // The position in the glob after the star, and the position in the path up to which the star matches.
    let (mut star, mut double) = (None::<(usize, usize)>, None::<(usize, usize)>);
    loop {
        let step = match glob.get(g) {
            None if p == path.len() => return true,
            None => None,
            Some(b'*') => {
                let end = g + glob[g..].iter().take_while(|byte| **byte == b'*').count();
                let begins = g == 0 || glob[g - 1] == b'/';
                match &glob[end..] {
                    [] if begins && end - g > 1 => return true,
                    [b'/', ..] if begins && end - g > 1 => {
                        // It may match nothing.
                        (star, double) = (None, Some((end + 1, p)));
                        Some((end + 1, p))
                    }
                    [b'\\', b'/', ..] if begins && end - g > 1 => {
                        (star, double) = (None, Some((end + 2, p)));
                        None
                    }
                    _ => {
                        star = Some((end, p));
                        Some((end, p))
                    }
                }
            }
            Some(_) => match path.get(p) {
                None => None,
                Some(&byte) => match one(&glob[g..], byte, fold) {
                    One::Matches(length) => Some((g + length, p + 1)),
                    One::Differs => None,
                    One::Malformed => return false,
                },
            },
        };
        if let Some(next) = step {
            (g, p) = next;
            continue;
        }
        if let Some((after, taken)) = star
            && path.get(taken).is_some_and(|byte| *byte != b'/')
        {
            star = Some((after, taken + 1));
            (g, p) = (after, taken + 1);
        } else if let Some((after, taken)) = double
            && let Some(slash) = path[taken..].iter().position(|byte| *byte == b'/')
        {
            (star, double) = (None, Some((after, taken + slash + 1)));
            (g, p) = (after, taken + slash + 1);
        } else {
            return false;
        }
    }
}

/// The result of matching one element of a glob against one byte.
enum One {
    /// It matches; the length of the element.
    Matches(usize),
    Differs,
    /// The element is malformed, like an open bracket: the glob matches nothing.
    Malformed,
}

fn one(glob: &[u8], byte: u8, fold: bool) -> One {
    let (byte, lower) = if fold { (byte.to_ascii_lowercase(), true) } else { (byte, false) };
    let literal = |expected: u8, length| if expected == byte { One::Matches(length) } else { One::Differs };
    match glob {
        [b'?', ..] if byte == b'/' => One::Differs,
        [b'?', ..] => One::Matches(1),
        // When case is folded, an escaped capital matches nothing, as in git.
        [b'\\', escaped, ..] => literal(*escaped, 2),
        [b'\\'] | [] => One::Malformed,
        [b'[', ..] => match class(glob, byte, fold) {
            None => One::Malformed,
            Some((true, length)) if byte != b'/' => One::Matches(length),
            Some(_) => One::Differs,
        },
        [first, ..] => literal(if lower { first.to_ascii_lowercase() } else { *first }, 1),
    }
}

/// Whether the bracket expression at the start of a glob contains the byte, and its length; `None` if it has no end.
fn class(glob: &[u8], byte: u8, fold: bool) -> Option<(bool, usize)> {
    let negated = matches!(glob.get(1)?, b'!' | b'^');
    let first = if negated { 2 } else { 1 };
    let (mut at, mut found) = (first, false);
    // The byte before a `-`, which may start a range.
    let mut from = None;
    loop {
        match &glob[at..] {
            [] => return None,
            [b']', ..] if at > first => return Some((found != negated, at + 1)),
            [b'-', next, ..] if from.is_some() && *next != b']' => {
                at += 1;
                if *next == b'\\' {
                    at += 1;
                }
                let (low, high) = (from.take()?, *glob.get(at)?);
                let upper = byte.to_ascii_uppercase();
                found |= (low..=high).contains(&byte) || fold && (low..=high).contains(&upper);
                at += 1;
            }
            [b'[', b':', rest @ ..] => {
                let end = rest.iter().position(|byte| *byte == b']')?;
                match rest[..end].strip_suffix(b":") {
                    Some(name) => {
                        found |= is_of(name, byte, fold)?;
                        from = None;
                        at += 2 + end + 1;
                    }
                    None => {
                        found |= byte == b'[';
                        from = Some(b'[');
                        at += 1;
                    }
                }
            }
            [b'\\', rest @ ..] => {
                let escaped = *rest.first()?;
                found |= byte == escaped;
                from = Some(escaped);
                at += 2;
            }
            [member, ..] => {
                found |= byte == *member;
                from = Some(*member);
                at += 1;
            }
        }
    }
}

/// Whether a byte is in a named class; `None` if there is no such class. The classes are ASCII in every locale.
fn is_of(set: &[u8], byte: u8, fold: bool) -> Option<bool> {
    Some(match set {
        b"alnum" => byte.is_ascii_alphanumeric(),
        b"alpha" => byte.is_ascii_alphabetic(),
        b"blank" => matches!(byte, b' ' | b'\t'),
        b"cntrl" => byte.is_ascii_control(),
        b"digit" => byte.is_ascii_digit(),
        b"graph" => byte.is_ascii_graphic(),
        b"lower" => byte.is_ascii_lowercase(),
        b"print" => byte == b' ' || byte.is_ascii_graphic(),
        b"punct" => byte.is_ascii_punctuation(),
        b"space" => matches!(byte, b' ' | b'\t' | b'\n' | b'\r'),
        b"upper" => byte.is_ascii_uppercase() || fold && byte.is_ascii_lowercase(),
        b"xdigit" => byte.is_ascii_hexdigit(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn globs_match_as_in_git() {
        for (glob, path, expected) in [
            ("foo", "foo", true),
            ("foo", "bar", false),
            ("", "", true),
            ("*f", "foo", false),
            ("*foo*", "foo", true),
            ("*ob*a*r*", "foobar", true),
            ("f\\*", "f*", true),
            ("f\\*", "fo", false),
            ("a\\", "a\\", false),
            ("*.py{}", "a.py", false),
            ("*.py{}", "a.py{}", true),
            ("{a,b}.py", "b.py", false),
            ("{a,b}.py", "{a,b}.py", true),
            ("foo*bar", "foo/baz/bar", false),
            ("foo**bar", "foo/baz/bar", false),
            ("foo**bar", "foobazbar", true),
            ("foo/**/bar", "foo/bar", true),
            ("foo/**/bar", "foo/b/a/z/bar", true),
            ("foo/**/**/bar", "foo/bar", true),
            ("foo/***/bar", "foo/a/b/bar", true),
            ("foo/**\\/bar", "foo/bar", false),
            ("foo/**\\/bar", "foo/a/bar", true),
            ("**/foo", "XXX/foo", true),
            ("**/foo", "bar/baz/foo", true),
            ("*/foo", "bar/baz/foo", false),
            ("**/bar*", "foo/bar/baz", false),
            ("**/bar/*", "deep/foo/bar/baz", true),
            ("**/bar/*", "deep/foo/bar/baz/", false),
            ("**/bar/**", "deep/foo/bar/baz/", true),
            ("**/bar/*/*", "deep/foo/bar/baz/x", true),
            ("*/bar/**", "foo/bar/baz/x", true),
            ("*/bar/**", "deep/foo/bar/baz/x", false),
            ("**/*a*b*g*n*t", "abcd/abcdefg/abcdefghijk/abcdefghijklmnop.txt", true),
            ("foo?bar", "foo/bar", false),
            ("foo[/]bar", "foo/bar", false),
            ("foo[^a-z]bar", "foo/bar", false),
            ("f[^eiu][^eiu][^eiu][^eiu][^eiu]r", "foo/bar", false),
            ("[ab]", "a", true),
            ("[!ab]", "a", false),
            ("[^ab]", "c", true),
            ("[]ab]", "]", true),
            ("[!]ab]", "]", false),
            ("[]-a]", "^", true),
            ("[a-c]", "b", true),
            ("[c-a]", "b", false),
            ("[a-]", "-", true),
            ("[\\-_]", "-", true),
            ("[a-\\d]", "c", true),
            ("[[:digit:][:upper:]]", "A", true),
            ("[[:digit:]]", "a", false),
            ("[[:nothing:]]", "a", false),
            ("[[:digit]]", "d]", true),
            ("[[:]a]", ":a]", true),
            ("[", "[", false),
            ("[a", "a", false),
            ("[[:space:]]", "\u{b}", false),
            ("[[:alpha:]-z]", "-", true),
        ] {
            assert_eq!(matches(glob.as_bytes(), path.as_bytes(), false), expected, "{glob} on {path}");
        }
    }

    #[test]
    fn case_is_folded_where_git_folds_it() {
        for (glob, path, expected) in [
            ("FOO", "foo", true),
            ("foo", "FOO", true),
            ("[A-C]", "b", true),
            ("[a-c]", "B", true),
            ("[B]", "b", false),
            ("\\B", "b", false),
            ("\\b", "B", true),
            ("[[:upper:]]", "b", true),
        ] {
            assert_eq!(matches(glob.as_bytes(), path.as_bytes(), true), expected, "{glob} on {path}");
        }
    }

    #[test]
    fn many_stars_do_not_take_exponential_time() {
        let glob = format!("{}{}z", "**/".repeat(30), "*a".repeat(200));
        let path = format!("{}{}", "a/".repeat(200), "a".repeat(2000));
        assert!(!matches(glob.as_bytes(), path.as_bytes(), false));
    }
}
