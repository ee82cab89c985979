//! The functions of libc that threads wait with, and read clocks and random numbers with, for threads in lock step. Others
//! get what the kernel returns. So the code that is simulated needs no seam. For Linux on x86-64.

use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::mem;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use libc::{clockid_t, pthread_attr_t, pthread_mutex_t, pthread_t, timespec, timeval};

use crate::steps::{ENDING, ME, NONE, READ, State, Turn, give, pass, raw, take, wait, with};

/// The time when a run begins, in nanoseconds since 1970 (January 2027).
const BEGIN: u64 = 1_800_000_000_000_000_000;
/// The beginning of other clocks.
const MONOTONIC_BEGIN: u64 = 1_000_000_000;
/// The time that reading a clock takes, so that a loop until a time ends.
const CLOCK: u64 = 100;
/// The time after which a thread tries again to get a lock.
const AGAIN: u64 = 100_000;

/// As libc returns it.
fn returned(result: isize) -> c_long {
    if result < 0 {
        set_error(-result as c_int);
        return -1;
    }
    result as c_long
}

pub fn set_error(number: c_int) {
    // SAFETY: the location is that of this thread.
    unsafe { *libc::__errno_location() = number };
}

/// The function of libc that is replaced.
fn original(name: &CStr) -> *mut c_void {
    // SAFETY: both texts end with zero.
    let found = unsafe { libc::dlvsym(libc::RTLD_NEXT, name.as_ptr(), c"GLIBC_2.2.5".as_ptr()) };
    assert!(!found.is_null(), "{name:?}");
    found
}

