//! Detects whether the command reloads by itself. Then each save takes effect twice, or a restart discards state that
//! the command would keep.

use super::line::{Scripts, Simple, programs};
use super::tools::{PAGES, SERVERS, SITES, STAYERS, Sources, WATCHERS};

/// A reloader in the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloader {
    what: String,
    remedy: String,
    sources: Sources,
}

impl Reloader {
    /// Typical names of files that it watches.
    pub fn watches(&self) -> &'static [&'static str] {
        self.sources.names()
    }

    /// The hint for the user.
    pub fn sentence(&self) -> String {
        match self.sources {
            Sources::Page => {
                format!(
                    "{} updates the page itself, and a restart loses the state of the page; {}",
                    self.what, self.remedy
                )
            }
            _ => format!("{} watches files too, so each save takes effect twice; {}", self.what, self.remedy),
        }
    }
}

/// The first reloader found in the words of the command and in the environment.
pub fn find(words: &[String], environment: &dyn Fn(&str) -> Option<String>, scripts: Scripts) -> Option<Reloader> {
    programs(words, scripts).iter().find_map(|simple| {
        let program = simple.words.first()?;
        let name = program.strip_suffix(".exe").unwrap_or(program);
        let seen = Seen { name, words: &simple.words[1..], simple, environment };
        seen.flask()
            .or_else(|| seen.django())
            .or_else(|| seen.server())
            .or_else(|| seen.fastapi())
            .or_else(|| seen.runtime())
            .or_else(|| seen.watcher())
            .or_else(|| seen.page())
            .or_else(|| seen.stayer())
            .or_else(|| seen.site())
    })
}

struct Seen<'a> {
    name: &'a str,
    words: &'a [String],
    simple: &'a Simple,
    environment: &'a dyn Fn(&str) -> Option<String>,
}

