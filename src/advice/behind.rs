//! Whether the command stays the parent of the server that it starts: then `LISTEN_PID` is not the server's pid. Pure.

use super::line::split;

/// These start another program and wait for it.
const PARENTS: [&str; 17] = [
    "npm",
    "npx",
    "pnpm",
    "pnpx",
    "yarn",
    "bun",
    "bunx",
    "uv",
    "uvx",
    "conda",
    "sudo",
    "doas",
    "time",
    "tini",
    "dumb-init",
    "xvfb-run",
    "unbuffer",
];

const SHELLS: [&str; 6] = ["sh", "bash", "dash", "zsh", "ksh", "ash"];

/// The program that stays in between, by the words of the command.
pub fn parent_of_the_server(words: &[String]) -> Option<&str> {
    let program = words.first()?.rsplit('/').next()?;
    if PARENTS.contains(&program) {
        return Some(program);
    }
    let option = words.get(1).filter(|_| SHELLS.contains(&program))?;
    let line = words.get(2).filter(|_| option.starts_with('-') && option.ends_with('c'))?;
    // A shell executes a single command in its own place, and so it does with the last one after `exec`.
    let commands = split(line);
    let replaced = commands.last().is_some_and(|last| last.first().is_some_and(|first| first == "exec"));
    (commands.len() > 1 && !replaced).then_some(program)
}

#[cfg(test)]
mod tests {
    use super::parent_of_the_server;

    #[test]
    fn what_stays_in_between_is_found_by_the_words() {
        for (words, expected) in [
            (&["gunicorn", "app:app"][..], None),
            (&["python", "-m", "gunicorn"], None),
            (&["/usr/bin/npm", "run", "dev"], Some("npm")),
            (&["uv", "run", "gunicorn"], Some("uv")),
            (&["sudo", "gunicorn"], Some("sudo")),
            (&["sh", "-c", "gunicorn app:app"], None),
            (&["sh", "-c", "gunicorn app:app; true"], Some("sh")),
            (&["sh", "-c", "make && gunicorn app:app"], Some("sh")),
            (&["bash", "-lc", "make && exec gunicorn app:app"], None),
            (&["/bin/sh", "-c", "make\nexec gunicorn app:app;"], None),
            (&["sh", "-c", "gunicorn app:app | tee log"], Some("sh")),
            (&["sh", "-c", "true; exec sh -c 'a; b'"], None),
            (&["sh", "start.sh"], None),
            (&["sh"], None),
            (&[], None),
        ] {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(parent_of_the_server(&words), expected, "{words:?}");
        }
    }
}
