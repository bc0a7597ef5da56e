//! Finds the programs that a command line finally runs, through wrappers like `sh -c`, `env`, `npx`, `uv run` and
//! `python -m`.

/// A program with its arguments, and the variables that are set for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Simple {
    /// `NAME=value` before it.
    pub variables: Vec<(String, String)>,
    /// The name of the program without its directory, then its arguments.
    pub words: Vec<String>,
}

/// Looks up the line of a script in package.json by its name.
pub type Scripts<'a> = &'a dyn Fn(&str) -> Option<String>;

/// How deeply nested scripts and wrappers are followed.
const DEEPEST: usize = 8;

/// Programs that run the words after their options, and their options that take a value.
const WRAPPERS: [(&str, &[&str]); 24] = [
    ("env", &["-u", "--unset", "-C", "--chdir"]),
    ("cross-env", &[]),
    ("exec", &["-a"]),
    ("command", &[]),
    ("nohup", &[]),
    ("setsid", &[]),
    ("time", &["-f", "-o"]),
    ("nice", &["-n"]),
    ("ionice", &["-c", "-n"]),
    ("chrt", &[]),
    ("stdbuf", &["-i", "-o", "-e"]),
    ("unbuffer", &[]),
    ("sudo", &["-u", "-g", "--user", "--group"]),
    ("doas", &["-u"]),
    ("xvfb-run", &["-s", "-n", "-e"]),
    ("tini", &["-p", "-e"]),
    ("dumb-init", &["-r"]),
    ("npx", &["-p", "--package", "-c"]),
    ("pnpx", &[]),
    ("bunx", &[]),
    ("uvx", &["--with", "--from", "-p", "--python"]),
    ("ddtrace-run", &[]),
    ("opentelemetry-instrument", &[]),
    ("dotenv", &["-f", "--file", "-e"]),
];

/// The same for programs with a subcommand: `uv run`.
const RUNNERS: [(&str, &[&str], &[&str]); 12] = [
    (
        "uv",
        &["run"],
        &["--with", "-p", "--python", "--project", "--directory", "--env-file", "--extra", "--group", "--package"],
    ),
    ("poetry", &["run"], &[]),
    ("pipenv", &["run"], &[]),
    ("pdm", &["run"], &["-p", "--project"]),
    ("hatch", &["run"], &["-e", "--env"]),
    ("rye", &["run"], &[]),
    ("pixi", &["run"], &["-e", "--environment"]),
    ("conda", &["run"], &["-n", "-p", "--name", "--prefix", "--cwd"]),
    ("bundle", &["exec"], &[]),
    ("dotenv", &["run"], &[]),
    ("newrelic-admin", &["run-program", "run-python"], &[]),
    ("mise", &["exec", "x"], &[]),
];

/// The programs that this command line runs, as far as it can be seen from the words.
pub fn programs(words: &[String], scripts: Scripts) -> Vec<Simple> {
    inner(Simple { variables: Vec::new(), words: words.to_vec() }, scripts, 0)
}

fn inner(mut simple: Simple, scripts: Scripts, depth: usize) -> Vec<Simple> {
    for _ in 0..DEEPEST {
        while let Some((name, value)) = simple.words.first().and_then(|word| assignment(word)) {
            simple.variables.push((name.to_owned(), value.to_owned()));
            simple.words.remove(0);
        }
        let Some(first) = simple.words.first() else { return Vec::new() };
        let program = first.rsplit('/').next().unwrap_or(first).to_owned();
        simple.words[0].clone_from(&program);
        let words = simple.words.clone();
        if let Some(line) = shell_line(&program, &words).filter(|_| depth < DEEPEST) {
            return of_line(line, &simple.variables, scripts, depth);
        }
        if let Some((line, arguments)) = package_line(&words, scripts).filter(|_| depth < DEEPEST) {
            let line = format!("{line} {}", arguments.join(" "));
            return of_line(&line, &simple.variables, scripts, depth);
        }
        let Some(rest) = unwrapped(&program, &words) else { return vec![simple] };
        simple.words = rest;
    }
    vec![simple]
}

fn of_line(line: &str, variables: &[(String, String)], scripts: Scripts, depth: usize) -> Vec<Simple> {
    let commands = split(line).into_iter().map(|words| Simple { variables: variables.to_vec(), words });
    commands.flat_map(|simple| inner(simple, scripts, depth + 1)).collect()
}

