//! Times subjects side by side.
//!
//! Every subject of a work is warmed up and given a batch size that lasts about [`BATCH`]. Then all of them are
//! timed in turn, [`REPEATS`] times over in an order shuffled anew each time, so that what drifts (clock
//! frequency, a neighbour's load) meets all alike. The median of a subject's batches is its figure: with batches
//! far shorter than a scheduler's slice, a busy machine spoils some of them and moves the median little.

use std::fs;
use std::hint::{black_box, spin_loop};
use std::io::{IsTerminal, Write, stderr};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::allocations;

/// What one timed batch should last: long against reading the clock, short against a scheduler's slice.
const BATCH: Duration = Duration::from_micros(500);

/// How often a batch of two threads is tried again when one of them was preempted: what is left of such a batch
/// is one thread that has everything to itself.
const SHARED_TRIES: usize = 20;

/// Timed batches per subject.
const REPEATS: usize = 301;

/// How long a subject runs before its batch size is settled: caches, branch predictors, rings and windows fill.
const WARM_UP: Duration = Duration::from_millis(20);

/// Threads that share a subject.
const THREADS: usize = 2;

/// Operations a thread runs between two looks at whether the other has finished.
const CHUNK: u64 = 256;

/// What one batch took.
struct Sample {
    elapsed: Duration,
    operations: u64,
    allocations: u64,
}

impl Sample {
    /// Nanoseconds of wall time per operation, all threads' operations counted.
    fn per_operation(&self) -> f64 {
        exact(self.elapsed.as_nanos()) / exact(self.operations.into())
    }
}

/// A subject's figures.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measurement {
    /// Whose figures they are.
    pub(crate) subject: String,
    /// The median batch's nanoseconds per operation.
    pub(crate) median_ns: f64,
    /// Allocations per operation, counted over every timed batch.
    pub(crate) allocations: f64,
}

/// Something that can be timed.
trait Run {
    /// Runs about `operations` and says what they took.
    fn batch(&mut self, operations: u64) -> Sample;
    /// Runs one operation and says whether it did what the subject is measured doing.
    fn does_its_work(&mut self) -> bool;
}

/// One row's worth of code to time.
pub(crate) struct Subject {
    name: String,
    run: Box<dyn Run>,
}

impl Subject {
    /// A protected call that has to succeed.
    pub(crate) fn succeeding<T: 'static, E: 'static>(
        name: impl Into<String>,
        operation: impl FnMut() -> Result<T, E> + 'static,
    ) -> Self {
        Self::alone(name, operation, Result::is_ok)
    }

    /// A protected call that has to be refused.
    pub(crate) fn rejected<T: 'static, E: 'static>(
        name: impl Into<String>,
        operation: impl FnMut() -> Result<T, E> + 'static,
    ) -> Self {
        Self::alone(name, operation, Result::is_err)
    }

    /// Something that cannot fail: an atomic, a clock.
    pub(crate) fn bare<T: 'static>(
        name: impl Into<String>,
        operation: impl FnMut() -> T + 'static,
    ) -> Self {
        Self::alone(name, operation, |_| true)
    }

    /// Two threads that start together and run what `start` gives each of them, usually a handle to one shared
    /// thing. `right` recognises the outcome that is meant to be measured.
    pub(crate) fn two_threads<Operation, T>(
        name: impl Into<String>,
        start: impl Fn() -> Operation + Sync + 'static,
        right: fn(&T) -> bool,
    ) -> Self
    where
        Operation: FnMut() -> T + 'static,
        T: 'static,
    {
        Self { name: name.into(), run: Box::new(TwoThreads { start, right }) }
    }

    /// What only exists many at a time, as tasks that wait for one another. `rounds` makes at least as many
    /// operations as it is told to, and times what of that is to be timed; it panics if they are not done.
    pub(crate) fn many(
        name: impl Into<String>,
        rounds: impl FnMut(u64) -> (Duration, u64) + 'static,
    ) -> Self {
        Self { name: name.into(), run: Box::new(Many { rounds }) }
    }

    fn alone<T: 'static>(
        name: impl Into<String>,
        operation: impl FnMut() -> T + 'static,
        right: fn(&T) -> bool,
    ) -> Self {
        Self { name: name.into(), run: Box::new(Alone { operation, right }) }
    }

    /// The subject's name, unique in its work.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A number is worth nothing if the subject does something else: a breaker that opened, a rejection that
    /// became a probe.
    fn assert_does_its_work(&mut self) {
        assert!(self.run.does_its_work(), "{} does not do what it is measured doing", self.name);
    }

    /// Warms up and settles how many operations a batch needs to last as long as it should.
    fn calibrate(&mut self) -> u64 {
        let mut operations = 2 * CHUNK;
        let begin = Instant::now();
        loop {
            let sample = self.run.batch(operations);
            if sample.elapsed < BATCH / 2 {
                operations *= 2;
            } else if begin.elapsed() >= WARM_UP {
                let per_operation = sample.per_operation();
                // Between 1 and 2^53: a batch is below a millisecond and an operation no less than 0.1 ns.
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let fitting = (exact(BATCH.as_nanos()) / per_operation.max(0.1)) as u64;
                return fitting.max(1);
            }
        }
    }
}

