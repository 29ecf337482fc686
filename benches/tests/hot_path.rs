//! What a protected call that succeeds executes, counted instruction by instruction in a release binary.
//!
//! A child process makes the call while its parent steps it with `ptrace` and looks at every instruction before it
//! runs. An atomic read-modify-write carries a lock prefix on x86-64, and taking a lock needs one, so "one
//! read-modify-write" also says "no lock". A look at the clock ends in `rdtsc`. Allocations are counted by the
//! allocator. On other machines there is nothing to step, and only allocations are counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::pin::pin;
use std::process::ExitCode;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use surefoot::prelude::*;
use surefoot::rate_limiter::{Algorithm, KeyedRateLimiter};

/// What one call may execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Counts {
    read_modify_writes: u32,
    clock_reads: u32,
    system_calls: u32,
}

const fn counts(read_modify_writes: u32, clock_reads: u32) -> Counts {
    Counts { read_modify_writes, clock_reads, system_calls: 0 }
}

impl Counts {
    /// Where the clock is not the counter, how it is read is the system's affair.
    fn keeps(self, promised: Self) -> bool {
        if surefoot_clock::reads_counter() {
            self == promised
        } else {
            self.read_modify_writes == promised.read_modify_writes
        }
    }
}

/// A kind of call, and what is promised of it.
struct Case {
    name: &'static str,
    promised: Counts,
    call: Box<dyn Fn()>,
}

fn cases() -> Result<Vec<Case>, ConfigError> {
    let modes: [(&'static str, Option<Trip>, u32); 5] = [
        ("default", None, 0),
        ("consecutive", Some(Trip::Consecutive { failures: 5 }), 0),
        (
            "count-rate",
            Some(Trip::RateCountWindow { rate: 0.5, window_calls: 100, min_calls: 10 }),
            0,
        ),
        (
            "time-rate",
            Some(Trip::RateTimeWindow {
                rate: 0.5,
                window: Duration::from_mins(10),
                min_calls: 10,
                buckets: 10,
            }),
            1,
        ),
        (
            "slow",
            Some(Trip::Slow {
                rate: 0.5,
                slow_after: Duration::from_secs(9),
                window_calls: 100,
                min_calls: 10,
            }),
            2,
        ),
    ];
    let mut cases = Vec::new();
    for (name, trip, clock_reads) in modes {
        let builder = CircuitBreaker::builder("measured");
        let breaker = match trip {
            Some(trip) => builder.trip(trip),
            None => builder,
        }
        .build()?;
        let asynchronous = breaker.clone();
        cases.push(Case {
            name,
            promised: counts(1, clock_reads),
            call: Box::new(move || {
                let call = asynchronous.call(|| async { Ok::<_, ()>(black_box(1)) });
                let polled = pin!(call).poll(&mut Context::from_waker(Waker::noop()));
                assert!(matches!(polled, Poll::Ready(Ok(1))));
            }),
        });
        cases.push(Case {
            name,
            promised: counts(1, clock_reads),
            call: Box::new(move || {
                let result = breaker.call_blocking(|_| Ok::<_, ()>(black_box(1)));
                assert!(matches!(result, Ok(1)));
            }),
        });
    }
    let retry = Retry::builder().build()?;
    cases.push(Case {
        name: "retry",
        promised: counts(0, 0),
        call: Box::new(move || {
            let call = retry.call(|| async { Ok::<_, ()>(black_box(1)) });
            let polled = pin!(call).poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(polled, Poll::Ready(Ok(1))));
        }),
    });
    let pipeline = Pipeline::builder("measured")
        .idempotent()
        .allow(OrderRule::NoTimeoutInsideBreaker)
        .add(Timeout::new(Duration::from_secs(30))?)
        .add(Retry::builder().budget(RetryBudget::unlimited()).build()?)
        .add(CircuitBreaker::builder("measured").build()?)
        .build()?;
    cases.push(Case {
        name: "timeout, retry, breaker",
        // The breaker's counter, and the call noted in the retry's budget.
        promised: counts(2, 1),
        call: Box::new(move || {
            let call = pipeline.call(|| async { Ok::<_, ()>(black_box(1)) });
            let polled = pin!(call).poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(polled, Poll::Ready(Ok(1))));
        }),
    });
    cases.extend(limiters()?);
    Ok(cases)
}

/// Checks that are admitted. A lock costs one read-modify-write to take and one to give back.
/// After so many calls a log that doubles has room for the thousand that are counted.
const GROWN: u32 = 2_500;

fn limiters() -> Result<Vec<Case>, ConfigError> {
    let unkeyed = [
        ("limiter gcra", Algorithm::Gcra, 1),
        ("limiter gcra_exact", Algorithm::GcraExact, 1),
        ("limiter token_bucket", Algorithm::TokenBucket, 1),
        ("limiter sliding_log", Algorithm::SlidingLog, 2),
        ("limiter bucket_ring", Algorithm::BucketRing, 2),
        ("limiter fixed_window", Algorithm::FixedWindow, 2),
    ];
    let builder = |algorithm| {
        // Nothing leaves a window meanwhile, so that what is remembered grows as expected; the others
        // have all of theirs back before the next call.
        let window = match algorithm {
            Algorithm::Gcra | Algorithm::GcraExact | Algorithm::TokenBucket => {
                Duration::from_micros(100)
            }
            _ => Duration::from_hours(1),
        };
        RateLimiter::builder("measured")
            .max_requests(1_000_000_000)
            .time_window(window)
            .algorithm(algorithm)
    };
    let mut cases = Vec::new();
    for (name, algorithm, steps) in unkeyed {
        let builder = builder(algorithm);
        let limiter = match algorithm {
            Algorithm::GcraExact => builder.gcra_exact(1_000),
            _ => builder,
        }
        .build()?;
        let call = move || assert!(limiter.is_allowed());
        (0..GROWN).for_each(|_| call());
        cases.push(Case { name, promised: counts(steps, 1), call: Box::new(call) });
    }
    for (name, algorithm) in [
        ("limiter gcra, keyed", Algorithm::Gcra),
        ("limiter sliding_log, keyed", Algorithm::SlidingLog),
    ] {
        let limiter: KeyedRateLimiter<u64> = builder(algorithm).build_keyed()?;
        let call = move || assert!(limiter.is_allowed(&black_box(1)));
        (0..GROWN).for_each(|_| call());
        cases.push(Case { name, promised: counts(2, 1), call: Box::new(call) });
    }
    Ok(cases)
}

