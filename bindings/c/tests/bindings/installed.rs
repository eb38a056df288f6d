//! The library as `make install` installs it, and programs that are compiled with it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;
use tests::clean::{command, inheriting};
use tests::process::Process;
use tests::{programs, skip};

/// Where the library is installed within the folder of these tests.
const PREFIX: &str = "/opt/tablecast";

/// Options that every program must be compiled with. Warnings are errors.
const STRICT: [&str; 5] = ["-g", "-Wall", "-Wextra", "-Werror", "-pedantic"];

/// How a program is compiled and run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// With the shared library.
    Plain,
    /// With the static library.
    Static,
    /// Under valgrind, which finds accesses to wrong memory, and leaks.
    Valgrind,
    /// With the address sanitizer of the compiler, which finds the same.
    AddressSanitizer,
}

impl Check {
    /// The ways that find different errors.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Valgrind, Self::AddressSanitizer];
}

/// The library in a folder of its own, and the programs that were compiled with it.
pub struct Installed {
    folder: TempDir,
}

impl Installed {
    /// Returns the folder of all tests of this process. Returns `None` and reports the tests as
    /// skipped if there is no C compiler.
    pub fn new() -> Option<&'static Self> {
        static INSTALLED: OnceLock<Option<Installed>> = OnceLock::new();
        let installed = INSTALLED.get_or_init(|| {
            let needed = ["make", "cc", "c++"];
            if !needed.into_iter().all(exists) {
                return None;
            }
            let folder = tempfile::tempdir().unwrap();
            make("install", folder.path());
            Some(Self { folder })
        });
        if installed.is_none() {
            skip("no programs in C: make, cc or c++ is missing");
        }
        installed.as_ref()
    }

    fn library_folder(&self) -> PathBuf {
        self.folder.path().join(&PREFIX[1..]).join("lib")
    }

    /// Returns the command that runs a program, which is compiled from a source in this package.
    /// Returns `None` and reports the test as skipped if the tool of `check` is missing.
    ///
    /// # Panics
    /// If the program cannot be compiled without warnings.
    pub fn program(&self, source: &str, check: Check) -> Option<Command> {
        let compiler = if source.ends_with(".c") { "cc" } else { "c++" };
        if check == Check::Valgrind && !exists("valgrind") {
            skip("programs in C under valgrind: it is missing");
            return None;
        }
        let name = source.replace(['/', '.'], "-");
        // Valgrind runs a program that was compiled as usual.
        let compiled = if check == Check::Valgrind { Check::Plain } else { check };
        let program = self.folder.path().join(format!("{name}-{compiled:?}"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
        let mut compile = self.compile(compiler, &source, check);
        compile.arg("-o").arg(&program);
        if check != Check::AddressSanitizer {
            if !program.exists() {
                compile.run();
            }
        } else if !compile.arg("-fsanitize=address").status().unwrap().success() {
            // The other ways have compiled the program.
            skip("programs in C with the address sanitizer: the compiler does not have it");
            return None;
        }
        let mut run = match check {
            Check::Valgrind => {
                let mut valgrind = command("valgrind");
                valgrind.args(["-q", "--leak-check=full", "--error-exitcode=99"]).arg(&program);
                valgrind
            }
            _ => command(&program),
        };
        if check != Check::Static {
            run.env("LD_LIBRARY_PATH", self.library_folder());
        }
        Some(run)
    }

    /// Compiles a source without a result.
    ///
    /// # Panics
    /// If there is a warning or an error.
    pub fn compiles(&self, compiler: &str, source: &Path) {
        self.compile(compiler, source, Check::Plain).arg("-fsyntax-only").run();
    }

    /// Returns the command that compiles a source with the options that pkg-config gives.
    fn compile(&self, compiler: &str, source: &Path, check: Check) -> Command {
        let mut compile = command(compiler);
        let is_c = source.extension().is_some_and(|extension| extension == "c");
        compile.arg(if is_c { "-std=c11" } else { "-std=c++17" }).args(STRICT).arg(source);
        compile.args(self.package_options(check)).arg("-pthread");
        compile
    }

    /// Returns the options that pkg-config gives, or those that the installed file contains.
    fn package_options(&self, check: Check) -> Vec<String> {
        let file = self.library_folder().join("pkgconfig/tablecast.pc");
        let mut output = if exists("pkg-config") {
            let mut ask = command("pkg-config");
            ask.env("PKG_CONFIG_PATH", file.parent().unwrap());
            ask.env("PKG_CONFIG_SYSROOT_DIR", self.folder.path());
            ask.args(["--cflags", "--libs"]).args((check == Check::Static).then_some("--static"));
            Process::run(ask.arg("tablecast"), 0).0
        } else {
            let root = self.folder.path().display();
            format!("-I{root}{PREFIX}/include -L{root}{PREFIX}/lib -ltablecast -lm -lrt -ldl")
        };
        if check == Check::Static {
            output = output.replace("-ltablecast", "-l:libtablecast.a");
        }
        output.split_whitespace().map(str::to_owned).collect()
    }
}

/// Runs a command that must succeed.
trait Run {
    fn run(&mut self);
}

impl Run for Command {
    fn run(&mut self) {
        Process::run(self, 0);
    }
}

/// Runs the Makefile with the libraries that were built for these tests.
fn make(goal: &str, destination: &Path) {
    let folder = env!("CARGO_MANIFEST_DIR");
    let mut make = command("make");
    make.args(["-s", "-C", folder, goal]).arg(format!("PREFIX={PREFIX}"));
    make.arg(format!("DESTDIR={}", destination.display()));
    make.arg(format!("BUILT={}", programs::libraries().display())).run();
}

/// Returns true if a tool is installed.
pub fn exists(tool: &str) -> bool {
    inheriting(tool).arg("--version").output().is_ok_and(|output| output.status.success())
}

#[test]
fn uninstall_removes_what_install_copied() {
    if Installed::new().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    make("install", folder.path());
    let library = folder.path().join(&PREFIX[1..]).join("lib/libtablecast.so");
    assert!(library.exists());
    make("uninstall", folder.path());
    let left = inheriting("find").arg(folder.path()).args(["!", "-type", "d"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
}