/// An operation on this thread.
struct Alone<Operation, T> {
    operation: Operation,
    right: fn(&T) -> bool,
}

impl<Operation: FnMut() -> T, T> Run for Alone<Operation, T> {
    fn batch(&mut self, operations: u64) -> Sample {
        let before = allocations::on_this_thread();
        let begin = Instant::now();
        // By reference: what is measured is the call, and not how fast its result is copied once more.
        for _ in 0..operations {
            black_box(&(self.operation)());
        }
        let elapsed = begin.elapsed();
        Sample { elapsed, operations, allocations: allocations::on_this_thread() - before }
    }

    fn does_its_work(&mut self) -> bool {
        (self.right)(&(self.operation)())
    }
}

/// Operations that time themselves.
struct Many<Rounds> {
    rounds: Rounds,
}

impl<Rounds: FnMut(u64) -> (Duration, u64)> Run for Many<Rounds> {
    fn batch(&mut self, operations: u64) -> Sample {
        let before = allocations::on_this_thread();
        let (elapsed, operations) = (self.rounds)(operations);
        Sample { elapsed, operations, allocations: allocations::on_this_thread() - before }
    }

    fn does_its_work(&mut self) -> bool {
        (self.rounds)(1).1 > 0
    }
}

/// An operation on two threads at once.
struct TwoThreads<Start, T> {
    start: Start,
    right: fn(&T) -> bool,
}

/// What one of the threads did.
struct Share {
    begin: Instant,
    end: Instant,
    operations: u64,
    allocations: u64,
    preempted: bool,
}

impl<Start, Operation, T> TwoThreads<Start, T>
where
    Start: Fn() -> Operation + Sync,
    Operation: FnMut() -> T,
{
    /// One go of both threads.
    fn shares(&self, operations: u64) -> [Share; THREADS] {
        let start = &self.start;
        let goal = operations / 2;
        let gate = Gate::default();
        let finished = AtomicBool::new(false);
        thread::scope(|scope| {
            let threads: [_; THREADS] = std::array::from_fn(|_| {
                scope.spawn(|| {
                    let mut operation = start();
                    // A thread's first operations set up its thread-locals; those are not per operation.
                    for _ in 0..CHUNK {
                        black_box(&operation());
                    }
                    let preemptions_before = preemptions();
                    gate.pass();
                    let share = run_until_one_finishes(&mut operation, goal, &finished);
                    Share { preempted: preemptions() != preemptions_before, ..share }
                })
            });
            threads.map(|thread| thread.join().expect("a measured operation does not panic"))
        })
    }
}

impl<Start, Operation, T> Run for TwoThreads<Start, T>
where
    Start: Fn() -> Operation + Sync,
    Operation: FnMut() -> T,
{
    fn batch(&mut self, operations: u64) -> Sample {
        let mut shares = self.shares(operations);
        for _ in 1..SHARED_TRIES {
            if !shares.iter().any(|share| share.preempted) {
                break;
            }
            shares = self.shares(operations);
        }
        let begin = shares.iter().map(|share| share.begin).min();
        let end = shares.iter().map(|share| share.end).max();
        Sample {
            elapsed: end.expect("two shares") - begin.expect("two shares"),
            operations: shares.iter().map(|share| share.operations).sum(),
            allocations: shares.iter().map(|share| share.allocations).sum(),
        }
    }

    fn does_its_work(&mut self) -> bool {
        (self.right)(&(self.start)()())
    }
}

/// How often this thread has lost its processor to another without having asked for it; always 0 where the system
/// does not say.
fn preemptions() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"))
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

/// Both threads stop when the first is through, so that none runs its last operations alone.
fn run_until_one_finishes<T>(
    operation: &mut impl FnMut() -> T,
    goal: u64,
    finished: &AtomicBool,
) -> Share {
    let before = allocations::on_this_thread();
    let begin = Instant::now();
    let mut operations = 0;
    // Relaxed: the flag carries no data, and the count of operations does not depend on when it is seen.
    while operations < goal && !finished.load(Ordering::Relaxed) {
        for _ in 0..CHUNK {
            black_box(&operation());
        }
        operations += CHUNK;
    }
    finished.store(true, Ordering::Relaxed);
    let end = Instant::now();
    Share {
        begin,
        end,
        operations,
        allocations: allocations::on_this_thread() - before,
        preempted: false,
    }
}

/// Lets both threads go at once: the barrier makes sure that both exist, the spinning that both are awake.
struct Gate {
    barrier: Barrier,
    awake: AtomicUsize,
}

