//! A real browser, driven by puppeteer (`fixtures/browser/drive.mjs`): lines of JSON in, lines of JSON out.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::apps;
use super::sandbox::{MARK, PREFIX};

/// Its program, if this machine has one: `chromium` on the PATH.
pub fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join("chromium")).find(|program| program.is_file())
}

/// Whether the tests with a browser are to be left out, which is told: without a browser or without node, and offline.
pub fn is_missing(what: &str) -> bool {
    if apps::offline() {
        apps::left_out(what);
        return true;
    }
    let has_node = Command::new("node").arg("--version").stdout(Stdio::null()).status().is_ok();
    if program().is_none() || !has_node {
        let _ = writeln!(std::io::stderr(), "left out, there is no chromium or no node: {what}");
        return true;
    }
    false
}

/// A browser with one tab.
#[derive(Debug)]
pub struct Chromium {
    driver: Child,
    answers: BufReader<ChildStdout>,
    _profile: TempDir,
}

impl Chromium {
    /// Starts one.
    pub fn start() -> Chromium {
        let directory = apps::node_env().unwrap_or_else(|mistake| panic!("{mistake}"));
        let profile = tempfile::Builder::new().prefix(PREFIX).tempdir().expect("a temporary directory");
        let log = File::create(profile.path().join("log")).expect("it is ours");
        let mut driver = Command::new("node")
            .arg(directory.join("drive.mjs"))
            .arg(program().expect("it was looked for"))
            .arg(profile.path().join("profile"))
            .current_dir(&directory)
            .env(MARK, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("node starts");
        let answers = BufReader::new(driver.stdout.take().expect("it is a pipe"));
        let mut chromium = Chromium { driver, answers, _profile: profile };
        assert!(chromium.hear()["ready"].is_string());
        chromium
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the driver lives");
        serde_json::from_str(&line).unwrap_or_else(|error| {
            let log = fs::read_to_string(self._profile.path().join("log")).unwrap_or_default();
            panic!("{line:?}: {error}\n{log}")
        })
    }

    fn order(&mut self, order: &Value) -> Value {
        let stdin = self.driver.stdin.as_mut().expect("it is a pipe");
        writeln!(stdin, "{order}").expect("the driver lives");
        let answer = self.hear();
        assert!(answer["error"].is_null(), "{order}: {}", answer["error"]);
        answer["value"].clone()
    }

    /// Opens an address in a new tab, and waits until it is loaded.
    pub fn open(&mut self, url: &str) {
        self.order(&json!({ "open": url }));
    }

    /// The value of an expression in the tab.
    pub fn evaluate(&mut self, script: &str) -> Value {
        self.order(&json!({ "evaluate": script }))
    }

    /// Waits until an expression is true.
    pub fn until(&mut self, script: &str) -> Value {
        self.order(&json!({ "until": script }))
    }

    /// Writes what the tab shows to a PNG file.
    pub fn picture(&mut self, path: &Path) {
        self.order(&json!({ "picture": path }));
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // At the end of its orders the driver closes the browser.
        drop(self.driver.stdin.take());
        let _ = self.driver.wait();
    }
}
