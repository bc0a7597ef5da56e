//! The styles of saving, and edits that are not saves. Every edit has a few steps; the time between them is measured,
//! because a pause longer than the documented waiting times may cause one more restart.

use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};

use crate::random::Random;
use crate::tree::Tree;

/// Every style of a save, with its weight.
pub const SAVES: [(Style, usize); 27] = [
    (Style::InPlace, 12),
    (Style::Append, 6),
    (Style::TruncatePauseWrite, 5),
    (Style::WriteInParts, 4),
    (Style::Aside, 10),
    (Style::AsideCounting, 3),
    (Style::Vim, 8),
    (Style::UnlinkCreate, 6),
    (Style::Older, 5),
    (Style::OlderInPlace, 3),
    (Style::SameStamp, 3),
    (Style::Twice, 4),
    (Style::Touch, 4),
    (Style::TouchModified, 2),
    (Style::HardLink, 3),
    (Style::Retarget, 4),
    (Style::RetargetByUnlink, 2),
    (Style::BehindLink, 3),
    (Style::DeepDirectory, 4),
    (Style::RenameDirectory, 4),
    (Style::ReplaceDirectory, 2),
    (Style::RemoveDirectory, 2),
    (Style::Delete, 4),
    (Style::RenameFile, 4),
    (Style::Burst, 2),
    (Style::Checkout, 3),
    (Style::CreateNew, 5),
];

/// Every style of an edit that is not a save.
pub const OTHERS: [Style; 8] = [
    Style::Chmod,
    Style::Read,
    Style::OpenForWriting,
    Style::IgnoredName,
    Style::IgnoredDirectory,
    Style::SameTimes,
    Style::Backup,
    Style::EmptyDirectory,
];

/// A style of editing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    InPlace,
    Append,
    TruncatePauseWrite,
    WriteInParts,
    Aside,
    AsideCounting,
    Vim,
    UnlinkCreate,
    Older,
    OlderInPlace,
    SameStamp,
    Twice,
    Touch,
    TouchModified,
    HardLink,
    Retarget,
    RetargetByUnlink,
    BehindLink,
    DeepDirectory,
    RenameDirectory,
    ReplaceDirectory,
    RemoveDirectory,
    Delete,
    RenameFile,
    Burst,
    Checkout,
    CreateNew,
    Chmod,
    Read,
    OpenForWriting,
    IgnoredName,
    IgnoredDirectory,
    SameTimes,
    Backup,
    EmptyDirectory,
}

/// How long reloadrun waits for an incomplete save without a debounce time.
const INCOMPLETE: Duration = Duration::from_millis(100);

/// What a watcher knows after a step, and so how long it waits for the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// This many files are whole: 1 ms each, or the debounce time.
    Whole(u32),
    /// More must follow: 100 ms, or the debounce time.
    Partial,
    /// Not a change.
    Nothing,
}

/// An edit that was made.
#[derive(Debug)]
pub struct Edit {
    /// The style.
    pub style: Style,
    /// What a change set may name because of it: these paths and all below.
    pub touched: Vec<PathBuf>,
    /// Paths that it touched and that do not count.
    pub near: Vec<PathBuf>,
    /// When each step began and ended.
    steps: Vec<(i64, i64, After)>,
    /// When the last step began that changed the content.
    pub effect_ns: i64,
    debounce: Duration,
    /// Whether the watcher sees the end of a save; if not, every step counts as partial.
    tells_close: bool,
}

/// The clock of the events and of the commands.
pub fn now_ns() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("there is a monotonic clock");
    now.tv_sec() * 1_000_000_000 + now.tv_nsec()
}

impl Edit {
    fn new(style: Style, debounce: Duration, tells_close: bool) -> Edit {
        Edit { style, touched: Vec::new(), near: Vec::new(), steps: Vec::new(), effect_ns: 0, debounce, tells_close }
    }

