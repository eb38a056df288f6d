//! A role that is run instruction by instruction, by ptrace.
//!
//! 1. The role asks to be traced ([`be_traced`]), says so, and prepares at full speed; 2. it stops itself ([`mark`]) before
//!    and after what is to be stepped; 3. in between the test makes it go on by an instruction or up to a system call, and
//!    lets it stand or kills it wherever it likes.
//!
//! Stepping takes tens of microseconds an instruction. Where a process is only to be brought to an instruction that is known
//! from stepping through another one, a breakpoint is quicker ([`Stepper::run_to`]): its place is told by file and
//! offset, for each process is loaded elsewhere.
//!
//! Only the thread that started the role may step it. A role that takes longer than [`ALARM_S`] in all is a failure, and
//! none outlives its test.

use std::process::Command;

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, alarm};

use crate::process::Process;

/// Seconds after which a role that is traced is ended by SIGALRM.
pub const ALARM_S: u32 = 300;

/// What a role says that is traced.
const TRACED: &str = "traced";
/// The two bytes of x86_64's instruction `syscall`, as the low end of a word.
const SYSCALL: i64 = 0x050f;
/// x86_64's instruction `int3`.
const BREAKPOINT: i64 = 0xcc;

/// What files are mapped where in a process.
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
    /// Of the text of /proc/PID/maps.
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

    /// The address here of what stands at `address` in the process of `other`.
    pub fn translate(&self, address: u64, other: &Self) -> Option<u64> {
        let of = other.0.iter();
        let of = of
            .clone()
            .find(|of| (of.start..of.end).contains(&address))?;
        let same = |map: &&Map| map.file == of.file && map.offset == of.offset;
        let here = self.0.iter().find(same)?;
        Some(address - of.start + here.start)
    }
}

/// In the role: lets the parent trace this process, and waits for it.
///
/// # Errors
/// What the system refuses.
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

/// In the role: where stepping begins, and where it ends.
///
/// # Panics
/// If a process cannot signal itself.
pub fn mark() {
    raise(Signal::SIGSTOP).expect("a process can signal itself");
}

/// For this thread and all that it makes from now on.
fn stay_on_this_processor() -> nix::Result<()> {
    let mut processors = CpuSet::new();
    processors.set(sched_getcpu()?)?;
    sched_setaffinity(Pid::from_raw(0), &processors)
}

/// A role that stands before its next instruction.
pub struct Stepper {
    process: Process,
    pid: Pid,
}

