//! A fleet on one machine: many runs watch one ConfigMap. Each takes in each version once, validated first, at its own moment, and then all
//! have the same digest. `RELOADRUN_FLEET=50 cargo test --test it fleet:: -- --nocapture` prints what one of them costs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use serde_json::Value;

use crate::support::http::get;
use crate::support::{Sandbox, Session, apps};

/// How many runs, unless `RELOADRUN_FLEET` says otherwise.
const RUNS: usize = 10;

/// In seconds.
const JITTER: f64 = 5.0;

/// One ConfigMap, as a kubelet mounts it.
struct Volume {
    path: PathBuf,
    version: u32,
}

impl Volume {
    fn new(path: PathBuf) -> Volume {
        fs::create_dir_all(&path).expect("a fresh directory");
        Volume { path, version: 0 }
    }

    /// Swaps the next version in.
    fn publish(&mut self, content: &str) {
        self.version += 1;
        let name = format!("..2026_11_27_06_00_{:02}.{}", self.version, 4_711 + self.version);
        let former = fs::read_link(self.path.join("..data")).ok();
        fs::create_dir(self.path.join(&name)).expect("it is new");
        fs::write(self.path.join(&name).join("app.toml"), content).expect("it is new");
        symlink(&name, self.path.join("..data_tmp")).expect("it is new");
        fs::rename(self.path.join("..data_tmp"), self.path.join("..data")).expect("it replaces the old one");
        match former {
            Some(former) => fs::remove_dir_all(self.path.join(former)).expect("nobody needs it"),
            None => symlink("..data/app.toml", self.path.join("app.toml")).expect("it is new"),
        }
    }
}

/// One run of the fleet.
struct Replica {
    sandbox: Sandbox,
    session: Session,
    name: String,
}

impl Replica {
    fn start(number: usize, volume: &Path) -> Replica {
        let sandbox = Sandbox::new();
        let (name, file) = (format!("shop-{number}"), volume.join("app.toml").display().to_string());
        let prepare = format!("grep -q good {file} && cat {file} >> prepared");
        let command = format!("cat {file} >> taken; exec sleep 600");
        let (volume, jitter) = (volume.to_str().expect("a plain path"), JITTER.to_string());
        let mut options = vec!["--name", &name, "-w", volume, "--jitter", &jitter, "--prepare", &prepare];
        if cfg!(feature = "outlet") {
            options.extend(["--http", "127.0.0.1:0"]);
        }
        options.extend(["--", "sh", "-c", &command]);
        let session = sandbox.start(options);
        Replica { sandbox, session, name }
    }

    fn all(&self, event: &str) -> Vec<Value> {
        self.session.events().into_iter().filter(|seen| seen["event"] == event).collect()
    }

    /// The supervisor, its child and its outlet.
    fn processes(&self) -> Vec<i32> {
        let children =
            fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.session.pid())).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        std::iter::once(self.session.pid()).chain(children).collect()
    }

    /// The memory of all of them, KiB: what is shared counts in parts.
    fn memory(&self) -> u64 {
        self.processes().iter().map(|pid| proportional(*pid)).sum()
    }

    /// The processor time of all of them, of the children before, and of their commands that have ended, milliseconds.
    fn time(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.session.pid())).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        // cutime and cstime, in hundredths of a second.
        let ended: f64 = [13, 14].iter().filter_map(|at| fields.get(*at)?.parse::<f64>().ok()).sum();
        ended * 10.0 + self.processes().iter().map(|pid| processor_time(*pid)).sum::<f64>()
    }

    /// What Prometheus reads.
    fn metrics(&self) -> Option<String> {
        let serving = self.all("serving");
        let url = serving.first()?["url"].as_str()?.to_owned();
        let address = url.strip_prefix("http://").expect("plain HTTP").parse().expect("an address");
        Some(get(address, "/metrics").body)
    }
}

fn proportional(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

fn processor_time(pid: i32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of = |text: String| text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or_default();
    let all: f64 =
        threads.map(|thread| of(fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default())).sum();
    if all > 0.0 { all / 1e6 } else { of(text) / 1e6 }
}

/// The share of a run, milliseconds, computed apart from the program: FNV-1a of host, NUL and name, mixed by the finaliser of splitmix64, as a part
/// of 2^64.
fn share(host: &str, name: &str) -> f64 {
    let mut hash = 14_695_981_039_346_656_037_u64;
    for byte in format!("{host}\0{name}").bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(1_099_511_628_211);
    }
    for factor in [0xbf58_476d_1ce4_e5b9_u64, 0x94d0_49bb_1331_11eb] {
        hash = (hash ^ (hash >> if factor == 0xbf58_476d_1ce4_e5b9 { 30 } else { 27 })).wrapping_mul(factor);
    }
    (hash ^ (hash >> 31)) as f64 / 2_f64.powi(64) * JITTER * 1e3
}