/// The shell line of `sh -c`, `bash -lc`.
fn shell_line<'a>(program: &str, words: &'a [String]) -> Option<&'a str> {
    if !matches!(program, "sh" | "bash" | "dash" | "ash" | "zsh" | "ksh" | "busybox") {
        return None;
    }
    let option =
        words.iter().position(|word| word.starts_with('-') && !word.starts_with("--") && word.ends_with('c'))?;
    words.get(option + 1).map(String::as_str)
}

/// The line that `npm run dev` runs, and the arguments that are appended to it.
fn package_line(words: &[String], scripts: Scripts) -> Option<(String, Vec<String>)> {
    if !matches!(words[0].as_str(), "npm" | "pnpm" | "yarn" | "bun") {
        return None;
    }
    let rest = skip_options(&words[1..], &["--prefix", "-C", "--cwd", "-w", "--workspace", "--filter", "-F"]);
    let (name, rest) = match rest.split_first()? {
        (run, rest) if matches!(run.as_str(), "run" | "run-script" | "rum") => rest.split_first()?,
        (name, rest) => (name, rest),
    };
    let arguments = rest.iter().filter(|word| *word != "--").cloned().collect();
    scripts(name).map(|line| (line, arguments))
}

/// The words without the wrapper before them; `None` if there is no wrapper.
fn unwrapped(program: &str, words: &[String]) -> Option<Vec<String>> {
    let second = words.get(1).map_or("", String::as_str);
    if let Some((_, _, with_value)) = RUNNERS.iter().find(|(name, own, _)| *name == program && own.contains(&second)) {
        let rest = skip_options(&words[2..], with_value);
        // `uv run -m flask`.
        return Some(module(&words[2..], with_value).unwrap_or_else(|| rest.to_vec())).filter(|rest| !rest.is_empty());
    }
    if matches!((program, second), ("npm" | "pnpm" | "yarn", "exec") | ("pnpm" | "yarn", "dlx") | ("bun", "x")) {
        return Some(skip_options(&words[2..], &["-p", "--package", "-c"]).to_vec()).filter(|rest| !rest.is_empty());
    }
    if matches!(program, "yarn" | "pnpm") && !second.is_empty() && !second.starts_with('-') {
        // `yarn NAME` runs a program of the project.
        return Some(words[1..].iter().skip_while(|word| *word == "run").cloned().collect());
    }
    if program == "timeout" {
        let rest = skip_options(&words[1..], &["-s", "--signal", "-k", "--kill-after"]);
        return rest.get(1..).map(<[String]>::to_vec);
    }
    if program == "coverage" && second == "run" || program == "debugpy" {
        let rest = &words[if second == "run" { 2 } else { 1 }..];
        return python(rest, &["--source", "--omit", "--include", "--rcfile", "--data-file", "--listen", "--connect"]);
    }
    if is_python(program) {
        return python(&words[1..], &["-X", "-W"]);
    }
    let (_, with_value) = WRAPPERS.iter().find(|(name, _)| *name == program)?;
    let rest = skip_options(&words[1..], with_value);
    (!rest.is_empty()).then(|| rest.to_vec())
}

fn is_python(program: &str) -> bool {
    let rest = program.strip_prefix("python").or_else(|| program.strip_prefix("pypy"));
    program == "py"
        || rest.is_some_and(|rest| rest.chars().all(|character| character.is_ascii_digit() || character == '.'))
}

/// `-m module arguments` or `script.py arguments`.
fn python(words: &[String], with_value: &[&str]) -> Option<Vec<String>> {
    module(words, with_value).or_else(|| {
        let rest = skip_options(words, with_value);
        let is_code = words.iter().take(words.len() - rest.len()).any(|word| word == "-c");
        (!is_code && !rest.is_empty()).then(|| rest.to_vec())
    })
}

fn module(words: &[String], with_value: &[&str]) -> Option<Vec<String>> {
    let options = words.len() - skip_options(words, with_value).len();
    let place = words.iter().take(options).position(|word| word == "-m" || word == "--module")?;
    words.get(place + 1).map(|_| words[place + 1..].to_vec())
}