impl Seen<'_> {
    fn flask(&self) -> Option<Reloader> {
        let name = Some(self.name).filter(|name| matches!(*name, "flask" | "quart"))?;
        self.has("run").then_some(())?;
        let upper = name.to_uppercase();
        let variable = |variable: &str| self.variable(&format!("{upper}_{variable}"));
        let debug = match self.last_of(&["--debug", "--no-debug"]) {
            Some(flag) => flag == "--debug",
            None => match variable("DEBUG") {
                Some(value) => is_on(&value),
                None => variable("ENV").is_some_and(|value| value == "development"),
            },
        };
        let reloads = match self.last_of(&["--reload", "--no-reload"]) {
            Some(flag) => flag == "--reload",
            None => variable("RUN_RELOAD").map_or(debug, |value| is_on(&value)),
        };
        let what = if debug { format!("{name} in debug mode") } else { format!("{name} run --reload") };
        reloads.then(|| found(&what, "turn that off with --no-reload (debug mode can stay on)", Sources::Python))
    }

    fn django(&self) -> Option<Reloader> {
        let is_django = self.name.ends_with(".py") || matches!(self.name, "django-admin" | "django" | "manage");
        let command = self.first_plain().filter(|command| matches!(*command, "runserver" | "runserver_plus"))?;
        (is_django && !self.has("--noreload"))
            .then(|| found(&format!("Django's {command}"), "turn that off with --noreload", Sources::Python))
    }

    fn server(&self) -> Option<Reloader> {
        let (name, flags, variable) = SERVERS.iter().find(|(name, ..)| *name == self.name)?;
        let flag = self.words.iter().find(|word| flags.contains(&word.as_str()));
        if let Some(flag) = flag {
            return Some(found(&format!("{name} {flag}"), &format!("remove {flag}"), Sources::Python));
        }
        let arguments = self.variable("GUNICORN_CMD_ARGS").filter(|_| *name == "gunicorn").unwrap_or_default();
        if arguments.split_whitespace().any(|word| word == "--reload") {
            let remedy = "remove --reload from GUNICORN_CMD_ARGS";
            return Some(found("gunicorn --reload", remedy, Sources::Python));
        }
        let on = !variable.is_empty() && self.variable(variable).is_some_and(|value| is_on(&value));
        let off = self.has("--no-reload");
        (on && !off).then(|| found(&format!("{name} with {variable}"), &format!("unset {variable}"), Sources::Python))
    }

    fn fastapi(&self) -> Option<Reloader> {
        let command = self.first_plain().filter(|_| self.name == "fastapi")?;
        match (command, self.last_of(&["--reload", "--no-reload"])) {
            ("dev", None | Some("--reload")) => {
                Some(found("fastapi dev", "turn that off with --no-reload", Sources::Python))
            }
            ("run", Some("--reload")) => Some(found("fastapi run --reload", "remove --reload", Sources::Python)),
            _ => None,
        }
    }

    /// JavaScript runtimes. Only a flag before the script is the runtime's.
    fn runtime(&self) -> Option<Reloader> {
        let with_value = ["-r", "--require", "--import", "--loader", "-C", "--conditions", "--preload", "--env-file"];
        let mut own = Vec::new();
        let mut words = self.words.iter();
        let commands: &[&str] = match self.name {
            "node" | "nodejs" | "ts-node" => &[],
            "tsx" => &["watch"],
            "bun" => &["run", "test"],
            "deno" => &["run", "serve", "test"],
            _ => return None,
        };
        while let Some(word) = words.next() {
            if with_value.contains(&word.as_str()) {
                words.next();
            } else if word.starts_with('-') || commands.contains(&word.as_str()) && own.is_empty() {
                own.push(word.as_str());
            } else {
                break;
            }
        }
        let is_watch = |word: &&str| {
            let flag = word.split('=').next().unwrap_or_default();
            matches!(flag, "--watch" | "--watch-path" | "--hot" | "--watch-hmr")
                || self.name == "tsx" && flag == "watch"
        };
        let flag = own.into_iter().find(is_watch)?;
        let flag = flag.split('=').next().unwrap_or(flag);
        Some(found(&format!("{} {flag}", self.name), &format!("remove {flag}"), Sources::Scripts))
    }

    fn watcher(&self) -> Option<Reloader> {
        let (name, commands) = WATCHERS.iter().find(|(name, _)| *name == self.name)?;
        let command = match commands {
            [] => None,
            _ if matches!(*name, "cargo" | "dotnet") => {
                Some(self.first_plain().filter(|first| commands.contains(first))?)
            }
            _ => Some(self.words.iter().map(String::as_str).find(|word| commands.contains(word))?),
        };
        let what =
            command.filter(|word| !word.starts_with('-')).map_or((*name).to_owned(), |word| format!("{name} {word}"));
        let sources = if matches!(*name, "cargo" | "cargo-watch" | "bacon") { Sources::Rust } else { Sources::Any };
        let is_asked = self.words.iter().any(|word| matches!(word.as_str(), "--version" | "--help" | "-h" | "-V"));
        (!is_asked).then(|| found(&what, "let reloadrun run the command directly", sources))
    }

    fn page(&self) -> Option<Reloader> {
        let (name, commands, rest) = PAGES.iter().find(|(name, ..)| *name == self.name)?;
        let first = self.first_plain();
        let bare = match first {
            None => true,
            // A directory or a file, not a subcommand: `vite frontend`, `parcel index.html`.
            Some(word) => {
                !matches!(word, "build" | "preview" | "optimize" | "inspect" | "watch" | "help" | "init" | "info")
            }
        };
        let starts = first.is_some_and(|word| commands.contains(&word)) || (commands.contains(&"") && bare);
        let is_asked = self.words.iter().any(|word| matches!(word.as_str(), "--version" | "--help" | "-h" | "-v"));
        let what =
            first.filter(|word| commands.contains(word)).map_or((*name).to_owned(), |word| format!("{name} {word}"));
        (starts && !is_asked).then(|| found(&what, &format!("watch only the other files: -w '{rest}'"), Sources::Page))
    }

    fn stayer(&self) -> Option<Reloader> {
        if self.name == "vitest" {
            let once =
                self.words.iter().any(|word| matches!(word.as_str(), "run" | "--run" | "--watch=false" | "--no-watch"));
            let other = matches!(self.first_plain(), Some("bench" | "list" | "init" | "related"));
            let quiet = self.variable("CI").is_some_and(|value| is_on(&value));
            return (!once && !other && !quiet)
                .then(|| found("vitest", "use `vitest run`, which does not watch", Sources::Scripts));
        }
        let (name, flags) = STAYERS.iter().find(|(name, _)| *name == self.name)?;
        let flag = self
            .words
            .iter()
            .map(String::as_str)
            .find(|word| flags.contains(word) || word.starts_with("--watch=") && !word.ends_with("false"))?;
        Some(found(&format!("{name} {flag}"), &format!("remove {flag}"), Sources::Scripts))
    }

    fn site(&self) -> Option<Reloader> {
        let (name, commands, off) = SITES.iter().find(|(name, ..)| *name == self.name)?;
        let serves = commands.contains(&"") || self.first_plain().is_some_and(|first| commands.contains(&first));
        let is_off = !off.is_empty() && (self.has(off) || self.has("--no-watch") || self.has("--no-livereload"));
        let remedy = if off.is_empty() {
            "let reloadrun run the command directly".to_owned()
        } else {
            format!("turn that off with {off}")
        };
        (serves && !is_off).then(|| found(name, &remedy, Sources::Text))
    }

    fn has(&self, word: &str) -> bool {
        self.words.iter().any(|own| own == word)
    }

    fn first_plain(&self) -> Option<&str> {
        self.words.iter().map(String::as_str).find(|word| !word.starts_with('-'))
    }

    fn last_of<'a>(&self, flags: &[&'a str]) -> Option<&'a str> {
        self.words.iter().rev().find_map(|word| flags.iter().copied().find(|flag| word == flag))
    }

    /// The value of a variable in the command's environment; `None` if it is unset or empty.
    fn variable(&self, name: &str) -> Option<String> {
        let own = self.simple.variables.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        own.or_else(|| (self.environment)(name)).filter(|value| !value.is_empty())
    }
}