/// CLOCK_MONOTONIC, nanoseconds.
fn clock_ns() -> i64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("there is one");
    time.tv_sec() * 1_000_000_000 + time.tv_nsec()
}

fn host() -> String {
    let output = Command::new("hostname").output().expect("hostname is there");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_fleet_converges_once_on_each_version_validated_first_and_spread_as_computed() {
    let runs = std::env::var("RELOADRUN_FLEET").ok().and_then(|count| count.parse().ok()).unwrap_or(RUNS);
    let shared = Sandbox::new();
    let mut volume = Volume::new(shared.path("volume"));
    volume.publish("good 1\n");
    let mut fleet: Vec<Replica> = (0..runs).map(|number| Replica::start(number, &volume.path)).collect();
    for replica in &mut fleet {
        replica.session.wait_where("digest", |event| event["generation"] == 1);
        replica.session.wait_until("its watches", || !replica.all("watching").is_empty());
    }
    let began: f64 = fleet.iter().map(Replica::time).sum();
    let host = host();
    let mut digests = Vec::new();
    let mut spreads = Vec::new();
    for (generation, version) in [(2, "good 2\n"), (3, "good 3\n")] {
        let published = clock_ns();
        volume.publish(version);
        let mut after = Vec::new();
        let mut seen = Vec::new();
        for replica in &mut fleet {
            let started = replica.session.wait_started(generation);
            let took = (started["monotonic_ns"].as_i64().expect("a number") - published) as f64 / 1e6;
            let expected = share(&host, &replica.name);
            // The machine is busy with all of them: that comes on top, and never a wait that is too short.
            assert!((expected - 1.0..expected + 20_000.0).contains(&took), "{}: {took}, not {expected}", replica.name);
            after.push((expected, took));
            let digest = replica.session.wait_where("digest", |event| event["generation"] == generation);
            seen.push(digest["digest"].as_str().expect("a text").to_owned());
        }
        seen.dedup();
        assert_eq!(seen.len(), 1, "every replica has the same version");
        digests.extend(seen);
        spreads.push(after);
        if generation == 2 {
            // A version that is refused costs nobody anything.
            volume.publish("bad\n");
            for replica in &mut fleet {
                replica.session.wait("prepare_failed");
            }
        }
    }
    assert_ne!(digests[0], digests[1]);
    for replica in &fleet {
        if let Some(metrics) = replica.metrics() {
            assert!(metrics.contains(&format!("reloadrun_digest_info{{digest=\"{}\"}} 1\n", digests[1])), "{metrics}");
            assert!(metrics.contains("reloadrun_restarts_total{reason=\"change\"} 2\n"), "{metrics}");
        }
    }
    let memory: u64 = fleet.iter().map(Replica::memory).sum();
    let busy = fleet.iter().map(Replica::time).sum::<f64>() - began;
    let (idle_began, window) = (Instant::now(), Duration::from_secs(if runs > RUNS { 10 } else { 1 }));
    let before: f64 = fleet.iter().map(Replica::time).sum();
    sleep(window);
    let idle = (fleet.iter().map(Replica::time).sum::<f64>() - before) / idle_began.elapsed().as_secs_f64();
    let count = runs as f64;
    eprintln!(
        "{runs} runs: {:.1} MiB of memory each (PSS), {:.2} ms of processor time for each of two restarts and a refusal, {:.3} ms a second at rest",
        memory as f64 / 1024.0 / count,
        busy / count / 3.0,
        idle / count
    );
    for after in &spreads {
        let late: Vec<f64> = after.iter().map(|(expected, took)| took - expected).collect();
        let (first, last) =
            after.iter().fold((f64::MAX, 0.0_f64), |(first, last), (_, took)| (first.min(*took), last.max(*took)));
        eprintln!(
            "  from {first:.0} to {last:.0} ms after the change; {:.1} ms later than its share on average, {:.0} ms at most",
            late.iter().sum::<f64>() / count,
            late.iter().copied().fold(0.0, f64::max)
        );
    }
    for replica in fleet {
        let (prepared, taken) = (replica.sandbox.read("prepared"), replica.sandbox.read("taken"));
        let ended = replica.session.stop();
        // Once for each good version, and each was prepared before; the two good ones in a row and the bad one are all there was.
        assert_eq!((taken.as_str(), prepared.as_str()), ("good 1\ngood 2\ngood 3\n", "good 1\ngood 2\ngood 3\n"));
        assert_eq!((ended.count("started"), ended.count("prepare_failed")), (3, 1), "{ended:#?}");
        assert_eq!(ended.count("postponed"), 3, "{ended:#?}");
    }
}

/// Runs a program over a file of `fixtures/fleet`; its output, and whether it has succeeded.
fn checked(program: &mut Command) -> (bool, String) {
    let output = program.output().unwrap_or_else(|error| panic!("{program:?}: {error}"));
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/fleet").join(name)
}

#[test]
fn the_manifests_are_what_kubernetes_takes() {
    if apps::offline() {
        return apps::left_out("the schemas of Kubernetes");
    }
    let bin = apps::tools("fleet").unwrap_or_else(|message| panic!("{message}"));
    let validate = |path: &Path| {
        checked(Command::new(bin.join("python3")).arg(bin.join("kubernetes-validate")).arg("--strict").arg(path))
    };
    let (valid, said) = validate(&fixture("kubernetes.yaml"));
    assert!(valid && said.matches(" passed for resource ").count() == 3, "{said}");
    // The check can fail.
    let sandbox = Sandbox::new();
    let text = fs::read_to_string(fixture("kubernetes.yaml")).expect("it is there");
    for (from, to) in
        [("livenessProbe:", "livenesProbe:"), ("replicas: 3", "replicas: three"), ("targetPort:", "targetPrt:")]
    {
        assert!(text.contains(from));
        let (valid, said) = validate(&sandbox.write("wrong.yaml", text.replace(from, to)));
        assert!(!valid, "{to}: {said}");
    }
}

#[test]
fn the_options_in_the_manifests_are_what_reloadrun_takes() {
    let (yaml, unit) = (fixture("kubernetes.yaml"), fixture("shop.service"));
    let (yaml, unit) = (fs::read_to_string(yaml).expect("it is there"), fs::read_to_string(unit).expect("it is there"));
    let args: Vec<String> =
        yaml.lines().filter_map(|line| line.trim().strip_prefix("- --")).map(|rest| format!("--{rest}")).collect();
    assert!(args.len() > 5 && yaml.contains(&args[0]), "{args:?}");
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/reloadrun ")).expect("it starts it");
    let start = start.replace("\"/usr/bin/shop --check\"", "/usr/bin/shop%--check");
    let of_unit = start.split(' ').map(|word| word.replace('%', " "));
    for args in [args, of_unit.collect()] {
        let options: Vec<&str> = args.iter().map(String::as_str).take_while(|word| *word != "--").collect();
        let sandbox = Sandbox::new();
        sandbox.write("shop.toml", "");
        // With all of them, a question that starts nothing.
        let (answered, said) =
            checked(&mut sandbox.command(options.iter().chain(&["--explain", "/etc/shop/shop.toml"])));
        assert!(answered, "{options:?}: {said}");
        assert!(said.contains("leads to a restart"), "{said}");
    }
    // The book shows what the files have.
    let book = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operators.md")).expect("it is there");
    assert!(book.contains(unit.trim_end()), "docs/operators.md shows another unit than fixtures/fleet/shop.service");
    for line in yaml.lines().filter(|line| line.trim().starts_with("- --")) {
        assert!(book.contains(line.trim()), "docs/operators.md lacks {line}");
    }
}

#[test]
fn the_unit_is_what_systemd_takes() {
    let version = Command::new("systemd-analyze").arg("--version").output();
    let Ok(version) = version else { return eprintln!("left out: there is no systemd-analyze") };
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let version: u32 = version.split_whitespace().nth(1).and_then(|text| text.parse().ok()).unwrap_or_default();
    let text = fs::read_to_string(fixture("shop.service")).expect("it is there");
    // It must find the programs. notify-reload came with systemd 253.
    let text = text.replace("/usr/bin/reloadrun", "/usr/bin/env").replace("/usr/bin/shop", "/bin/true");
    let text = if version < 253 { text.replace("notify-reload", "notify") } else { text };
    let sandbox = Sandbox::new();
    let verify = |text: &str| {
        let path = sandbox.write("shop.service", text);
        let (_, said) = checked(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(path));
        said.lines().filter(|line| line.contains("shop.service")).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(verify(&text), "");
    assert_ne!(verify(&text.replace("KillMode", "KilMode")), "", "the check can fail");
}
