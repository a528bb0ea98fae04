//! The trust core on a bare RV32IMC core, without an operating system: how large it is, how much heap
//! and stack it needs, and how many instructions it takes.
//!
//! Runs on QEMU's machine `virt`. The answers of a server come as a file in memory, made by
//! `waxwing-bench trust`; the numbers go out over the serial port, one `name value` per line. Not
//! here: goals, and anything a product would link.

#![no_std]
#![no_main]

extern crate alloc;

mod machine;
#[cfg(feature = "tuf")]
mod scenario;

use machine::{exit, print, print_number};

/// Called by the start code of [`machine`], once the stack stands.
fn run() -> bool {
    let sizes = machine::sizes();
    number("text", sizes.text);
    number("rodata", sizes.rodata);
    #[cfg(feature = "tuf")]
    return scenario::run(machine::scenario());
    #[cfg(not(feature = "tuf"))]
    true
}

fn number(name: &str, value: u64) {
    print(name);
    print(" ");
    print_number(value);
    print("\n");
}

#[panic_handler]
fn panicked(_: &core::panic::PanicInfo<'_>) -> ! {
    print("panicked\n");
    exit(false)
}
