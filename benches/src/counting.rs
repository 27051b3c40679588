//! An allocator that counts what the calling thread asks for.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    // Constants without destructors: reaching them allocates nothing.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static OCTETS: Cell<i64> = const { Cell::new(0) };
}

/// The system's allocator, counted. To be made the `#[global_allocator]` of a test.
#[derive(Debug)]
pub struct Counting;

impl Counting {
    /// Allocations and reallocations that this thread has made so far.
    pub fn allocations() -> u64 {
        ALLOCATIONS.get()
    }

    /// Octets that this thread has allocated and not freed.
    pub fn octets() -> i64 {
        OCTETS.get()
    }

    /// How many allocations `work` makes.
    pub fn during(work: impl FnOnce()) -> u64 {
        let before = Self::allocations();
        work();
        Self::allocations() - before
    }

    fn count(allocations: u64, octets: i64) {
        // At the end of a thread its cells may be gone already.
        let _ = ALLOCATIONS.try_with(|cell| cell.set(cell.get() + allocations));
        let _ = OCTETS.try_with(|cell| cell.set(cell.get() + octets));
    }
}

// SAFETY: every call goes on to the system's allocator as it came; counting touches no memory of the callers.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count(1, layout.size() as i64);
        // SAFETY: the caller keeps to the contract of `alloc`, which is the same one.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count(1, layout.size() as i64);
        // SAFETY: the caller keeps to the contract of `alloc_zeroed`, which is the same one.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count(1, size as i64 - layout.size() as i64);
        // SAFETY: the caller keeps to the contract of `realloc`, and `pointer` came from `System`.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Self::count(0, -(layout.size() as i64));
        // SAFETY: the caller keeps to the contract of `dealloc`, and `pointer` came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}
