//! A role that is run instruction by instruction with ptrace.
//!
//! 1. The role asks to be traced ([`be_traced`]), reports that, and prepares at full speed.
//! 2. It stops itself ([`mark`]) before and after the code to be stepped.
//! 3. In between, the test advances the role by one instruction or up to a system call, and leaves
//!    it stopped or kills it at any point.
//!
//! Stepping takes tens of microseconds per instruction. To run a process to an instruction that is
//! known from stepping another one, a breakpoint is faster ([`Stepper::run_to`]). Its place is
//! given as a file and an offset, because each process is loaded at other addresses.
//!
//! Only the thread that started the role may step it. A role that takes longer than [`ALARM_S`] in
//! total fails, and none outlives its test.

use std::process::Command;

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, alarm};

use crate::process::Process;

/// Seconds after which SIGALRM ends a traced role.
pub const ALARM_S: u32 = 300;

/// Line that a traced role prints.
const TRACED: &str = "traced";
/// The two bytes of the x86_64 instruction `syscall`, as the low end of a word.
const SYSCALL: i64 = 0x050f;
/// The x86_64 instruction `int3`.
const BREAKPOINT: i64 = 0xcc;

/// The file mappings of a process.
#[derive(Clone, Debug)]
pub struct Maps(Vec<Map>);

#[derive(Clone, Debug)]
struct Map {
    start: u64,
    end: u64,
    offset: u64,
    file: String,
}

impl Maps {
    /// Parses the text of /proc/PID/maps.
    fn parse(text: &str) -> Self {
        let hex = |number: &str| u64::from_str_radix(number, 16).ok();
        let parse = |line: &str| {
            let mut fields = line.split_ascii_whitespace();
            let (start, end) = fields.next()?.split_once('-')?;
            let offset = fields.nth(1)?;
            Some(Map {
                start: hex(start)?,
                end: hex(end)?,
                offset: hex(offset)?,
                file: fields.nth(2)?.to_owned(),
            })
        };
        Self(text.lines().filter_map(parse).collect())
    }

    /// Returns the address in this process of the byte at `address` in the process of `other`.
    pub fn translate(&self, address: u64, other: &Self) -> Option<u64> {
        let of = other.0.iter();
        let of = of.clone().find(|of| (of.start..of.end).contains(&address))?;
        let same = |map: &&Map| map.file == of.file && map.offset == of.offset;
        let here = self.0.iter().find(same)?;
        Some(address - of.start + here.start)
    }
}

/// Lets the parent trace this process, and waits for it. Called in the role.
///
/// # Errors
/// The errors of the system calls.
pub fn be_traced() -> nix::Result<()> {
    alarm::set(ALARM_S);
    match ptrace::traceme() {
        Ok(()) => println!("{TRACED}"),
        Err(errno) => {
            println!("ptrace is refused: {errno}");
            return Err(errno);
        }
    }
    raise(Signal::SIGSTOP)
}

/// Marks the start and the end of stepping. Called in the role.
///
/// # Panics
/// If the process cannot signal itself.
pub fn mark() {
    raise(Signal::SIGSTOP).expect("a process can signal itself");
}

/// Pins this thread, and the threads and processes that it creates later, to the current processor.
fn stay_on_this_processor() -> nix::Result<()> {
    let mut processors = CpuSet::new();
    processors.set(sched_getcpu()?)?;
    sched_setaffinity(Pid::from_raw(0), &processors)
}

/// A role that is stopped before its next instruction.
pub struct Stepper {
    process: Process,
    pid: Pid,
}