    fn step<T>(&mut self, after: After, make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let begin = now_ns();
        let made = make();
        self.steps.push((begin, now_ns(), after));
        made
    }

    /// A step that changes what a command reads, or that must cause a start.
    fn effect<T>(&mut self, after: After, make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.effect_ns = now_ns();
        self.step(after, make)
    }

    /// Whether it must cause a start.
    pub fn is_save(&self) -> bool {
        !OTHERS.contains(&self.style)
    }

    /// When it began.
    pub fn begin_ns(&self) -> i64 {
        self.steps.first().map_or(0, |step| step.0)
    }

    /// Whether the inode of a file may have changed without its content, before its watch existed.
    pub fn moves_ctime(&self) -> bool {
        matches!(self.style, Style::Chmod | Style::SameTimes)
    }

    /// When it ended.
    pub fn end_ns(&self) -> i64 {
        self.steps.last().map_or(0, |step| step.1)
    }

    /// How many starts it may cause: one, and one more for every pause that was longer than the wait.
    /// A pause is measured from the begin of one step to the end of the next, because the time of the event within a
    /// step is unknown. It counts from four fifths of the wait on, because clocks and wake-ups are not exact.
    pub fn most_starts(&self) -> usize {
        if !self.is_save() {
            return 0;
        }
        let too_long = |pair: &&[(i64, i64, After)]| {
            let bound = match pair[0].2 {
                After::Whole(files) if self.tells_close => {
                    Duration::from_millis(u64::from(files)).min(INCOMPLETE).max(self.debounce)
                }
                After::Nothing => return false,
                _ => self.debounce.max(INCOMPLETE),
            };
            Duration::from_nanos(u64::try_from(pair[1].1 - pair[0].0).unwrap_or(0)) > bound * 4 / 5
        };
        1 + self.steps.windows(2).filter(too_long).count() + usize::from(self.style == Style::Twice)
    }

    /// A line for the log: time relative to an instant, duration, and path.
    pub fn shown(&self, since_ns: i64) -> String {
        let ms = |ns: i64| ns as f64 / 1e6;
        let steps: Vec<String> = self
            .steps
            .iter()
            .map(|(begin, end, after)| format!("{:.2}-{:.2} {after:?}", ms(begin - since_ns), ms(end - since_ns)))
            .collect();
        let steps = if steps.len() > 12 { format!("{} steps", steps.len()) } else { steps.join(", ") };
        let (begin, end) = (ms(self.begin_ns() - since_ns), ms(self.end_ns() - since_ns));
        let paths: Vec<String> =
            self.touched.iter().chain(&self.near).take(3).map(|path| path.display().to_string()).collect();
        format!(
            "{begin:>11.2} to {end:.2} {:?} of {}{} (at most {}; {steps})",
            self.style,
            paths.join(", "),
            if self.touched.len() > 3 { ", ..." } else { "" },
            self.most_starts()
        )
    }
}

/// Makes edits.
#[derive(Debug)]
pub struct Editor {
    pub tree: Tree,
    debounce: Duration,
    pub tells_close: bool,
    large: bool,
    token: usize,
}

impl Editor {
    /// Of a tree.
    pub fn new(tree: Tree, debounce: Duration, tells_close: bool, large: bool) -> Editor {
        Editor { tree, debounce, tells_close, large, token: 0 }
    }

    /// How long reloadrun waits for an incomplete save.
    pub fn incomplete(&self) -> Duration {
        self.debounce.max(INCOMPLETE)
    }

    /// A new content; all contents have the same size.
    fn token(&mut self) -> Vec<u8> {
        self.token += 1;
        format!("token {:010}\n", self.token).into_bytes()
    }

    fn file(&mut self, edit: &mut Edit, random: &mut Random) -> PathBuf {
        let path = random.pick(&self.tree.files).clone();
        edit.touched.push(path.clone());
        path
    }

