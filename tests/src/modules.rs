//! Which modules of a crate use which: a small reader of `use` declarations, for the test of
//! circles.
//!
//! A module is a file, known by its path in the crate. Names that a module re-exports count as uses
//! of the module that they come from. A folder's own module is the face of what lies in it, so
//! neither's uses of the other count. Tests are passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A module by its path: `["linear", "geometry"]`, say; the crate's root is empty.
pub type Module = Vec<String>;

/// The uses between the modules of a crate.
#[derive(Debug, Default)]
pub struct Uses {
    edges: BTreeMap<Module, BTreeSet<Module>>,
}

/// One `use`, as a path from the crate's root.
struct Use {
    public: bool,
    path: Module,
}

impl Uses {
    /// Those of the crate whose sources lie in `folder`.
    pub fn of(folder: &Path) -> Uses {
        let mut files = BTreeMap::new();
        collect(folder, &mut Vec::new(), &mut files);
        Uses::between(&files)
    }

    /// Those of modules with these texts.
    fn between(files: &BTreeMap<Module, String>) -> Uses {
        let declared: BTreeMap<&Module, Vec<Use>> =
            files.iter().map(|(module, text)| (module, declarations(module, text, files))).collect();
        let mut uses = Uses::default();
        for (module, found) in &declared {
            for one in found {
                let Some(target) = resolve(&one.path, files, &declared, 0) else { continue };
                let face = module.starts_with(&target) || target.starts_with(module);
                if !face {
                    uses.edges.entry((*module).clone()).or_default().insert(target);
                }
            }
        }
        uses
    }

    /// Every set of modules that use each other in circles, each as sorted paths with `/`.
    pub fn circles(&self) -> BTreeSet<Vec<String>> {
        let reach: BTreeMap<&Module, BTreeSet<&Module>> =
            self.edges.keys().map(|module| (module, self.reached_from(module))).collect();
        let mutual = |module: &Module| -> Vec<String> {
            let others = reach[module].iter().filter(|other| reach.get(*other).is_some_and(|r| r.contains(module)));
            others.map(|other| other.join("/")).collect()
        };
        self.edges.keys().filter(|module| reach[module].contains(module)).map(mutual).collect()
    }

    fn reached_from(&self, module: &Module) -> BTreeSet<&Module> {
        let mut reached = BTreeSet::new();
        let mut left: Vec<&Module> = self.edges.get(module).into_iter().flatten().collect();
        while let Some(next) = left.pop() {
            if reached.insert(next) {
                left.extend(self.edges.get(next).into_iter().flatten());
            }
        }
        reached
    }
}

fn collect(folder: &Path, module: &mut Module, files: &mut BTreeMap<Module, String>) {
    let mut entries: Vec<_> = std::fs::read_dir(folder).expect("a folder of sources").map(Result::unwrap).collect();
    entries.sort_by_key(std::fs::DirEntry::path);
    for path in entries.into_iter().map(|entry| entry.path()) {
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        if path.is_dir() {
            module.push(name);
            collect(&path, module, files);
            module.pop();
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a readable source");
            let mut own = module.clone();
            if !matches!(name.as_str(), "mod" | "lib" | "main") {
                own.push(name);
            }
            files.insert(own, text);
        }
    }
}

/// The `use`s of `module` that stay within the crate.
fn declarations(module: &Module, text: &str, files: &BTreeMap<Module, String>) -> Vec<Use> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines: Vec<&str> = code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let mut found = Vec::new();
    let mut index = 0;
    while index < lines.len() {
        let line = lines[index].trim_start();
        let (public, rest) = match line.strip_prefix("pub") {
            Some(rest) => (true, rest.trim_start_matches(|c| c != ' ').trim_start()),
            None => (false, line),
        };
        let only_for = index > 0 && matches!(lines[index - 1].trim(), "#[cfg(test)]" | "#[cfg(doc)]");
        index += 1;
        let Some(first) = rest.strip_prefix("use ") else { continue };
        let mut tree = first.to_owned();
        while !tree.contains(';') && index < lines.len() {
            tree.push_str(lines[index]);
            index += 1;
        }
        if only_for {
            continue;
        }
        let tree = tree.split(';').next().unwrap_or_default();
        for leaf in leaves(tree) {
            found.extend(from_root(module, &leaf, files).map(|path| Use { public, path }));
        }
    }
    found
}

