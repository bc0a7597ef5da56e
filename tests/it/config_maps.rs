//! ConfigMaps and Secrets of Kubernetes, updated like the kubelet's atomic writer: one restart for each swap, with the
//! new content.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::Sandbox;
use crate::support::watched::{
    assert_converges, assert_fence, assert_restart, assert_run, names, on_every_backend, watch, watch_reading,
};

/// A mounted volume.
pub struct Volume {
    path: PathBuf,
    swaps: u32,
    /// Older kubelets create the symlinks of new keys before the swap, newer ones after it.
    links_first: bool,
    /// The time between the steps.
    pause: Duration,
}

impl Volume {
    /// An empty one.
    pub fn new(path: PathBuf) -> Volume {
        fs::create_dir_all(&path).unwrap();
        Volume { path, swaps: 0, links_first: false, pause: Duration::ZERO }
    }

    /// Publishes these keys, which may have slashes, and their values, in the steps of the kubelet's
    /// `AtomicWriter.Write`. Returns how long the visible steps took.
    pub fn publish(&mut self, keys: &[(&str, &str)]) -> Duration {
        self.swaps += 1;
        let former = fs::read_link(self.path.join("..data")).ok();
        let name = format!("..2026_11_22_16_41_{:02}.{}", self.swaps % 60, 1_000_000 + self.swaps);
        let directory = self.path.join(&name);
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        for (key, value) in keys {
            let file = directory.join(key);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, value).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        }
        let begin = Instant::now();
        if self.links_first {
            self.make_links(keys);
        }
        sleep(self.pause);
        symlink(&name, self.path.join("..data_tmp")).unwrap();
        fs::rename(self.path.join("..data_tmp"), self.path.join("..data")).unwrap();
        sleep(self.pause);
        if !self.links_first {
            self.make_links(keys);
        }
        self.remove_links(keys);
        if let Some(former) = former {
            fs::remove_dir_all(self.path.join(former)).unwrap();
        }
        begin.elapsed()
    }

    /// Creates the visible symlinks, one for the first part of each key.
    fn make_links(&self, keys: &[(&str, &str)]) {
        for (key, _) in keys {
            let visible = key.split('/').next().unwrap();
            if fs::symlink_metadata(self.path.join(visible)).is_err() {
                symlink(Path::new("..data").join(visible), self.path.join(visible)).unwrap();
            }
        }
    }

    fn remove_links(&self, keys: &[(&str, &str)]) {
        for entry in fs::read_dir(&self.path).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if !name.starts_with("..") && !keys.iter().any(|(key, _)| key.split('/').next() == Some(&name)) {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }
}

