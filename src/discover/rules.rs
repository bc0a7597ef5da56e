//! What follows from a name alone.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where CPython keeps what it compiled.
const CACHE: &str = "__pycache__";

/// Whether a file was compiled from another one.
pub fn is_compiled(path: &Path) -> bool {
    path.parent().and_then(Path::file_name).is_some_and(|name| name == CACHE)
}

/// The source of a compiled file: `m.py` for `__pycache__/m.cpython-311.pyc`. Python asks for it, unless the compiled file
/// says that it need not (PEP 552).
pub fn source_of(path: &Path) -> Option<PathBuf> {
    if !is_compiled(path) || path.extension().is_none_or(|extension| extension != "pyc") {
        return None;
    }
    let name = path.file_name()?.as_bytes();
    let module = name.split(|&byte| byte == b'.').next().filter(|module| !module.is_empty())?;
    let mut source = module.to_vec();
    source.extend_from_slice(b".py");
    Some(path.parent()?.parent()?.join(OsStr::from_bytes(&source)))
}

/// The interpreter in the first line of a script: `#! /usr/bin/env python3` names `/usr/bin/env`.
pub fn named_interpreter(start: &[u8]) -> Option<PathBuf> {
    let line = start.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
    let word = line.split(|byte| matches!(byte, b' ' | b'\t')).find(|word| !word.is_empty())?;
    word.starts_with(b"/").then(|| PathBuf::from(OsStr::from_bytes(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_of_a_compiled_file_is_beside_the_cache() {
        for (path, source) in [
            ("/a/__pycache__/m.cpython-311.pyc", Some("/a/m.py")),
            ("/a/__pycache__/m.cpython-311.opt-1.pyc", Some("/a/m.py")),
            ("/a/__pycache__/m.cpython-311.pyc.140", None),
            ("/a/m.pyc", None),
            ("/a/__pycache__/.pyc", None),
            ("/a/__pycache__", None),
        ] {
            assert_eq!(source_of(Path::new(path)), source.map(PathBuf::from), "{path}");
        }
    }

    #[test]
    fn the_interpreter_is_the_first_word_after_the_mark() {
        for (start, expected) in [
            ("#!/bin/sh\necho", Some("/bin/sh")),
            ("#! /usr/bin/env python3\n", Some("/usr/bin/env")),
            ("#!\t/bin/sh -e", Some("/bin/sh")),
            ("#!sh\n", None),
            ("#!\n/bin/sh", None),
            ("\u{7f}ELF", None),
            ("", None),
        ] {
            assert_eq!(named_interpreter(start.as_bytes()), expected.map(PathBuf::from), "{start:?}");
        }
    }
}
