//! How much memory was ever in use.
//!
//! Not here: whose it was.

use core::fmt;

use crate::hardware;

/// What was ever in use since the start, and what there is, in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Memory {
    /// The heap at its fullest.
    pub heap_used: usize,
    /// The heap.
    pub heap: usize,
    /// The stack of `main` at its deepest.
    pub stack_used: usize,
    /// The stack.
    pub stack: usize,
}

impl Memory {
    /// Begins to watch the stack: what of it is in use now counts as used.
    pub fn watch() {
        hardware::paint_stack();
    }

    /// Looks.
    pub fn now() -> Self {
        let heap = esp_alloc::HEAP.stats();
        let stack = hardware::stack_bytes();
        Self {
            heap_used: heap.max_usage,
            heap: heap.size,
            stack_used: stack.saturating_sub(hardware::unused_stack_bytes()),
            stack,
        }
    }

    /// Returns how much of the heap was always free.
    pub const fn heap_low(&self) -> usize {
        self.heap.saturating_sub(self.heap_used)
    }

    /// Returns how much of the stack was always free.
    pub const fn stack_low(&self) -> usize {
        self.stack.saturating_sub(self.stack_used)
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { heap_used, heap, stack_used, stack } = self;
        write!(f, "heap {heap_used} of {heap}, stack {stack_used} of {stack}")
    }
}