on_every_backend! {
    /// Not more than fifty: from the 61st in a row on, restarts are delayed.
    fn fifty_swaps_are_fifty_restarts_each_with_the_new_content(backend) {
        let swaps = if backend == "poll" { 5 } else { 50 };
        let sandbox = Sandbox::new();
        let mut volume = Volume::new(sandbox.path("volume"));
        volume.publish(&[("app.toml", "0")]);
        let mut session = watch_reading(&sandbox, backend, &["-w", "volume/app.toml;fence.py"], &["volume/app.toml"]);
        for swap in 1..=swaps {
            let value = swap.to_string();
            volume.publish(&[("app.toml", &value)]);
            assert_run(&mut session, swap + 1, &["app.toml"], &[&value]);
        }
        assert_fence(&sandbox, &mut session, swaps + 2);
        assert_eq!(session.stop().count("started") as u64, swaps + 2);
    }

    fn a_swap_is_one_restart_whether_the_file_the_directory_or_a_glob_is_watched(backend) {
        for pattern in ["volume/app.toml", "volume", "volume/", "volume/*.toml", "volume/**", "*.toml", "**/app.*"] {
            let sandbox = Sandbox::new();
            let mut volume = Volume::new(sandbox.path("volume"));
            volume.publish(&[("app.toml", "0")]);
            let mut session = watch_reading(&sandbox, backend, &["-w", pattern, "-w", "fence.py"], &["volume/app.toml"]);
            for swap in 1..=3 {
                let value = swap.to_string();
                volume.publish(&[("app.toml", &value)]);
                assert_run(&mut session, swap + 1, &["app.toml"], &[&value]);
            }
            assert_fence(&sandbox, &mut session, 5);
            assert_eq!(session.stop().count("started"), 5, "{pattern}");
        }
    }

    fn a_swap_is_one_restart_also_with_the_volume_itself_as_the_root(backend) {
        let sandbox = Sandbox::new();
        let mut volume = Volume::new(sandbox.beside().join("etc/app"));
        volume.publish(&[("app.toml", "0"), ("b", "0")]);
        let pattern = volume.path.to_str().unwrap().to_owned();
        let visible = format!("{pattern}/app.toml");
        let mut session = watch_reading(&sandbox, backend, &["-w", &pattern, "-w", "fence.py"], &[&visible]);
        for swap in 1..=3 {
            let value = swap.to_string();
            volume.publish(&[("app.toml", &value), ("b", &value)]);
            assert_run(&mut session, swap + 1, &["app.toml", "b"], &[&value]);
        }
        assert_fence(&sandbox, &mut session, 5);
        session.stop();
    }

    fn a_swap_that_keeps_the_value_of_a_key_is_one_restart_too(backend) {
        let sandbox = Sandbox::new();
        let mut volume = Volume::new(sandbox.path("volume"));
        volume.publish(&[("app.toml", "0"), ("same.toml", "same")]);
        let files = ["volume/app.toml", "volume/same.toml"];
        let mut session = watch_reading(&sandbox, backend, &["-w", "*.toml;fence.py"], &files);
        for swap in 1..=3 {
            let value = swap.to_string();
            volume.publish(&[("app.toml", &value), ("same.toml", "same")]);
            // A swap writes every key again, and contents are not compared.
            assert_run(&mut session, swap + 1, &["app.toml", "same.toml"], &[&value, "same"]);
        }
        assert_fence(&sandbox, &mut session, 5);
        session.stop();
    }

    fn added_and_removed_keys_are_reported(backend) {
        for links_first in [true, false] {
            let sandbox = Sandbox::new();
            let mut volume = Volume::new(sandbox.path("volume"));
            volume.links_first = links_first;
            volume.publish(&[("a.toml", "a0")]);
            let files = ["volume/a.toml", "volume/b.toml"];
            let mut session = watch_reading(&sandbox, backend, &["-w", "volume", "-w", "fence*.py"], &files);
            let mut generation = 1;
            let mut expect = |took: Duration, changed: &[&str], read: [&str; 2]| {
                generation += 1;
                // If the time between swap and symlinks is longer than the wait for a whole file, they count as two
                // saves.
                if took < Duration::from_millis(1) {
                    return assert_run(&mut session, generation, changed, &read);
                }
                let last = assert_converges(&sandbox, &mut session, &read);
                assert!(last <= generation + 3, "{}", session.account());
                generation = last;
            };
            for _ in 0..3 {
                expect(volume.publish(&[("a.toml", "a1"), ("b.toml", "b1")]), &["a.toml", "b.toml"], ["a1", "b1"]);
                expect(volume.publish(&[("a.toml", "a2"), ("b.toml", "b2")]), &["a.toml", "b.toml"], ["a2", "b2"]);
                expect(volume.publish(&[("b.toml", "b3")]), &["a.toml", "b.toml"], ["", "b3"]);
                expect(volume.publish(&[("b.toml", "b4")]), &["b.toml"], ["", "b4"]);
            }
            session.stop();
        }
    }

    fn a_slow_kubelet_leaves_nothing_unseen(backend) {
        for links_first in [true, false] {
            let sandbox = Sandbox::new();
            let mut volume = Volume::new(sandbox.path("volume"));
            volume.links_first = links_first;
            volume.pause = Duration::from_millis(60);
            volume.publish(&[("a.toml", "a0")]);
            let files = ["volume/a.toml", "volume/b.toml"];
            let session = watch_reading(&sandbox, backend, &["-w", "volume", "-w", "fence*.py"], &files);
            for (keys, read) in [
                (&[("a.toml", "a1"), ("b.toml", "b1")][..], ["a1", "b1"]),
                (&[("b.toml", "b2")][..], ["", "b2"]),
                (&[("b.toml", "b3")][..], ["", "b3"]),
            ] {
                volume.publish(keys);
                // No other save helps: the last start has read everything.
                session.wait_until("the content of the swap", || {
                    session.stdout().lines().last().is_some_and(|line| line.ends_with(&format!(" {}|", read.join("|"))))
                });
            }
            session.stop();
        }
    }

    fn a_secret_with_nested_paths_is_one_restart_for_each_swap(backend) {
        for pattern in ["volume/a/b/c", "volume/a", "volume", "volume/**", "**/c"] {
            let sandbox = Sandbox::new();
            let mut volume = Volume::new(sandbox.path("volume"));
            volume.publish(&[("a/b/c", "0")]);
            let mut session = watch_reading(&sandbox, backend, &["-w", pattern, "-w", "fence.py"], &["volume/a/b/c"]);
            for swap in 1..=3 {
                let value = swap.to_string();
                volume.publish(&[("a/b/c", &value)]);
                assert_run(&mut session, swap + 1, &["c"], &[&value]);
            }
            assert_fence(&sandbox, &mut session, 5);
            assert_eq!(session.stop().count("started"), 5, "{pattern}");
        }
    }

    fn an_added_and_a_removed_nested_key_are_reported(backend) {
        let sandbox = Sandbox::new();
        let mut volume = Volume::new(sandbox.path("volume"));
        volume.publish(&[("a/one", "1")]);
        let files = ["volume/a/one", "volume/a/two"];
        let mut session = watch_reading(&sandbox, backend, &["-w", "volume", "-w", "fence.py"], &files);
        volume.publish(&[("a/one", "2"), ("a/two", "2")]);
        assert_run(&mut session, 2, &["one", "two"], &["2", "2"]);
        volume.publish(&[("a/two", "3")]);
        assert_run(&mut session, 3, &["one", "two"], &["", "3"]);
        assert_fence(&sandbox, &mut session, 4);
        session.stop();
    }

    fn two_swaps_in_quick_succession_end_with_the_second_content(backend) {
        let sandbox = Sandbox::new();
        let mut volume = Volume::new(sandbox.path("volume"));
        volume.publish(&[("app.toml", "0")]);
        let mut session = watch_reading(&sandbox, backend, &["-w", "*.toml;fence*.py"], &["volume/app.toml"]);
        let mut generation = 1;
        // The fences are new files, whose restarts are delayed from the sixth on; so there are few rounds.
        for round in 1..=5 {
            volume.publish(&[("app.toml", "first")]);
            let second = format!("second of round {round}");
            volume.publish(&[("app.toml", &second)]);
            let last = assert_converges(&sandbox, &mut session, &[&second]);
            // At most one restart for each swap, and one for the fence; two if the first swap was between generations.
            assert!(last <= generation + 4, "{}", session.account());
            generation = last;
        }
        session.stop();
    }

    fn a_volume_that_is_mounted_later_counts(backend) {
        let sandbox = Sandbox::new();
        let mut session = watch(&sandbox, backend, &["-w", "volume/app.toml;fence.py"]);
        let mut volume = Volume::new(sandbox.path("volume"));
        volume.publish(&[("app.toml", "1")]);
        assert_restart(&mut session, 2, &["app.toml"]);
        volume.publish(&[("app.toml", "2")]);
        assert_restart(&mut session, 3, &["app.toml"]);
        assert_fence(&sandbox, &mut session, 4);
        session.stop();
    }

    fn the_swaps_of_a_command_that_is_signalled_are_one_signal_each(backend) {
        let sandbox = Sandbox::new();
        let mut volume = Volume::new(sandbox.path("volume"));
        volume.publish(&[("a/app.toml", "0"), ("b.toml", "0")]);
        let mut session = crate::support::watched::watch_without_restarts(&sandbox, backend, &["-w", "volume", "-w", "fence.py"]);
        let values: BTreeMap<u32, String> = (1..=5).map(|swap| (swap, swap.to_string())).collect();
        for value in values.values() {
            volume.publish(&[("a/app.toml", value), ("b.toml", value)]);
            assert_eq!(names(&session.wait("changed")), ["app.toml", "b.toml"], "{}", session.account());
        }
        sandbox.write("fence.py", "");
        assert_eq!(names(&session.wait("changed")), ["fence.py"], "{}", session.account());
        session.stop();
    }
}