fn is_on(value: &str) -> bool {
    !matches!(value.trim().to_lowercase().as_str(), "" | "0" | "false" | "no" | "off" | "f" | "n")
}

fn found(what: &str, remedy: &str, sources: Sources) -> Reloader {
    Reloader { what: what.to_owned(), remedy: remedy.to_owned(), sources }
}

#[cfg(test)]
mod tests {
    use super::super::line::split;
    use super::find;

    fn said(line: &str, environment: &[(&str, &str)]) -> Option<String> {
        let variable =
            |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let script = |name: &str| (name == "dev").then(|| "vite".to_owned());
        find(&split(line)[0], &variable, &script).map(|found| found.sentence())
    }

    #[test]
    fn a_second_reloader_gets_a_hint_with_what_turns_it_off() {
        for (line, what, remedy) in [
            ("flask run --debug", "flask in debug mode", "--no-reload"),
            ("flask --app app --debug run", "flask in debug mode", "--no-reload"),
            ("python3 -m flask --debug run", "flask in debug mode", "--no-reload"),
            ("FLASK_DEBUG=1 flask run", "flask in debug mode", "--no-reload"),
            ("env FLASK_DEBUG=true flask run", "flask in debug mode", "--no-reload"),
            ("sh -c 'cd src && FLASK_DEBUG=1 exec flask run'", "flask in debug mode", "--no-reload"),
            ("flask run --reload", "flask run --reload", "--no-reload"),
            ("uv run flask run --debug", "flask in debug mode", "--no-reload"),
            ("quart --debug run", "quart in debug mode", "--no-reload"),
            ("python manage.py runserver", "Django's runserver", "--noreload"),
            ("./manage.py runserver 0.0.0.0:8000", "Django's runserver", "--noreload"),
            ("python src/manage.py --settings=x runserver", "Django's runserver", "--noreload"),
            ("poetry run python manage.py runserver_plus", "Django's runserver_plus", "--noreload"),
            ("django-admin runserver", "Django's runserver", "--noreload"),
            ("python -m django runserver", "Django's runserver", "--noreload"),
            ("uvicorn app:app --reload", "uvicorn --reload", "remove --reload"),
            ("python -m uvicorn --reload app:app", "uvicorn --reload", "remove --reload"),
            ("UVICORN_RELOAD=1 uvicorn app:app", "uvicorn with UVICORN_RELOAD", "unset UVICORN_RELOAD"),
            ("gunicorn --reload app:app", "gunicorn --reload", "remove --reload"),
            ("GUNICORN_CMD_ARGS='-w 2 --reload' gunicorn app:app", "gunicorn --reload", "GUNICORN_CMD_ARGS"),
            ("hypercorn --reload app:app", "hypercorn --reload", "remove --reload"),
            ("fastapi dev main.py", "fastapi dev", "--no-reload"),
            ("sanic app --dev", "sanic --dev", "remove --dev"),
            ("node --watch server.js", "node --watch", "remove --watch"),
            ("node --watch-path=src server.js", "node --watch-path", "remove --watch-path"),
            ("node -r dotenv/config --watch server.js", "node --watch", "remove --watch"),
            ("tsx watch server.ts", "tsx watch", "remove watch"),
            ("npx tsx watch server.ts", "tsx watch", "remove watch"),
            ("bun --hot run a.ts", "bun --hot", "remove --hot"),
            ("deno run --watch -A a.ts", "deno --watch", "remove --watch"),
            ("nodemon server.js", "nodemon", "directly"),
            ("npx nodemon server.js", "nodemon", "directly"),
            ("cargo watch -x run", "cargo watch", "directly"),
            ("cargo-watch -x run", "cargo-watch", "directly"),
            ("watchexec -r -- ./app", "watchexec", "directly"),
            ("sh -c 'ls *.py | entr -r python app.py'", "entr", "directly"),
            ("watchmedo auto-restart -- python app.py", "watchmedo auto-restart", "directly"),
            ("tsc --watch", "tsc --watch", "remove --watch"),
            ("vitest", "vitest", "vitest run"),
            ("mkdocs serve", "mkdocs", "--no-livereload"),
        ] {
            let sentence = said(line, &[]).unwrap_or_else(|| panic!("no hint for {line}"));
            let start = format!("{what} watches files too, so each save takes effect twice; ");
            assert!(sentence.starts_with(&start) && sentence.contains(remedy), "{line}: {sentence}");
        }
    }

