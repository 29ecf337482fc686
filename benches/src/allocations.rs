//! Counts every allocation of the thread that makes it, so that allocations per operation are exact, and the bytes
//! that it holds.
//!
//! The count is a plain thread-local number: an atomic one would cost the subjects that allocate several
//! nanoseconds per allocation, and two threads would share its cache line.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Constant-initialised and without a destructor: touching it never allocates, so the allocator may.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    /// Allocated less freed. What another thread frees is counted there.
    static BYTES: Cell<i64> = const { Cell::new(0) };
}

/// The system's allocator, counting. A reallocation counts as one: it may move and copy all the same.
struct Counting;

// SAFETY: every call is passed to `System` unchanged; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(bytes(layout.size()));
        // SAFETY: the caller keeps `alloc`'s contract, which is `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(bytes(layout.size()));
        // SAFETY: the caller keeps `alloc_zeroed`'s contract, which is `System`'s.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(bytes(new_size) - bytes(layout.size()));
        // SAFETY: the caller keeps `realloc`'s contract, which is `System`'s.
        unsafe { System.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let _ = BYTES.try_with(|held| held.set(held.get() - bytes(layout.size())));
        // SAFETY: the caller keeps `dealloc`'s contract, which is `System`'s.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A thread's last allocations may come after its thread-locals are gone; nobody asks for those.
fn count(more: i64) {
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
    let _ = BYTES.try_with(|held| held.set(held.get() + more));
}

/// No layout is larger than `isize::MAX`.
fn bytes(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// How often this thread has allocated since it started; the difference of two readings is what happened between.
pub(crate) fn on_this_thread() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

/// Bytes this thread has allocated less those it has freed; the difference of two readings is what came to be held
/// between.
pub(crate) fn bytes_held() -> i64 {
    BYTES.with(Cell::get)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    fn allocations_of(work: impl FnOnce()) -> u64 {
        let before = on_this_thread();
        work();
        on_this_thread() - before
    }

    #[test]
    fn a_box_is_one_allocation_and_a_number_is_none() {
        assert_eq!(allocations_of(|| drop(black_box(Box::new(1_u64)))), 1);
        assert_eq!(allocations_of(|| drop(black_box(vec![0_u8; 64]))), 1);
        assert_eq!(
            allocations_of(|| {
                black_box(1_u64);
            }),
            0
        );
    }

    #[test]
    fn growing_counts_as_an_allocation() {
        let mut bytes = Vec::with_capacity(8);
        bytes.extend_from_slice(&[0_u8; 8]);
        assert_eq!(allocations_of(|| bytes.reserve_exact(black_box(4096))), 1);
    }

    #[test]
    fn bytes_are_held_until_they_are_freed() {
        let before = bytes_held();
        let mut held = black_box(vec![0_u8; 100]);
        assert_eq!(bytes_held() - before, 100);
        held.reserve_exact(black_box(400));
        assert_eq!(bytes_held() - before, 500);
        drop(held);
        assert_eq!(bytes_held(), before);
    }

    #[test]
    fn another_threads_allocations_are_not_ours() {
        let (before, inside) = std::thread::spawn(|| {
            let before = on_this_thread();
            (before, allocations_of(|| drop(black_box(Box::new([0_u8; 32])))))
        })
        .join()
        .expect("the thread only counts");
        assert_eq!(inside, 1);
        assert!(before < 1_000, "a new thread starts near zero: {before}");
    }
}