/// The paths that a tree of `use` names.
fn leaves(tree: &str) -> Vec<Module> {
    let tree = tree.trim();
    let Some((prefix, rest)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        return vec![path.split("::").map(|segment| segment.trim().to_owned()).collect()];
    };
    let prefix: Module = prefix.split("::").map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect();
    let inside = rest.rsplit_once('}').map_or(rest, |(inside, _)| inside);
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for c in inside.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        match c {
            ',' if depth == 0 => parts.push(String::new()),
            c => parts.last_mut().expect("a part").push(c),
        }
    }
    let nonempty = parts.iter().filter(|part| !part.trim().is_empty());
    nonempty.flat_map(|part| leaves(part)).map(|leaf| [prefix.clone(), leaf].concat()).collect()
}

/// The path from the crate's root; `None` if it leads out of the crate.
fn from_root(module: &Module, leaf: &Module, files: &BTreeMap<Module, String>) -> Option<Module> {
    let ups = leaf.iter().take_while(|segment| *segment == "super").count();
    let path = match leaf.first()?.as_str() {
        "crate" => leaf[1..].to_vec(),
        "super" => [&module[..module.len().checked_sub(ups)?], &leaf[ups..]].concat(),
        "self" => [module, &leaf[1..]].concat(),
        first => {
            let child = [module.as_slice(), &[first.to_owned()]].concat();
            if !files.contains_key(&child) {
                return None;
            }
            [module.as_slice(), leaf].concat()
        }
    };
    Some(path.into_iter().filter(|segment| segment != "self" && segment != "*").collect())
}

/// The module that a path leads to, through what modules on its way re-export.
fn resolve(
    path: &Module,
    files: &BTreeMap<Module, String>,
    declared: &BTreeMap<&Module, Vec<Use>>,
    depth: usize,
) -> Option<Module> {
    const DEEPEST: usize = 8;
    let end = (0..=path.len()).rev().find(|end| files.contains_key(&path[..*end]))?;
    let (module, rest) = (path[..end].to_vec(), &path[end..]);
    let exported = rest.first().filter(|_| depth < DEEPEST).and_then(|name| {
        let uses = declared.get(&module)?;
        uses.iter().find(|one| one.public && one.path.last() == Some(name))
    });
    match exported {
        Some(one) => resolve(&[&one.path, &rest[1..]].concat(), files, declared, depth + 1),
        None => Some(module),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let module = |path: &str| path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        let files = files.iter().map(|(path, text)| (module(path), (*text).to_owned())).collect();
        Uses::between(&files).circles().into_iter().collect()
    }

    #[test]
    fn circles_are_found_through_every_form_of_use() {
        let face = ("", "mod a;\nmod b;\nmod c;\npub use b::Thing;\n");
        for (first, second) in [
            ("use crate::b::Thing;", "use super::a;"),
            ("use crate::Thing;", "use crate::{c, a::Other};"),
            ("use crate::{\n    c,\n    Thing,\n};", "pub(crate) use crate::a::{self, Other as Name};"),
        ] {
            let found = circles(&[face, ("a", first), ("b", second), ("c", "")]);
            assert_eq!(found, [["a".to_owned(), "b".to_owned()]], "{first} {second}");
        }
        let longer = circles(&[face, ("a", "use crate::b;"), ("b", "use crate::c;"), ("c", "use crate::a;")]);
        assert_eq!(longer, [["a", "b", "c"].map(str::to_owned)]);
    }

    #[test]
    fn what_is_no_circle_is_none() {
        // One way; a folder and what lies in it; comments, tests and documentation.
        for files in [
            [("a", "use crate::b::Thing;"), ("b", "use std::a;"), ("c", "use crate::a;")],
            [("a", "mod x;\nuse x::Thing;"), ("a/x", "use super::Other;\nuse crate::a::More;"), ("c", "")],
            [("a", "use crate::b;"), ("b", "// use crate::a;\n#[cfg(doc)]\nuse crate::a;"), ("c", "")],
            [("a", "use crate::b;"), ("b", "\n#[cfg(test)]\nmod tests {\n    use crate::a;\n}"), ("c", "")],
        ] {
            assert!(circles(&files).is_empty(), "{files:?}");
        }
    }
}
