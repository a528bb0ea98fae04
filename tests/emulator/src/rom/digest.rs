//! Checksums and hashes. The state that C code carries in a structure of its own is kept here by
//! the structure's address.

use md5::Digest as _;

use super::{Call, Function};
use crate::core::Core as _;

/// `SHA2_256` among the ROM's kinds.
const SHA2_256: u32 = 2;

/// Functions of this group.
pub(super) const FUNCTIONS: &[(u32, Function)] = &[
    (0x4000_0614, md5_init),
    (0x4000_0618, md5_update),
    (0x4000_061c, md5_final),
    (0x4000_0628, crc32_le),
    (0x4000_0644, |_| {}), // ets_sha_enable
    (0x4000_0648, |_| {}), // ets_sha_disable
    (0x4000_0650, sha_init),
    (0x4000_065c, sha_update),
    (0x4000_0660, sha_finish),
];

fn md5_init(call: &mut Call<'_, '_>) {
    let context = call.argument(0);
    call.engine.board_mut().rom.md5.insert(context, md5::Md5::new());
}

fn md5_update(call: &mut Call<'_, '_>) {
    let bytes = call.read(call.argument(1), call.argument(2));
    let context = call.argument(0);
    if let Some(hash) = call.engine.board_mut().rom.md5.get_mut(&context) {
        hash.update(bytes);
    }
}

/// `MD5Final(digest, context)`.
fn md5_final(call: &mut Call<'_, '_>) {
    let context = call.argument(1);
    if let Some(hash) = call.engine.board_mut().rom.md5.remove(&context) {
        call.write(call.argument(0), &hash.finalize());
    }
}

/// Inverts before and after, so that a sum can be continued.
fn crc32_le(call: &mut Call<'_, '_>) {
    let bytes = call.read(call.argument(1), call.argument(2));
    let crc = bytes.iter().fold(!call.argument(0), |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    });
    call.answer(!crc);
}

fn sha_init(call: &mut Call<'_, '_>) {
    let (context, kind) = (call.argument(0), call.argument(1));
    if kind != SHA2_256 {
        let text = format!("the ROM's hash of kind {kind} is not modelled");
        return call.engine.stop(crate::board::Halt::Unknown(text));
    }
    call.engine.board_mut().rom.sha256.insert(context, sha2::Sha256::new());
}

fn sha_update(call: &mut Call<'_, '_>) {
    let bytes = call.read(call.argument(1), call.argument(2));
    let context = call.argument(0);
    if let Some(hash) = call.engine.board_mut().rom.sha256.get_mut(&context) {
        hash.update(bytes);
    }
    call.answer(0);
}

fn sha_finish(call: &mut Call<'_, '_>) {
    let context = call.argument(0);
    if let Some(hash) = call.engine.board_mut().rom.sha256.remove(&context) {
        call.write(call.argument(1), &hash.finalize());
    }
    call.answer(0);
}
