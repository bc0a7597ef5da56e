//! Files that a command usually writes itself are ignored.

use std::fs;

use crate::support::Sandbox;
use crate::support::watched::names;

/// Each command of these tests writes at its start: a log, bytecode, and a build directory.
const OUTPUTS: &str = "
echo started >>app.log
mkdir -p __pycache__ pkg/__pycache__ target/debug node_modules/.cache
echo $$ >__pycache__/app.cpython-313.pyc
echo $$ >pkg/__pycache__/x.cpython-313.pyc
echo $$ >target/debug/app
echo $$ >node_modules/.cache/x.json
echo $$ >app.db
echo $$ >app.db-journal
echo $$ >data.sqlite3-wal
echo $$ >app.pid
";

#[test]
fn a_log_a_database_bytecode_and_a_build_directory_do_not_restart_the_command_that_writes_them() {
    for patterns in [&[][..], &["-w", "**"], &["-w", "*.py"]] {
        let sandbox = Sandbox::new();
        let done = sandbox.beside().join("done");
        let script = sandbox.script("app.sh", &format!("{OUTPUTS}\necho >>{}\nexec sleep 600", done.display()));
        let command = ["--", script.to_str().expect("plain")];
        let mut session = sandbox.start(patterns.iter().chain(&command));
        let starts_done = || fs::read_to_string(&done).map_or(0, |text| text.lines().count());
        session.wait_armed(1);
        for generation in 2..=4 {
            session.wait_until("all outputs", || starts_done() + 1 == generation);
            sandbox.write("fence.py", format!("fence before generation {generation}"));
            let started = session.wait_armed(u64::try_from(generation).unwrap());
            assert_eq!(names(&started), ["fence.py"], "{patterns:?}\n{}", session.account());
        }
        session.stop();
    }
}

#[test]
fn a_real_sqlite_database_beside_the_code_does_not_restart_the_command() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "app.py",
        "import sqlite3, time\nimport helper\nbase = sqlite3.connect('data.db')\n\
         base.execute('pragma journal_mode=wal')\nbase.execute('create table if not exists t (x)')\n\
         for x in range(20):\n    base.execute('insert into t values (?)', (x,))\n    base.commit()\n\
         open('app.log', 'a').write('written\\n')\ntime.sleep(600)\n",
    );
    sandbox.write("helper.py", "one = 1\n");
    let mut session = sandbox.start_with(["--", "python3", "app.py"], |command| {
        command.env_remove("PYTHONDONTWRITEBYTECODE").env_remove("PYTHONPYCACHEPREFIX");
    });
    session.wait_armed(1);
    let outputs = ["app.log", "data.db", "__pycache__"].map(|name| sandbox.path(name));
    session.wait_until("the outputs", || outputs.iter().all(|path| path.exists()));
    sandbox.write("fence.py", "fence");
    assert_eq!(names(&session.wait_started(2)), ["fence.py"], "{}", session.account());
    session.stop();
}
