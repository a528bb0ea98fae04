//! Arithmetic that the core has no instruction for: 64-bit integers and floating point, as GCC's
//! support library names them.

use super::{Call, Function};

/// Functions of this group.
pub(super) const FUNCTIONS: &[(u32, Function)] = &[
    (0x4000_076c, |call| double(call, |a, b| a + b)), // __adddf3
    (0x4000_0770, |call| single(call, |a, b| a + b)), // __addsf3
    (0x4000_077c, |call| shift(call, u64::wrapping_shl)), // __ashldi3
    (0x4000_0780, |call| shift(call, shift_signed)),  // __ashrdi3
    (0x4000_0788, |call| one(call, u32::swap_bytes)), // __bswapsi2
    (0x4000_0798, |call| call.answer(call.argument64(0).leading_zeros())), // __clzdi2
    (0x4000_079c, |call| one(call, u32::leading_zeros)), // __clzsi2
    (0x4000_07a4, |call| call.answer(call.argument64(0).trailing_zeros())), // __ctzdi2
    (0x4000_07a8, |call| one(call, u32::trailing_zeros)), // __ctzsi2
    (0x4000_07b0, |call| double(call, |a, b| a / b)), // __divdf3
    (0x4000_07b4, |call| signed(call, i64::checked_div)), // __divdi3
    (0x4000_07bc, |call| single(call, |a, b| a / b)), // __divsf3
    (0x4000_0830, |call| shift(call, u64::wrapping_shr)), // __lshrdi3
    (0x4000_083c, |call| signed(call, i64::checked_rem)), // __moddi3
    (0x4000_0848, |call| double(call, |a, b| a * b)), // __muldf3
    (0x4000_084c, |call| unsigned(call, |a, b| Some(a.wrapping_mul(b)))), // __muldi3
    (0x4000_0854, |call| single(call, |a, b| a * b)), // __mulsf3
    (0x4000_0884, |call| call.answer(call.argument64(0).count_ones())), // __popcountdi2
    (0x4000_0888, |call| one(call, u32::count_ones)), // __popcountsi2
    (0x4000_0894, |call| double(call, |a, b| a - b)), // __subdf3
    (0x4000_0898, |call| single(call, |a, b| a - b)), // __subsf3
    (0x4000_08ac, |call| unsigned(call, u64::checked_div)), // __udivdi3
    (0x4000_08bc, |call| unsigned(call, u64::checked_rem)), // __umoddi3
];

fn one(call: &mut Call<'_, '_>, compute: fn(u32) -> u32) {
    call.answer(compute(call.argument(0)));
}

fn shift(call: &mut Call<'_, '_>, compute: fn(u64, u32) -> u64) {
    call.answer64(compute(call.argument64(0), call.argument(2)));
}

const fn shift_signed(value: u64, by: u32) -> u64 {
    value.cast_signed().wrapping_shr(by).cast_unsigned()
}

fn unsigned(call: &mut Call<'_, '_>, compute: fn(u64, u64) -> Option<u64>) {
    // C leaves a division by zero open; the support library gives all ones.
    call.answer64(compute(call.argument64(0), call.argument64(2)).unwrap_or(u64::MAX));
}

fn signed(call: &mut Call<'_, '_>, compute: fn(i64, i64) -> Option<i64>) {
    let [first, second] = [0, 2].map(|at| call.argument64(at).cast_signed());
    call.answer64(compute(first, second).unwrap_or(-1).cast_unsigned());
}

fn single(call: &mut Call<'_, '_>, compute: fn(f32, f32) -> f32) {
    let [first, second] = [0, 1].map(|at| f32::from_bits(call.argument(at)));
    call.answer(compute(first, second).to_bits());
}

fn double(call: &mut Call<'_, '_>, compute: fn(f64, f64) -> f64) {
    let [first, second] = [0, 2].map(|at| f64::from_bits(call.argument64(at)));
    call.answer64(compute(first, second).to_bits());
}
