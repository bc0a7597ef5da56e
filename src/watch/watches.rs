//! Which watch each directory has, and which directories a watch means: a [`Table`] that does not change, and what differs
//! from it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::snapshot::joined;
use super::table::Table;
use crate::os::inotify::Watch;

/// The watches by name and the names by watch. Both ways are kept so that a lost directory costs nothing but itself: a
/// search through all watches for each makes `rm -rf` of a large tree quadratic.
#[derive(Debug, Default)]
pub struct Watches {
    base: Option<Arc<Table>>,
    /// Directories whose watch is another one than in the table, or that have none any more.
    watches: BTreeMap<PathBuf, Option<Watch>>,
    /// All names of the watches that have other names than in the table. Two names of one directory share a watch.
    names: HashMap<Watch, Vec<PathBuf>>,
    count: usize,
}

impl Watches {
    /// The table with what differs from it.
    pub fn resume(base: Arc<Table>, differences: Vec<(PathBuf, Option<Watch>)>) -> Watches {
        let mut watches = Watches { count: base.watches(), base: Some(base), ..Watches::default() };
        for (path, watch) in differences {
            match watch {
                Some(watch) => drop(watches.set(&path, watch)),
                None => drop(watches.remove(&path)),
            }
        }
        watches
    }

    /// What differs from the table.
    pub fn differences(&self) -> &BTreeMap<PathBuf, Option<Watch>> {
        &self.watches
    }

    /// How many directories have a watch.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The watch of a directory.
    pub fn get(&self, directory: &Path) -> Option<Watch> {
        match self.watches.get(directory) {
            Some(watch) => *watch,
            None => self.in_base(directory),
        }
    }

    fn in_base(&self, directory: &Path) -> Option<Watch> {
        let base = self.base.as_ref()?;
        base.directory(base.find(directory)?).watch
    }

    /// The directories that a watch means.
    pub fn names(&self, watch: Watch) -> Vec<PathBuf> {
        match self.names.get(&watch) {
            Some(names) => names.clone(),
            None => self.base.iter().flat_map(|base| base.watched_as(watch)).map(Path::to_owned).collect(),
        }
    }

    /// Notes the watch of a directory. Gives back the one that it had before, if that means nothing any more.
    pub fn set(&mut self, directory: &Path, watch: Watch) -> Option<Watch> {
        if self.get(directory) == Some(watch) {
            return None;
        }
        let former = self.remove(directory);
        let mut names = self.names(watch);
        names.push(directory.to_owned());
        self.names.insert(watch, names);
        self.put(directory, Some(watch));
        self.count += 1;
        former
    }

    /// A directory has no watch any more. Gives back the one that it had, if that means nothing any more.
    pub fn remove(&mut self, directory: &Path) -> Option<Watch> {
        let watch = self.get(directory)?;
        let mut names = self.names(watch);
        names.retain(|name| name != directory);
        let last = names.is_empty();
        if last && self.base.as_ref().is_none_or(|base| base.watched_as(watch).next().is_none()) {
            self.names.remove(&watch);
        } else {
            self.names.insert(watch, names);
        }
        self.put(directory, None);
        self.count -= 1;
        last.then_some(watch)
    }

    fn put(&mut self, directory: &Path, watch: Option<Watch>) {
        if self.in_base(directory) == watch {
            self.watches.remove(directory);
        } else {
            self.watches.insert(directory.to_owned(), watch);
        }
    }

    /// The directories with a watch that are this one or lie below it.
    pub fn at_or_below(&self, directory: &Path) -> Vec<PathBuf> {
        let others = self.watches.range::<Path, _>((Bound::Included(directory), Bound::Unbounded));
        let others = others.take_while(|(path, _)| path.starts_with(directory));
        let mut found: Vec<PathBuf> =
            others.filter(|(_, watch)| watch.is_some()).map(|(path, _)| path.clone()).collect();
        if let Some(base) = &self.base {
            let in_base = base.at_or_below(directory).map(|index| base.directory(index));
            let as_ever = in_base.filter(|known| known.watch.is_some() && !self.watches.contains_key(known.path));
            found.extend(as_ever.map(|known| known.path.to_owned()));
        }
        found
    }

    /// All of it, in the order of the tree.
    pub fn all(&self) -> impl Iterator<Item = (&Path, Watch)> {
        let in_base = self.base.iter().flat_map(|base| base.from(Bound::Unbounded));
        let differences = self.watches.iter().map(|(path, watch)| (path.as_path(), *watch));
        joined(in_base.map(|known| (known.path, known.watch)), differences)
            .filter_map(|(path, in_base, other)| Some((path, other.or(in_base).flatten()?)))
    }

    /// The same, told by this table alone. Returns what told it before, which takes a while to be freed.
    pub fn rebase(&mut self, base: Arc<Table>) -> Watches {
        std::mem::replace(self, Watches { count: base.watches(), base: Some(base), ..Watches::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::Watches;
    use crate::os::inotify::Watch;
    use crate::watch::snapshot::Snapshot;
    use crate::watch::table::Table;
    use proptest::prelude::{prop, proptest};
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    proptest! {
        #[test]
        fn whatever_comes_and_goes_both_ways_agree_across_children(
            steps in prop::collection::vec((0u8..6, 0i32..4, 0u8..8), 1..80),
        ) {
            let mut watches = Watches::default();
            let mut base = Arc::new(Table::own(Snapshot::default().to_table(std::iter::empty(), |_| false).unwrap()).unwrap());
            let mut expected: BTreeMap<PathBuf, Watch> = BTreeMap::new();
            for (path, watch, what) in steps {
                let path = Path::new(["/", "/r", "/r/a", "/r/a/b", "/r/a.x", "/s"][usize::from(path)]);
                match what {
                    0 => {
                        base = Arc::new(Table::own(Snapshot::default().to_table(watches.all(), |_| false).unwrap()).unwrap());
                        watches.rebase(Arc::clone(&base));
                    }
                    1 => {
                        let differences = watches.differences().iter().map(|(path, watch)| (path.clone(), *watch)).collect();
                        watches = Watches::resume(Arc::clone(&base), differences);
                    }
                    2..5 => {
                        let former = expected.remove(path);
                        let gone = former.filter(|former| !expected.values().any(|other| other == former));
                        assert_eq!(watches.remove(path), gone);
                    }
                    _ => {
                        let former = expected.insert(path.to_owned(), Watch(watch)).filter(|former| *former != Watch(watch));
                        let gone = former.filter(|former| !expected.values().any(|other| other == former));
                        assert_eq!(watches.set(path, Watch(watch)), gone);
                    }
                }
                assert!(watches.all().eq(expected.iter().map(|(path, watch)| (path.as_path(), *watch))));
                assert_eq!(watches.len(), expected.len());
                for number in 0..4 {
                    let mut names = watches.names(Watch(number));
                    names.sort();
                    assert!(names.iter().eq(expected.iter().filter(|(_, watch)| **watch == Watch(number)).map(|(path, _)| path)));
                }
            }
        }
    }
}
