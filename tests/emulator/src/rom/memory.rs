//! What C expects of memory and strings.

use std::cmp::Ordering;

use super::{Call, Function};

/// Functions of this group.
pub(super) const FUNCTIONS: &[(u32, Function)] = &[
    (0x4000_0354, memset),
    (0x4000_0358, memmove), // memcpy
    (0x4000_035c, memmove),
    (0x4000_0360, memcmp),
    (0x4000_0364, strcpy),
    (0x4000_0368, strncpy),
    (0x4000_036c, strcmp),
    (0x4000_0370, strncmp),
    (0x4000_0374, strlen),
];

fn memset(call: &mut Call<'_, '_>) {
    let [byte, ..] = call.argument(1).to_le_bytes();
    let length = usize::try_from(call.argument(2)).unwrap_or(0);
    call.write(call.argument(0), &vec![byte; length]);
}

fn memmove(call: &mut Call<'_, '_>) {
    let bytes = call.read(call.argument(1), call.argument(2));
    call.write(call.argument(0), &bytes);
}

fn memcmp(call: &mut Call<'_, '_>) {
    let [first, second] = [0, 1].map(|at| call.read(call.argument(at), call.argument(2)));
    call.answer(sign(first.cmp(&second)));
}

fn strcpy(call: &mut Call<'_, '_>) {
    let mut text = call.text(call.argument(1));
    text.push(0);
    call.write(call.argument(0), &text);
}

fn strncpy(call: &mut Call<'_, '_>) {
    let mut text = call.text(call.argument(1));
    text.resize(usize::try_from(call.argument(2)).unwrap_or(0), 0);
    call.write(call.argument(0), &text);
}

fn strcmp(call: &mut Call<'_, '_>) {
    let [first, second] = [0, 1].map(|at| call.text(call.argument(at)));
    call.answer(sign(first.cmp(&second)));
}

fn strncmp(call: &mut Call<'_, '_>) {
    let length = usize::try_from(call.argument(2)).unwrap_or(0);
    let [first, second] = [0, 1].map(|at| {
        let mut text = call.text(call.argument(at));
        text.truncate(length);
        text
    });
    call.answer(sign(first.cmp(&second)));
}

fn strlen(call: &mut Call<'_, '_>) {
    let length = call.text(call.argument(0)).len();
    call.answer(u32::try_from(length).unwrap_or(u32::MAX));
}

const fn sign(ordering: Ordering) -> u32 {
    match ordering {
        Ordering::Less => u32::MAX,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    }
}