impl Stepper {
    /// Starts a role and lets it come to its first mark. The reason, if processes cannot be stepped here.
    ///
    /// # Errors
    /// Another architecture, or ptrace is refused.
    ///
    /// # Panics
    /// If the role does not come that far.
    pub fn start(command: &mut Command) -> Result<Self, String> {
        if !cfg!(target_arch = "x86_64") {
            return Err("stepping is written for x86_64".to_owned());
        }
        // On the same processor, to switch to and fro is three times as quick as to wake another one each time.
        let _slower_if_refused = stay_on_this_processor();
        let mut process = Process::start(command);
        match process.line() {
            line if line == TRACED => {}
            refusal => return Err(refusal),
        }
        let pid = Pid::from_raw(process.id() as i32);
        let stepper = Self { process, pid };
        assert_eq!(
            stepper.stop(),
            WaitStatus::Stopped(pid, Signal::SIGSTOP),
            "it lets itself be traced"
        );
        let options = Options::PTRACE_O_EXITKILL | Options::PTRACE_O_TRACESYSGOOD;
        ptrace::setoptions(pid, options).expect("a role that stands");
        stepper.go_on();
        Ok(stepper)
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn stop(&self) -> WaitStatus {
        loop {
            match waitpid(self.pid, Some(WaitPidFlag::__WALL)) {
                Err(Errno::EINTR) => {}
                status => return status.expect("a child that was not waited for"),
            }
        }
    }

    /// Lets it run to its next mark.
    ///
    /// # Panics
    /// If it does not come there.
    pub fn go_on(&self) {
        ptrace::cont(self.pid, None).expect("a role that stands");
        let stop = self.stop();
        assert_eq!(stop, WaitStatus::Stopped(self.pid, Signal::SIGSTOP));
    }

    /// Makes one instruction; false if it came to its next mark.
    ///
    /// # Panics
    /// If it ended, or got a signal.
    pub fn step(&self) -> bool {
        ptrace::step(self.pid, None).expect("a role that stands");
        match self.stop() {
            WaitStatus::Stopped(_, Signal::SIGTRAP) => true,
            WaitStatus::Stopped(_, Signal::SIGSTOP) => false,
            other => panic!("stepped into {other:?}"),
        }
    }

    /// Whether the instruction at an address is a system call.
    ///
    /// # Panics
    /// If the role does not stand.
    pub fn is_call(&self, address: u64) -> bool {
        self.text(address) & 0xffff == SYSCALL
    }

    fn text(&self, address: u64) -> i64 {
        let word = ptrace::read(self.pid, address as ptrace::AddressType);
        word.expect("a role that stands, and has instructions there")
    }

    fn set_text(&self, address: u64, word: i64) {
        let written = ptrace::write(self.pid, address as ptrace::AddressType, word);
        written.expect("a role that stands, and has instructions there");
    }

    /// What files are mapped where.
    ///
    /// # Panics
    /// If the role is not there any more.
    pub fn maps(&self) -> Maps {
        let text = std::fs::read_to_string(format!("/proc/{}/maps", self.pid));
        Maps::parse(&text.expect("a role that stands"))
    }

    /// Runs until it stands before the instruction at `address` for the `times`-th time; false if it came to its next mark.
    ///
    /// # Panics
    /// If it ended, or got a signal.
    pub fn run_to(&self, address: u64, times: usize) -> bool {
        let text = self.text(address);
        for time in 1..=times {
            // Its first byte becomes x86_64's breakpoint.
            self.set_text(address, text & !0xff | BREAKPOINT);
            ptrace::cont(self.pid, None).expect("a role that stands");
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

    /// Runs through the next system call, and returns its number; None if it came to its next mark.
    ///
    /// # Panics
    /// If it ended, or got a signal.
    pub fn call(&self) -> Option<u64> {
        self.to_call().then(|| {
            let number = self.call_number();
            // Its end. The call may be the one of the mark: that is met at the next.
            assert!(self.to_call(), "a call ends before anything else");
            number
        })
    }

    /// Runs to the entry of the next system call, or from there to its end; false if it came to its next mark.
    ///
    /// # Panics
    /// If it ended, or got a signal.
    pub fn to_call(&self) -> bool {
        ptrace::syscall(self.pid, None).expect("a role that stands");
        match self.stop() {
            WaitStatus::PtraceSyscall(_) => true,
            WaitStatus::Stopped(_, Signal::SIGSTOP) => false,
            other => panic!("ran into {other:?}"),
        }
    }

    /// Steps it no more, and lets it run from its last mark.
    ///
    /// # Panics
    /// If it does not stand.
    pub fn let_go(&self) {
        ptrace::detach(self.pid, None).expect("a role that stands");
    }

    /// Lets it run from its last mark to its end, which must be a good one.
    ///
    /// # Panics
    /// If it is not.
    pub fn finish(mut self) {
        self.let_go();
        self.process.finish();
    }

    /// Kills it where it stands.
    ///
    /// # Panics
    /// If it died of anything else before.
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// The address of its next instruction.
    ///
    /// # Panics
    /// If the role does not stand.
    #[cfg(target_arch = "x86_64")]
    pub fn at(&self) -> u64 {
        ptrace::getregs(self.pid).expect("a role that stands").rip
    }

    #[cfg(target_arch = "x86_64")]
    fn stand_at(&self, address: u64) {
        let mut registers = ptrace::getregs(self.pid).expect("a role that stands");
        registers.rip = address;
        ptrace::setregs(self.pid, registers).expect("a role that stands");
    }

    #[cfg(target_arch = "x86_64")]
    fn call_number(&self) -> u64 {
        ptrace::getregs(self.pid)
            .expect("a role that stands")
            .orig_rax
    }

    /// The address of its next instruction.
    ///
    /// # Panics
    /// Always: nothing is stepped here.
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
