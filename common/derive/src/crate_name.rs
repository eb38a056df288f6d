//! Finds the name of Tablecast's crate `common` in the user's package.
//!
//! It is the name of the dependency whose package is called `common`. That name is not rare, so
//! several dependencies, or the user's package itself, may have it. A renamed dependency is
//! preferred. If there are several renamed dependencies, the attribute `#[row(crate = "…")]` must
//! select one.

use std::collections::BTreeSet;
use std::path::Path;

use toml_edit::{DocumentMut, Item, TableLike};

/// The name of the package.
const PACKAGE: &str = "common";

/// Returns the name of Tablecast's crate in the package in `directory`, or a message if there are
/// several renamed candidates.
pub(crate) fn crate_name(directory: &Path) -> Result<String, String> {
    let names = dependencies(directory).unwrap_or_default();
    let renamed: Vec<&String> = names.iter().filter(|name| *name != PACKAGE).collect();
    match renamed[..] {
        // A dependency that is not renamed, or the crate itself. If neither exists, the compiler
        // reports the unknown name.
        [] => Ok(PACKAGE.to_owned()),
        [name] => Ok(name.replace('-', "_")),
        _ => Err(format!(
            "several dependencies are packages called {PACKAGE} ({renamed:?}): write #[row(crate = \"…\")] above the struct to say which is Tablecast's"
        )),
    }
}

/// Returns the names of all dependencies whose package is called `common`, or `None` if the
/// manifest cannot be read.
fn dependencies(directory: &Path) -> Option<BTreeSet<String>> {
    let manifest = read(directory)?;
    let targets = table(&manifest, "target").into_iter().flat_map(TableLike::iter);
    let targets = targets.filter_map(|(_, target)| target.as_table_like());
    let root: &dyn TableLike = manifest.as_table();
    let kinds = ["dependencies", "dev-dependencies"];
    let sections = targets.chain([root]).flat_map(|section| kinds.map(|kind| section.get(kind)));
    let sections = sections.filter_map(|section| section?.as_table_like());
    let mut found = BTreeSet::new();
    for (name, dependency) in sections.flat_map(TableLike::iter) {
        let is_inherited = dependency.get("workspace").and_then(Item::as_bool) == Some(true);
        let package = match is_inherited {
            true => inherited_package(directory, &manifest, name),
            false => package_of(dependency),
        };
        if package.as_deref().unwrap_or(name) == PACKAGE {
            found.insert(name.to_owned());
        }
    }
    Some(found)
}

/// Returns the package of a dependency in `[workspace.dependencies]`, if the dependency is renamed.
fn inherited_package(directory: &Path, manifest: &DocumentMut, name: &str) -> Option<String> {
    let package = table(manifest, "package");
    let root = package.and_then(|package| package.get("workspace")?.as_str());
    let roots: Vec<_> = match root {
        Some(root) => vec![directory.join(root)],
        None => directory.ancestors().map(Path::to_owned).collect(),
    };
    let manifests = roots.iter().filter_map(|root| read(root));
    let workspace = manifests.into_iter().find(|one| one.contains_key("workspace"))?;
    let dependencies = table(&workspace, "workspace")?.get("dependencies")?;
    package_of(dependencies.get(name)?)
}

fn package_of(dependency: &Item) -> Option<String> {
    Some(dependency.get("package")?.as_str()?.to_owned())
}

fn table<'a>(manifest: &'a DocumentMut, name: &str) -> Option<&'a dyn TableLike> {
    manifest.get(name)?.as_table_like()
}

fn read(directory: &Path) -> Option<DocumentMut> {
    let text = std::fs::read_to_string(directory.join("Cargo.toml")).ok()?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A directory that is removed when dropped.
    struct Directory(PathBuf);

    impl Directory {
        fn new(test: &str) -> Self {
            let name = format!("tablecast-derive-{test}-{}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }

        fn write(&self, below: &str, manifest: &str) -> PathBuf {
            let directory = self.0.join(below);
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("Cargo.toml"), manifest).unwrap();
            directory
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _gone_already = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn crate_is_found_next_to_other_packages_called_common() {
        let root = Directory::new("names");
        for (dependencies, name) in [
            ("[dependencies]\nserde = \"1\"\n", "common"),
            ("[dependencies]\ncommon = \"0.1\"\n", "common"),
            (
                "[dependencies]\ncommon = { path = \"x\" }\n[dev-dependencies]\ncommon = \"0.1\"\n",
                "common",
            ),
            ("[dependencies]\ntable-cast = { package = \"common\", path = \"x\" }\n", "table_cast"),
            ("[dependencies.tablecast]\npackage = \"common\"\n", "tablecast"),
            (
                "[dependencies]\ntablecast = { package = \"common\" }\ncommon = { path = \"x\" }\n",
                "tablecast",
            ),
            ("[dependencies]\ncommon = \"1\"\ntablecast = { package = \"common\" }\n", "tablecast"),
            (
                "[dependencies]\ncommon = \"1\"\n[target.'cfg(unix)'.dependencies]\ntablecast = { package = \"common\" }\n",
                "tablecast",
            ),
            (
                "[dependencies]\ntablecast = { package = \"common\" }\n[dev-dependencies]\ntablecast = { package = \"common\" }\n",
                "tablecast",
            ),
            ("[dependencies]\ncommon = { package = \"commons\" }\n", "common"),
        ] {
            for package in ["app", "common"] {
                let manifest = format!("[package]\nname = \"{package}\"\n{dependencies}");
                let directory = root.write("one", &manifest);
                assert_eq!(crate_name(&directory).as_deref(), Ok(name), "{manifest}");
            }
        }
        let two = "[dependencies]\na = { package = \"common\" }\nb = { package = \"common\" }\n";
        let refused = crate_name(&root.write("two", two)).unwrap_err();
        assert!(refused.contains("row(crate"), "{refused}");
        assert_eq!(crate_name(Path::new("/nowhere")).as_deref(), Ok("common"));
        assert_eq!(crate_name(&root.write("bad", "[[")).as_deref(), Ok("common"));
    }

    #[test]
    fn crate_is_found_through_the_workspace() {
        let root = Directory::new("workspace");
        root.write("", "[workspace.dependencies]\ntablecast = { package = \"common\" }\n");
        let inherits = "[dependencies]\ntablecast.workspace = true\ncommon = { path = \"x\" }\n";
        for (below, package) in [("a/b", ""), ("c", "[package]\nworkspace = \"..\"\n")] {
            let directory = root.write(below, &format!("{package}{inherits}"));
            assert_eq!(crate_name(&directory).as_deref(), Ok("tablecast"), "{below}");
        }
    }
}
