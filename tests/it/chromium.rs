//! `--browser` as a real browser sees it: Chromium, headless.
//!
//! `RELOADRUN_RELOADS=100` makes the long test as long as that; `RELOADRUN_PICTURES=DIRECTORY` keeps what the page and the overlay look like.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::outlet::{address_of, outlet_of};
use crate::support::chromium::{Chromium, is_missing};
use crate::support::{Sandbox, Session, apps};

const OVERLAY: &str = "document.querySelector('#reloadrun-overlay')?.shadowRoot.querySelector('pre').textContent";

/// The server of `fixtures/browser`, which takes a while to come up, and a browser that shows its page.
struct Scene {
    sandbox: Sandbox,
    session: Session,
    outlet: SocketAddr,
    chromium: Chromium,
}

impl Scene {
    fn begin() -> Scene {
        let sandbox = Sandbox::new();
        apps::copy_fixture("browser", sandbox.root());
        let port = apps::free_port();
        let (url, port) = (format!("http://127.0.0.1:{port}/"), port.to_string());
        // The page must know where the outlet is before it starts.
        let outlet = apps::free_port();
        apps::edit(&sandbox.path("index.html"), "LIVERELOAD", &format!("http://localhost:{outlet}/livereload.js"));
        let outlet = format!("127.0.0.1:{outlet}");
        let options = ["--browser", &outlet, "-w", "*.py;*.html", "--browser-watch", "static/**", "--ready", &url];
        let mut session = sandbox.start(options.into_iter().chain(["--", "python3", "app.py", &port, "0.3"]));
        let outlet = address_of(&mut session, "browser");
        session.wait("ready");
        let mut chromium = Chromium::start();
        chromium.open(&url);
        Scene { sandbox, session, outlet, chromium }
    }

    fn edit(&self, name: &str, from: &str, to: &str) {
        apps::edit(&self.sandbox.path(name), from, to);
    }

    fn loads(&mut self) -> u64 {
        // What was waited for may be there before the script that counts.
        self.chromium.until("document.readyState === 'complete'");
        self.chromium.evaluate("Number(sessionStorage.loads)").as_u64().expect("it is a number")
    }

    /// Keeps a picture, if somebody wants one.
    fn picture(&mut self, name: &str) {
        if let Some(directory) = std::env::var_os("RELOADRUN_PICTURES").map(PathBuf::from) {
            self.chromium.picture(&directory.join(name));
        }
    }
}

#[test]
fn a_page_loads_again_once_after_a_save_keeps_its_state_for_a_stylesheet_and_shows_what_is_broken() {
    if is_missing("the page in a real browser") {
        return;
    }
    let mut scene = Scene::begin();
    let (before, color) = (scene.loads(), "getComputedStyle(document.querySelector('h1')).color");
    // A template: once, and the generation is ready by then.
    scene.edit("index.html", "as it was", "another one");
    scene.chromium.until("document.querySelector('#words')?.textContent.includes('another one')");
    assert!(scene.session.is_ready(2));
    assert_eq!(scene.loads(), before + 1);
    // The server's code.
    scene.edit("app.py", "TITLE = \"one\"", "TITLE = \"two\"");
    scene.chromium.until("document.title === 'two'");
    assert!(scene.session.is_ready(3));
    assert_eq!(scene.loads(), before + 2);
    // A stylesheet and an image: no restart, no reload.
    assert_eq!(scene.chromium.evaluate(color), "rgb(10, 20, 30)");
    scene.chromium.evaluate("window.mark = 41; document.querySelector('#picture').dataset.mark = 1; 0");
    scene.edit("static/style.css", "rgb(10, 20, 30)", "rgb(200, 0, 100)");
    scene.chromium.until(&format!("{color} === 'rgb(200, 0, 100)'"));
    scene.edit("static/dot.svg", "r=\"10\"", "r=\"4\"");
    scene.chromium.until("document.querySelector('#picture')?.src.includes('livereload=')");
    let links = scene.chromium.evaluate("document.querySelectorAll('link[rel=stylesheet]').length");
    assert_eq!(
        (scene.chromium.evaluate("window.mark + 1"), links),
        (42.into(), 2.into()),
        "the same page, and no link more"
    );
    let other = scene.chromium.evaluate("document.querySelectorAll('link')[1].href.includes('livereload=')");
    assert_eq!(other, false, "the other stylesheet is left alone");
    assert_eq!((scene.loads(), scene.session.starts()), (before + 2, 3));
    scene.picture("browser-page.png");
    // A mistake: the page stays, with the reason on it.
    scene.edit("app.py", "TITLE = \"two\"", "TITLE = two");
    assert_eq!(scene.chromium.until(OVERLAY), "app.py changed; the command exited with 1");
    assert_eq!((scene.chromium.evaluate("window.mark + 1"), scene.loads()), (42.into(), before + 2));
    scene.picture("browser-overlay.png");
    // Repaired.
    scene.edit("app.py", "TITLE = two", "TITLE = \"three\"");
    scene.chromium.until("document.title === 'three'");
    assert_eq!(scene.chromium.evaluate(&format!("{OVERLAY} ?? 'none'")), "none");
    assert_eq!(scene.loads(), before + 3);
    scene.session.stop().assert_code(143);
}

#[test]
fn every_edit_is_one_reload_and_no_socket_is_left_open() {
    if is_missing("many reloads in a real browser") {
        return;
    }
    let reloads: u64 = std::env::var("RELOADRUN_RELOADS").ok().and_then(|count| count.parse().ok()).unwrap_or(10);
    let mut scene = Scene::begin();
    let (before, outlet) = (scene.loads(), outlet_of(&scene.session));
    let open = || std::fs::read_dir(format!("/proc/{outlet}/fd")).expect("it lives").count();
    let mut most = 0;
    for number in 0..reloads {
        let (from, to) = if number == 0 {
            ("as it was".to_owned(), "edit 0".to_owned())
        } else {
            (format!("edit {}", number - 1), format!("edit {number}"))
        };
        scene.edit("index.html", &format!("{from}."), &format!("{to}."));
        scene.chromium.until(&format!("document.querySelector('#words')?.textContent.includes('{to}.')"));
        if number == 0 {
            most = open() + 2;
        }
    }
    assert_eq!(scene.loads(), before + reloads);
    assert_eq!((scene.session.starts() as u64, outlet_of(&scene.session)), (1 + reloads, outlet));
    scene.session.wait_until("the end of the connections", || open() <= most);
    assert!(std::net::TcpStream::connect(scene.outlet).is_ok());
    scene.session.stop().assert_code(143);
}