    fn new_file(&mut self, edit: &mut Edit, random: &mut Random) -> PathBuf {
        let directory = self.tree.any_directory(random);
        let path = self.tree.fresh_in(&directory, "n").with_extension("txt");
        edit.touched.push(path.clone());
        path
    }

    /// A random save.
    ///
    /// # Errors
    /// Those of the system; none is expected, because no other process changes the tree.
    pub fn save(&mut self, random: &mut Random) -> io::Result<Edit> {
        let total = SAVES.iter().map(|(_, weight)| weight).sum();
        let mut left = random.below(total);
        let style = SAVES.iter().find(|(_, weight)| {
            left < *weight || {
                left -= weight;
                false
            }
        });
        self.make(style.map_or(Style::InPlace, |(style, _)| *style), random)
    }

    /// A random edit that is not a save.
    ///
    /// # Errors
    /// See [`Editor::save`].
    pub fn other(&mut self, random: &mut Random) -> io::Result<Edit> {
        let style = *random.pick(&OTHERS);
        self.make(style, random)
    }

    fn make(&mut self, style: Style, random: &mut Random) -> io::Result<Edit> {
        // The size of the tree stays within limits.
        let style = match style {
            Style::Delete | Style::RemoveDirectory | Style::RenameDirectory | Style::ReplaceDirectory
                if self.tree.files.len() < 10 || self.tree.movable.len() < 2 =>
            {
                Style::DeepDirectory
            }
            Style::CreateNew | Style::Burst | Style::HardLink | Style::DeepDirectory if self.tree.files.len() > 120 => {
                Style::Delete
            }
            // Polling cannot distinguish it from a chmod, and before a watch exists there is no event.
            Style::SameStamp if !self.tells_close || self.large => Style::OlderInPlace,
            style => style,
        };
        let mut edit = Edit::new(style, self.debounce, self.tells_close);
        self.perform(&mut edit, random)
            .map_err(|error| io::Error::other(format!("{style:?} of {:?}: {error}", edit.touched)))?;
        Ok(edit)
    }

