//! Finds the config file, decides whether to use it, and reads it.
//!
//! A config file names a command, so its author can run any program as the user who starts reloadrun. A file given with
//! `-c` is the user's choice. A file that reloadrun found may lie in a directory where others can write (`/tmp`), so
//! its owner must be trusted. See docs/decisions/0020-whose-config-file-is-obeyed.md.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::os::fs::FileId;
use crate::os::reason;
use crate::os::user::{self, UserId, own_user};
use crate::os::way::Way;

/// The name that is searched for in the start directory and above.
pub const CONFIG_FILE: &str = "reloadrun.toml";

/// The largest config file accepted, in bytes. Its values can take a hundred times its size in memory.
const LARGEST: u64 = 1024 * 1024;

/// The write permission for others (`o+w`).
const BY_EVERYBODY: u32 = 0o002;

/// A config file that was read.
#[derive(Debug)]
pub struct Text {
    /// Its content.
    pub text: String,
    /// A warning to print although the file is used.
    pub caution: Option<String>,
}

/// The config file for a start in `start`: the nearest one there or above. If there is none, the path in `start` and no
/// text.
///
/// # Errors
/// It is not trusted, or it cannot be read: a message with the remedy.
pub fn found_from(start: &Path, current: &Path) -> Result<(PathBuf, Option<Text>), String> {
    let mut candidates = start.ancestors().map(|ancestor| ancestor.join(CONFIG_FILE));
    let Some(path) = candidates.find(|path| path.is_file()) else { return Ok((start.join(CONFIG_FILE), None)) };
    let shown = shown(&path, current);
    let way = Way::to(&path).map_err(|error| format!("cannot read {shown}: {}", reason(error)))?;
    let caution = judge(&shown, &Facts::of(&way, start))?;
    let text =
        way.file.and_then(|file| if way.is_file { Ok(file) } else { Err(std::io::ErrorKind::InvalidInput.into()) });
    let text = read(text, &shown)?;
    Ok((path, Some(Text { text, caution })))
}

/// The text of a config file that the user named.
///
/// # Errors
/// It cannot be read, is larger than 1 MiB or is not UTF-8.
pub fn named(path: &Path, current: &Path) -> Result<Text, String> {
    read(File::open(path), &shown(path, current)).map(|text| Text { text, caution: None })
}

/// The path relative to the current directory where it lies below, else as it is.
pub fn shown(path: &Path, current: &Path) -> String {
    path.strip_prefix(current).unwrap_or(path).display().to_string()
}

fn read(file: std::io::Result<File>, shown: &str) -> Result<String, String> {
    let mut bytes = Vec::new();
    file.and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot read {shown}: {}", reason(error)))?;
    if bytes.len() as u64 > LARGEST {
        return Err(format!("{shown}: larger than 1 MiB; is this the right file?"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line =
            1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        format!("{shown}:{line}: not valid UTF-8; save the file as UTF-8")
    })
}

/// The facts that decide whether a config file is used.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Facts {
    owner: UserId,
    link_owners: Vec<UserId>,
    mode: u32,
    /// Whether everyone can write to a directory on its path, other than the start directory.
    exposed: bool,
    user: UserId,
    start_owner: Option<UserId>,
}

impl Facts {
    fn of(way: &Way, start: &Path) -> Facts {
        use std::os::unix::fs::MetadataExt;
        let started_in = std::fs::metadata(start).ok();
        let start_id = started_in.as_ref().map(FileId::from);
        let exposed = |place: &crate::os::way::Place| place.mode & BY_EVERYBODY != 0 && Some(place.id) != start_id;
        Facts {
            owner: way.owner,
            link_owners: way.link_owners.clone(),
            mode: way.mode,
            exposed: way.places.iter().any(exposed),
            user: own_user(),
            start_owner: started_in.map(|metadata| metadata.uid()),
        }
    }

    fn trusts(&self, owner: UserId) -> bool {
        owner == self.user || owner == 0 || Some(owner) == self.start_owner
    }
}

