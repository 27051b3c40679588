//! Large tables in huge pages.
//!
//! A look-up in a table of some hundred mebioctets misses not only the caches but the TLB too, and inside a virtual
//! machine a walk through both page tables takes longer than the access itself. Where the kernel gives huge pages to
//! those who ask (`/sys/kernel/mm/transparent_hugepage/enabled` says `madvise` or `always`), this allocator asks.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;

/// Octets of a huge page on x86-64, and on others with pages of 4 KiB.
const HUGE_PAGE: usize = 2 << 20;

/// Allocations of fewer octets are the system's: the first touch costs a whole huge page, too much for what is
/// small or hardly used.
const LARGE: usize = 16 << 20;

/// The system's allocator, but for large allocations: those are mappings of their own, aligned to huge pages. To be
/// made the `#[global_allocator]` of a program. As with the system's, memory never touched costs nothing.
#[derive(Debug)]
pub struct HugePages;

const fn is_large(size: usize, align: usize) -> bool {
    size >= LARGE && align <= HUGE_PAGE && size <= isize::MAX as usize - 2 * HUGE_PAGE
}

/// Octets of the mapping that holds `size` octets.
const fn mapped(size: usize) -> usize {
    size.next_multiple_of(HUGE_PAGE)
}

/// A mapping of zeros, aligned to huge pages; null when there is no room.
fn map(size: usize) -> *mut u8 {
    let len = mapped(size);
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new anonymous mapping wherever the kernel likes touches no memory that is in use.
    let start = unsafe { libc::mmap(ptr::null_mut(), len + HUGE_PAGE, access, kind, -1, 0) };
    if start == libc::MAP_FAILED {
        return ptr::null_mut();
    }
    let start = start.cast::<u8>();
    let before = start.align_offset(HUGE_PAGE).min(HUGE_PAGE);
    // SAFETY: the mapping has `HUGE_PAGE` octets more than `len`, and `before` is not more than that. What is
    // unmapped are its two ends, whole pages that nobody has seen; what is left are the `len` octets between.
    unsafe {
        let aligned = start.add(before);
        if before > 0 {
            libc::munmap(start.cast(), before);
        }
        if before < HUGE_PAGE {
            libc::munmap(aligned.add(len).cast(), HUGE_PAGE - before);
        }
        // A wish: without it, or where it is refused, the memory is as good, only slower.
        libc::madvise(aligned.cast(), len, libc::MADV_HUGEPAGE);
        aligned
    }
}

// SAFETY: each allocation goes to `map` or to `System` by its size and alignment alone, which are the same when it is
// given back, so each is freed by the one that made it. `map` returns memory of at least that size, zeroed, of an
// alignment that covers the layout's, and no two mappings overlap. Nothing here unwinds.
unsafe impl GlobalAlloc for HugePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_large(layout.size(), layout.align()) {
            return map(layout.size());
        }
        // SAFETY: the caller keeps to the contract of `alloc`, which is the same one.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_large(layout.size(), layout.align()) {
            return map(layout.size());
        }
        // SAFETY: the caller keeps to the contract of `alloc_zeroed`, which is the same one.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if is_large(layout.size(), layout.align()) {
            // SAFETY: `pointer` came from `map` for this size, so exactly these octets are its mapping, and the caller
            // does not use them any more.
            unsafe { libc::munmap(pointer.cast(), mapped(layout.size())) };
            return;
        }
        // SAFETY: the caller keeps to the contract of `dealloc`, and `pointer` came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let (was_large, is_large) =
            (is_large(layout.size(), layout.align()), is_large(new_size, layout.align()));
        if was_large && is_large && mapped(layout.size()) == mapped(new_size) {
            return pointer;
        }
        if !was_large && !is_large {
            // SAFETY: the caller keeps to the contract of `realloc`, and `pointer` came from `System`.
            return unsafe { System.realloc(pointer, layout, new_size) };
        }
        // SAFETY: the caller has made sure that `new_size` makes a valid layout; the old and the new memory are two
        // allocations, each of at least the octets copied; the old one is given back once, as it was made.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(new_size, layout.align()));
            if !new.is_null() {
                ptr::copy_nonoverlapping(pointer, new, layout.size().min(new_size));
                self.dealloc(pointer, layout);
            }
            new
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `Vec` does it: zeroed, grown over every boundary, shrunk again.
    #[test]
    fn memory_keeps_what_it_holds_whoever_gave_it() {
        let sizes = [100, LARGE - 1, LARGE, LARGE + 1, LARGE + HUGE_PAGE, 3 * LARGE + 5, LARGE + 7, 50];
        let mut layout = Layout::from_size_align(sizes[0], 64).unwrap();
        // SAFETY: the layout is not empty; every pointer is used with the layout that it was last given for, and
        // only within that.
        unsafe {
            let mut memory = HugePages.alloc_zeroed(layout);
            assert!(!memory.is_null());
            memory.write(7);
            for size in sizes {
                memory = HugePages.realloc(memory, layout, size);
                assert!(!memory.is_null());
                layout = Layout::from_size_align(size, 64).unwrap();
                assert_eq!((memory.read(), memory.align_offset(64)), (7, 0));
                if size >= LARGE {
                    assert_eq!(memory.align_offset(HUGE_PAGE), 0);
                }
                memory.add(size - 1).write(9);
                assert_eq!(memory.add(size - 1).read(), 9);
                memory.add(40).write(11);
                assert_eq!(memory.add(40).read(), 11);
            }
            HugePages.dealloc(memory, layout);
        }
    }

    #[test]
    fn large_memory_is_zero_and_what_does_not_fit_is_refused() {
        let layout = Layout::from_size_align(LARGE + 3, 8).unwrap();
        // SAFETY: the layout is not empty, and the memory is used within it and given back with it.
        unsafe {
            for zeroed in [false, true] {
                let memory = if zeroed { HugePages.alloc_zeroed(layout) } else { HugePages.alloc(layout) };
                assert!((0..layout.size()).step_by(4_000).all(|at| memory.add(at).read() == 0));
                memory.write_bytes(1, layout.size());
                HugePages.dealloc(memory, layout);
            }
            let too_much = Layout::from_size_align(1 << 60, 8).unwrap();
            assert!(HugePages.alloc(too_much).is_null());
        }
    }
}
