//! What is wrong with a configuration: every mistake at once, each with its file, line and path.

use std::cell::RefCell;
use std::fmt;

use super::yaml::Origin;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file, as it was named.
    pub file: String,
    /// The line in it, counted from 1, where one could be found.
    pub line: Option<usize>,
    /// The dotted path of the setting; empty for the file as a whole.
    pub path: String,
    /// What was found, and what to write instead.
    pub problem: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// Everything that is wrong with a configuration; shown as one mistake a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<Mistake>);

impl ConfigErrors {
    /// The mistakes, in the order of the files and their lines.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            mistake.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Collects mistakes while a configuration is read, so that reading goes on after the first one.
#[derive(Debug, Default)]
pub(super) struct Mistakes {
    list: RefCell<Vec<Mistake>>,
    unset: RefCell<Vec<Unset>>,
    remarks: RefCell<Vec<String>>,
}

/// A key or element that went away because a variable has no value. No mistake by itself, but often the reason of one.
#[derive(Debug, Clone)]
pub(super) struct Unset {
    /// What went away.
    pub(super) origin: Origin,
    /// The variable.
    pub(super) variable: String,
}

impl Mistakes {
    /// Notes a mistake at `origin`. The same one seen twice (a base connection is read for every plugin) counts once.
    pub(super) fn add(&self, origin: &Origin, problem: impl Into<String>) {
        self.push(Mistake {
            file: origin.file().to_owned(),
            line: origin.line(),
            path: origin.dotted(),
            problem: problem.into(),
        });
    }

    /// Whether a mistake at `origin` is noted already.
    pub(super) fn has(&self, origin: &Origin) -> bool {
        let (file, path) = (origin.file(), origin.dotted());
        self.list.borrow().iter().any(|mistake| mistake.file == file && mistake.path == path)
    }

    /// Notes that something is missing at `origin`, and that a variable without a value is why, if it is.
    pub(super) fn missing(&self, origin: &Origin, remedy: impl fmt::Display) {
        let unset = self.unset.borrow();
        match unset.iter().find(|unset| unset.origin == *origin) {
            Some(unset) => self.add(origin, format!("missing (the variable {} is not set){remedy}", unset.variable)),
            None => self.add(origin, format!("missing{remedy}")),
        }
    }

    /// Notes that what stands at `origin` goes away, because `variable` has no value.
    pub(super) fn note_unset(&self, origin: &Origin, variable: impl Into<String>) {
        self.unset.borrow_mut().push(Unset { origin: origin.clone(), variable: variable.into() });
    }

    /// Remarks on what is no mistake, but probably not meant. The same remark made twice counts once.
    pub(super) fn remark(&self, origin: &Origin, remark: impl fmt::Display) {
        let remark = format!("{origin}: {remark}");
        let mut remarks = self.remarks.borrow_mut();
        if !remarks.contains(&remark) {
            remarks.push(remark);
        }
    }

    /// The remarks so far.
    pub(super) fn remarks(&self) -> Vec<String> {
        self.remarks.borrow().clone()
    }

    /// What went away for want of a variable.
    pub(super) fn unset(&self) -> Vec<Unset> {
        self.unset.borrow().clone()
    }

    /// Notes a mistake about a file as a whole.
    pub(super) fn add_for_file(&self, file: impl Into<String>, line: Option<usize>, problem: impl Into<String>) {
        self.push(Mistake { file: file.into(), line, path: String::new(), problem: problem.into() });
    }

    /// Whether nothing was wrong so far.
    pub(super) fn is_empty(&self) -> bool {
        self.list.borrow().is_empty()
    }

    /// All mistakes, ordered by file (in the order in which files were given) and line.
    pub(super) fn into_errors(self, files: &[String]) -> ConfigErrors {
        let mut list = self.list.into_inner();
        let rank = |file: &str| files.iter().position(|known| known == file).unwrap_or(files.len());
        list.sort_by(|a, b| (rank(&a.file), &a.file, a.line).cmp(&(rank(&b.file), &b.file, b.line)));
        ConfigErrors(list)
    }

    fn push(&self, mistake: Mistake) {
        let mut list = self.list.borrow_mut();
        if !list.contains(&mistake) {
            list.push(mistake);
        }
    }
}
