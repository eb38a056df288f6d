//! A child process whose output is collected as it arrives and whose end is awaited within a limit.
//! If the test fails, all of its output goes to stderr.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{LIMIT, until};

/// A running child. Dropping it kills it.
pub struct Process {
    command: String,
    child: Child,
    input: Option<ChildStdin>,
    stdout: Stream,
    stderr: Stream,
}

impl Process {
    /// Starts a command with pipes for stdin, stdout and stderr.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        Self::start_with(command.stdin(Stdio::piped()))
    }

    /// Starts a command with the stdin that the caller set.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_with(command: &mut Command) -> Self {
        Self::spawn(command.stdout(Stdio::piped()))
    }

    fn spawn(command: &mut Command) -> Self {
        Self::spawn_all(command.stderr(Stdio::piped()))
    }

    fn spawn_all(command: &mut Command) -> Self {
        let name = format!("{command:?}");
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let stdout = child.stdout.take().map_or_else(|| Stream::of(std::io::empty()), Stream::of);
        let stderr = child.stderr.take().map_or_else(|| Stream::of(std::io::empty()), Stream::of);
        Self { command: name, input: child.stdin.take(), stdout, stderr, child }
    }

    /// Starts a command with the stdin that the caller set. Its stdout goes to `stdout` and is not
    /// collected.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_into(command: &mut Command, stdout: impl Into<Stdio>) -> Self {
        Self::spawn(command.stdout(stdout))
    }

    /// Starts a command with the stdin that the caller set. Its outputs go to `stdout` and `stderr`
    /// and are not collected.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_in(
        command: &mut Command,
        stdout: impl Into<Stdio>,
        stderr: impl Into<Stdio>,
    ) -> Self {
        Self::spawn_all(command.stdout(stdout).stderr(stderr))
    }

    /// Runs a command without input to its end, and expects this exit code. Returns stdout and
    /// stderr.
    ///
    /// # Panics
    /// If the command ends otherwise, or not within the limit.
    pub fn run(command: &mut Command, code: i32) -> (String, String) {
        let mut process = Self::start_with(command.stdin(Stdio::null()));
        process.ends_with(code);
        (process.stdout(), process.stderr())
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If the process no longer exists.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.id() as i32), signal).expect("a process that was not waited for");
    }

    /// Sends SIGSTOP and waits until the process is stopped.
    ///
    /// # Panics
    /// If the process no longer exists or does not stop.
    pub fn stop(&self) {
        self.signal(Signal::SIGSTOP);
        until("the process is stopped", || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()));
            let stat = stat.expect("a process that was not waited for");
            // The state follows the name in brackets.
            stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T"))
        });
    }

    /// Writes a line to the child's stdin.
    ///
    /// # Panics
    /// If the child no longer reads its stdin.
    pub fn write_line(&mut self, line: &str) {
        let input = self.input.as_mut().expect("stdin is open");
        // One write, so that a pipe passes a short line on as a whole.
        let line = format!("{line}\n");
        input.write_all(line.as_bytes()).expect("the child reads its stdin");
    }

    /// Closes the child's stdin.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Returns the next unread line of stdout, or None at its end.
    ///
    /// # Panics
    /// If there is none within [`LIMIT`].
    pub fn next_line(&mut self) -> Option<String> {
        let Self { stdout, command, .. } = self;
        let mut line = None;
        let came = stdout.wait(|text, read, ended| {
            if let Some(end) = text[*read..].iter().position(|byte| *byte == b'\n') {
                line = Some(String::from_utf8_lossy(&text[*read..*read + end]).into_owned());
                *read += end + 1;
            }
            line.is_some() || ended
        });
        assert!(came, "{command} prints no line");
        line
    }

    /// Returns the next unread line of stdout.
    ///
    /// # Panics
    /// If stdout ends first, or there is no line within [`LIMIT`].
    pub fn line(&mut self) -> String {
        let line = self.next_line();
        line.unwrap_or_else(|| panic!("the output of {} ended", self.command))
    }

    /// Waits until all of stdout satisfies `condition`, and returns it.
    ///
    /// # Panics
    /// If that does not happen within the limit.
    pub fn stdout_until(&mut self, condition: impl Fn(&str) -> bool) -> String {
        let what = format!("the stdout of {}", self.command);
        self.stdout.until(&what, condition)
    }

    /// Waits until all of stderr satisfies `condition`, and returns it.
    ///
    /// # Panics
    /// If that does not happen within the limit.
    pub fn stderr_until(&mut self, condition: impl Fn(&str) -> bool) -> String {
        let what = format!("the stderr of {}", self.command);
        self.stderr.until(&what, condition)
    }

    /// Returns all of stdout so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Returns all of stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Returns true if the process still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for the end of the process and of its output.
    ///
    /// # Panics
    /// If it does not end within [`LIMIT`].
    pub fn end(&mut self) -> ExitStatus {
        self.end_within(LIMIT)
    }

    fn end_within(&mut self, limit: Duration) -> ExitStatus {
        let begun = Instant::now();
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) => assert!(begun.elapsed() < limit, "{} does not end", self.command),
                Err(error) => panic!("cannot wait for {}: {error}", self.command),
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        self.stdout.join();
        self.stderr.join();
        status
    }

    /// Waits for the process to end with this exit code.
    ///
    /// # Panics
    /// If it ends with another one.
    pub fn ends_with(&mut self, code: i32) {
        self.ends_within(LIMIT, code);
    }

    /// Waits at most `limit` for the process to end with this exit code. For a process that is busy
    /// for longer than the default limit.
    ///
    /// # Panics
    /// If it ends with another one, or not in time.
    pub fn ends_within(&mut self, limit: Duration, code: i32) {
        let status = self.end_within(limit);
        assert_eq!(status.code(), Some(code), "{} ended with {status}", self.command);
    }

    /// Waits for the process to succeed, and returns its stdout.
    ///
    /// # Panics
    /// If it fails.
    pub fn finished(mut self) -> String {
        self.ends_with(0);
        self.stdout()
    }

    /// Closes the stdin of the process and waits for it to succeed.
    ///
    /// # Panics
    /// If it fails.
    pub fn finish(&mut self) {
        self.close_input();
        self.ends_with(0);
    }

    /// Sends SIGKILL and waits until the process is dead.
    ///
    /// # Panics
    /// If it ended for another reason before.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        let status = self.end();
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "{} ended before", self.command);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _dead_already = self.child.kill();
        let status = self.child.wait();
        self.stdout.join();
        self.stderr.join();
        if std::thread::panicking() {
            eprintln!(
                "\n=== {}\n=== {status:?}\n=== stdout\n{}=== stderr\n{}===",
                self.command,
                tail(&self.stdout()),
                tail(&self.stderr())
            );
        }
    }
}