fn main() -> ExitCode {
    let cases = match cases() {
        Ok(cases) => cases,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    // The counter clock takes over after its calibration.
    let begin = std::time::Instant::now();
    while begin.elapsed() < 2 * surefoot_clock::CALIBRATION {
        surefoot_clock::now();
    }
    let mut failed = false;
    for Case { name, promised, call } in &cases {
        call();
        let before = ALLOCATIONS.get();
        (0..1000).for_each(|_| call());
        let allocations = ALLOCATIONS.get() - before;
        // About once a second a reading of the clock is compared with another. The call before each
        // fork takes that upon itself; the least of three, in case a second passes between the two.
        let step = |_| {
            call();
            stepping::count(call)
        };
        let counted = (0..3).filter_map(step).min();
        let kept = allocations == 0 && counted.is_none_or(|counted| counted.keeps(*promised));
        failed |= !kept;
        println!(
            "{} {name}: {allocations} allocations in 1000 calls; {counted:?}, promised {promised:?}",
            if kept { "ok    " } else { "FAILED" },
        );
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator unchanged; counting touches nothing of it, and
// a `const` thread-local without a destructor allocates nothing itself.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod stepping {
    //! Steps a forked child through one call.

    use super::Counts;

    /// Where the child says that the call begins and ends.
    #[inline(never)]
    extern "C" fn begin_of_call() {
        std::hint::black_box(1);
    }

    #[inline(never)]
    extern "C" fn end_of_call() {
        std::hint::black_box(2);
    }

    /// What the call executes, or `None` if this system lets nobody trace.
    pub(super) fn count(call: &dyn Fn()) -> Option<Counts> {
        // SAFETY: this process has one thread, so the child is a whole copy of it; it runs the call
        // and leaves by `_exit`, without unwinding into the parent's frames.
        let child = unsafe { libc::fork() };
        match child {
            -1 => None,
            0 => {
                // SAFETY: plain system calls without pointers.
                unsafe {
                    if libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) != 0 {
                        libc::_exit(1);
                    }
                    libc::raise(libc::SIGSTOP);
                }
                begin_of_call();
                call();
                end_of_call();
                // SAFETY: ends the child without running destructors twice.
                unsafe { libc::_exit(0) }
            }
            child => watch(child),
        }
    }

    fn watch(child: libc::pid_t) -> Option<Counts> {
        let (begin, end) = (begin_of_call as *const () as u64, end_of_call as *const () as u64);
        let mut counts = Counts { read_modify_writes: 0, clock_reads: 0, system_calls: 0 };
        let mut inside = false;
        let mut complete = false;
        while wait(child) {
            let at = instruction_pointer(child);
            inside |= at == begin;
            if at == end {
                inside = false;
                complete = true;
            }
            if inside {
                let code = read(child, at);
                counts.read_modify_writes += u32::from(is_read_modify_write(code));
                counts.clock_reads += u32::from(code.starts_with(&[0x0f, 0x31]));
                counts.system_calls += u32::from(code.starts_with(&[0x0f, 0x05]));
            }
            // SAFETY: the child is stopped, and steps one instruction.
            unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, child, 0, 0) };
        }
        complete.then_some(counts)
    }

    /// Waits for the child to stop; `false` once it has ended.
    fn wait(child: libc::pid_t) -> bool {
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
        waited == child && libc::WIFSTOPPED(status)
    }

    fn instruction_pointer(child: libc::pid_t) -> u64 {
        // SAFETY: registers are plain numbers, for which zeros are a value; the kernel fills them in.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        // SAFETY: the child is stopped, and `registers` outlives the call.
        unsafe { libc::ptrace(libc::PTRACE_GETREGS, child, 0, &raw mut registers) };
        registers.rip
    }

    fn read(child: libc::pid_t, at: u64) -> [u8; 8] {
        // SAFETY: reads a word of the stopped child's memory; an address that is none gives an error.
        let word = unsafe { libc::ptrace(libc::PTRACE_PEEKTEXT, child, at, 0) };
        word.to_ne_bytes()
    }

    /// A lock prefix among the prefixes, or an exchange with memory, which locks by itself.
    fn is_read_modify_write(code: [u8; 8]) -> bool {
        const PREFIXES: [u8; 11] =
            [0xf0, 0xf2, 0xf3, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65, 0x66, 0x67];
        let prefixes = code.iter().take_while(|byte| PREFIXES.contains(byte)).count();
        let rest = &code[prefixes..];
        let rest =
            if rest.first().is_some_and(|byte| byte & 0xf0 == 0x40) { &rest[1..] } else { rest };
        let exchanges = matches!(rest, [0x86 | 0x87, operands, ..] if operands & 0xc0 != 0xc0);
        code[..prefixes].contains(&0xf0) || exchanges
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod stepping {
    pub(super) fn count(_: &dyn Fn()) -> Option<super::Counts> {
        None
    }
}