impl Stepper {
    /// Starts a role and runs it to its first mark. Returns the reason if processes cannot be
    /// stepped here.
    ///
    /// # Errors
    /// Another architecture, or a refused ptrace.
    ///
    /// # Panics
    /// If the role does not reach the mark.
    pub fn start(command: &mut Command) -> Result<Self, String> {
        if !cfg!(target_arch = "x86_64") {
            return Err("stepping is written for x86_64".to_owned());
        }
        // Switching between two processes on one processor is three times as fast as waking another
        // processor each time.
        let _slower_if_refused = stay_on_this_processor();
        let mut process = Process::start(command);
        match process.line() {
            line if line == TRACED => {}
            refusal => return Err(refusal),
        }
        let pid = Pid::from_raw(process.id() as i32);
        let stepper = Self { process, pid };
        assert_eq!(stepper.stop(), WaitStatus::Stopped(pid, Signal::SIGSTOP), "the role is traced");
        let options = Options::PTRACE_O_EXITKILL | Options::PTRACE_O_TRACESYSGOOD;
        ptrace::setoptions(pid, options).expect("a stopped role");
        stepper.go_on();
        Ok(stepper)
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Returns the process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn stop(&self) -> WaitStatus {
        loop {
            match waitpid(self.pid, Some(WaitPidFlag::__WALL)) {
                Err(Errno::EINTR) => {}
                status => return status.expect("a running child"),
            }
        }
    }

    /// Runs the role to its next mark.
    ///
    /// # Panics
    /// If the role does not reach it.
    pub fn go_on(&self) {
        ptrace::cont(self.pid, None).expect("a stopped role");
        let stop = self.stop();
        assert_eq!(stop, WaitStatus::Stopped(self.pid, Signal::SIGSTOP));
    }

    /// Executes one instruction. Returns false if the role reached its next mark.
    ///
    /// # Panics
    /// If the role ended, or got a signal.
    pub fn step(&self) -> bool {
        ptrace::step(self.pid, None).expect("a stopped role");
        match self.stop() {
            WaitStatus::Stopped(_, Signal::SIGTRAP) => true,
            WaitStatus::Stopped(_, Signal::SIGSTOP) => false,
            other => panic!("stepped into {other:?}"),
        }
    }

    /// Returns true if the instruction at an address is a system call.
    ///
    /// # Panics
    /// If the role is not stopped.
    pub fn is_call(&self, address: u64) -> bool {
        self.text(address) & 0xffff == SYSCALL
    }

    fn text(&self, address: u64) -> i64 {
        let word = ptrace::read(self.pid, address as ptrace::AddressType);
        word.expect("a stopped role with instructions at this address")
    }

    fn set_text(&self, address: u64, word: i64) {
        let written = ptrace::write(self.pid, address as ptrace::AddressType, word);
        written.expect("a stopped role with instructions at this address");
    }

    /// Returns the file mappings of the role.
    ///
    /// # Panics
    /// If the role no longer exists.
    pub fn maps(&self) -> Maps {
        let text = std::fs::read_to_string(format!("/proc/{}/maps", self.pid));
        Maps::parse(&text.expect("a stopped role"))
    }

    /// Runs the role until it is about to execute the instruction at `address` for the `times`-th
    /// time. Returns false if it reached its next mark.
    ///
    /// # Panics
    /// If the role ended, or got a signal.
    pub fn run_to(&self, address: u64, times: usize) -> bool {
        let text = self.text(address);
        for time in 1..=times {
            // The first byte of the instruction becomes the x86_64 breakpoint.
            self.set_text(address, text & !0xff | BREAKPOINT);
            ptrace::cont(self.pid, None).expect("a stopped role");
            let stop = self.stop();
            self.set_text(address, text);
            match stop {
                WaitStatus::Stopped(_, Signal::SIGTRAP) => self.stand_at(address),
                WaitStatus::Stopped(_, Signal::SIGSTOP) => return false,
                other => panic!("ran into {other:?}"),
            }
            if time < times && !self.step() {
                return false;
            }
        }
        true
    }

    /// Runs the role through its next system call and returns the call's number, or None if the
    /// role reached its next mark.
    ///
    /// # Panics
    /// If the role ended, or got a signal.
    pub fn call(&self) -> Option<u64> {
        self.to_call().then(|| {
            let number = self.call_number();
            // The end of the call. The call may be the one that sends the mark's signal; `to_call`
            // then reports the mark next time.
            assert!(self.to_call(), "the system call returns");
            number
        })
    }

    /// Runs the role to the entry of the next system call, or from there to its end. Returns false
    /// if it reached its next mark.
    ///
    /// # Panics
    /// If the role ended, or got a signal.
    pub fn to_call(&self) -> bool {
        ptrace::syscall(self.pid, None).expect("a stopped role");
        match self.stop() {
            WaitStatus::PtraceSyscall(_) => true,
            WaitStatus::Stopped(_, Signal::SIGSTOP) => false,
            other => panic!("ran into {other:?}"),
        }
    }

    /// Detaches from the role and lets it run from its last mark.
    ///
    /// # Panics
    /// If the role is not stopped.
    pub fn let_go(&self) {
        ptrace::detach(self.pid, None).expect("a stopped role");
    }

    /// Lets the role run from its last mark to its end, and expects success.
    ///
    /// # Panics
    /// If the role fails.
    pub fn finish(mut self) {
        self.let_go();
        self.process.finish();
    }

    /// Kills the role where it is stopped.
    ///
    /// # Panics
    /// If the role ended for another reason before.
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// Returns the address of the role's next instruction.
    ///
    /// # Panics
    /// If the role is not stopped.
    #[cfg(target_arch = "x86_64")]
    pub fn at(&self) -> u64 {
        ptrace::getregs(self.pid).expect("a stopped role").rip
    }

    #[cfg(target_arch = "x86_64")]
    fn stand_at(&self, address: u64) {
        let mut registers = ptrace::getregs(self.pid).expect("a stopped role");
        registers.rip = address;
        ptrace::setregs(self.pid, registers).expect("a stopped role");
    }

    #[cfg(target_arch = "x86_64")]
    fn call_number(&self) -> u64 {
        ptrace::getregs(self.pid).expect("a stopped role").orig_rax
    }

    /// Returns the address of the role's next instruction.
    ///
    /// # Panics
    /// Always: this architecture has no stepping.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn at(&self) -> u64 {
        unreachable!("nothing is stepped here")
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn stand_at(&self, _address: u64) {
        unreachable!("nothing is stepped here")
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn call_number(&self) -> u64 {
        unreachable!("nothing is stepped here")
    }
}