impl Default for Gate {
    fn default() -> Self {
        Self { barrier: Barrier::new(THREADS), awake: AtomicUsize::new(0) }
    }
}

impl Gate {
    fn pass(&self) {
        self.barrier.wait();
        // Relaxed: only the count matters; nothing is handed from thread to thread here.
        self.awake.fetch_add(1, Ordering::Relaxed);
        while self.awake.load(Ordering::Relaxed) < THREADS {
            spin_loop();
        }
    }
}

/// Times all `subjects` of one work against each other, in the order given.
///
/// # Panics
///
/// If a subject, before or after, does not do what it is measured doing.
pub(crate) fn measure(work: &str, subjects: &mut [Subject]) -> Vec<Measurement> {
    let progress = Progress::new(work);
    let batches: Vec<u64> = subjects
        .iter_mut()
        .map(|subject| {
            progress.show(&format!("warming up {}", subject.name));
            subject.assert_does_its_work();
            subject.calibrate()
        })
        .collect();

    let mut samples: Vec<Vec<Sample>> =
        subjects.iter().map(|_| Vec::with_capacity(REPEATS)).collect();
    let mut order: Vec<usize> = (0..subjects.len()).collect();
    let mut shuffle = Shuffle::default();
    for repeat in 1..=REPEATS {
        progress.show(&format!("repeat {repeat} of {REPEATS}"));
        shuffle.again(&mut order);
        for &index in &order {
            samples[index].push(subjects[index].run.batch(batches[index]));
        }
    }
    progress.clear();

    subjects
        .iter_mut()
        .zip(samples)
        .map(|(subject, samples)| {
            subject.assert_does_its_work();
            let operations: u64 = samples.iter().map(|sample| sample.operations).sum();
            let allocations: u64 = samples.iter().map(|sample| sample.allocations).sum();
            Measurement {
                subject: subject.name.clone(),
                median_ns: median(samples.iter().map(Sample::per_operation).collect()),
                allocations: exact(allocations.into()) / exact(operations.into()),
            }
        })
        .collect()
}

/// The middle value, or the mean of the two middle ones.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let upper = values.len() / 2;
    if values.len() % 2 == 1 {
        values[upper]
    } else {
        f64::midpoint(values[upper - 1], values[upper])
    }
}

/// Counts and nanoseconds of a run stay far below 2^53, where every integer is a float.
#[expect(clippy::cast_precision_loss)]
fn exact(count: u128) -> f64 {
    count as f64
}

/// The same shuffles in every run: a xorshift generator with a fixed seed.
struct Shuffle(u64);

impl Default for Shuffle {
    fn default() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }
}

impl Shuffle {
    /// Puts `order` into another order (Fisher-Yates).
    fn again(&mut self, order: &mut [usize]) {
        for last in (1..order.len()).rev() {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            let among = u64::try_from(last + 1).expect("a work has few subjects");
            let other = usize::try_from(self.0 % among).expect("below the number of subjects");
            order.swap(last, other);
        }
    }
}

/// One line on standard error that says what is going on, if a person is looking.
struct Progress<'a> {
    work: &'a str,
    watched: bool,
}

impl<'a> Progress<'a> {
    fn new(work: &'a str) -> Self {
        Self { work, watched: stderr().is_terminal() }
    }

    fn show(&self, what: &str) {
        self.write(&format!("{}: {what}", self.work));
    }

    fn clear(&self) {
        self.write("");
    }

    /// A progress line that cannot be written is not worth a failed run.
    fn write(&self, line: &str) {
        if self.watched {
            let mut stderr = stderr();
            let _ = write!(stderr, "\r\x1b[K{line}");
            let _ = stderr.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_value_or_between_the_two() {
        assert!((median(vec![3.0, 1.0, 100.0]) - 3.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 1.0, 2.0, 100.0]) - 3.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_shuffle_keeps_every_subject() {
        let mut order: Vec<usize> = (0..9).collect();
        let mut shuffle = Shuffle::default();
        shuffle.again(&mut order);
        let first = order.clone();
        shuffle.again(&mut order);
        assert_ne!(first, order, "each repeat has its own order");
        order.sort_unstable();
        assert_eq!(order, (0..9).collect::<Vec<_>>());
    }

    #[test]
    fn both_threads_operations_are_counted() {
        let mut subject =
            Subject::two_threads("box", || || black_box(Box::new(1_u64)), |one| **one == 1);
        subject.assert_does_its_work();
        let sample = subject.run.batch(4 * CHUNK);
        assert!(sample.operations >= 2 * CHUNK, "{}", sample.operations);
        assert_eq!(sample.allocations, sample.operations);
    }

    #[test]
    #[should_panic(expected = "does not do what it is measured doing")]
    fn a_subject_that_does_something_else_gets_no_number() {
        let mut subjects = [Subject::rejected("open", || Ok::<u64, u64>(1))];
        measure("rejections", &mut subjects);
    }
}