fn skip_options<'a>(words: &'a [String], with_value: &[&str]) -> &'a [String] {
    let mut rest = words;
    while let Some((first, after)) = rest.split_first() {
        if first == "--" {
            return after;
        }
        if !first.starts_with('-') || first == "-" {
            break;
        }
        rest = if with_value.contains(&first.as_str()) { after.get(1..).unwrap_or_default() } else { after };
    }
    rest
}

/// `NAME=value`.
pub fn assignment(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let first = name.chars().next()?;
    let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    (!first.is_ascii_digit() && name.chars().all(is_name)).then_some((name, value))
}

/// Splits a shell line into simple commands. Expansions stay unexpanded.
pub fn split(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (Some('"') | None, '\\') => word.get_or_insert_default().extend(characters.next()),
            (None, ' ' | '\t') => commands.last_mut().expect("there is one").extend(word.take()),
            (None, ';' | '&' | '|' | '\n' | '\r' | '(' | ')') => {
                commands.last_mut().expect("there is one").extend(word.take());
                commands.push(Vec::new());
            }
            _ => word.get_or_insert_default().push(character),
        }
    }
    commands.last_mut().expect("there is one").extend(word.take());
    commands.retain(|words| !words.is_empty());
    commands
}

#[cfg(test)]
mod tests {
    use super::{programs, split};

    #[test]
    fn a_line_is_split_at_operators_and_blanks_outside_of_quotes() {
        for (line, expected) in [
            ("a b", vec![vec!["a", "b"]]),
            ("cd src && make; ./run|tee x &", vec![vec!["cd", "src"], vec!["make"], vec!["./run"], vec!["tee", "x"]]),
            (r#"a 'b; c' "d && e" f\ g """#, vec![vec!["a", "b; c", "d && e", "f g", ""]]),
            ("\r\na\r\n", vec![vec!["a"]]),
            ("'open", vec![vec!["open"]]),
            ("", vec![]),
        ] {
            assert_eq!(split(line), expected, "{line}");
        }
    }

    #[test]
    fn the_program_is_found_through_wrappers() {
        let script = |name: &str| match name {
            "dev" => Some("vite --port 3000".to_owned()),
            "start" => Some("npm run dev".to_owned()),
            "loop" => Some("npm run loop".to_owned()),
            _ => None,
        };
        for (line, expected) in [
            ("/usr/bin/env FLASK_DEBUG=1 flask run", "flask run"),
            ("A=b sh -c 'cd x && exec nohup flask run'", "cd x|flask run"),
            ("bash -lc 'flask run'", "flask run"),
            ("python3 -u -X dev -m flask --app x run", "flask --app x run"),
            ("python3.12 manage.py runserver", "manage.py runserver"),
            ("python -c 'flask run'", "python -c flask run"),
            ("uv run --with rich flask run", "flask run"),
            ("uv run -m flask run", "flask run"),
            ("uv run python -m uvicorn a:b", "uvicorn a:b"),
            ("poetry run ./manage.py runserver", "manage.py runserver"),
            ("npx --yes vite", "vite"),
            ("npm exec -- vite", "vite"),
            ("pnpm vite", "vite"),
            ("yarn run vite build", "vite build"),
            ("npm run dev -- --host", "vite --port 3000 --host"),
            ("npm start", "vite --port 3000"),
            ("yarn dev", "vite --port 3000"),
            ("npm run unknown", "npm run unknown"),
            ("npm run loop", "npm run loop"),
            ("timeout -k 5 10 node --watch a.js", "node --watch a.js"),
            ("coverage run --source src -m flask run", "flask run"),
            ("python -m debugpy --listen 5678 -m uvicorn a:b", "uvicorn a:b"),
            ("nice -n 5 sudo -u me cargo watch", "cargo watch"),
            ("env", "env"),
            ("python", "python"),
            ("npm", "npm"),
            ("uv run", "uv run"),
            ("timeout", "timeout"),
            ("sh -c", "sh -c"),
            ("A=b", ""),
        ] {
            let words = split(line).remove(0);
            let found = programs(&words, &script);
            let found: Vec<String> = found.iter().map(|simple| simple.words.join(" ")).collect();
            assert_eq!(found.join("|").trim(), expected, "{line}");
        }
    }

    #[test]
    fn variables_before_the_program_are_kept() {
        let found = programs(&split("env -i A=1 B= flask run")[0], &|_| None);
        assert_eq!(found[0].variables, [("A".to_owned(), "1".to_owned()), ("B".to_owned(), String::new())]);
    }
}