    fn perform(&mut self, edit: &mut Edit, random: &mut Random) -> io::Result<()> {
        match edit.style {
            Style::InPlace => {
                let path = self.file(edit, random);
                in_place(edit, &path, &self.token(), Duration::ZERO)
            }
            Style::TruncatePauseWrite => {
                let path = self.file(edit, random);
                in_place(edit, &path, &self.token(), random.micros(100, 60_000))
            }
            Style::Append => {
                let path = self.file(edit, random);
                let token = self.token();
                let mut file = edit.step(After::Nothing, || OpenOptions::new().append(true).open(&path))?;
                edit.effect(After::Partial, || file.write_all(&token))?;
                edit.step(After::Whole(1), || close(file))
            }
            Style::WriteInParts => {
                let path = self.file(edit, random);
                let (one, two, pause) = (self.token(), self.token(), random.micros(100, 60_000));
                let mut file = edit.step(After::Partial, || File::create(&path))?;
                edit.step(After::Partial, || file.write_all(&one))?;
                sleep(pause);
                edit.effect(After::Partial, || file.write_all(&two))?;
                edit.step(After::Whole(1), || close(file))
            }
            Style::Aside => {
                let path = self.file(edit, random);
                self.aside(edit, &path, "tmp", None)
            }
            Style::AsideCounting => {
                let path = self.file(edit, random);
                self.aside(edit, &path, "new.txt", None)
            }
            Style::Older => {
                let path = self.file(edit, random);
                self.aside(edit, &path, "tmp", Some(past(random)))
            }
            Style::OlderInPlace => {
                let path = self.file(edit, random);
                let (token, past) = (self.token(), past(random));
                in_place(edit, &path, &token, Duration::ZERO)?;
                edit.effect(After::Whole(1), || set_times(&path, past))
            }
            Style::SameStamp => {
                let path = self.file(edit, random);
                let time = fs::metadata(&path)?.modified()?;
                in_place(edit, &path, &self.token(), Duration::ZERO)?;
                edit.effect(After::Whole(1), || set_times(&path, time))
            }
            Style::Vim => {
                let path = self.file(edit, random);
                let token = self.token();
                let backup = suffixed(&path, "~");
                edit.step(After::Partial, || fs::rename(&path, &backup))?;
                in_place(edit, &path, &token, Duration::ZERO)?;
                edit.step(After::Whole(1), || fs::set_permissions(&path, Permissions::from_mode(0o644)))?;
                edit.step(After::Nothing, || fs::remove_file(&backup))
            }
            Style::UnlinkCreate => {
                let path = self.file(edit, random);
                let (token, pause) = (self.token(), random.micros(0, 30_000));
                edit.step(After::Partial, || fs::remove_file(&path))?;
                if random.chance(30) {
                    sleep(pause);
                }
                in_place(edit, &path, &token, Duration::ZERO)
            }
            Style::Twice => {
                let path = self.file(edit, random);
                let (one, two) = (self.token(), self.token());
                in_place(edit, &path, &one, Duration::ZERO)?;
                in_place(edit, &path, &two, Duration::ZERO)
            }
            Style::Touch => {
                let path = self.file(edit, random);
                edit.effect(After::Whole(1), || set_times(&path, SystemTime::now()))
            }
            // Like `touch -m`: for the kernel's events it looks like a write that is never closed.
            Style::TouchModified => {
                let path = self.file(edit, random);
                edit.effect(After::Whole(1), || set_time(&path, SystemTime::now()))
            }
            Style::HardLink => {
                let path = self.new_file(edit, random);
                let (token, source) = (self.token(), path.with_extension("source"));
                let keep = random.chance(50);
                edit.step(After::Nothing, || fs::write(&source, token))?;
                edit.effect(After::Partial, || fs::hard_link(&source, &path))?;
                self.tree.files.push(path);
                // With a single name it looks like a file that is still to be written.
                if keep { Ok(()) } else { edit.step(After::Partial, || fs::remove_file(&source)) }
            }
            Style::Retarget | Style::RetargetByUnlink => {
                let link = random.pick(&self.tree.links).clone();
                edit.touched.push(link.clone());
                let present = fs::read_link(&link)?;
                let others: Vec<&Path> = self
                    .tree
                    .targets
                    .iter()
                    .filter_map(|path| path.file_name())
                    .map(Path::new)
                    .filter(|name| *name != present)
                    .collect();
                let target = *random.pick(&others);
                if edit.style == Style::Retarget {
                    let aside = link.with_extension("aside");
                    edit.step(After::Nothing, || symlink(target, &aside))?;
                    edit.effect(After::Whole(1), || fs::rename(&aside, &link))
                } else {
                    edit.step(After::Partial, || fs::remove_file(&link))?;
                    edit.effect(After::Whole(1), || symlink(target, &link))
                }
            }
            Style::BehindLink => {
                let link = random.pick(&self.tree.links).clone();
                let target = link.with_file_name(fs::read_link(&link)?);
                edit.touched.extend(self.tree.links.iter().cloned());
                in_place(edit, &target, &self.token(), Duration::ZERO)
            }
            Style::DeepDirectory => {
                let parent = self.tree.any_directory(random);
                let parent = if parent.components().count() > self.tree.root.components().count() + 6 {
                    self.tree.hot[0].clone()
                } else {
                    parent
                };
                let top = self.tree.fresh_in(&parent, "d");
                let bottom =
                    ["a", "b", "c"].iter().take(random.below(4)).fold(top.clone(), |path, part| path.join(part));
                let path = self.tree.fresh_in(&bottom, "n").with_extension("txt");
                let token = self.token();
                edit.touched.push(top.clone());
                edit.step(After::Nothing, || fs::create_dir_all(&bottom))?;
                in_place(edit, &path, &token, Duration::ZERO)?;
                self.tree.movable.push(top);
                self.tree.files.push(path);
                Ok(())
            }
            Style::RenameDirectory => {
                let from = random.pick(&self.tree.movable).clone();
                let parent = random.pick(&self.tree.hot).clone();
                let to = self.tree.fresh_in(&parent, "d");
                edit.touched.extend([from.clone(), to.clone()]);
                let holds = self.tree.files.iter().any(|path| path.starts_with(&from));
                edit.effect(After::Partial, || fs::rename(&from, &to))?;
                self.tree.renamed(&from, &to);
                if holds { Ok(()) } else { self.besides(edit, random) }
            }
            // Like `git checkout` of another branch, or a deployment: the old directory is moved away, a new one gets
            // its name.
            Style::ReplaceDirectory => {
                let directory = random.pick(&self.tree.movable).clone();
                let parent = random.pick(&self.tree.hot).clone();
                let (fresh, old) = (self.tree.fresh_in(&parent, "d"), suffixed(&directory, "~"));
                let (name, token) = (self.tree.fresh_in(&directory, "n").with_extension("txt"), self.token());
                edit.touched.extend([fresh.clone(), directory.clone()]);
                let written = fresh.join(name.file_name().expect("it is a file"));
                edit.step(After::Nothing, || fs::create_dir(&fresh))?;
                in_place(edit, &written, &token, Duration::ZERO)?;
                edit.step(After::Partial, || fs::rename(&directory, &old))?;
                edit.effect(After::Partial, || fs::rename(&fresh, &directory))?;
                edit.step(After::Nothing, || fs::remove_dir_all(&old))?;
                self.tree.removed(&directory);
                self.tree.movable.push(directory);
                self.tree.files.push(name);
                Ok(())
            }
            Style::RemoveDirectory => {
                let directory = random.pick(&self.tree.movable).clone();
                edit.touched.push(directory.clone());
                let holds = self.tree.files.iter().any(|path| path.starts_with(&directory));
                edit.effect(After::Partial, || fs::remove_dir_all(&directory))?;
                self.tree.removed(&directory);
                if holds { Ok(()) } else { self.besides(edit, random) }
            }
            Style::Delete => {
                let path = self.file(edit, random);
                edit.effect(After::Partial, || fs::remove_file(&path))?;
                self.tree.removed(&path);
                Ok(())
            }
            Style::RenameFile => {
                let from = self.file(edit, random);
                let to = self.new_file(edit, random);
                edit.effect(After::Partial, || fs::rename(&from, &to))?;
                self.tree.removed(&from);
                self.tree.files.push(to);
                Ok(())
            }
            Style::Burst => {
                let pause = random.chance(30);
                for number in 1..=50 {
                    let path = if number % 5 == 0 { self.new_file(edit, random) } else { self.file(edit, random) };
                    let token = self.token();
                    in_place_of(edit, &path, &token, Duration::ZERO, number)?;
                    if pause && number > 10 {
                        sleep(Duration::from_millis(1));
                    }
                    if !self.tree.files.contains(&path) {
                        self.tree.files.push(path);
                    }
                }
                Ok(())
            }
            Style::Checkout => {
                for number in 1..=3 + u32::try_from(random.below(6)).expect("it is small") {
                    let path = self.file(edit, random);
                    let token = self.token();
                    edit.step(After::Partial, || fs::remove_file(&path))?;
                    in_place_of(edit, &path, &token, Duration::ZERO, number)?;
                }
                Ok(())
            }
            Style::CreateNew => {
                let path = self.new_file(edit, random);
                let (token, pause) = (self.token(), random.micros(0, 40_000));
                in_place(edit, &path, &token, if random.chance(30) { pause } else { Duration::ZERO })?;
                self.tree.files.push(path);
                Ok(())
            }
            Style::Chmod => {
                let path = self.unchanged(edit, random);
                let mode = *random.pick(&[0o600, 0o640, 0o664, 0o755]);
                edit.step(After::Nothing, || fs::set_permissions(&path, Permissions::from_mode(mode)))
            }
            Style::Read => {
                let path = self.unchanged(edit, random);
                edit.step(After::Nothing, || fs::read(&path).map(drop))
            }
            Style::OpenForWriting => {
                let path = self.unchanged(edit, random);
                edit.step(After::Nothing, || OpenOptions::new().read(true).write(true).open(&path).map(drop))
            }
            Style::IgnoredName => {
                let path = self.tree.any_directory(random).join("x.log");
                let token = self.token();
                edit.step(After::Nothing, || fs::write(&path, token))
            }
            Style::IgnoredDirectory => {
                let directory = random.pick(&self.tree.hot).join("node_modules");
                let token = self.token();
                edit.step(After::Nothing, || {
                    fs::create_dir_all(&directory)?;
                    fs::write(directory.join("m.txt"), token)
                })
            }
            Style::SameTimes => {
                let path = self.unchanged(edit, random);
                let time = fs::metadata(&path)?.modified()?;
                edit.step(After::Nothing, || set_times(&path, time))
            }
            Style::Backup => {
                let path = suffixed(random.pick::<PathBuf>(&self.tree.files), "~");
                let token = self.token();
                edit.step(After::Nothing, || fs::write(&path, token))?;
                edit.step(After::Nothing, || fs::remove_file(&path))
            }
            Style::EmptyDirectory => {
                let parent = self.tree.any_directory(random);
                let path = self.tree.fresh_in(&parent, "e");
                edit.step(After::Nothing, || fs::create_dir(&path))?;
                edit.step(After::Nothing, || fs::remove_dir(&path))
            }
        }
    }

