use super::{ClientId, LONGEST_LINE, MOST_CLIENTS, MOST_EVENTS, Said, Server};
use crate::control::{Answer, Greeting, PROTOCOL, Request};
use crate::os::local::{Connection, Got, PrivateDirectory};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn server() -> (Server, PathBuf, TempDir) {
    let top = tempfile::tempdir().unwrap();
    let listener = PrivateDirectory::create(&top.path().join("d")).unwrap().listen("1-00000000.sock").unwrap();
    let path = listener.path().to_owned();
    let greeting = Greeting {
        reloadrun: "1".into(),
        protocol: PROTOCOL,
        pid: 1,
        name: None,
        directory: "/".into(),
        command: "app".into(),
    };
    (Server::new(Some(listener), greeting), path, top)
}

fn come(path: &Path) -> Connection {
    crate::os::local::connect(path).unwrap()
}

/// Everything that is there for a client.
fn read(client: &mut Connection) -> (String, bool) {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 65536]);
    loop {
        match client.read(&mut buffer) {
            Got::Some(count) => bytes.extend_from_slice(&buffer[..count]),
            Got::NotNow => return (String::from_utf8(bytes).unwrap(), false),
            Got::End | Got::Broken => return (String::from_utf8(bytes).unwrap(), true),
        }
    }
}

/// Listens until nothing more is there, and answers everything.
fn serve(server: &mut Server) -> Vec<Said> {
    let mut all = Vec::new();
    loop {
        let said = server.listen();
        let nothing = said.is_empty();
        for said in said {
            if let Said::Asked(id, _) = said {
                server.answer(id, &Answer::Stop { again: false });
            }
            all.push(said);
        }
        if nothing && !server.has_backlog() {
            return all;
        }
    }
}

#[test]
fn requests_are_lines_however_they_are_cut_and_the_second_waits_for_the_first_answer() {
    let (mut server, path, _top) = server();
    let mut client = come(&path);
    for piece in ["{\"ask\":\"sta", "tus\"}\n\n{\"ask\":", "\"pause\"}\n{\"ask\":\"stop\"}\n"] {
        client.write(piece.as_bytes()).unwrap();
        server.listen();
    }
    let (text, _) = read(&mut client);
    assert!(text.starts_with("{\"reloadrun\":\"1\",\"protocol\":1,"), "{text}");
    // The first is unanswered.
    assert_eq!(server.listen(), []);
    server.answer(ClientId(1), &Answer::Stop { again: false });
    assert_eq!(server.listen(), [Said::Asked(ClientId(1), Request::Pause)]);
    server.answer(ClientId(1), &Answer::Stop { again: false });
    assert_eq!(server.listen(), [Said::Asked(ClientId(1), Request::Stop)]);
}

#[test]
fn what_is_no_request_is_refused_and_the_next_one_is_served() {
    let (mut server, path, _top) = server();
    let mut client = come(&path);
    client.write(b"\xff\xff\n{}\nGET / HTTP/1.1\n{\"ask\":\"status\"}\n").unwrap();
    assert_eq!(serve(&mut server), [Said::Asked(ClientId(1), Request::Status)]);
    let (text, closed) = read(&mut client);
    assert_eq!((text.lines().count(), text.matches("refused").count(), closed), (5, 3, false), "{text}");
}

#[test]
fn a_gigabyte_without_an_end_is_read_up_to_one_line_and_refused() {
    let (mut server, path, _top) = server();
    let mut client = come(&path);
    let mut sent = 0;
    while sent < 1 << 30 {
        match client.write(&[b'x'; 65536]) {
            Some(count) => sent += count,
            None => break,
        }
        serve(&mut server);
        assert!(server.clients.iter().all(|client| client.inbox.len() <= LONGEST_LINE + 4096));
    }
    assert!(sent < 1 << 22, "it was let go after {sent} bytes");
    assert!(server.clients.is_empty());
}

#[test]
fn whoever_does_not_read_is_not_read_either() {
    let (mut server, path, _top) = server();
    let mut client = come(&path);
    let mut sent = 0;
    // Until the kernel takes no more.
    for round in 0.. {
        assert!(round < 100_000, "it is read without an end");
        match client.write(&b"{\"ask\":\"status\"}\n".repeat(100)) {
            Some(0) => break,
            Some(count) => sent += count,
            None => panic!("it was let go"),
        }
        serve(&mut server);
    }
    let kept = server.clients[0].outbox.len() + server.clients[0].inbox.len();
    assert!(kept < 256 * 1024, "{kept} bytes are kept");
    // It begins to read, and misses nothing.
    let mut answers = 0;
    loop {
        let (text, _) = read(&mut client);
        answers += text.matches("{\"answer\"").count();
        if serve(&mut server).is_empty() && text.is_empty() {
            break;
        }
    }
    assert_eq!(answers, sent / 17);
}

