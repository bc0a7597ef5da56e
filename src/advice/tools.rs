//! Tables of tools that watch files themselves.

/// The kind of files that a tool watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sources {
    /// Python sources.
    Python,
    /// JavaScript and TypeScript of a server.
    Scripts,
    /// The sources of a web page.
    Page,
    /// Rust sources.
    Rust,
    /// The pages of a site generator.
    Text,
    /// Any files: the user chooses them.
    Any,
}

impl Sources {
    /// Typical names of such files.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Sources::Python => &["app.py"],
            Sources::Scripts => &["app.js", "app.ts", "app.mjs"],
            Sources::Page => {
                &["app.js", "app.ts", "app.jsx", "app.tsx", "App.vue", "App.svelte", "app.css", "index.html"]
            }
            Sources::Rust => &["main.rs"],
            Sources::Text => &["index.md", "index.html", "index.rst"],
            Sources::Any => {
                &["app.py", "app.js", "app.ts", "main.rs", "main.go", "main.c", "app.rb", "app.php", "index.html"]
            }
        }
    }
}

/// Programs that watch files and run another program, and the subcommands or options that make them do so (none: they
/// always do).
pub const WATCHERS: [(&str, &[&str]); 24] = [
    ("nodemon", &[]),
    ("watchexec", &[]),
    ("entr", &[]),
    ("watchfiles", &[]),
    ("cargo-watch", &[]),
    ("bacon", &[]),
    ("ts-node-dev", &[]),
    ("tsnd", &[]),
    ("onchange", &[]),
    ("hupper", &[]),
    ("jurigged", &[]),
    ("ptw", &[]),
    ("pytest-watch", &[]),
    ("pytest_watch", &[]),
    ("pytest-watcher", &[]),
    ("pytest_watcher", &[]),
    ("CompileDaemon", &[]),
    ("wgo", &[]),
    ("gow", &[]),
    ("watchman-make", &[]),
    ("watchmedo", &["auto-restart", "shell-command", "tricks", "tricks-from"]),
    ("reflex", &["-r", "-g", "-s", "-c", "-R", "-G", "--regex", "--glob", "--start-service", "--config"]),
    ("cargo", &["watch"]),
    ("dotnet", &["watch"]),
];

/// Python servers that reload with a flag: the flags, and the environment variable with the same effect.
pub const SERVERS: [(&str, &[&str], &str); 10] = [
    ("uvicorn", &["--reload"], "UVICORN_RELOAD"),
    ("gunicorn", &["--reload"], ""),
    ("hypercorn", &["--reload"], ""),
    ("granian", &["--reload"], "GRANIAN_RELOAD"),
    ("litestar", &["--reload", "-r"], ""),
    ("sanic", &["--reload", "--auto-reload", "--dev", "-d", "-r"], ""),
    ("pserve", &["--reload"], ""),
    ("bottle", &["--reload"], ""),
    ("bottle.py", &["--reload"], ""),
    ("chalice", &["--autoreload"], ""),
];

/// Compilers and test runners that keep running and watch when they get one of these flags.
pub const STAYERS: [(&str, &[&str]); 14] = [
    ("tsc", &["--watch", "-w"]),
    ("rollup", &["--watch", "-w"]),
    ("webpack", &["--watch", "-w", "watch"]),
    ("tsup", &["--watch"]),
    ("esbuild", &["--watch", "--serve"]),
    ("tailwindcss", &["--watch", "-w"]),
    ("babel", &["--watch", "-w"]),
    ("postcss", &["--watch", "-w"]),
    ("sass", &["--watch", "-w"]),
    ("swc", &["--watch", "-w"]),
    ("nest", &["--watch", "-w"]),
    ("jest", &["--watch", "--watchAll"]),
    ("mocha", &["--watch", "-w"]),
    ("ava", &["--watch", "-w"]),
];

/// Development servers that update the page themselves: the subcommands that start them (empty: no subcommand), and the
/// patterns of files that they do not watch.
pub const PAGES: [(&str, &[&str], &str); 22] = [
    ("vite", &["", "dev", "serve"], "package.json"),
    ("next", &["dev"], "package.json"),
    ("nuxt", &["dev"], "package.json"),
    ("nuxi", &["dev"], "package.json"),
    ("webpack", &["serve", "server"], "package.json;webpack.config.*"),
    ("webpack-dev-server", &[""], "package.json;webpack.config.*"),
    ("rspack", &["dev", "serve"], "package.json;rspack.config.*"),
    ("rsbuild", &["", "dev"], "package.json"),
    ("react-scripts", &["start"], "package.json"),
    ("ng", &["serve"], "package.json;angular.json"),
    ("vue-cli-service", &["serve"], "package.json;vue.config.*"),
    ("astro", &["dev"], "package.json"),
    ("gatsby", &["develop"], "package.json;gatsby-*.*"),
    ("remix", &["dev", "vite:dev"], "package.json"),
    ("react-router", &["dev"], "package.json"),
    ("svelte-kit", &["dev"], "package.json"),
    ("storybook", &["dev"], "package.json;.storybook/*"),
    ("vitepress", &["", "dev"], "package.json"),
    ("docusaurus", &["start"], "package.json"),
    ("ember", &["serve", "server"], "package.json"),
    ("parcel", &["", "serve", "watch"], "package.json"),
    ("expo", &["start"], "package.json"),
];

/// Site generators: the subcommands that serve (empty: no subcommand), and the flag that turns watching off (empty:
/// there is none).
pub const SITES: [(&str, &[&str], &str); 4] = [
    ("mkdocs", &["serve"], "--no-livereload"),
    ("hugo", &["server", "serve"], "--watch=false"),
    ("jekyll", &["serve", "server", "s"], "--no-watch"),
    ("sphinx-autobuild", &[""], ""),
];
