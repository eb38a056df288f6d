//! The other process of a case: this program in another role, pinned to its own core. It receives
//! requests as lines on its stdin, answers each with a line, and ends with its stdin.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Cores of the measured side and of the other side.
pub const HERE: usize = 1;
/// See [`HERE`].
pub const THERE: usize = 0;

/// A process in a role.
pub struct Other {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Other {
    /// Starts it, and waits until it says that it is ready.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(role: &str, arguments: &[String]) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program)
            .args(["__role", role])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("its stdout"));
        let mut other = Self { child, stdin, stdout };
        other.answer();
        other
    }

    /// Has it do something, and returns its answer.
    ///
    /// # Panics
    /// If it has ended.
    pub fn ask(&mut self, what: &str) -> String {
        self.tell(what);
        self.answer()
    }

    /// Has it do something, and does not wait for its answer.
    ///
    /// # Panics
    /// If it has ended.
    pub fn tell(&mut self, what: &str) {
        let mut stdin = self.stdin.as_ref().expect("it runs");
        writeln!(stdin, "{what}").expect("it listens");
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the next answer.
    ///
    /// # Panics
    /// If it has ended.
    pub fn answer(&mut self) -> String {
        let mut line = String::new();
        let read = self.stdout.read_line(&mut line).expect("it answers");
        assert!(read > 0, "the other process has ended");
        line.trim_end().to_owned()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.stdin = None;
        let _ended = self.child.wait();
    }
}

/// The other side of [`Other`]: says that it is ready, then answers each line.
pub fn serve(mut answer: impl FnMut(&str) -> String) {
    println!("ready");
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        println!("{}", answer(&line));
    }
}
