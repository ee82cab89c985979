//! Threads in lock step: one runs at a time, and a seed chooses which. Time passes only in steps, too.
//!
//! Threads are switched where they wait, where they wake others, and after each write and sync.

use std::cell::{Cell, UnsafeCell};
use std::ffi::{c_int, c_long};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

use libc::pthread_t;

/// The longest time in nanoseconds of a write or a sync.
pub const WRITE: u64 = 50_000;
/// That of a read.
pub const READ: u64 = 1_000;
/// The time after which it is looked again whether all have ended.
const LOOK: u64 = 100_000;
/// The time that threads have to end after a run.
const TO_END: u64 = 60_000_000_000;

/// What a thread waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Ready,
    /// Waits to be woken at an address.
    Futex(usize),
    /// Waits for events of this file.
    Poll(c_int),
    /// Waits for the end of this thread.
    Join(usize),
    Asleep,
    Ended,
}

/// Lives as long as the process: a thread waits for it while others are added.
pub type Turn = &'static AtomicU32;

#[derive(Debug)]
pub struct Thread {
    pub state: State,
    /// When a wait ends by itself.
    pub until: Option<u64>,
    timed_out: bool,
    pub handle: pthread_t,
    /// 1 when it may run.
    pub turn: Turn,
}

pub struct Steps {
    pub threads: Vec<Thread>,
    /// Nanoseconds since the beginning.
    pub now: u64,
    pub random: fastrand::Rng,
    /// Of all that has happened.
    trace: u64,
}

/// Used by the one thread that runs.
struct Shared(UnsafeCell<Option<Steps>>);

// SAFETY: a thread uses it only while it has its turn.
unsafe impl Sync for Shared {}

static STEPS: Shared = Shared(UnsafeCell::new(None));
static IS_ACTIVE: AtomicBool = AtomicBool::new(false);
/// The number of a thread that is not in lock step.
pub const NONE: usize = usize::MAX;

thread_local! {
    pub static ME: Cell<usize> = const { Cell::new(NONE) };
}

/// Calls `call` with the steps, if this thread is one of those in lock step.
pub fn with<T>(call: impl FnOnce(&mut Steps, usize) -> T) -> Option<T> {
    let me = ME.get();
    if me == NONE || !IS_ACTIVE.load(Ordering::Acquire) {
        return None;
    }
    // SAFETY: this thread has its turn, and `call` does not switch.
    let steps = unsafe { &mut *STEPS.0.get() };
    steps.as_mut().map(|steps| call(steps, me))
}

/// Runs `run`, and all threads that it starts, in the order and at the times of `seed`. Returns its result and the
/// checksum of what happened.
///
/// # Errors
/// When a thread does not end.
pub fn run<T>(seed: u64, run: impl FnOnce() -> T) -> Result<(T, u64), String> {
    let steps = Steps {
        threads: Vec::new(),
        now: 0,
        random: fastrand::Rng::with_seed(seed),
        trace: seed,
    };
    // SAFETY: no other thread is in lock step yet.
    unsafe { *STEPS.0.get() = Some(steps) };
    ME.set(0);
    IS_ACTIVE.store(true, Ordering::Release);
    with(|steps, _| steps.add());
    let result = run();
    let until = with(|steps, _| steps.now).unwrap_or_default() + TO_END;
    let left = |steps: &mut Steps, _| {
        (
            steps.threads[1..]
                .iter()
                .any(|one| one.state != State::Ended),
            steps.now,
        )
    };
    while let Some((true, now)) = with(left) {
        if now > until {
            return Err("a thread does not end".to_owned());
        }
        wait(State::Asleep, Some(LOOK));
    }
    let trace = with(|steps, _| steps.trace).unwrap_or_default();
    IS_ACTIVE.store(false, Ordering::Release);
    ME.set(NONE);
    Ok((result, trace))
}

/// Adds to the checksum of what happened.
pub fn note(what: impl FnOnce() -> u64) {
    with(|steps, me| steps.note(what() ^ me as u64));
}

/// Lets at most `time` pass, and one time of `most` other threads run.
pub fn pass(time: u64, most: u32) {
    let switches = with(|steps, _| {
        steps.now += steps.random.u64(..time);
        steps.random.u32(..most) == 0
    });
    if switches == Some(true) {
        wait(State::Ready, None);
    }
}