/// Decides whether the config file is used: a warning, if there is one, or the refusal.
fn judge(shown: &str, facts: &Facts) -> Result<Option<String>, String> {
    let stranger = |owner: UserId| {
        format!(
            "belongs to {}, not to you, root or the owner of the current directory, so it is not used; if you trust it, pass it with -c {shown}",
            user::shown(owner)
        )
    };
    if let Some(owner) = facts.link_owners.iter().find(|owner| !facts.trusts(**owner)) {
        return Err(format!("{shown}: a symlink in the path of this config file {}", stranger(*owner)));
    }
    if !facts.trusts(facts.owner) {
        return Err(format!("{shown}: this config file {}", stranger(facts.owner)));
    }
    if facts.mode & BY_EVERYBODY == 0 {
        return Ok(None);
    }
    let open = format!("{shown}: everyone can write to this config file (mode {:03o})", facts.mode & 0o777);
    if facts.exposed {
        return Err(format!(
            "{open} and to its directory, so it is not used; run `chmod o-w {shown}`, or pass it with -c {shown}"
        ));
    }
    Ok(Some(format!("{open}, and so choose what you run; `chmod o-w {shown}` forbids it")))
}

#[cfg(test)]
mod tests {
    use super::{Facts, judge};

    const ME: u32 = 1000;
    const OTHER: u32 = 1001;
    const STRANGER: u32 = 4_000_000;

    fn verdict(owner: u32, links: &[u32], mode: u32, exposed: bool, user: u32, start_owner: u32) -> &'static str {
        let link_owners = links.to_vec();
        let facts = Facts { owner, link_owners, mode, exposed, user, start_owner: Some(start_owner) };
        match judge("../reloadrun.toml", &facts) {
            Ok(None) => "obeyed",
            Ok(Some(caution)) if caution.contains("chmod o-w ../reloadrun.toml") => "told",
            Err(sentence) if sentence.contains("-c ../reloadrun.toml") => "refused",
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_owner_must_be_trusted_and_others_must_not_be_able_to_replace_the_file() {
        for (owner, links, mode, exposed, user, start_owner, expected) in [
            (ME, &[][..], 0o644, false, ME, ME, "obeyed"),
            (ME, &[], 0o664, true, ME, ME, "obeyed"),
            (0, &[], 0o644, true, ME, ME, "obeyed"),
            (OTHER, &[], 0o644, false, ME, ME, "refused"),
            (OTHER, &[], 0o600, false, ME, 0, "refused"),
            // The start directory belongs to another user; root in a container works on a bind mount.
            (OTHER, &[], 0o644, false, ME, OTHER, "obeyed"),
            (OTHER, &[], 0o644, false, 0, OTHER, "obeyed"),
            (OTHER, &[], 0o644, true, 0, ME, "refused"),
            (ME, &[OTHER], 0o644, false, ME, ME, "refused"),
            (ME, &[ME, OTHER, 0], 0o644, false, ME, ME, "refused"),
            (ME, &[ME, 0], 0o644, false, ME, ME, "obeyed"),
            (OTHER, &[ME], 0o644, false, ME, ME, "refused"),
            (ME, &[], 0o666, false, ME, ME, "told"),
            (ME, &[], 0o777, false, ME, ME, "told"),
            (ME, &[], 0o666, true, ME, ME, "refused"),
            (0, &[], 0o646, true, ME, ME, "refused"),
            (OTHER, &[], 0o666, false, ME, ME, "refused"),
        ] {
            assert_eq!(
                verdict(owner, links, mode, exposed, user, start_owner),
                expected,
                "owner {owner}, links {links:?}, mode {mode:o}, exposed {exposed}, user {user}, start {start_owner}"
            );
        }
    }

    #[test]
    fn a_refusal_names_the_owner() {
        let facts =
            Facts { owner: STRANGER, link_owners: vec![], mode: 0o644, exposed: false, user: ME, start_owner: None };
        let sentence = judge("x", &facts).unwrap_err();
        assert!(sentence.contains("belongs to uid 4000000"), "{sentence}");
        let sentence = judge("x", &Facts { link_owners: vec![STRANGER], owner: ME, ..facts }).unwrap_err();
        assert!(sentence.contains("a symlink in the path") && sentence.contains("uid 4000000"), "{sentence}");
    }
}