    #[test]
    fn a_server_that_updates_the_page_gets_a_hint_with_patterns_of_the_other_files() {
        for (line, what, patterns) in [
            ("vite", "vite", "package.json"),
            ("npx vite --port 3000", "vite", "package.json"),
            ("vite frontend", "vite", "package.json"),
            ("npm run dev", "vite", "package.json"),
            ("node_modules/.bin/vite dev", "vite dev", "package.json"),
            ("next dev", "next dev", "package.json"),
            ("webpack serve --open", "webpack serve", "package.json;webpack.config.*"),
            ("ng serve", "ng serve", "package.json;angular.json"),
        ] {
            let expected = Some({
                format!(
                    "{what} updates the page itself, and a restart loses the state of the page; watch only the other files: -w '{patterns}'"
                )
            });
            assert_eq!(said(line, &[]), expected, "{line}");
        }
    }

    #[test]
    fn a_reloader_is_also_found_in_the_environment() {
        let debug = [("FLASK_DEBUG", "1")];
        assert!(said("flask run", &debug).is_some());
        assert!(said("python -m flask --app x run", &debug).is_some());
        for (line, environment) in [
            ("flask run --no-reload", &debug[..]),
            ("flask run --no-debug", &debug),
            ("FLASK_DEBUG=0 flask run", &debug),
            ("flask routes", &debug),
            ("python app.py", &debug),
            ("flask run", &[("FLASK_DEBUG", "false")]),
            ("flask run", &[("FLASK_DEBUG", "1"), ("FLASK_RUN_RELOAD", "0")]),
            ("flask run", &[("QUART_DEBUG", "1")]),
            ("uvicorn app:app", &[("UVICORN_RELOAD", "0")]),
            ("vitest", &[("CI", "true")]),
        ] {
            assert_eq!(said(line, environment), None, "{line} {environment:?}");
        }
        assert!(said("flask run", &[("FLASK_ENV", "development")]).is_some());
        assert!(said("gunicorn app:app", &[("GUNICORN_CMD_ARGS", "--reload")]).is_some());
    }

    #[test]
    fn there_is_no_false_alarm() {
        for line in [
            "flask run",
            "flask run --no-reload --debug",
            "flask --debug shell",
            "python manage.py runserver --noreload",
            "python manage.py migrate",
            "python runserver",
            "uvicorn app:app",
            "uvicorn app:app --reload-dir src",
            "gunicorn app:app",
            "fastapi run main.py",
            "fastapi dev --no-reload main.py",
            "node server.js",
            "node server.js --watch",
            "node -r ./watch.js server.js",
            "bun run a.ts",
            "tsx server.ts",
            "deno run a.ts",
            "cargo run",
            "cargo run -- watch",
            "cargo test watch",
            "dotnet run",
            "vite build",
            "npx vite preview",
            "next start",
            "next build",
            "webpack",
            "webpack build",
            "tsc",
            "tsc -p .",
            "vitest run",
            "jest",
            "rollup -c",
            "parcel build index.html",
            "nodemon --version",
            "python -c 'nodemon'",
            "echo nodemon",
            "grep --watch x",
            "python app.py --reload",
            "sh -c 'echo vite'",
            "make dev",
            "mkdocs build",
            "hugo server --watch=false",
            "npm test",
            "npm install vite",
            "watchmedo --version",
            "reflex run",
            "true",
            "",
        ] {
            assert_eq!(split(line).first().and_then(|_| said(line, &[])), None, "{line}");
        }
    }
}