fn nanoseconds(time: &timespec) -> u64 {
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What is added to the wall clock, in nanoseconds.
static JUMPED: AtomicI64 = AtomicI64::new(0);

/// Sets the wall clock forward, or back.
pub fn jump(seconds: i64) {
    JUMPED.fetch_add(seconds * 1_000_000_000, Ordering::Relaxed);
}

/// The time of `clock`, whose beginning differs.
fn now(clock: clockid_t) -> Option<u64> {
    with(|steps, _| {
        steps.now += CLOCK;
        let is_wall = matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE);
        if is_wall {
            (steps.now + BEGIN).saturating_add_signed(JUMPED.load(Ordering::Relaxed))
        } else {
            steps.now + MONOTONIC_BEGIN
        }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(
    number: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> c_long {
    let passed = || {
        // SAFETY: the caller's promise, as to libc.
        returned(unsafe { raw(number, [a, b, c, d, e, f]) })
    };
    if number != libc::SYS_futex || with(|_, _| ()).is_none() {
        return passed();
    }
    match b as c_int & !(libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME) {
        operation @ (libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET) => {
            // SAFETY: the caller's promise, as to the kernel.
            let (is_same, time) = unsafe {
                let time = (d as *const timespec).as_ref().map(nanoseconds);
                (
                    (*(a as *const AtomicU32)).load(Ordering::SeqCst) == c as u32,
                    time,
                )
            };
            if !is_same {
                set_error(libc::EAGAIN);
                return -1;
            }
            let clock = if b as c_int & libc::FUTEX_CLOCK_REALTIME > 0 {
                libc::CLOCK_REALTIME
            } else {
                libc::CLOCK_MONOTONIC
            };
            let begun = if operation == libc::FUTEX_WAIT {
                0
            } else {
                now(clock).unwrap_or_default()
            };
            if wait(State::Futex(a), time.map(|time| time.saturating_sub(begun))) {
                set_error(libc::ETIMEDOUT);
                return -1;
            }
            0
        }
        libc::FUTEX_WAKE | libc::FUTEX_WAKE_BITSET => {
            let woken = with(|steps, _| {
                let is_waiting = |one: &usize| steps.threads[*one].state == State::Futex(a);
                let mut waiting: Vec<_> = (0..steps.threads.len()).filter(is_waiting).collect();
                steps.random.shuffle(&mut waiting);
                waiting.truncate(c);
                for one in &waiting {
                    (steps.threads[*one].state, steps.threads[*one].until) = (State::Ready, None);
                }
                waiting.len()
            });
            pass(1, 2);
            woken.unwrap_or_default() as c_long
        }
        _ => passed(),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_wait(
    file: c_int,
    events: *mut libc::epoll_event,
    most: c_int,
    timeout: c_int,
) -> c_int {
    let look = |timeout: c_int| {
        // SAFETY: the caller's promise, as to libc.
        let found = returned(unsafe {
            raw(
                libc::SYS_epoll_wait,
                [
                    file as usize,
                    events as usize,
                    most as usize,
                    timeout as usize,
                ],
            )
        });
        // The kernel calls the watches of a file in the order of their addresses.
        // SAFETY: the kernel has written so many events.
        let written = unsafe {
            std::slice::from_raw_parts_mut(events, usize::try_from(found).unwrap_or_default())
        };
        written.sort_unstable_by_key(|event| event.u64);
        found as c_int
    };
    if with(|_, _| ()).is_none() || timeout == 0 {
        return look(timeout);
    }
    loop {
        let found = look(0);
        let time = u64::try_from(timeout).ok().map(|millis| millis * 1_000_000);
        if found != 0 || wait(State::Poll(file), time) {
            return if found == 0 { look(0) } else { found };
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    match now(clock) {
        Some(now) => {
            // SAFETY: the caller's promise, as to libc.
            unsafe {
                (*time).tv_sec = (now / 1_000_000_000) as i64;
                (*time).tv_nsec = (now % 1_000_000_000) as i64;
            }
            0
        }
        // SAFETY: as above.
        None => returned(unsafe { raw(libc::SYS_clock_gettime, [clock as usize, time as usize]) })
            as c_int,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn gettimeofday(time: *mut timeval, _zone: *mut c_void) -> c_int {
    let mut now = timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the caller's promise, as to libc.
    unsafe {
        clock_gettime(libc::CLOCK_REALTIME, &raw mut now);
        *time = timeval {
            tv_sec: now.tv_sec,
            tv_usec: now.tv_nsec / 1_000,
        };
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_nanosleep(
    clock: clockid_t,
    flags: c_int,
    time: *const timespec,
    left: *mut timespec,
) -> c_int {
    // SAFETY: the caller's promise, as to libc.
    let wanted = nanoseconds(unsafe { &*time });
    match now(clock) {
        Some(begun) => {
            wait(
                State::Asleep,
                Some(if flags == libc::TIMER_ABSTIME {
                    wanted.saturating_sub(begun)
                } else {
                    wanted
                }),
            );
            0
        }
        // SAFETY: as above.
        None => -unsafe {
            raw(
                libc::SYS_clock_nanosleep,
                [clock as usize, flags as usize, time as usize, left as usize],
            )
        } as c_int,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nanosleep(time: *const timespec, left: *mut timespec) -> c_int {
    // SAFETY: the caller's promise, as to libc.
    unsafe { clock_nanosleep(libc::CLOCK_MONOTONIC, 0, time, left) }
}

#[unsafe(no_mangle)]
extern "C" fn sched_yield() -> c_int {
    // A loop until another thread ends its sleep ends too.
    pass(CLOCK, 1);
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pread64(file: c_int, bytes: *mut c_void, length: usize, offset: i64) -> isize {
    pass(READ, 8);
    // SAFETY: the caller's promise, as to libc.
    returned(unsafe {
        raw(
            libc::SYS_pread64,
            [file as usize, bytes as usize, length, offset as usize],
        )
    }) as isize
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pread(file: c_int, bytes: *mut c_void, length: usize, offset: i64) -> isize {
    // SAFETY: as above.
    unsafe { pread64(file, bytes, length, offset) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn flock(file: c_int, operation: c_int) -> c_int {
    // SAFETY: no memory is passed.
    let call =
        |operation: c_int| unsafe { raw(libc::SYS_flock, [file as usize, operation as usize]) };
    if with(|_, _| ()).is_none() {
        return returned(call(operation)) as c_int;
    }
    loop {
        let result = call(operation | libc::LOCK_NB);
        if result != -(libc::EWOULDBLOCK as isize) || operation & libc::LOCK_NB > 0 {
            return returned(result) as c_int;
        }
        wait(State::Asleep, Some(AGAIN));
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_mutex_lock(mutex: *mut pthread_mutex_t) -> c_int {
    type Lock = unsafe extern "C" fn(*mut pthread_mutex_t) -> c_int;
    if with(|_, _| ()).is_none() {
        // SAFETY: it is that function.
        return unsafe {
            mem::transmute::<*mut c_void, Lock>(original(c"pthread_mutex_lock"))(mutex)
        };
    }
    pass(1, 16);
    loop {
        // SAFETY: the caller's promise, as to libc.
        match unsafe { libc::pthread_mutex_trylock(mutex) } {
            libc::EBUSY => wait(State::Asleep, Some(AGAIN)),
            result => return result,
        };
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(bytes: *mut c_void, length: usize, flags: u32) -> isize {
    let filled = with(|steps, _| {
        // SAFETY: the caller's promise, as to libc.
        steps
            .random
            .fill(unsafe { std::slice::from_raw_parts_mut(bytes.cast(), length) });
        length as isize
    });
    // SAFETY: as above.
    filled.unwrap_or_else(|| {
        returned(unsafe {
            raw(
                libc::SYS_getrandom,
                [bytes as usize, length, flags as usize],
            )
        }) as isize
    })
}

/// The crate `getrandom` looks for this function. Other callers of `dlsym` have a fallback.
#[unsafe(no_mangle)]
unsafe extern "C" fn dlsym(_library: *mut c_void, name: *const c_char) -> *mut c_void {
    // SAFETY: the caller's promise, as to libc.
    let is_it = unsafe { CStr::from_ptr(name) } == c"getrandom";
    if is_it {
        getrandom as *mut c_void
    } else {
        std::ptr::null_mut()
    }
}

type Start = extern "C" fn(*mut c_void) -> *mut c_void;

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    handle: *mut pthread_t,
    attributes: *const pthread_attr_t,
    start: Start,
    argument: *mut c_void,
) -> c_int {
    type Create =
        unsafe extern "C" fn(*mut pthread_t, *const pthread_attr_t, Start, *mut c_void) -> c_int;
    // SAFETY: it is that function.
    let create: Create = unsafe { mem::transmute(original(c"pthread_create")) };
    let Some((number, turn)) = with(|steps, _| {
        let number = steps.add();
        (number, steps.threads[number].turn)
    }) else {
        // SAFETY: the caller's promise, as to libc.
        return unsafe { create(handle, attributes, start, argument) };
    };
    let started = Box::into_raw(Box::new((number, turn, start, argument)));
    // SAFETY: as above, and the box belongs to the thread.
    let result = unsafe { create(handle, attributes, in_step, started.cast()) };
    // SAFETY: written by the call.
    with(|steps, _| steps.threads[number].handle = unsafe { *handle });
    result
}

extern "C" fn in_step(started: *mut c_void) -> *mut c_void {
    let started = started.cast::<(usize, Turn, Start, *mut c_void)>();
    // SAFETY: it is from `pthread_create`. Before its turn, this thread must free nothing.
    let (number, _, start, argument) = unsafe {
        take((*started).1);
        *Box::from_raw(started)
    };
    ME.set(number);
    let key = *AT_END.get_or_init(|| {
        let mut key = 0;
        // SAFETY: the key is on the stack.
        unsafe { libc::pthread_key_create(&raw mut key, Some(ended)) };
        key
    });
    // SAFETY: the key was created, and the value is not read.
    unsafe { libc::pthread_setspecific(key, std::ptr::dangling()) };
    start(argument)
}

/// The key whose destructor runs at the end of a thread, after those of Rust.
static AT_END: OnceLock<libc::pthread_key_t> = OnceLock::new();

unsafe extern "C" fn ended(_value: *mut c_void) {
    let next = with(|steps, me| {
        (steps.threads[me].state, steps.threads[me].until) = (State::Ended, None);
        steps.choose()
    });
    ME.set(NONE);
    // SAFETY: no memory is passed.
    ENDING.store(unsafe { libc::gettid() }, Ordering::Relaxed);
    if let Some((_, turn)) = next {
        give(turn);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_join(handle: pthread_t, result: *mut *mut c_void) -> c_int {
    type Join = unsafe extern "C" fn(pthread_t, *mut *mut c_void) -> c_int;
    let thread = with(|steps, _| {
        steps
            .threads
            .iter()
            .rposition(|thread| thread.handle == handle)
    })
    .flatten();
    if let Some(thread) = thread {
        wait(State::Join(thread), None);
    }
    // SAFETY: it is that function, and the caller's promise, as to libc.
    unsafe { mem::transmute::<*mut c_void, Join>(original(c"pthread_join"))(handle, result) }
}