    fn unchanged(&mut self, edit: &mut Edit, random: &mut Random) -> PathBuf {
        let path = random.pick(&self.tree.files).clone();
        edit.near.push(path.clone());
        path
    }

    /// Empty directories do not count: a file is written as well, so that it is a save.
    fn besides(&mut self, edit: &mut Edit, random: &mut Random) -> io::Result<()> {
        let path = self.file(edit, random);
        in_place(edit, &path, &self.token(), Duration::ZERO)
    }

    fn aside(&mut self, edit: &mut Edit, path: &Path, extension: &str, time: Option<SystemTime>) -> io::Result<()> {
        let (aside, token) = (path.with_extension(extension), self.token());
        edit.touched.push(aside.clone());
        let after = if extension.ends_with("txt") { After::Whole(1) } else { After::Nothing };
        edit.step(after, || fs::write(&aside, token))?;
        if let Some(time) = time {
            edit.step(after, || set_times(&aside, time))?;
        }
        edit.effect(After::Whole(1), || fs::rename(&aside, path))
    }
}

fn in_place(edit: &mut Edit, path: &Path, content: &[u8], pause: Duration) -> io::Result<()> {
    in_place_of(edit, path, content, pause, 1)
}

/// The last of `number` files.
fn in_place_of(edit: &mut Edit, path: &Path, content: &[u8], pause: Duration, number: u32) -> io::Result<()> {
    let mut file = edit.step(After::Partial, || File::create(path))?;
    if !pause.is_zero() {
        sleep(pause);
    }
    edit.effect(After::Partial, || file.write_all(content))?;
    edit.step(After::Whole(number), || close(file))
}

fn close(file: File) -> io::Result<()> {
    drop(file);
    Ok(())
}

fn set_time(path: &Path, time: SystemTime) -> io::Result<()> {
    OpenOptions::new().read(true).open(path)?.set_modified(time)
}

fn set_times(path: &Path, time: SystemTime) -> io::Result<()> {
    let times = FileTimes::new().set_accessed(time).set_modified(time);
    OpenOptions::new().read(true).open(path)?.set_times(times)
}

fn past(random: &mut Random) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000) + random.micros(0, 1_000_000_000)
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
