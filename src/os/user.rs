//! Users, from `/etc/passwd` only. getpwuid(3) may ask a server on the network. In a static binary it also loads shared
//! libraries of the system, whose version may differ from the one that the binary was linked with.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use nix::unistd::{geteuid, getuid};

/// A user ID.
pub type UserId = u32;

/// The effective user ID of this process.
pub fn own_user() -> UserId {
    geteuid().as_raw()
}

/// The name of a user, if `/etc/passwd` has it.
pub fn name(user: UserId) -> Option<String> {
    let bytes = field(&fs::read("/etc/passwd").ok()?, user, NAME)?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// `alice (uid 1000)`, or `uid 1000` if it has no name.
pub fn shown(user: UserId) -> String {
    name(user).map_or_else(|| format!("uid {user}"), |name| format!("{name} (uid {user})"))
}

/// The home directory: `HOME`, or the one of the real user in `/etc/passwd`.
pub fn home() -> Option<PathBuf> {
    let told = std::env::var_os("HOME").filter(|home| !home.is_empty());
    let written = || Some(OsString::from_vec(field(&fs::read("/etc/passwd").ok()?, getuid().as_raw(), HOME)?));
    told.or_else(written).map(PathBuf::from)
}

const NAME: usize = 0;
const USER: usize = 2;
const HOME: usize = 5;

/// A field of the first line with this user ID; `None` if it is empty.
fn field(passwd: &[u8], user: UserId, number: usize) -> Option<Vec<u8>> {
    let user = user.to_string();
    let lines = passwd.split(|byte| *byte == b'\n');
    let mut fields = lines.map(|line| line.split(|byte| *byte == b':'));
    let mut line = fields.find(|line| line.clone().nth(USER) == Some(user.as_bytes()))?;
    line.nth(number).filter(|field| !field.is_empty()).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::{HOME, NAME, field};

    #[test]
    fn the_first_line_about_a_user_counts() {
        let passwd = b"root:x:0:0:root:/root:/bin/sh\n\n# no user\nbob:x:10:10::/home/b\xf6b:/bin/sh\n\
            alias:x:10:10::/elsewhere:\nnobody:x:65534:65534:::\nshort:x:7";
        for (user, name, home) in [
            (0, Some("root"), Some(&b"/root"[..])),
            (10, Some("bob"), Some(b"/home/b\xf6b")),
            (65534, Some("nobody"), None),
            (7, Some("short"), None),
            (1, None, None),
            (655, None, None),
        ] {
            assert_eq!(field(passwd, user, NAME).as_deref(), name.map(str::as_bytes), "{user}");
            assert_eq!(field(passwd, user, HOME).as_deref(), home, "{user}");
        }
    }
}
