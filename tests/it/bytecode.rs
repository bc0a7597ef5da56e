//! The new Python code really runs, however fast the edits come.

use crate::support::Sandbox;

#[test]
fn two_hundred_edits_of_the_same_size_in_the_same_seconds_never_run_old_code() {
    let sandbox = Sandbox::new();
    let module = |number: u32| format!("NUMBER = {number}\n");
    sandbox.write("module.py", module(1000));
    sandbox.write("main.py", "import module, time\nprint(module.NUMBER, flush=True)\ntime.sleep(600)\n");
    let mut session = sandbox.start_with(["-w", "*.py", "--", "python3", "main.py"], |command| {
        command.env_remove("PYTHONDONTWRITEBYTECODE").env_remove("PYTHONPYCACHEPREFIX");
    });
    session.wait_until("the first number", || session.stdout() == "1000\n");
    let mut printed = String::from("1000\n");
    for number in 1001..1201 {
        sandbox.write("module.py", module(number));
        session.wait_started(u64::from(number) - 999);
        printed += &format!("{number}\n");
        session.wait_until("the new number", || session.stdout().len() >= printed.len());
        assert_eq!(session.stdout(), printed, "old code ran\n{}", session.account());
    }
    assert!(sandbox.path("__pycache__").is_dir(), "Python did write compiled files");
    session.stop();
}