#[test]
fn a_follower_that_does_not_read_loses_events_and_learns_how_many() {
    let (mut server, path, _top) = server();
    let mut client = come(&path);
    client.write(b"{\"ask\":\"events\"}\n").unwrap();
    assert_eq!(server.listen(), [Said::Asked(ClientId(1), Request::Events)]);
    server.follow(ClientId(1));
    let event = |left_out| format!("{left_out} {}\n", "e".repeat(1000));
    let count = 4000;
    (0..count).for_each(|_| server.tell(event));
    assert!(server.clients[0].outbox.len() < MOST_EVENTS + 2000);
    let mut text = String::new();
    loop {
        let (more, _) = read(&mut client);
        if more.is_empty() {
            break;
        }
        text += &more;
        serve(&mut server);
    }
    server.tell(event);
    text += &read(&mut client).0;
    let events: Vec<&str> = text.lines().skip(2).collect();
    let left_out: usize = events.last().unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(left_out > 0);
    assert_eq!(events.len() + left_out, count + 1);
}

#[test]
fn whoever_writes_nothing_more_gets_the_answer_and_whoever_is_gone_is_forgotten() {
    let (mut server, path, _top) = server();
    {
        use std::io::{Read, Write};
        let mut half = std::os::unix::net::UnixStream::connect(&path).unwrap();
        half.write_all(b"{\"ask\":\"pause\"}\n").unwrap();
        half.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(server.listen(), [Said::Asked(ClientId(1), Request::Pause)]);
        assert_eq!(server.listen(), [], "it waits");
        server.answer(ClientId(1), &Answer::Stop { again: true });
        assert_eq!(server.listen(), [Said::Gone(ClientId(1))]);
        let mut text = String::new();
        half.read_to_string(&mut text).unwrap();
        assert!(text.ends_with("{\"answer\":\"stop\",\"again\":true}\n"), "{text}");
    }
    let mut gone = come(&path);
    gone.write(b"{\"ask\":\"pause\"}\n").unwrap();
    assert_eq!(server.listen(), [Said::Asked(ClientId(2), Request::Pause)]);
    drop(gone);
    assert_eq!(server.listen(), [Said::Gone(ClientId(2))], "though it waits for an answer");
    assert!(server.clients.is_empty());
}

#[test]
fn one_too_many_takes_the_place_of_one_who_never_asked() {
    let (mut server, path, _top) = server();
    // A process of ours stays, and takes nobody's place.
    let (kept, mut own) = Connection::pair().unwrap();
    server.adopt(kept);
    assert!(read(&mut own).0.starts_with("{\"reloadrun\":"), "it is greeted");
    let mut idle: Vec<Connection> = (0..MOST_CLIENTS).map(|_| come(&path)).collect();
    for _ in 0..4 {
        server.listen();
    }
    assert_eq!(server.clients.len(), 1 + MOST_CLIENTS);
    let mut newcomer = come(&path);
    newcomer.write(b"{\"ask\":\"pause\"}\n").unwrap();
    assert_eq!(server.listen().len(), 1);
    let (text, closed) = read(&mut idle[0]);
    assert!(text.contains("\"answer\":\"busy\"") && closed, "{text}");
    assert!(!read(&mut idle[1]).1);
    // One that has asked, and was not heard yet, is not idle.
    idle[1].write(b"{\"ask\":\"pause\"}\n").unwrap();
    let mut other = come(&path);
    other.write(b"{\"ask\":\"pause\"}\n").unwrap();
    server.listen();
    server.listen();
    assert!(!read(&mut idle[1]).1 && read(&mut idle[2]).1);
    // All of them are busy.
    let mut busy: Vec<Connection> = Vec::new();
    for _ in 3..MOST_CLIENTS {
        let mut client = come(&path);
        client.write(b"{\"ask\":\"pause\"}\n").unwrap();
        server.listen();
        busy.push(client);
    }
    let mut last = come(&path);
    server.listen();
    let (text, closed) = read(&mut last);
    assert!(text.contains("32 clients are here already") && closed, "{text}");
    assert_eq!(server.clients.len(), 1 + MOST_CLIENTS);
    assert!(!read(&mut own).1);
    own.write(b"{\"ask\":\"status\"}\n").unwrap();
    assert!(matches!(server.listen()[..], [Said::Asked(_, Request::Status)]), "it is served like any client");
}
