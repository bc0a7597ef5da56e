//! `--browser`: pages load again when the new generation is ready, and what only browsers care about restarts nothing. As a page speaks it, without a browser; in
//! a real one see `chromium.rs`.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::{Error, HandshakeError, Message, WebSocket};

use super::control::{answer, ask, status};
use super::outlet::{address_of, outlet_of};
use crate::support::http::{Visit, get};
use crate::support::session::{DEADLINE, signal};
use crate::support::{Sandbox, Session};

const PROTOCOL: &str = "http://livereload.com/protocols/official-7";

/// A page that is open.
struct Page {
    socket: WebSocket<TcpStream>,
}

impl Page {
    /// Connects with these headers; the status of the answer if that is refused.
    fn connect(address: SocketAddr, host: &str, origin: Option<&str>) -> Result<Page, u16> {
        let mut request = format!("ws://{address}/livereload").into_client_request().expect("it is an address");
        request.headers_mut().insert("Host", HeaderValue::from_str(host).expect("it is text"));
        if let Some(origin) = origin {
            request.headers_mut().insert("Origin", HeaderValue::from_str(origin).expect("it is text"));
        }
        let stream = TcpStream::connect(address).expect("somebody listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a fresh socket");
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(Page { socket }),
            Err(HandshakeError::Failure(Error::Http(response))) => {
                let shares = response.headers().keys().any(|name| name.as_str().starts_with("access-control-"));
                assert!(!shares, "{response:?}");
                Err(response.status().as_u16())
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// A page of this machine that has been greeted. `age` is that of our own script.
    fn open(address: SocketAddr, age: Option<Duration>) -> Page {
        let mut page = Page::connect(address, "localhost", Some("http://localhost:8000")).expect("it may listen");
        let ours = age.map(|age| json!({ "reloadrun": 1, "age": age.as_secs_f64() * 1e3 }));
        let mut hello =
            json!({ "command": "hello", "protocols": ["http://livereload.com/protocols/official-6", PROTOCOL] });
        for (key, value) in ours.iter().filter_map(Value::as_object).flatten() {
            hello[key] = value.clone();
        }
        page.say(&hello);
        let greeting = page.hear();
        assert_eq!((&greeting["command"], &greeting["protocols"]), (&json!("hello"), &json!([PROTOCOL])));
        page.say(&json!({ "command": "info", "url": "http://localhost:8000/", "plugins": {} }));
        page
    }

    fn fresh(address: SocketAddr) -> Page {
        Page::open(address, Some(Duration::ZERO))
    }

    fn say(&mut self, words: &Value) {
        self.socket.send(Message::text(words.to_string())).expect("somebody listens");
    }

    fn read(&mut self) -> Result<Message, Error> {
        loop {
            match self.socket.read() {
                // A wait with a timeout is not begun again after a signal, whatever its handler asks for.
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }

    /// The next message.
    fn hear(&mut self) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            // Pings come all the time.
            assert!(Instant::now() < deadline, "nothing was said");
            match self.read().expect("a message") {
                Message::Text(text) => return serde_json::from_str(&text).expect("it is JSON"),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Whether the other side ends the connection, whatever comes before.
    fn is_let_go(&mut self) -> bool {
        loop {
            match self.read() {
                Ok(Message::Close(_)) | Err(Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(_)) => {
                    return true;
                }
                Err(Error::Io(error)) => return error.kind() != io::ErrorKind::WouldBlock,
                Ok(_) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Asserts that the page is to load again.
    #[track_caller]
    fn hear_reload(&mut self) {
        assert_eq!(self.hear(), json!({ "command": "reload", "path": "/", "liveCSS": true, "liveImg": true }));
    }

    /// The text of the overlay; `None` when it goes.
    #[track_caller]
    fn hear_overlay(&mut self) -> Option<String> {
        let message = self.hear();
        assert_eq!(message["command"], "overlay", "{message}");
        message["message"].as_str().map(str::to_owned)
    }
}

/// A run whose generations are ready as soon as there is a file `ready`.
fn start(sandbox: &Sandbox, more: &[&str]) -> (Session, SocketAddr) {
    sandbox.write("app.py", "one");
    sandbox.write("ready", "");
    let options = ["--browser", "127.0.0.1:0", "-w", "*.py", "--ready", "exec:test -e ready"];
    let mut session = sandbox.start(options.iter().chain(more).chain(&["--", "sleep", "600"]));
    let address = address_of(&mut session, "browser");
    session.wait_until("the watcher", || session.events().iter().any(|event| event["event"] == "watching"));
    settle(address);
    (session, address)
}

/// Waits until the outlet knows that a generation is up: a page that is older than it is to load again.
fn settle(address: SocketAddr) {
    Page::open(address, Some(10 * DEADLINE)).hear_reload();
}

#[test]
fn pages_load_again_once_when_the_new_generation_is_ready_and_not_before() {
    let sandbox = Sandbox::new();
    let (mut session, address) = start(&sandbox, &[]);
    let mut pages = [Page::fresh(address), Page::open(address, None)];
    for generation in 2..=4 {
        std::fs::remove_file(sandbox.path("ready")).expect("it is there");
        for number in 0..5 {
            sandbox.write(format!("{number}.py"), generation.to_string());
        }
        session.wait_started(generation);
        sandbox.write("ready", "");
        for page in &mut pages {
            page.hear_reload();
            assert!(session.is_ready(generation), "{}", session.account());
        }
    }
    // Nothing else was said: what comes next is the next reload.
    sandbox.write("app.py", "two");
    session.wait_where("ready", |event| event["generation"] == 5);
    pages.iter_mut().for_each(Page::hear_reload);
    session.stop().assert_code(143);
    assert!(pages[0].is_let_go());
}

#[test]
fn without_a_probe_pages_load_again_at_the_start_and_that_is_said_once() {
    let sandbox = Sandbox::new();
    sandbox.write("app.py", "one");
    let mut session = sandbox.start(["--browser", "127.0.0.1:0", "-w", "*.py", "--", "sleep", "600"]);
    let address = address_of(&mut session, "browser");
    session.wait_armed(1);
    settle(address);
    let mut page = Page::fresh(address);
    for generation in 2..=3 {
        sandbox.write("app.py", generation.to_string());
        page.hear_reload();
        session.wait_armed(generation);
    }
    let ended = session.stop();
    assert_eq!(ended.stderr.matches("--browser: without --ready").count(), 1, "{ended:#?}");
    let line =
        format!("pages with <script src=\"http://{address}/livereload.js\"></script> load again after a restart");
    assert!(ended.stderr.contains(&line), "{ended:#?}");
}

#[test]
fn stylesheets_and_images_are_exchanged_and_other_files_for_browsers_load_the_page_again_without_a_restart() {
    let sandbox = Sandbox::new();
    for name in ["static/style.css", "static/dot.png", "static/page.html", "templates/a.html"] {
        sandbox.write(name, "one");
    }
    // They win over -w, whatever else matches.
    let (mut session, address) =
        start(&sandbox, &["-w", "static/style.css;**/*.html", "--browser-watch", "static/**;templates/*.html"]);
    session.wait_armed(1);
    let mut page = Page::fresh(address);
    let exchanged = |path: &str| json!({ "command": "reload", "path": path, "liveCSS": true, "liveImg": true });
    for (name, expected) in [
        ("static/style.css", exchanged("static/style.css")),
        ("static/dot.png", exchanged("static/dot.png")),
        ("static/page.html", exchanged("/")),
        ("templates/a.html", exchanged("/")),
        ("static/new/more.css", exchanged("static/new/more.css")),
    ] {
        sandbox.write(name, "two");
        assert_eq!(page.hear(), expected, "{name}");
        let changed = session.wait("changed");
        assert_eq!(changed["action"], "browser", "{changed}");
        let rule = changed["changes"][0]["rule"].as_str().expect("it is text");
        assert!(rule.starts_with("--browser-watch '"), "{changed}");
    }
    // The fence: nothing has restarted, and `status` tells of the command alone.
    assert_eq!((session.starts(), &status(&sandbox)["last_change"]), (1, &Value::Null));
    sandbox.write("app.py", "two");
    session.wait_where("ready", |event| event["generation"] == 2);
    page.hear_reload();
    let ended = session.stop();
    assert_eq!(ended.count("started"), 2);
    assert!(
        ended.stderr.contains("static/style.css changed (--browser-watch 'static/**'); browsers are told"),
        "{ended:#?}"
    );
}

#[test]
fn a_save_of_both_kinds_is_one_restart_and_one_reload() {
    let sandbox = Sandbox::new();
    sandbox.write("style.css", "one");
    let (mut session, address) = start(&sandbox, &["--browser-watch", "*.css"]);
    let mut page = Page::fresh(address);
    sandbox.write("app.py", "two");
    session.wait_where("changed", |event| event["action"] == "restart");
    sandbox.write("style.css", "two");
    session.wait_where("ready", |event| event["generation"] == 2);
    let first = page.hear();
    // The stylesheet may have been seen when the generation was ready already; then it is exchanged after the reload.
    assert_eq!(first["path"], "/", "{first}");
    session.stop();
}

#[test]
fn what_the_command_reads_or_writes_is_for_browsers_if_they_are_named_and_ignored_files_are_not() {
    let sandbox = Sandbox::new();
    sandbox.write("style.css", "one");
    sandbox.write("skip.css", "one");
    sandbox.write(".gitignore", "built.css\n");
    std::fs::create_dir(sandbox.path(".git")).expect("a fresh directory");
    let command = "cat style.css > seen; echo made > made.css; exec sleep 600";
    let options = [
        "--browser",
        "127.0.0.1:0",
        "--discover",
        "add",
        "--browser-watch",
        "*.css",
        "-i",
        "skip.css",
        "--",
        "sh",
        "-c",
        command,
    ];
    let mut session = sandbox.start(options);
    let address = address_of(&mut session, "browser");
    session.wait_armed(1);
    session.wait_until("the file", || sandbox.path("made.css").exists());
    settle(address);
    let mut page = Page::fresh(address);
    for name in ["skip.css", "built.css", "style.css"] {
        sandbox.write(name, "two");
    }
    // That the command has made a file may be told before, and after.
    let mut hear_until = |expected: &str| {
        let heard: Vec<String> = (0..4)
            .map(|_| page.hear()["path"].as_str().expect("it is text").to_owned())
            .take_while(|path| path != expected)
            .collect();
        assert!(heard.len() < 4 && heard.iter().all(|path| path == "made.css"), "{heard:?} before {expected}");
    };
    hear_until("style.css");
    sandbox.write("made.css", "three");
    hear_until("made.css");
    assert_eq!(session.starts(), 1);
    for (path, expected) in [
        ("style.css", "a change of style.css is told to browsers and restarts nothing: --browser-watch '*.css'"),
        ("skip.css", "does nothing: -i 'skip.css'"),
    ] {
        let output = ask(&sandbox, &["explain", path]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(expected), "{text}");
    }
    session.stop();
    let alone = sandbox.command(["--browser-watch", "*.css", "--explain", "style.css"]).output().expect("it starts");
    assert_eq!(alone.status.code(), Some(1));
    let text = String::from_utf8_lossy(&alone.stdout).into_owned();
    assert!(text.contains("concerns browsers (--browser tells them) and restarts nothing"), "{text}");
}

#[test]
fn a_failure_is_shown_with_its_reason_also_to_a_page_that_comes_later_and_goes_when_it_is_repaired() {
    let sandbox = Sandbox::new();
    sandbox.write("app.py", "exec sleep 600");
    let options =
        ["--browser", "127.0.0.1:0", "-w", "*.py", "--ready", "exec:grep -q sleep app.py", "--on-exit", "wait"];
    let mut session = sandbox.start(options.iter().chain(&["--", "sh", "app.py"]));
    let address = address_of(&mut session, "browser");
    session.wait("ready");
    settle(address);
    let (mut page, mut plain) = (Page::fresh(address), Page::open(address, None));
    sandbox.write("app.py", "exit 7");
    let expected = Some("app.py changed; the command exited with 7".to_owned());
    assert_eq!(page.hear_overlay(), expected);
    let mut late = Page::open(address, Some(DEADLINE));
    assert_eq!(late.hear_overlay(), expected);
    // An outlet that is killed knows it too, as far as the run does.
    signal(outlet_of(&session), "KILL");
    assert!(late.is_let_go() && page.is_let_go() && plain.is_let_go());
    let mut page = Page::fresh(address);
    assert_eq!(page.hear_overlay().as_deref(), Some("the command exited with 7"));
    let mut plain = Page::open(address, None);
    sandbox.write("app.py", "exec sleep 601");
    assert_eq!(page.hear_overlay(), None);
    page.hear_reload();
    // Clients of others end the connection at a command that they do not know.
    plain.hear_reload();
    session.stop();
}

#[test]
fn a_preparation_that_fails_is_shown_and_the_page_stays_as_the_command_does() {
    let sandbox = Sandbox::new();
    let (session, address) = start(&sandbox, &["--prepare", "! grep -q broken app.py"]);
    let mut page = Page::fresh(address);
    sandbox.write("app.py", "broken");
    assert_eq!(page.hear_overlay().as_deref(), Some("app.py changed; the preparation exited with 1"));
    sandbox.write("app.py", "repaired");
    assert_eq!(page.hear_overlay(), None);
    page.hear_reload();
    assert_eq!(session.starts(), 2);
    session.stop();
}

#[test]
fn a_page_that_was_on_its_way_during_a_reload_loads_again() {
    let sandbox = Sandbox::new();
    let (mut session, address) = start(&sandbox, &[]);
    sandbox.write("app.py", "two");
    session.wait_where("ready", |event| event["generation"] == 2);
    // The outlet has heard of it when another page has.
    let mut early = Page::open(address, Some(DEADLINE));
    early.hear_reload();
    let mut page = Page::fresh(address);
    sandbox.write("app.py", "three");
    page.hear_reload();
    // Its outlet is another one, and the reload was told to nobody.
    signal(outlet_of(&session), "KILL");
    assert!(page.is_let_go());
    Page::open(address, Some(DEADLINE)).hear_reload();
    session.stop();
}

#[test]
fn a_pause_holds_back_what_browsers_would_be_told() {
    let sandbox = Sandbox::new();
    sandbox.write("style.css", "one");
    let (session, address) = start(&sandbox, &["--browser-watch", "*.css"]);
    let mut page = Page::fresh(address);
    answer(&sandbox, &["pause"], 0);
    sandbox.write("style.css", "two");
    // A round trip through the watcher, which sees nothing to be told.
    assert!(sandbox.command(["explain", "style.css"]).output().is_ok());
    assert!(session.events().iter().all(|event| event["event"] != "changed"));
    answer(&sandbox, &["resume"], 0);
    assert_eq!(page.hear()["path"], "style.css");
    session.stop();
}

/// browser-sync gives any origin back, python-livereload admits every one, and node-livereload asks for none.
#[test]
fn hole_one_a_page_of_somebody_else_cannot_listen() {
    let sandbox = Sandbox::new();
    let (session, address) = start(&sandbox, &[]);
    let port = address.port();
    let origins =
        ["https://evil.example", "http://localhost.evil.example", "http://203.0.113.9:8000", "null", "file://"];
    for origin in origins.into_iter().map(Some).chain([None]) {
        assert_eq!(Page::connect(address, &format!("localhost:{port}"), origin).err(), Some(403), "{origin:?}");
    }
    for origin in ["http://localhost:8000", "http://127.0.0.1:8000", "https://shop.localhost", "chrome-extension://abc"]
    {
        assert!(Page::connect(address, &format!("localhost:{port}"), Some(origin)).is_ok(), "{origin}");
    }
    session.stop();
}

/// Vite's advisory of 2025: no check of the host (DNS rebinding), and answers that any page may read (CORS).
#[test]
fn hole_two_a_name_of_somebody_else_does_not_reach_it_and_no_page_may_read_its_answers() {
    let sandbox = Sandbox::new();
    let (session, address) = start(&sandbox, &[]);
    let evil = format!("evil.example:{}", address.port());
    let origin = format!("http://{evil}");
    assert_eq!(Page::connect(address, &evil, Some(&origin)).err(), Some(403));
    assert_eq!(Visit::to(address).ask("GET", "/livereload.js", &[("Host", &evil)]).status, 403);
    for path in ["/livereload.js", "/livereload", "/", "/app.py", "/../app.py"] {
        let reply = Visit::to(address).ask("GET", path, &[("Origin", "https://evil.example")]);
        assert!(reply.headers.keys().all(|name| !name.starts_with("access-control-")), "{path}: {reply:?}");
        assert_eq!(
            reply.status,
            if path == "/livereload.js" {
                200
            } else if path == "/livereload" {
                403
            } else {
                404
            }
        );
    }
    assert_eq!(Visit::to(address).ask("OPTIONS", "/livereload", &[("Origin", "https://evil.example")]).status, 405);
    let script = get(address, "/livereload.js");
    assert_eq!(script.headers["content-type"], "text/javascript; charset=utf-8");
    assert!(script.body.contains(PROTOCOL));
    session.stop();
}

/// node-livereload sends the whole paths of the files.
#[test]
fn hole_three_no_page_sees_a_path_of_this_machine() {
    let sandbox = Sandbox::new();
    let outside = sandbox.beside().join("shared");
    std::fs::create_dir(&outside).expect("a fresh directory");
    std::fs::write(outside.join("far.css"), "one").expect("it is ours");
    sandbox.write("static/near.css", "one");
    let far = format!("{}/*.css", outside.display());
    let command = format!("test -e fine && exec sleep 600; exec {}/no-such-program", sandbox.root().display());
    sandbox.write("app.py", "one");
    sandbox.write("fine", "");
    let options = ["--browser", "127.0.0.1:0", "-w", "*.py", "--browser-watch", "static/*", "--browser-watch", &far];
    let mut session = sandbox.start(options.iter().chain(&["--", "sh", "-c", &command]));
    let address = address_of(&mut session, "browser");
    session.wait_armed(1);
    settle(address);
    let mut page = Page::fresh(address);
    std::fs::write(outside.join("far.css"), "two").expect("it is ours");
    let mut heard = vec![page.hear()];
    assert_eq!(heard[0]["path"], "far.css");
    sandbox.write("static/near.css", "two");
    heard.push(page.hear());
    std::fs::remove_file(sandbox.path("fine")).expect("it is there");
    sandbox.write("app.py", "two");
    while heard.last().is_none_or(|last| last["command"] != "overlay") {
        heard.push(page.hear());
    }
    let text: String = heard.iter().map(Value::to_string).collect();
    assert!(!text.contains(sandbox.beside().to_str().expect("it is text")), "{text}");
    session.stop();
}

#[test]
fn a_page_that_does_not_say_hello_or_says_something_else_is_let_go() {
    let sandbox = Sandbox::new();
    let (session, address) = start(&sandbox, &[]);
    let connect = || Page::connect(address, "localhost", Some("http://localhost")).expect("it may listen");
    let mut silent = connect();
    for words in [
        json!({ "command": "hello", "protocols": ["http://livereload.com/protocols/official-6"] }),
        json!({ "command": "url" }),
        json!([1]),
        json!({ "command": "hello", "protocols": [PROTOCOL], "padding": "x".repeat(70_000) }),
    ] {
        let mut page = connect();
        page.say(&words);
        assert!(page.is_let_go(), "{words}");
    }
    // What comes after the hello does no harm.
    let mut page = Page::fresh(address);
    for words in [json!({ "command": "url", "url": "x" }), json!("x"), json!({ "command": "fly" })] {
        page.say(&words);
    }
    sandbox.write("app.py", "two");
    page.hear_reload();
    assert!(silent.is_let_go());
    session.stop();
}

#[test]
fn a_hundred_pages_come_and_go_and_no_socket_is_left_open() {
    let sandbox = Sandbox::new();
    let (session, address) = start(&sandbox, &[]);
    let outlet = outlet_of(&session);
    let open = || std::fs::read_dir(format!("/proc/{outlet}/fd")).expect("it lives").count();
    let _stays = Page::fresh(address);
    let before = open();
    for number in 0..100 {
        let mut page = Page::fresh(address);
        if number % 2 == 0 {
            let _ = page.socket.close(None);
        }
    }
    session.wait_until("the end of the connections", || open() <= before);
    assert_eq!(outlet_of(&session), outlet, "it is the same process");
    session.stop();
}

#[test]
fn the_keys_of_the_config_file_are_the_same() {
    let sandbox = Sandbox::new();
    sandbox.write("style.css", "one");
    sandbox.write("app.py", "one");
    sandbox.write(
        "reloadrun.toml",
        "browser = '127.0.0.1:0'\nbrowser-watch = ['*.css']\nwatch = '*.py'\nready = 'exec:true'\ncommand = ['sleep', '600']\n",
    );
    let mut session = sandbox.start([] as [&str; 0]);
    let address = address_of(&mut session, "browser");
    session.wait_until("the watcher", || session.events().iter().any(|event| event["event"] == "watching"));
    settle(address);
    let mut page = Page::fresh(address);
    sandbox.write("style.css", "two");
    assert_eq!(page.hear()["path"], "style.css");
    let changed = session.wait("changed");
    assert_eq!(changed["changes"][0]["rule"], "browser-watch '*.css'");
    session.stop();
}
