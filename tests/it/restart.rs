//! A save causes a restart: the simplest test through all modules.

use crate::support::Sandbox;

#[test]
fn a_save_causes_one_restart_that_names_the_file_and_the_rule() {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", "one");
    let mut session = sandbox.start(["-w", "*.txt", "--", "sh", "-c", "cat app.txt; exec sleep 600"]);
    session.wait_armed(1);
    session.wait_until("the old content", || session.stdout() == "one");
    sandbox.write("app.txt", "two");
    let started = session.wait_started(2);
    assert_eq!(started["changes"][0]["path"], sandbox.path("app.txt").to_str().unwrap());
    assert_eq!(started["changes"][0]["rule"], "-w '*.txt'");
    session.wait_until("the new content", || session.stdout() == "onetwo");
    let ended = session.stop();
    ended.assert_code(143);
    assert_eq!(ended.count("started"), 2);
    assert!(ended.stderr.contains("app.txt changed (-w '*.txt')"), "{}", ended.stderr);
}