impl Steps {
    pub fn add(&mut self) -> usize {
        let turn = Box::leak(Box::default());
        self.threads.push(Thread {
            state: State::Ready,
            until: None,
            timed_out: false,
            handle: 0,
            turn,
        });
        self.threads.len() - 1
    }

    fn note(&mut self, what: u64) {
        self.trace = (self.trace.rotate_left(5) ^ what).wrapping_mul(0x0000_0100_0000_01b3);
    }

    /// The thread that runs next.
    pub fn choose(&mut self) -> (usize, Turn) {
        loop {
            let now = self.now;
            for thread in &mut self.threads {
                if thread.until.is_some_and(|until| until <= now) {
                    (thread.state, thread.until, thread.timed_out) = (State::Ready, None, true);
                }
            }
            let can_run = |thread: &Thread| match thread.state {
                State::Ready => true,
                State::Poll(file) => has_events(file),
                State::Join(other) => self.threads[other].state == State::Ended,
                State::Futex(_) | State::Asleep | State::Ended => false,
            };
            let ready: Vec<_> = (0..self.threads.len())
                .filter(|one| can_run(&self.threads[*one]))
                .collect();
            if let Some(next) = self.random.choice(ready) {
                (self.threads[next].state, self.threads[next].until) = (State::Ready, None);
                self.note(next as u64 ^ self.now << 8);
                return (next, self.threads[next].turn);
            }
            let Some(until) = self.threads.iter().filter_map(|thread| thread.until).min() else {
                let states: Vec<_> = self.threads.iter().map(|thread| thread.state).collect();
                eprintln!("all threads wait for each other: {states:?}");
                std::process::abort();
            };
            self.now = until;
        }
    }
}

/// Waits, at most for `time`. Returns whether that has passed.
pub fn wait(state: State, time: Option<u64>) -> bool {
    let Some(((next, turn), me, mine)) = with(|steps, me| {
        let until = time.map(|time| steps.now.saturating_add(time));
        let thread = &mut steps.threads[me];
        (thread.state, thread.until, thread.timed_out) = (state, until, false);
        let mine = thread.turn;
        (steps.choose(), me, mine)
    }) else {
        return false;
    };
    if next != me {
        give(turn);
        take(mine);
    }
    with(|steps, me| steps.threads[me].timed_out).unwrap_or_default()
}

pub fn give(turn: Turn) {
    turn.store(1, Ordering::Release);
    // SAFETY: the address is that of a static value.
    unsafe {
        raw(
            libc::SYS_futex,
            [turn.as_ptr() as usize, libc::FUTEX_WAKE as usize, 1],
        )
    };
}

pub fn take(turn: Turn) {
    while turn.swap(0, Ordering::Acquire) == 0 {
        // SAFETY: as above.
        unsafe {
            raw(
                libc::SYS_futex,
                [turn.as_ptr() as usize, libc::FUTEX_WAIT as usize],
            )
        };
    }
    // What it frees last has no turn.
    let ending = ENDING.swap(0, Ordering::Relaxed) as usize;
    // SAFETY: no memory is passed, and no signal is sent.
    while ending > 0 && unsafe { raw(libc::SYS_tgkill, [std::process::id() as usize, ending]) } == 0
    {
        // SAFETY: no memory is passed.
        unsafe { raw(libc::SYS_sched_yield, []) };
    }
}

/// The id of the thread that has given its turn for good.
pub static ENDING: AtomicI32 = AtomicI32::new(0);

/// A call of the kernel past the replaced functions. Returns a negative error number on failure.
///
/// # Safety
/// The arguments are what the kernel expects.
pub unsafe fn raw<const N: usize>(number: c_long, arguments: [usize; N]) -> isize {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&arguments);
    let [a, b, c, d, e, f] = all;
    let result;
    // SAFETY: the caller's promise about the arguments.
    unsafe {
        std::arch::asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c,
            in("r10") d, in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _);
    }
    result
}

fn has_events(file: c_int) -> bool {
    let mut one = libc::pollfd {
        fd: file,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one entry, which is on the stack.
    unsafe { raw(libc::SYS_poll, [&raw mut one as usize, 1]) > 0 }
}