/// Returns the end of a long output.
fn tail(text: &str) -> String {
    const LINES: usize = 60;
    let lines: Vec<&str> = text.lines().collect();
    let skipped = lines.len().saturating_sub(LINES);
    let told = (skipped > 0).then(|| format!("({skipped} lines before)"));
    told.iter()
        .map(String::as_str)
        .chain(lines[skipped..].iter().copied())
        .fold(String::new(), |all, line| all + line + "\n")
}

/// One output of a child. A thread reads it, so that the child never blocks on a test that does not
/// read.
struct Stream {
    shared: Arc<(Mutex<Received>, Condvar)>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Received {
    bytes: Vec<u8>,
    /// Number of bytes that were already returned as lines.
    read: usize,
    ended: bool,
}

impl Stream {
    fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let shared = Arc::<(Mutex<Received>, Condvar)>::default();
        let sink = Arc::clone(&shared);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 1 << 16];
            loop {
                let length = pipe.read(&mut buffer).unwrap_or(0);
                let mut received = sink.0.lock().expect("the lock is not poisoned");
                received.bytes.extend_from_slice(&buffer[..length]);
                received.ended = length == 0;
                sink.1.notify_all();
                if received.ended {
                    return;
                }
            }
        });
        Self { shared, reader: Some(reader) }
    }

    /// Waits until `condition` holds or the limit passes. Returns true if it holds.
    fn wait(&self, mut condition: impl FnMut(&[u8], &mut usize, bool) -> bool) -> bool {
        let (received, more) = &*self.shared;
        let received = received.lock().expect("the lock is not poisoned");
        let (_received, timeout) = more
            .wait_timeout_while(received, LIMIT, |received| {
                !condition(&received.bytes, &mut received.read, received.ended)
            })
            .expect("the lock is not poisoned");
        !timeout.timed_out()
    }

    fn until(&self, what: &str, condition: impl Fn(&str) -> bool) -> String {
        let mut found = None;
        let come = self.wait(|bytes, _, ended| {
            let text = String::from_utf8_lossy(bytes);
            if condition(&text) {
                found = Some(text.into_owned());
            }
            found.is_some() || ended
        });
        assert!(come, "timed out waiting for {what}");
        found.unwrap_or_else(|| panic!("{what} ended before the condition held"))
    }

    fn text(&self) -> String {
        let received = self.shared.0.lock().expect("the lock is not poisoned");
        String::from_utf8_lossy(&received.bytes).into_owned()
    }

    fn join(&mut self) {
        if let Some(reader) = self.reader.take() {
            let _read_all = reader.join();
        }
    }
}
